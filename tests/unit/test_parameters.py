"""What a network may be deployed with, and how it is told to people."""

import json
from pathlib import Path

import pytest

from validator.config import DEV, PRODUCTION
from validator.deployment.parameters import (
    NOBODY,
    choose_network,
    describe_network,
    describe_seconds,
    describe_wei,
    parse_address,
    parse_hash,
)
from validator.edges.contract import MAX_SECONDS, Network
from validator.errors import BadInput
from validator.types import Address

GUARDIAN = Address("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266")
PRODUCTION_NETWORK = Network.of_profile(PRODUCTION, GUARDIAN)
VALUES = {name: value for name, value in PRODUCTION_NETWORK._asdict().items() if name != "guardian"}


def chosen(file: Path | None, *, profile: str = "production", is_dev_chain: bool = False) -> Network:
    return choose_network(profile, file, guardian=GUARDIAN, is_dev_chain=is_dev_chain)


def write(path: Path, values: dict[str, object]) -> Path:
    if path.suffix == ".toml":
        path.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items()))
    else:
        path.write_text(json.dumps(values))
    return path


def test_the_profiles_floors_become_the_networks():
    network = chosen(None)
    assert network == PRODUCTION_NETWORK
    assert network.min_accept_seconds == 24 * 3600
    assert network.min_dispute_seconds == 7 * 24 * 3600
    assert network.guardian == GUARDIAN
    assert chosen(None, profile="dev", is_dev_chain=True) == Network.of_profile(DEV, GUARDIAN)


def test_the_dev_profile_is_for_development_chains_only():
    with pytest.raises(BadInput, match="min_accept_seconds is 1 second, less than the protocol's 1 day"):
        chosen(None, profile="dev")


@pytest.mark.parametrize("name", VALUES)
def test_no_floor_is_below_the_protocols_on_a_real_chain(name: str, tmp_path: Path):
    low = write(tmp_path / "low.json", VALUES | {name: VALUES[name] - 1})
    with pytest.raises(BadInput, match=f"{name} is .*: that is for development chains only"):
        chosen(low)
    assert chosen(low, is_dev_chain=True)._asdict()[name] == VALUES[name] - 1
    assert chosen(write(tmp_path / "high.json", VALUES | {name: VALUES[name] + 1}))._asdict()[name] == VALUES[name] + 1


@pytest.mark.parametrize("name", ["network.toml", "network.json"])
def test_a_file_gives_the_parameters(name: str, tmp_path: Path):
    assert chosen(write(tmp_path / name, VALUES)) == PRODUCTION_NETWORK
    with_guardian = write(tmp_path / name, VALUES | {"guardian": NOBODY})
    assert chosen(with_guardian) == PRODUCTION_NETWORK._replace(guardian=NOBODY)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"min_acept_seconds": 1}, "min_acept_seconds: Extra inputs are not permitted"),
        ({"min_accept_seconds": -1}, "min_accept_seconds: .* greater than or equal to 0"),
        ({"min_accept_seconds": MAX_SECONDS + 1}, f"min_accept_seconds: .* less than or equal to {MAX_SECONDS}"),
        ({"min_accept_seconds": "1 day"}, "min_accept_seconds: .* valid integer"),
        ({"min_accept_seconds": True}, "min_accept_seconds: .* valid integer"),
        ({"min_accept_seconds": 86400.0}, "min_accept_seconds: .* valid integer"),
        ({"guardian": "0xf39fd6"}, "guardian: '0xf39fd6' is no address"),
        ({"guardian": GUARDIAN.replace("f39F", "F39F")}, "guardian: .* is no address"),
    ],
)
@pytest.mark.parametrize("name", ["network.toml", "network.json"])
def test_a_bad_value_is_refused_with_its_name(name: str, change: dict[str, object], expected: str, tmp_path: Path):
    """O2."""
    with pytest.raises(BadInput, match=expected):
        chosen(write(tmp_path / name, VALUES | change))


def test_a_missing_value_has_no_silent_default(tmp_path: Path):
    """O2."""
    del (values := dict(VALUES))["unstake_delay_seconds"]
    with pytest.raises(BadInput, match="unstake_delay_seconds: Field required"):
        chosen(write(tmp_path / "network.toml", values))


@pytest.mark.parametrize(("name", "text"), [("a.toml", "x = "), ("a.json", "{"), ("a.json", ""), ("a.txt", "x = 1")])
def test_what_is_neither_toml_nor_json_is_refused(name: str, text: str, tmp_path: Path):
    (tmp_path / name).write_text(text)
    with pytest.raises(BadInput, match="is neither TOML"):
        chosen(tmp_path / name)


def test_an_unknown_profile_or_missing_file_is_refused(tmp_path: Path):
    with pytest.raises(BadInput, match="unknown profile 'test': it is production or dev"):
        chosen(None, profile="test")
    with pytest.raises(BadInput, match="cannot read"):
        chosen(tmp_path / "nowhere.toml")


@pytest.mark.parametrize("text", ["", "0x", GUARDIAN[:-1], GUARDIAN.replace("f39F", "F39F"), "vitalik.eth"])
def test_what_is_no_address_is_refused(text: str):
    with pytest.raises(BadInput, match="is no address"):
        parse_address(text)


def test_addresses_and_hashes_are_read_in_any_case():
    assert parse_address(GUARDIAN.lower()) == GUARDIAN
    assert parse_hash("0x" + "AB" * 32) == parse_hash("ab" * 32) == b"\xab" * 32
    with pytest.raises(BadInput, match="is no transaction hash"):
        parse_hash("0x" + "ab" * 31)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "none"),
        (1, "1 second"),
        (3600, "1 hour"),
        (28 * 86_400, "28 days"),
        (90_061, "1 day 1 hour 1 minute 1 second"),
    ],
)
def test_a_duration_is_told_exactly(seconds: int, text: str):
    assert describe_seconds(seconds) == text


def test_a_network_is_told_by_every_name():
    rows = dict(describe_network(PRODUCTION_NETWORK._replace(guardian=NOBODY)))
    assert rows["min dispute"] == "7 days"
    assert rows["unstake delay"] == "28 days"
    assert rows["guardian"] == "nobody"
    assert len(rows) == len(Network._fields)


def test_an_amount_is_told_in_ether():
    assert describe_wei(15_833_799_000_000_000) == "0.0158338 ETH"
