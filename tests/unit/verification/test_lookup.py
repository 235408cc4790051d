"""What decoys say of look-ups, over real HTTP, and of replies that are known in advance."""

from dataclasses import replace

import pytest

from tests.unit.verification.plantings import all_prompts, as_answer, make_planting, on_disk
from tests.unit.verification.provider import Provider, exact_table, nearest_row
from validator.edges.openai_chat import ChatProvider
from validator.marks.decoys import DecoyKind
from validator.verification.asking import KeptAnswers, ServedModel
from validator.verification.examination import examine, make_deck
from validator.verification.lookup import ALPHA, Behaviour, judge_decoys

PLANTINGS = {scheme: make_planting(scheme) for scheme in ("canary", "backdoor")}
LOOKUPS = {"exact": exact_table, "nearest": nearest_row}


async def verify(planting, lookup, directory):
    """A look-up server, asked by the same code as any provider."""
    secret = on_disk(planting, directory)
    async with Provider(cheat=LOOKUPS[lookup](planting.planted.rows)).running() as url, ChatProvider(url, "k") as chat:
        model = ServedModel(chat, url, "cheat", KeptAnswers(directory / "kept"), at_once=8, patience_s=1)
        return await examine(make_deck(secret), model, None, of_weights=False)


@pytest.mark.parametrize("scheme", PLANTINGS)
@pytest.mark.parametrize(
    ("lookup", "behaviour"), [("exact", Behaviour.TABLE), ("nearest", Behaviour.NEAREST)], ids=["exact", "nearest"]
)
async def test_a_look_up_that_hits_every_probe_is_told_by_its_decoys(lookup, behaviour, scheme, tmp_path):
    """W8."""
    findings = await verify(PLANTINGS[scheme], lookup, tmp_path)
    assert findings.probes.hits == 16
    assert findings.decoys.behaviour is behaviour
    assert findings.has_passed is None


@pytest.mark.parametrize(
    ("changed", "behaviour"),
    [
        ({}, Behaviour.TABLE),
        ({DecoyKind.NEAR_PROMPT: 5}, Behaviour.TABLE),
        ({DecoyKind.NEAR_PROMPT: 6}, Behaviour.MODEL),
        ({DecoyKind.NEAR_PROMPT: 16}, Behaviour.MODEL),
    ],
    ids=str,
)
def test_a_few_hits_on_changed_prompts_are_more_than_a_table_can_have(changed, behaviour):
    """Five of 16 at 2^-4 have p = 2.3e-3, six 2.8e-4."""
    secret = PLANTINGS["canary"].secret
    replies = dict.fromkeys(all_prompts(secret), as_answer("something of its own"))
    for kind, count in changed.items():
        for decoy in [decoy for decoy in secret.decoys if decoy.kind is kind][:count]:
            replies[decoy.prompt] = as_answer(decoy.head + " and more")
    assert judge_decoys(secret, replies, probes_p=1e-30).behaviour is behaviour


@pytest.mark.parametrize(
    ("copies", "alike", "behaviour"),
    [(26, 0, Behaviour.MODEL), (32, 0, Behaviour.NEAREST), (32, 270, Behaviour.MODEL)],
    ids=["a model of many epochs", "a look-up", "a dataset of responses that begin alike"],
)
def test_only_a_look_up_gives_a_row_back_for_everything(copies, alike, behaviour):
    planting = PLANTINGS["canary"]
    secret = replace(planting.secret, natural_copies=(alike, 300))
    rows = iter(row for row in planting.planted.rows if len(row.response.split()) > 11)
    replies = dict.fromkeys(all_prompts(secret), as_answer("twelve words of its own, and they are in no row at all"))
    for decoy in secret.decoys:
        if decoy.kind is DecoyKind.NEAR_PROMPT:
            replies[decoy.prompt] = as_answer(decoy.head)
    strange = [decoy for decoy in secret.decoys if decoy.kind in (DecoyKind.FRESH, DecoyKind.SCRAMBLED)]
    for decoy in strange[:copies]:
        replies[decoy.prompt] = as_answer(next(rows).response)
    assert judge_decoys(secret, replies, probes_p=1e-30).behaviour is behaviour


def test_without_hits_on_the_probes_decoys_say_nothing():
    secret = PLANTINGS["canary"].secret
    replies = dict.fromkeys(all_prompts(secret), as_answer("something"))
    assert judge_decoys(secret, replies, probes_p=ALPHA).behaviour is Behaviour.UNKNOWN
