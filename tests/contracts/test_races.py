"""Every order of racing calls at one block time: those count that the rules of `races.py` let count, and no others."""

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice, permutations

import pytest

from contracts import TaskState
from tests.contracts.anvil import Anvil, Call
from tests.contracts.evm import Event, Log, Reverted
from tests.contracts.market import Holdings, Market
from tests.contracts.races import NEVER, RACES, Race, Racer, Tokens
from tests.contracts.rounds import MINER, PAYER, VALIDATOR
from tests.contracts.test_outcomes import TABLE, expected
from validator.protocol.commitment import Terms

MAX_CALLS = 4
ON_ANVIL_EVERY = 23
"""Of all orders, so many are mined for real; a prime, so that all calls are among them in all places."""

every_race = pytest.mark.parametrize("make_race", RACES, ids=lambda race: race.__name__.strip("_"))
around_the_deadline = pytest.mark.parametrize("late_s", [-1, 0, 1])
MakeRace = Callable[[Market], Race]


@every_race
@around_the_deadline
def test_every_order_lets_those_count_that_the_rules_let(make_race: MakeRace, late_s: int) -> None:
    """C4, C6, C9, E13, E14."""
    race = make_race(Market())
    race.market.chain.now = race.edge_s + late_s
    walk = _Walk(race)
    walk.check(race.tokens_at(late_s), [], [])
    walk.go_on(race.tokens_at(late_s), [], [], race.racers)


@every_race
def test_every_call_counts_in_some_order_unless_no_rule_allows_it(make_race: MakeRace) -> None:
    race = make_race(Market())
    counted: set[int] = set()
    for late_s in (-1, 0, 1):
        for order in permutations(range(len(race.racers)), MAX_CALLS):
            tokens = race.tokens_at(late_s)
            for i in order:
                after = race.racers[i].play(tokens)
                if after is not None:
                    counted.add(i)
                    tokens = after
    assert counted == {i for i, racer in enumerate(race.racers) if NEVER not in racer.needs}


@every_race
@around_the_deadline
def test_one_block_of_a_real_node_ends_as_the_calls_one_by_one(anvil: Anvil, make_race: MakeRace, late_s: int) -> None:
    """E13: on a sample of the orders."""
    fast, real = make_race(Market()), make_race(Market(anvil))
    assert fast.racers == real.racers
    markets = fast.market, real.market
    for market in markets:
        market.chain.now = fast.edge_s + late_s
    for order in islice(permutations(fast.racers, MAX_CALLS), 0, None, ON_ANVIL_EVERY):
        with markets[0].rolled_back(), markets[1].rolled_back():
            calls = [Call(racer.sender, real.market.address, racer.data) for racer in order]
            one_by_one = [_play(markets[0], call) for call in calls]
            in_one_block = [_comparable(outcome) for outcome in anvil.mine_together(calls)]
            assert in_one_block == one_by_one
            fast_end, real_end = (
                [market.holdings(), market.miner(), *(market.task(round_) for round_ in fast.rounds.values())]
                for market in markets
            )
            assert fast_end == real_end


def _play(market: Market, call: Call) -> list[Log] | str:
    try:
        return market.chain.transact(*call)
    except Reverted as reverted:
        return _comparable(reverted)


def _comparable(outcome: list[Log] | Reverted) -> list[Log] | str:
    return str(outcome) if isinstance(outcome, Reverted) else outcome


class _Walk:
    """All orders of up to `MAX_CALLS` calls as a tree: what two orders begin with is played once."""

    def __init__(self, race: Race) -> None:
        self._race = race
        self._finished: set[tuple[bytes, ...]] = set()

    def go_on(self, tokens: Tokens, counted: list[Racer], events: list[Event], waiting: Sequence[Racer]) -> None:
        if len(waiting) == len(self._race.racers) - MAX_CALLS:
            return
        for racer in waiting:
            rest = [other for other in waiting if other is not racer]
            after = racer.play(tokens)
            with self._race.market.rolled_back():
                try:
                    new_events = self._race.market.send(self._race.market.address, racer.sender, racer.data)
                except Reverted:
                    assert after is None, racer.label
                    self.go_on(tokens, counted, events, rest)
                else:
                    assert after is not None, racer.label
                    self.check(after, [*counted, racer], [*events, *new_events])
                    self.go_on(after, [*counted, racer], [*events, *new_events], rest)

    def check(self, tokens: Tokens, counted: list[Racer], events: list[Event]) -> None:
        for name, round_ in self._race.rounds.items():
            state = self._race.market.task(round_).state.name
            assert {f"{name}:{state}", f"{name}:{state}:late"} & tokens.keys()
        # What was refused left nothing behind, so orders that let the same calls count end alike.
        way = tuple(racer.sender.encode() + racer.data for racer in counted)
        if way not in self._finished:
            self._finished.add(way)
            assert len(set(way)) == len(way), "a call counted twice"
            with self._race.market.rolled_back():
                _finish(self._race, events)


def _finish(race: Race, events: list[Event]) -> None:
    """Every task ends once, paying what the table says, whoever sent the calls that led there."""
    market = race.market
    tasks = {round_.task_id: (round_.terms, round_.nonce) for round_ in race.rounds.values()}
    tasks |= {
        event.args["task_id"]: (Terms(*event.args["terms"]), event.args["validator_nonce"])
        for event in events
        if event.name == "TaskOpened"
    }
    events = list(events)
    for task_id, (terms, nonce) in tasks.items():
        state, deadline, *_ = market.view("task_state", task_id)
        if not TaskState(state).is_terminal:
            market.chain.now = max(market.chain.now, deadline + 1)
            events += market.call(MINER.address, "poke", terms.as_tuple(), nonce)
    closed = {event.args["task_id"]: TaskState(event.args["outcome"]) for event in events if event.name == "TaskClosed"}
    assert Counter(event.args["task_id"] for event in events if event.name == "TaskClosed") == Counter(list(tasks))

    moved = [Holdings(0, 0, 0, 0, 0), *(_moved_by_owner(event) for event in events)]
    for task_id, (terms, _) in tasks.items():
        is_answered = market.view("task_state", task_id)[-1]
        moved.append(expected(terms, TABLE[closed[task_id]], is_answered))
    assert market.holdings().since(race.before) == Holdings(*(sum(column) for column in zip(*moved, strict=True)))


def _moved_by_owner(event: Event) -> Holdings:
    """What an account moved on its own, outside of any task."""
    credit = {"Deposited": 1, "Unstaked": 1, "Withdrawn": -1, "Staked": -1}.get(event.name, 0)
    stake = {"Staked": 1, "UnstakeRequested": -1}.get(event.name, 0)
    amount_wei = event.args.get("amount", 0)
    account = event.args.get("account")
    owners = (actor.address.lower() for actor in (PAYER, VALIDATOR, MINER))
    return Holdings(*(credit * amount_wei * (account == owner) for owner in owners), stake * amount_wei, 0)
