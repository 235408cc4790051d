"""The store: finished rounds stay, one process writes, and whatever else lies there is refused in one line."""

import multiprocessing
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.unit.tournament.samples import ETHER, a_round, miner, played
from validator.errors import BadInput
from validator.tournament.store import Store, read_store


def test_a_finished_round_comes_back_as_it_was(tmp_path):
    path = tmp_path / "store.sqlite"
    finished, report = a_round("honest", "base"), played(miner("honest"), miner("base", "slashed"))
    with Store.writing(path) as store:
        store.add_done(finished, report)
    with Store.writing(path) as store:
        assert store.done_keys() == {finished.key}
        assert store.report(finished.key) == report.report
    (record,), (base, honest) = read_store(path)
    assert (record.round, record.is_done, record.attempts) == (finished, True, 1)
    assert (record.wall_s, record.versions) == (20.0, {"python": "3.11"})
    assert (honest.verdict, honest.to_miner_wei, honest.lost_wei, honest.cpu_s) == ("paid", ETHER, 0, 36.0)
    assert (base.verdict, base.to_miner_wei, base.lost_wei, base.flops) == ("slashed", 0, ETHER, 2e15)


def test_a_failed_round_is_noted_counted_and_may_end_well(tmp_path):
    path, wanted = tmp_path / "store.sqlite", a_round()
    with Store.writing(path) as store:
        store.add_failed(wanted, "it\nbroke")
        store.add_failed(wanted, "it broke again")
        assert store.done_keys() == set()
        (record,) = store.rounds()
        assert (record.is_done, record.attempts, record.reason) == (False, 2, "it broke again")
        store.add_done(wanted, played(miner("honest")))
        (record,) = store.rounds()
        assert (record.is_done, record.attempts, record.reason) == (True, 3, None)


def test_a_round_and_its_miners_are_there_together_or_not_at_all(tmp_path):
    with Store.writing(tmp_path / "store.sqlite") as store:
        with pytest.raises(sqlite3_integrity_error()):
            store.add_done(a_round(), played(miner("honest"), miner("honest")))
        assert (store.done_keys(), store.results(), store.rounds()) == (set(), [], [])
        store.add_done(a_round(), played(miner("honest")))
        with pytest.raises(AssertionError, match="never played again"):
            store.add_done(a_round(), played(miner("honest")))
        assert len(store.results()) == 1


def sqlite3_integrity_error() -> type[Exception]:
    from sqlalchemy.exc import IntegrityError

    return IntegrityError


def test_what_burns_beside_a_reward_is_not_the_miners(tmp_path):
    with Store.writing(tmp_path / "store.sqlite") as store:
        store.add_done(a_round(), played(miner("honest", "refunded", to_miner_wei=ETHER, burned_wei=ETHER // 4)))
        (found,) = store.results()
    assert (found.to_miner_wei, found.lost_wei) == (ETHER, 0)


def test_amounts_beyond_64_bits_are_exact(tmp_path):
    with Store.writing(tmp_path / "store.sqlite") as store:
        store.add_done(a_round(), played(miner("honest", to_miner_wei=2**80 + 1)))
        assert store.results()[0].to_miner_wei == 2**80 + 1


def test_a_miner_that_was_packed_into_two_rounds_is_one_trial(tmp_path):
    with Store.writing(tmp_path / "store.sqlite") as store:
        store.add_done(a_round("honest", "base"), played(miner("honest"), miner("base", "slashed")))
        store.add_done(a_round("honest", "noise"), played(miner("honest"), miner("noise", "slashed")))
        assert sorted(found.strategy for found in store.results()) == ["base", "honest", "noise"]
        store.add_done(a_round("honest", seed=1), played(miner("honest")))
        assert [found.seed for found in store.results() if found.strategy == "honest"] == [0, 1]


def _write_in_another_process(path: Path, ready: "multiprocessing.Queue[str]") -> None:
    try:
        with Store.writing(path):
            ready.put("wrote")
    except BadInput as error:
        ready.put(str(error))


def test_two_runs_never_write_to_one_store_and_readers_wait_for_nobody(tmp_path):
    path, context = tmp_path / "store.sqlite", multiprocessing.get_context("spawn")
    said = context.Queue()
    with Store.writing(path) as store:
        store.add_done(a_round(), played(miner("honest")))
        other = context.Process(target=_write_in_another_process, args=(path, said))
        other.start()
        assert "another process is playing" in said.get(timeout=30)
        other.join()
        assert len(read_store(path)[1]) == 1
    other = context.Process(target=_write_in_another_process, args=(path, said))
    other.start()
    assert said.get(timeout=30) == "wrote"
    other.join()


def test_a_new_store_is_there_with_its_tables_or_not_at_all(tmp_path):
    """A reader looks again and again while a writer makes one: it never finds half of one."""

    def read(path):
        while not path.exists():
            pass
        return read_store(path)

    with ThreadPoolExecutor(1) as reader:
        for number in range(30):
            path = tmp_path / f"{number}.sqlite"
            found = reader.submit(read, path)
            with Store.writing(path):
                assert found.result(timeout=60) == ([], [])


def test_a_store_of_version_0_1_0_is_read_and_added_to(tmp_path):
    path = tmp_path / "store.sqlite"
    with Store.writing(path) as store:
        store.add_done(a_round("honest"), played(miner("honest")))
    with sqlite3.connect(path) as database:
        database.execute("ALTER TABLE rounds ADD COLUMN cpu_s REAL")
        database.execute("UPDATE rounds SET cpu_s = 30.0")
    with Store.writing(path) as store:
        store.add_done(a_round("honest", seed=1), played(miner("honest")))
    records, results = read_store(path)
    assert [record.round.seed for record in records] == [0, 1]
    assert len(results) == 2


def test_what_is_no_store_is_refused(tmp_path):
    missing, text, foreign, other = (tmp_path / name for name in ("none", "text", "foreign", "other"))
    with pytest.raises(BadInput, match=r"there is no tournament at .*none"), Store.reading(missing):
        pass
    text.write_text("not a database, but long enough to be one" * 100)
    with pytest.raises(BadInput, match=r"text.*not a database"), Store.writing(text):
        pass
    with sqlite3.connect(foreign) as database:
        database.execute("CREATE TABLE something (a)")
    with pytest.raises(BadInput, match="foreign is no store of a tournament"), Store.writing(foreign):
        pass
    with Store.writing(other):
        pass
    with sqlite3.connect(other) as database:
        database.execute("UPDATE about SET schema_version = 99")
    with pytest.raises(BadInput, match=r"another version \(schema 99"), Store.reading(other):
        pass
    with pytest.raises(BadInput, match="cannot use"), Store.writing(tmp_path / "no" / "directory"):
        pass
