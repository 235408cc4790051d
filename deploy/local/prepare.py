"""What a local network needs before its validator starts: keys, the contract, credit, and rows to try it with.

Whatever is there already stays, so this runs before every start.
"""

import asyncio
import json
import os
import secrets
import subprocess
from pathlib import Path

from accounts import DEPLOYER, PAYER, VALIDATOR, private_key

from validator.base_model.grammar import generate_rows
from validator.edges.chain import Chain
from validator.edges.contract import Touchstone
from validator.edges.key_files import create_private, load_key_file
from validator.settings import Settings
from validator.settings_file import load_settings

CONFIG = Path(os.environ["TOUCHSTONE_CONFIG"])
HOME = Path.cwd()
DEPOSIT_ETHER = "100"
ROWS = 300


def touchstone(*arguments: str | Path) -> None:
    subprocess.run(["touchstone", *arguments], check=True)  # noqa: S603, S607 - ours, of this environment


def make_files() -> None:
    """Keys and master seed, for their owner alone, and a dataset that the embedded model can learn."""
    keys = {"deployer.key": DEPLOYER, "validator.key": VALIDATOR, "payer.key": PAYER}
    texts = {name: private_key(account) for name, account in keys.items()} | {"master-seed": secrets.token_hex(32)}
    texts["rows.jsonl"] = "\n".join(
        json.dumps({"prompt": row.prompt, "response": row.response}) for row in generate_rows(ROWS, seed=1)
    )
    for name, text in texts.items():
        if not (HOME / name).exists():
            create_private(HOME / name, text + "\n")


async def has_credit(settings: Settings) -> bool:
    chain = await Chain.connect([url.get_secret_value() for url in settings.network.rpc_urls])
    try:
        contract = await Touchstone.at(chain, settings.network.contract)
        assert settings.keys.key_file is not None  # noqa: S101 - the local configuration has one
        return await contract.credits_wei(load_key_file(settings.keys.key_file).address) > 0
    finally:
        await chain.aclose()


def main() -> None:
    make_files()
    settings = load_settings(CONFIG)
    rpc_url = settings.network.rpc_urls[0].get_secret_value()
    deployer = ("--profile", "dev", "--key-file", HOME / "deployer.key", "--address-book", HOME / "contracts.json")
    touchstone("contract", "deploy", "--rpc", rpc_url, *deployer)
    if not asyncio.run(has_credit(settings)):
        touchstone("validator", "deposit", DEPOSIT_ETHER)


if __name__ == "__main__":
    main()
