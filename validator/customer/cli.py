"""`touchstone task`: parse and hand over. Imports that are slow happen inside the command that needs them."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from validator.terminal import interruptible

task_app = typer.Typer(help="Have a model fine-tuned and verified by a running validator.", no_args_is_help=True)

Config = Annotated[
    Path | None, typer.Option(envvar="TOUCHSTONE_CONFIG", help="The validator's configuration: names socket and nodes.")
]
Socket = Annotated[Path | None, typer.Option(help="The validator's control socket, in place of --config.")]
Rpc = Annotated[str | None, typer.Option(envvar="RPC_URL", help="A node of your own, in place of the configuration's.")]
Keystore = Annotated[Path | None, typer.Option("--payer-keystore", help="The payer's V3 keystore.")]
PasswordFile = Annotated[Path | None, typer.Option(help="File with the keystore's password.")]
KeyFile = Annotated[
    Path | None, typer.Option("--payer-key-file", help="File with the payer's key in hex; development chains only.")
]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write the answer as JSON to this file, or to -.")]
Protect = Annotated[
    Path | None,
    typer.Option(help='JSON: what is never altered, such as {"names": false, "patterns": ["ICD-[0-9]+"]}.'),
]
RequestId = Annotated[str, typer.Argument(help="The request's id, as `submit` and `list` print it.")]


@task_app.command()
def submit(
    data: Annotated[Path, typer.Argument(help="JSONL dataset.")],
    base_model: Annotated[str, typer.Option(help="The model to fine-tune, by the name that miners know.")],
    reward: Annotated[str, typer.Option(help="What the miner gets for a model that is paid, in ether.")],
    epochs: Annotated[int, typer.Option(help="Epochs of the training spec.")],
    learning_rate: Annotated[float, typer.Option(help="Learning rate of the training spec.")],
    batch_size: Annotated[int, typer.Option(help="Rows of one step.")] = 4,
    max_length: Annotated[int, typer.Option(help="Tokens of a row that are trained on.")] = 256,
    method: Annotated[str, typer.Option(help="full, or lora with --rank.")] = "full",
    rank: Annotated[int | None, typer.Option(help="Rank of a LoRA adapter.")] = None,
    scheme: Annotated[str | None, typer.Option(help="How marks are hidden; the validator's choice if absent.")] = None,
    probes: Annotated[int | None, typer.Option(help="Marked rows, 16 to 64; the validator's if absent.")] = None,
    weights: Annotated[str, typer.Option(help="Weights to be returned: none, delivered or judged.")] = "none",
    attempts: Annotated[int, typer.Option(help="Orders to sign: miners that may be tried until one delivers.")] = 1,
    reuse_revealed: Annotated[
        bool, typer.Option("--reuse-revealed", help="Although prompts became public with an earlier task.")
    ] = False,
    protect: Protect = None,
    config: Config = None,
    socket: Socket = None,
    rpc: Rpc = None,
    payer_keystore: Keystore = None,
    password_file: PasswordFile = None,
    payer_key_file: KeyFile = None,
    deposit: Annotated[bool, typer.Option("--deposit", help="Pay in what is missing of one attempt.")] = False,
    quote: Annotated[bool, typer.Option("--quote", help="Only show the quote.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Agree to the quote without being asked.")] = False,
    json_file: JsonFile = None,
) -> None:
    """Show what it costs and what happens to the data, sign the Orders here, and hand the request in."""
    with interruptible():
        from validator.customer.command import run_submit
        from validator.customer.daemon import PayerKey, Place
        from validator.plan.spec import TrainingSpec

        asyncio.run(
            run_submit(
                data=data,
                spec=TrainingSpec(base_model, epochs, learning_rate, batch_size, max_length, method, rank),
                reward=reward,
                scheme=scheme,
                probes=probes,
                weights=weights,
                attempts=attempts,
                is_reusing_revealed=reuse_revealed,
                protect=protect,
                place=Place(config, socket, rpc),
                key=PayerKey(payer_keystore, password_file, payer_key_file),
                is_depositing=deposit,
                is_quote_only=quote,
                is_agreed=yes,
                json_file=json_file,
            )
        )


@task_app.command()
def preview(
    data: Annotated[Path, typer.Argument(help="JSONL dataset.")],
    protect: Protect = None,
    scheme: Annotated[str, typer.Option(help="How marks would be hidden.")] = "canary",
    probes: Annotated[int | None, typer.Option(help="Marked rows, 16 to 64; by the number of rows if absent.")] = None,
    examples: Annotated[int, typer.Option(min=0, help="Responses to show, with what is protected in brackets.")] = 3,
    json_file: JsonFile = None,
) -> None:
    """Show what may be altered in a dataset and what never is; asks nobody and sends nothing."""
    with interruptible():
        from validator.customer.preview import run_preview

        run_preview(data=data, protect=protect, scheme=scheme, probes=probes, examples=examples, json_file=json_file)


@task_app.command("list")
def list_(config: Config = None, socket: Socket = None, json_file: JsonFile = None) -> None:
    """All requests, oldest first, and what has become of them."""
    with interruptible():
        from validator.customer.command import run_list
        from validator.customer.daemon import Place

        asyncio.run(run_list(place=Place(config, socket), json_file=json_file))


@task_app.command()
def show(request_id: RequestId, config: Config = None, socket: Socket = None, json_file: JsonFile = None) -> None:
    """One request: its attempts, deadlines, verdicts, reasons, and where the money is."""
    with interruptible():
        from validator.customer.command import run_show
        from validator.customer.daemon import Place

        asyncio.run(run_show(request_id=request_id, place=Place(config, socket), json_file=json_file))


@task_app.command()
def cancel(
    request_id: RequestId,
    on_chain: Annotated[
        bool, typer.Option("--on-chain", help="Make its Orders void too, with the payer's key.")
    ] = False,
    config: Config = None,
    socket: Socket = None,
    rpc: Rpc = None,
    payer_keystore: Keystore = None,
    password_file: PasswordFile = None,
    payer_key_file: KeyFile = None,
) -> None:
    """Have no further attempt made; one that is running goes on."""
    with interruptible():
        from validator.customer.command import run_cancel
        from validator.customer.daemon import PayerKey, Place

        key = PayerKey(payer_keystore, password_file, payer_key_file) if on_chain else None
        asyncio.run(run_cancel(request_id=request_id, place=Place(config, socket, rpc), key=key))


@task_app.command()
def fetch(
    request_id: RequestId,
    directory: Annotated[Path, typer.Argument(help="A new directory for the model's files.")],
    config: Config = None,
    socket: Socket = None,
    rpc: Rpc = None,
) -> None:
    """Fetch the paid model, checked against what the miner committed to on chain."""
    with interruptible():
        from validator.customer.daemon import Place
        from validator.customer.fetch import run_fetch

        asyncio.run(run_fetch(request_id=request_id, directory=directory, place=Place(config, socket, rpc)))


@task_app.command()
def withdraw(
    amount: Annotated[str | None, typer.Argument(help="In ether; all credit if absent.")] = None,
    config: Config = None,
    socket: Socket = None,
    rpc: Rpc = None,
    payer_keystore: Keystore = None,
    password_file: PasswordFile = None,
    payer_key_file: KeyFile = None,
) -> None:
    """Draw the payer's credit out of the contract."""
    with interruptible():
        from validator.customer.command import run_withdraw
        from validator.customer.daemon import PayerKey, Place

        key = PayerKey(payer_keystore, password_file, payer_key_file)
        asyncio.run(run_withdraw(amount=amount, place=Place(config, socket, rpc), key=key))
