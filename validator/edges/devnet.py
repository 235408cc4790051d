"""Development chains: py-evm in a thread of this process, or a real anvil, each behind a JSON-RPC URL.

Rule kept: whoever talks to a chain talks to a URL through `chain.py`, so one client code drives the embedded chain,
anvil and any node. Both chains fund the accounts of the public test mnemonic and mine one block per transaction.

The embedded chain answers as a node does where eth-tester does not: reverts carry their data, calls are free and see
the time of the next block, gas is estimated in one run, and a receipt is found without walking down the chain.
"""

import asyncio
import os
import platform
import shutil
import socket
import threading
import time
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from aiohttp import web
from eth.exceptions import Revert
from eth.exceptions import TransactionNotFound as NotInChain
from eth.vm.spoof import SpoofTransaction
from eth_abi.abi import decode as abi_decode
from eth_abi.exceptions import DecodingError
from eth_tester import EthereumTester, PyEVMBackend
from eth_tester.backends.pyevm import main as pyevm_backend
from eth_tester.exceptions import TransactionNotFound
from web3 import AsyncWeb3
from web3.providers.eth_tester import AsyncEthereumTesterProvider
from web3.types import RPCEndpoint

from validator.errors import BadInput, Fatal

MNEMONIC = "test test test test test test test test test test test junk"
HD_PATH = "m/44'/60'/0'/0"
ACCOUNTS = 10
BALANCE_ETHER = 1_000_000
LOOPBACK = "127.0.0.1"
ANVIL_START_TIMEOUT_S = 20
ANVIL_STOP_TIMEOUT_S = 5
ANVIL_INSTALL_FOLDER = Path(__file__).parents[2] / ".cache" / "anvil"
MAX_REQUEST_BYTES = 4 * 1024 * 1024

REVERTED = 3
SERVER_ERROR = -32000
"""JSON-RPC error codes as geth uses them."""

ERROR_STRING_SELECTOR = bytes.fromhex("08c379a0")
"""Of `Error(string)`, the revert payload of a message."""


def open_chain(chain: str) -> AbstractAsyncContextManager[str]:
    """The URL of the chain that `--chain` names: "embedded", "anvil", or a URL, which is yielded as it is."""
    if chain == "embedded":
        return embedded_node()
    if chain == "anvil":
        return anvil_node()
    if "://" not in chain:
        raise BadInput(f"unknown chain {chain!r}: it is embedded, anvil, or the URL of a node")
    return nullcontext(chain)


@asynccontextmanager
async def embedded_node(port: int = 0, *, idle_block_s: float | None = None) -> AsyncIterator[str]:
    """A fresh py-evm chain on a loopback port, any free one for 0; it and its thread end with the context.

    With `idle_block_s` there are blocks without transactions too, so far apart. BadInput if the port is taken.
    """
    started: Future[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]] = Future()
    arguments = (port, idle_block_s, started)
    thread = threading.Thread(target=_run_embedded, args=arguments, name="embedded-chain", daemon=True)
    thread.start()
    try:
        url, loop, stop = await asyncio.wrap_future(started)
    except OSError as error:
        raise BadInput(f"cannot listen on {LOOPBACK}:{port}: {error.strerror}; name another --port") from error
    try:
        yield url
    finally:
        loop.call_soon_threadsafe(stop.set)
        await asyncio.to_thread(thread.join)


def _run_embedded(
    port: int, idle_block_s: float | None, started: "Future[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]]"
) -> None:
    async def serve() -> None:
        stop = asyncio.Event()
        app, rpc = web.Application(client_max_size=MAX_REQUEST_BYTES), _EmbeddedRpc()
        app.router.add_post("/", rpc.handle)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, LOOPBACK, port).start()
            started.set_result((f"http://{LOOPBACK}:{runner.addresses[0][1]}", asyncio.get_running_loop(), stop))
            while not stop.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), idle_block_s)
                    break
                rpc.mine()
        finally:
            await runner.cleanup()

    try:
        asyncio.run(serve())
    except BaseException as error:  # boundary: the starting thread must hear of any failure, or it waits for ever
        if started.done():
            raise
        started.set_exception(error)


class _EmbeddedRpc:
    """JSON-RPC over web3's eth-tester provider; lives on one thread, so calls never overlap."""

    def __init__(self) -> None:
        pyevm_backend._get_transaction_by_hash = _find_transaction
        self._provider = AsyncEthereumTesterProvider()
        self._provider.ethereum_tester = EthereumTester(
            _Backend.from_mnemonic(
                MNEMONIC,
                num_accounts=ACCOUNTS,
                hd_path=HD_PATH,
                genesis_state_overrides={"balance": BALANCE_ETHER * 10**18},
            )
        )
        self._web3 = AsyncWeb3(self._provider, middleware=[])

    def mine(self) -> None:
        """A block without transactions, now."""
        self._provider.ethereum_tester.backend.stamp()
        self._provider.ethereum_tester.mine_block()

    async def handle(self, http_request: web.Request) -> web.Response:
        call = await http_request.json()
        answer: dict[str, Any] = {"jsonrpc": "2.0", "id": call["id"]}
        try:
            if call["method"] == "evm_setNextBlockTimestamp":
                self._provider.ethereum_tester.backend.move_clock(int(call["params"][0]))
                return web.json_response(answer | {"result": None})
            request = await self._provider.request_func(self._web3, self._web3.middleware_onion)
            response = await request(RPCEndpoint(call["method"]), call.get("params", []))
            if "error" in response:
                answer["error"] = response["error"]
            else:
                answer["result"] = _to_json(response["result"])
        except _ExecutionReverted as error:
            answer["error"] = {"code": REVERTED, "message": str(error), "data": "0x" + error.data.hex()}
        except Exception as error:  # noqa: BLE001  # boundary: whatever py-evm raises, a node answers with an error
            answer["error"] = {"code": SERVER_ERROR, "message": str(error) or type(error).__name__}
        return web.json_response(answer)


def _to_json(value: Any) -> Any:
    """eth-tester's result as JSON-RPC writes it: whole numbers in hex, bytes in hex."""
    match value:
        case bool():
            return value
        case int():
            return hex(value)
        case bytes():
            return "0x" + value.hex()
        case Mapping():
            return {key: _to_json(item) for key, item in value.items()}
        case list() | tuple():
            return [_to_json(item) for item in value]
        case _:
            return value


class _ExecutionReverted(Exception):
    """A call that the contract refused, with the bytes that it returned."""

    def __init__(self, data: bytes) -> None:
        reason = ""
        if data.startswith(ERROR_STRING_SELECTOR):
            with suppress(DecodingError):
                reason = f": {abi_decode(['string'], data[4:])[0]}"
        super().__init__(f"execution reverted{reason}")
        self.data = data


class _Backend(PyEVMBackend):  # type: ignore[misc]
    """eth-tester's py-evm backend with calls, estimates and block times as nodes have them."""

    clock_ahead_s = 0

    def move_clock(self, to_s: int) -> None:
        """From the next block on it is at least this time, and goes on from there, as with anvil."""
        self.clock_ahead_s = max(self.clock_ahead_s, to_s - int(time.time()))
        self.stamp()

    def call(self, transaction: dict[str, Any], block_number: int | str = "latest") -> bytes:
        return bytes(self._execute(transaction, block_number).output)

    def estimate_gas(self, transaction: dict[str, Any], block_number: int | str = "latest") -> int:
        """What one run takes before refunds, or the calldata floor of EIP-7623.

        eth-tester searches through a dozen runs instead, for a figure up to 21,000 too high.
        """
        gas = self._max_available_gas()
        computation = self._execute({**transaction, "gas": gas}, block_number)
        return int(gas - computation.get_gas_remaining() + computation.data_floor_gas)

    def send_raw_transaction(self, raw_transaction: bytes) -> bytes:
        self.stamp()
        return bytes(super().send_raw_transaction(raw_transaction))

    def stamp(self) -> None:
        """The next block is of now: it was stamped when the last one was mined."""
        now_s = int(time.time()) + self.clock_ahead_s
        self.chain.set_header_timestamp(max(now_s, self.chain.header.timestamp))

    def _execute(self, transaction: dict[str, Any], block_number: int | str) -> Any:
        """Run a call for free in the block after `block_number`; changes nothing."""
        fields = {"gas": self._max_available_gas(), **transaction, "max_fee_per_gas": 0, "max_priority_fee_per_gas": 0}
        fields.pop("gas_price", None)
        unsigned = self._get_normalized_and_unsigned_evm_transaction(fields, block_number)
        header = pyevm_backend._get_block_by_number(self.chain, block_number).header
        with self.chain.get_vm(header).in_costless_state() as state:
            computation = state.apply_transaction(SpoofTransaction(unsigned, from_=transaction["from"]))
        if computation.is_error:
            raise _ExecutionReverted(computation.output) if isinstance(computation.error, Revert) else computation.error
        return computation


def _find_transaction(chain: Any, transaction_hash: bytes) -> tuple[Any, Any, int]:
    """In place of eth-tester's own search, which walks from the head down to the transaction's block."""
    head = chain.get_block()
    for index, transaction in enumerate(head.transactions):
        if transaction.hash == transaction_hash:
            return head, transaction, index
    try:
        number, index = chain.chaindb.get_transaction_index(transaction_hash)
    except NotInChain as error:
        raise TransactionNotFound(str(error)) from error
    block = chain.get_canonical_block_by_number(number)
    return block, block.transactions[index], index


@asynccontextmanager
async def anvil_node(*options: str) -> AsyncIterator[str]:
    """A fresh anvil process on a free loopback port, with further command-line options; it ends with the context.

    BadInput if there is no anvil on this machine, Fatal if it does not start.
    """
    port = _free_port()
    command = [_find_anvil(), "--silent", "--host", LOOPBACK, "--port", str(port), "--hardfork", "prague"]
    command += ["--mnemonic", MNEMONIC, "--accounts", str(ACCOUNTS), "--balance", str(BALANCE_ETHER), *options]
    if setpriv := shutil.which("setpriv"):  # Linux: anvil ends even when this process is killed outright
        command = [setpriv, "--pdeathsig", "TERM", *command]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    try:
        await _wait_for_anvil(process, port)
        yield f"http://{LOOPBACK}:{port}"
    finally:
        await _stop(process)


def _find_anvil() -> str:
    """`$ANVIL_BIN`, else `anvil` on the PATH, else the npm package's own binary (its shim would add a process)."""
    if configured := os.environ.get("ANVIL_BIN"):
        if found := shutil.which(configured):
            return found
        raise BadInput(f"ANVIL_BIN is {configured}, which is not an executable file")
    if found := shutil.which("anvil"):
        return found
    system = {"Linux": "linux", "Darwin": "darwin", "Windows": "win32"}.get(platform.system(), platform.system())
    machine = {"x86_64": "amd64", "AMD64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    package = ANVIL_INSTALL_FOLDER / "node_modules" / "@foundry-rs" / f"anvil-{system}-{machine}"
    if found := shutil.which("anvil", path=package / "bin"):
        return str(Path(found).absolute())
    raise BadInput("anvil is not installed: run `make anvil`, put it on the PATH, or name it in ANVIL_BIN")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


async def _wait_for_anvil(process: asyncio.subprocess.Process, port: int) -> None:
    deadline = time.monotonic() + ANVIL_START_TIMEOUT_S
    while process.returncode is None and time.monotonic() < deadline:
        with suppress(OSError):
            _, writer = await asyncio.open_connection(LOOPBACK, port)
            writer.close()
            return
        await asyncio.sleep(0.01)
    if process.returncode is None:
        raise Fatal(f"anvil did not answer within {ANVIL_START_TIMEOUT_S} s")
    assert process.stderr is not None  # noqa: S101  it was asked for
    message = (await process.stderr.read()).decode(errors="replace").strip()
    raise Fatal(f"anvil ended with status {process.returncode}: {message}")


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.terminate()
    try:
        await asyncio.wait_for(process.wait(), ANVIL_STOP_TIMEOUT_S)
    except TimeoutError:
        process.kill()
        await process.wait()
