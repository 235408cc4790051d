"""`touchstone task submit`, `list`, `show`, `cancel` and `withdraw`, from options to what is printed.

Rule kept: the payer's key signs here and nowhere else, after what is signed has been shown.
"""

import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from validator.amounts import describe_ether, parse_ether
from validator.customer.daemon import PayerKey, Place, make_sender
from validator.customer.preview import load_rules
from validator.edges.datasets import load_rows
from validator.edges.keys import LocalSigner
from validator.errors import BadInput
from validator.marks.planting import check_learnable, hash_source_data
from validator.marks.schemes import make_scheme
from validator.plan.spec import TrainingSpec
from validator.plan.terms import parse_weights
from validator.protocol import typed_data
from validator.protocol.typed_data import OrderMessage
from validator.protocol.wire import encode_training_file
from validator.requests.orders import Request, SignedOrder
from validator.requests.quotes import Quote, Wish
from validator.terminal import describe_time, make_console, print_rows, require_consent, write_json
from validator.types import Hash32, Wei

NONCE_BITS = 63
"""Order nonces are drawn, so that nobody has to remember which are used."""


async def run_submit(
    *,
    data: Path,
    spec: TrainingSpec,
    reward: str,
    scheme: str | None,
    probes: int | None,
    weights: str,
    attempts: int,
    is_reusing_revealed: bool,
    protect: Path | None,
    place: Place,
    key: PayerKey,
    is_depositing: bool,
    is_quote_only: bool,
    is_agreed: bool,
    json_file: Path | None,
) -> None:
    """Show the quote, then sign and hand in; BadInput before anything is signed, where that can be."""
    rows, reward_wei, returned = load_rows(data), parse_ether(reward), parse_weights(weights)
    rules = load_rules(protect)
    signer, console = key.open(), make_console()
    async with place.control() as daemon:
        quote = await daemon.quote(
            Wish(signer.address, len(rows), reward_wei, scheme, probes, returned, attempts),
        )
        key.check_chain(quote.chain_id)
        check_learnable(rows, make_scheme(quote.scheme, rules), quote.n)
        _print_quote(console, quote, attempts)
        if is_quote_only:
            return
        if quote.missing_wei and not is_depositing:
            raise BadInput(f"{describe_ether(quote.missing_wei)} of credit are missing: say --deposit to pay them in")
        require_consent("Sign this?", is_given=is_agreed)
        if quote.missing_wei:
            await _deposit(place, quote, signer, console)
        source_data_hash = Hash32(hash_source_data(rows))
        request = Request(
            payer=signer.address,
            source_data_hash=source_data_hash,
            spec=spec.to_json(),
            base_model=spec.base_model,
            reward_wei=reward_wei,
            scheme=quote.scheme,
            probes=quote.n,
            weights=returned,
            is_reusing_revealed=is_reusing_revealed,
            orders=tuple([await _sign_order(signer, quote, spec, source_data_hash) for _ in range(attempts)]),
            rules=rules,
        )
        view = await daemon.submit(request, encode_training_file(rows))
    _print_request(console, view)
    if json_file is not None:
        write_json(json_file, view)


async def run_list(*, place: Place, json_file: Path | None) -> None:
    """Every request of this validator, oldest first."""
    async with place.control() as daemon:
        views = await daemon.requests()
    if json_file is not None:
        write_json(json_file, views)
        return
    console = make_console()
    for view in views:
        console.print(f"{view['request_id']}  {view['stage']:<16}{view['base_model']}  {view['reason']}")
    if not views:
        console.print("no requests")


async def run_show(*, request_id: str, place: Place, json_file: Path | None) -> None:
    """One request with its attempts, their deadlines and verdicts, and where the money is."""
    async with place.control() as daemon:
        view = await daemon.show(request_id)
    if json_file is not None:
        write_json(json_file, view)
    else:
        _print_request(make_console(), view)


async def run_cancel(*, request_id: str, place: Place, key: PayerKey | None) -> None:
    """Have no further attempt made; with a key, also make its Orders void on chain, whoever has them."""
    console = make_console()
    async with place.control() as daemon:
        view = await daemon.cancel(request_id)
        status = await daemon.status() if key is not None else {}
    _print_request(console, view)
    if key is None:
        console.print("the Orders stay valid until they expire; `--on-chain` with the payer's key takes them back too")
        return
    signer = key.open()
    key.check_chain(status["chain_id"])
    if signer.address != view["payer"]:
        raise BadInput(f"the key is that of {signer.address}, the payer is {view['payer']}")
    async with place.contract(status["contract"], status["chain_id"]) as contract:
        for nonce in view["order_nonces"]:
            if not await contract.is_order_nonce_used(signer.address, nonce):
                await contract.cancel_order(make_sender(contract, signer), nonce)
                console.print(f"the Order with the nonce {nonce} can never be used any more")


async def run_withdraw(*, amount: str | None, place: Place, key: PayerKey) -> None:
    """Draw credit from the contract to the payer's account; all of it, if no amount is given."""
    signer = key.open()
    async with place.control() as daemon:
        status = await daemon.status()
    key.check_chain(status["chain_id"])
    async with place.contract(status["contract"], status["chain_id"]) as contract:
        credit_wei = await contract.credits_wei(signer.address)
        wanted_wei = credit_wei if amount is None else parse_ether(amount)
        if not 0 < wanted_wei <= credit_wei:
            raise BadInput(f"the credit of {signer.address} is {describe_ether(credit_wei)}")
        await contract.withdraw(make_sender(contract, signer), wanted_wei)
    make_console().print(f"{describe_ether(wanted_wei)} withdrawn to {signer.address}")


async def _sign_order(signer: LocalSigner, quote: Quote, spec: TrainingSpec, source_data_hash: Hash32) -> SignedOrder:
    order = OrderMessage(
        validator=quote.validator,
        max_reward=quote.reward_wei,
        max_fee=quote.fee_wei,
        spec_hash=spec.hash,
        source_data_hash=source_data_hash,
        min_n=quote.n,
        min_k_pay=quote.k_pay,
        nonce=secrets.randbits(NONCE_BITS),
        expiry=quote.expiry_s,
    )
    domain = typed_data.domain(quote.chain_id, quote.contract)
    return SignedOrder(order, await signer.sign_typed_data(domain, typed_data.order(order)))


async def _deposit(place: Place, quote: Quote, signer: LocalSigner, console: Console) -> None:
    async with place.contract(quote.contract, quote.chain_id) as contract:
        await contract.deposit(make_sender(contract, signer), Wei(quote.missing_wei))
    console.print(f"deposited {describe_ether(quote.missing_wei)}")


def _print_quote(console: Console, quote: Quote, attempts: int) -> None:
    slashed = f"slashed up to {quote.k_slash}" if quote.slashing else "nobody is slashed"
    total_wei = quote.reward_wei + quote.fee_wei
    print_rows(
        console,
        [
            ("validator", quote.validator),
            ("contract", f"{quote.contract} on chain {quote.chain_id}"),
            ("reward", f"{describe_ether(quote.reward_wei)}, once, if a model is paid"),
            ("fee", f"{describe_ether(quote.fee_wei)}, for a settlement, whatever its verdict"),
            ("held at a time", describe_ether(total_wei)),
            ("credit", f"{describe_ether(quote.credit_wei)}, missing {describe_ether(quote.missing_wei)}"),
            ("attempts", f"{attempts}, one Order each, until {describe_time(quote.expiry_s)}"),
            ("test", f"{quote.scheme}, {quote.n} probes: paid from {quote.k_pay} hits, {slashed}"),
            ("paid untrained", f"{quote.p_paid_untrained:.1e}"),
            ("paid at 90%", f"{quote.p_paid_at_90_percent:.4g}"),
            ("paid at 50%", f"{quote.p_paid_at_50_percent:.2g}"),
            ("slashed at 90%", f"{quote.p_slashed_at_90_percent:.1e}"),
            ("your data", quote.data_use),
        ],
    )


def _print_request(console: Console, view: Mapping[str, Any]) -> None:
    rows = [
        ("request", view["request_id"]),
        ("stage", view["stage"]),
        ("why", view["reason"]),
        ("attempts", f"{view['attempts']} of {view['max_attempts']}, until {describe_time(view['expiry_s'])}"),
        ("payer", view["payer"]),
        ("data", view["source_data_hash"]),
        ("spec", json.dumps(json.loads(view["spec"]), ensure_ascii=False)),
        ("reward", describe_ether(view["reward_wei"])),
        ("fee", describe_ether(view["fee_wei"])),
        ("accepted", describe_time(view["accepted_at_s"])),
    ]
    for task in view["tasks"]:
        rows += [
            ("task", task["task_id"]),
            ("  miner", task["miner"]),
            ("  phase", task["outcome"] or task["phase"]),
            ("  deadline", describe_time(task["deadline_s"])),
            ("  why", task["reason"]),
        ]
        rows += [("  verdict", task["verdict"])] if task["verdict"] else []
        rows += [("  trained on", task["coverage"])] if task["coverage"] else []
        rows += [("  fault", fault) for fault in task["faults"]]
    if view["model"] is not None:
        rows.append(("model", f"touchstone task fetch {view['request_id']} DIRECTORY"))
    print_rows(console, rows)
