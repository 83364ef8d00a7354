"""The writer's thread: configuration is answered when it is on disk, runtime rows go in batches and are never lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import sipprofile
from sipprofile.errors import SipProfileError
from sipprofile.profile import Profile, ServerParameters
from sipprofile.records import (
    HISTORY_LENGTH,
    FlowRecord,
    PutProfile,
    Query,
    RemoveProfile,
    RuntimeWrite,
    TransitionRecord,
)
from sipprofile.store import database, writer
from sipprofile.store.batch import Batch
from sipprofile.store.secrets import KeyRing
from sipprofile.store.store import Store
from sipprofile.store.writer import BATCH_ROWS, Writer

SOURCE = str(Path(sipprofile.__file__).parent.parent)
NEVER = 3600.0  # seconds: longer than any test


class Answers:
    """Collects what the writer calls back, and waits for it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.all: list[Any] = []

    def __call__(self, answer: Any = "saved") -> None:
        with self._changed:
            self.all.append(answer)
            self._changed.notify_all()

    def wait(self, count: int = 1) -> list[Any]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.all) >= count, timeout=20), self.all
            return list(self.all)


class Gate:
    """Stands before a method of the store: keeps it waiting, makes it fail, and counts its calls."""

    def __init__(self, method: Callable[[Any], Any]) -> None:
        self._method = method
        self._open = threading.Event()
        self._open.set()
        self.entered = Answers()
        self.error: Exception | None = None

    def __call__(self, argument: Any) -> Any:
        self.entered(list(argument))
        assert self._open.wait(20)
        if self.error is not None:
            raise self.error
        return self._method(argument)

    def close(self) -> None:
        self._open.clear()

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store.db", KeyRing.read(tmp_path / "key"), synchronous="OFF")


@pytest.fixture
def saving(store: Store, monkeypatch: pytest.MonkeyPatch) -> Gate:
    gate = Gate(store.save)
    monkeypatch.setattr(store, "save", gate)
    return gate


@pytest.fixture
def committing(store: Store, monkeypatch: pytest.MonkeyPatch) -> Gate:
    gate = Gate(store.commit)
    monkeypatch.setattr(store, "commit", gate)
    return gate


@pytest.fixture
def saved() -> Answers:
    """The rows of each batch that somebody may wait for."""
    return Answers()


@pytest.fixture
def running(store: Store, saved: Answers) -> Iterator[Writer]:
    running = Writer(store, saved)
    yield running
    running.stop()


def put(number: int, *flows: FlowRecord, name: str | None = None) -> PutProfile:
    return PutProfile(Profile(id=number, name=name or f"p{number}", aor="sip:a@example.com"), 1, flows=flows)


def commit(running: Writer, *writes: PutProfile | RemoveProfile) -> None:
    answers = Answers()
    running.submit(writes, answers)
    assert answers.wait() == [None]


def call_ids(running: Writer) -> dict[int, list[str]]:
    answers = Answers()
    running.read(lambda store: store.read(Query(limit=10_000, flows=True)), answers)
    return {r.profile.id: [flow.call_id for flow in r.flows] for r in answers.wait()[0]}


class TestBatch:
    def test_the_latest_row_of_a_flow_wins(self) -> None:
        batch = Batch()
        batch.add([FlowRecord(1, call_id="a"), FlowRecord(2, call_id="x"), FlowRecord(1, number=2, call_id="y")])
        batch.add([FlowRecord(1, call_id="b")])
        assert {(row.profile, row.number, row.call_id) for row in batch.rows() if isinstance(row, FlowRecord)} == {
            (1, 1, "b"),
            (2, 1, "x"),
            (1, 2, "y"),
        }

    def test_however_long_nothing_can_be_written_it_holds_little_more_than_the_history(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sipprofile.store.batch.UNSORTED", 0)
        batch = Batch()
        for revision in range(1, 1000):
            batch.add([TransitionRecord(1, revision, 0.0, "registered"), FlowRecord(1)])
            assert len(batch) == len(batch.rows()) <= 2 * HISTORY_LENGTH + 1
        revisions = [row.revision for row in batch.rows() if isinstance(row, TransitionRecord)]
        assert set(revisions) >= set(range(1000 - HISTORY_LENGTH, 1000))

    def test_a_commit_overtakes_older_rows_only(self) -> None:
        batch = Batch()
        batch.add([FlowRecord(1, call_id="before"), FlowRecord(2, call_id="other")], commits=4)
        batch.overtake([FlowRecord(1, call_id="commit"), FlowRecord(3, call_id="absent")], commit=5)
        assert batch.rows() == [FlowRecord(1, call_id="commit"), FlowRecord(2, call_id="other")]
        batch.add([FlowRecord(1, call_id="after"), FlowRecord(1, number=2, call_id="after")], commits=5)
        batch.overtake([FlowRecord(1, call_id="commit"), FlowRecord(1, number=2, call_id="commit")], commit=5)
        after = [FlowRecord(1, call_id="after"), FlowRecord(1, number=2, call_id="after")]
        assert batch.rows() == [after[0], FlowRecord(2, call_id="other"), after[1]]
        batch.overtake([FlowRecord(1, number=2, call_id="commit")], commit=6)
        assert batch.rows()[2] == FlowRecord(1, number=2, call_id="commit")


class TestCommits:
    def test_they_are_answered_in_order(self, running: Writer) -> None:
        answers = Answers()
        for number in range(1, 30):
            running.submit([put(number)], lambda error, number=number: answers((number, error)))  # type: ignore[misc]
        assert answers.wait(29) == [(number, None) for number in range(1, 30)]

    def test_the_answer_comes_after_the_commit(self, running: Writer, committing: Gate) -> None:
        committing.close()
        answers = Answers()
        running.submit([put(1)], answers)
        committing.entered.wait()
        assert answers.all == []
        committing.open()
        assert answers.wait() == [None]
        assert call_ids(running) == {1: []}

    def test_a_refused_one_is_answered_and_the_next_goes_on(self, running: Writer) -> None:
        answers = Answers()
        running.submit([put(1, name="trunk")], answers)
        running.submit([put(2, name="trunk")], answers)
        running.submit([put(3)], answers)
        first, second, third = answers.wait(3)
        assert (first, second.code, third) == (None, "duplicate_name", None)

    def test_they_do_not_wait_for_runtime_rows(
        self, running: Writer, saving: Gate, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(writer, "BATCH_TIME", NEVER)
        running.save([FlowRecord(1)])
        commit(running, put(1))
        assert saving.entered.all == []

    def test_a_mistake_of_ours_is_answered_without_the_value(self, running: Writer, committing: Gate) -> None:
        committing.error = KeyError("s3cret")
        answers = Answers()
        running.submit([put(1)], answers)
        (error,) = answers.wait()
        assert error.code == "internal"
        assert "s3cret" not in str(error)
        committing.error = None
        commit(running, put(1))

    def test_an_event_loop_that_is_closed_does_not_end_the_thread(self, running: Writer) -> None:
        def closed(error: SipProfileError | None) -> None:
            raise RuntimeError("Event loop is closed")

        running.submit([put(1)], closed)
        commit(running, put(2))


class TestRuntimeRows:
    def test_they_are_written_soon(self, running: Writer, saved: Answers) -> None:
        commit(running, put(1))
        row = FlowRecord(1, call_id="a")
        running.save([row, TransitionRecord(1, 1, 0.0, "registered")])
        assert saved.wait() == [[row]]
        assert call_ids(running) == {1: ["a"]}

    def test_what_comes_together_goes_in_one_transaction(self, running: Writer, saving: Gate, saved: Answers) -> None:
        commit(running, put(1), put(2))
        saving.close()
        running.save([FlowRecord(1, call_id="first")])
        saving.entered.wait()
        for text in ("a", "b", "c"):
            running.save([FlowRecord(1, call_id=text), FlowRecord(2, call_id=text)])
        saving.open()
        saved.wait(2)
        expected = [[FlowRecord(1, call_id="first")], [FlowRecord(1, call_id="c"), FlowRecord(2, call_id="c")]]
        assert saving.entered.all == expected

    def test_many_do_not_wait_for_the_time(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(writer, "BATCH_TIME", NEVER)
        store.commit([put(number) for number in range(1, BATCH_ROWS + 1)])
        saved = Answers()
        running = Writer(store, saved)
        for number in range(1, BATCH_ROWS):
            running.save([FlowRecord(number)])
        assert saved.all == []
        running.save([FlowRecord(BATCH_ROWS)])
        assert saved.wait() == [[FlowRecord(number) for number in range(1, BATCH_ROWS + 1)]]
        running.stop()

    def test_where_nothing_presses_they_wait_longer(
        self, running: Writer, saving: Gate, saved: Answers, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each batch costs a write of its own, and nobody waits for a refresh. What presses takes it along."""
        monkeypatch.setattr(writer, "LINGER_TIME", NEVER)
        commit(running, put(1), put(2), put(3))
        running.save([FlowRecord(1, call_id="refreshed")], pressing=False)
        running.save([FlowRecord(2, call_id="refreshed")], pressing=False)
        commit(running, put(4))  # the thread has been around
        assert saving.entered.all == []
        running.save([FlowRecord(3, call_id="new")])
        running.save([FlowRecord(4, call_id="refreshed")], pressing=False)
        saved.wait()
        assert call_ids(running) == {1: ["refreshed"], 2: ["refreshed"], 3: ["new"], 4: ["refreshed"]}
        assert len(saving.entered.all) == 1
        running.save([FlowRecord(1, call_id="again")])  # what waited before leaves nothing behind to wait for
        saved.wait(1)
        saving.entered.wait(2)

    def test_they_wait_half_a_second_at_most(self, running: Writer, saved: Answers) -> None:
        commit(running, put(1))
        running.save([FlowRecord(1, call_id="refreshed")], pressing=False)
        assert saved.wait() == [[FlowRecord(1, call_id="refreshed")]]

    def test_many_of_them_do_not_wait(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(writer, "LINGER_TIME", NEVER)
        store.commit([put(number) for number in range(1, BATCH_ROWS + 1)])
        saved = Answers()
        running = Writer(store, saved)
        for number in range(1, BATCH_ROWS + 1):
            running.save([FlowRecord(number)], pressing=False)
        assert len(saved.wait()[0]) == BATCH_ROWS
        running.stop()

    def test_who_waits_is_told_and_nobody_else(self, running: Writer, saving: Gate, saved: Answers) -> None:
        """A reservation that is raised, a de-registration that begins, a further flow that perhaps is another one."""
        commit(running, put(1, FlowRecord(1, cseq_reserved=256)))
        rows = [
            FlowRecord(1, call_id="same", cseq_reserved=256),
            FlowRecord(1, cseq_reserved=512),
            FlowRecord(1, call_id="again", cseq_reserved=512),
            FlowRecord(1, cseq_reserved=512, leaving=True),
            FlowRecord(1, number=2, cseq_reserved=256),
            FlowRecord(1, number=2, cseq_reserved=256),
        ]
        for count, row in enumerate(rows, 1):
            running.save([row, TransitionRecord(1, count, 0.0, "registered")])
            saving.entered.wait(count)
        assert saved.wait(4) == [[rows[1]], [rows[3]], [rows[4]], [rows[5]]]

    def test_a_commit_with_newer_flows_is_not_undone_by_rows_that_waited(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(writer, "BATCH_TIME", NEVER)
        store.commit([put(1), put(2)])
        running = Writer(store, Answers())
        running.save([FlowRecord(1, call_id="old"), FlowRecord(2, call_id="other")])
        commit(running, put(1, FlowRecord(1, call_id="new")))
        running.stop()
        again = Store.open_to_read(store.path, store.keys)
        assert [record.flows[0].call_id for record in again.load()] == ["new", "other"]
        again.close()

    def test_a_row_that_is_newer_than_the_commit_wins(self, running: Writer, committing: Gate, saved: Answers) -> None:
        commit(running, put(1))
        committing.close()
        committed = Answers()
        running.submit([put(1, FlowRecord(1, call_id="commit"))], committed)
        committing.entered.wait(2)
        running.save([FlowRecord(1, call_id="newer", leaving=True)])
        committing.open()
        committed.wait()
        saved.wait()
        assert call_ids(running) == {1: ["newer"]}

    def test_stopping_writes_what_waits(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(writer, "LINGER_TIME", NEVER)
        answers = Answers()
        running = Writer(store, answers)
        running.submit([put(1)], answers)
        running.save([FlowRecord(1, call_id="a")], pressing=False)
        running.stop()
        assert answers.all == [None, [FlowRecord(1, call_id="a")]]
        again = Store.open_to_read(store.path, store.keys)
        assert [record.flows for record in again.load()] == [(FlowRecord(1, call_id="a"),)]
        again.close()


class TestFailing:
    """A full disk: configuration is refused, runtime rows are kept and tried again."""

    @pytest.fixture(autouse=True)
    def soon(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(writer, "BATCH_TIME", 0.0)
        monkeypatch.setattr(writer, "RETRY_TIME", 0.001)

    def test_rows_are_kept_and_written_when_there_is_room(self, running: Writer, saving: Gate, saved: Answers) -> None:
        commit(running, put(1), put(2))
        saving.error = SipProfileError("store_failed", "The disk is full.")
        running.save([FlowRecord(1, call_id="a"), FlowRecord(2, call_id="x")])
        saving.entered.wait(3)
        assert running.failing == "The disk is full."
        running.save([FlowRecord(1, call_id="b")])
        tries = len(saving.entered.all)
        saving.entered.wait(tries + 3)
        assert saved.all == []
        saving.error = None
        assert saved.wait() == [[FlowRecord(1, call_id="b"), FlowRecord(2, call_id="x")]]
        assert running.failing is None
        assert call_ids(running) == {1: ["b"], 2: ["x"]}
        assert max(len(rows) for rows in saving.entered.all) == 2

    def test_a_disk_that_is_really_full(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        store.commit([put(1)])
        driver = database.driver(store._connection)
        room = threading.Event()
        save = store.save

        tried = Answers()

        def save_with_little_room(rows: Sequence[RuntimeWrite]) -> list[FlowRecord]:
            tried("again")
            (pages,) = driver.execute("PRAGMA page_count").fetchone()
            driver.execute(f"PRAGMA max_page_count = {1 << 30 if room.is_set() else pages}")
            return save(rows)

        monkeypatch.setattr(store, "save", save_with_little_room)
        answers = Answers()
        running = Writer(store, answers)
        row = FlowRecord(1, call_id="c" * 50_000)
        running.save([row])
        tried.wait(2)
        refused = Answers()
        running.submit([PutProfile(Profile(id=2, name="b", aor="sip:b@h", provider_name="x" * 50_000), 1)], refused)
        assert refused.wait()[0].code == "store_failed"
        assert running.failing == "The disk is full."
        assert answers.all == []
        room.set()
        assert answers.wait() == [[row]]
        assert running.failing is None
        commit(running, put(2))
        running.stop()

    def test_many_rows_do_not_make_it_try_without_pause(
        self, running: Writer, saving: Gate, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(writer, "RETRY_TIME", NEVER)
        saving.error = SipProfileError("store_failed", "The disk is full.")
        saving.close()
        running.save([FlowRecord(number) for number in range(1, BATCH_ROWS + 1)])
        saving.entered.wait()
        saving.open()
        for number in range(1, BATCH_ROWS + 101):
            running.save([FlowRecord(number)])
        commit(running, put(1))  # the thread has been around once more
        assert len(saving.entered.all) == 1

    def test_stopping_tries_once_more_and_says_what_was_lost(
        self, store: Store, saving: Gate, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(writer, "RETRY_TIME", NEVER)
        answers = Answers()
        running = Writer(store, answers)
        saving.error = SipProfileError("store_failed", "The disk is full.")
        running.save([FlowRecord(1)])
        saving.entered.wait()
        running.stop()
        assert len(saving.entered.all) == 2
        assert answers.all == []
        assert running.failing == "The disk is full."


class TestReads:
    def test_they_see_what_was_answered(self, running: Writer) -> None:
        for number in range(1, 20):
            commit(running, put(number))
            answers = Answers()
            running.read(lambda store: store.count(), answers)
            assert answers.wait() == [number]

    def test_they_do_not_wait_for_a_write(self, running: Writer, committing: Gate) -> None:
        commit(running, put(1))
        other = database.connect(running._store.path)
        with database.transaction(other):
            assert call_ids(running) == {1: []}
        other.close()
        committing.close()
        running.submit([put(2)], lambda error: None)
        assert call_ids(running) == {1: []}
        committing.open()

    def test_an_error_is_the_answer(self, running: Writer) -> None:
        def refuse(store: Store) -> None:
            raise SipProfileError("not_found")

        def mistaken(store: Store) -> None:
            raise KeyError("s3cret")

        answers = Answers()
        running.read(refuse, answers)
        running.read(mistaken, answers)
        running.read(lambda store: store.names(), answers)
        first, second, third = answers.wait(3)
        assert (first.code, second.code, third) == ("not_found", "internal", [])

    def test_they_cannot_write(self, running: Writer) -> None:
        answers = Answers()
        running.read(lambda store: store.commit([put(1)]), answers)
        assert answers.wait()[0].code == "store_failed"


class TestKeyRotation:
    def test_beside_a_running_writer_every_secret_opens_with_the_new_key(self, running: Writer, tmp_path: Path) -> None:
        answers = Answers()
        rotated = threading.Event()

        def rotate() -> None:
            keys = KeyRing.read(tmp_path / "key")
            operator = Store.open(tmp_path / "store.db", keys, synchronous="OFF")
            for count in (20, 60, 100):
                answers.wait(count)
                keys.rotate()
                operator.reseal(keys)
            operator.close()
            rotated.set()

        thread = threading.Thread(target=rotate)
        thread.start()
        number = 0
        while not rotated.is_set() or number < 150:
            number += 1
            server = ServerParameters(uri="sip:r", password=f"secret {number}")
            profile = Profile(id=number, name=f"p{number}", aor="sip:a@example.com", registrar=server)
            running.submit([PutProfile(profile, 1)], answers)
            assert answers.wait(number)[-1] is None
            assert number < 20_000
        thread.join()

        reads = Answers()
        running.read(lambda store: list(store.load()), reads)
        (records,) = reads.wait()
        passwords = [record.profile.registrar.password for record in records]
        assert passwords == [f"secret {n}" for n in range(1, number + 1)]
        connection = database.connect(tmp_path / "store.db")
        used = [key for (key,) in connection.execute("SELECT DISTINCT key_id FROM profiles")]
        assert used == [KeyRing.read(tmp_path / "key").current]
        connection.close()


CHILD = """
import pathlib, sys
from sipprofile.profile import Profile
from sipprofile.records import FlowRecord, PutProfile
from sipprofile.store.secrets import KeyRing
from sipprofile.store.store import Store
from sipprofile.store.writer import Writer

directory = pathlib.Path(sys.argv[1])
store = Store.open(directory / "store.db", KeyRing.read(directory / "key"))

def tell(what, number):
    sys.stdout.write(f"{what} {number}\\n")
    sys.stdout.flush()

writer = Writer(store, lambda rows: [tell("save", row.profile) for row in rows])
number = 0
while True:
    number += 1
    profile = Profile(id=number, name=f"p{number}", aor="sip:a@example.com", labels={"a": "1", "b": "2"})
    flow = FlowRecord(number, call_id=f"c{number}", cseq_reserved=256)
    writer.submit([PutProfile(profile, 1, flows=(flow,))], lambda error, n=number: tell("commit", n))
    later = FlowRecord(number, call_id=f"c{number}", cseq_reserved=512)
    writer.save([later])
    if number % 50 == 0:
        while writer._commits:
            pass
"""


@pytest.mark.parametrize("answers", [1, 60, 300])
def test_what_was_answered_before_kill_9_is_on_disk(tmp_path: Path, answers: int) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": SOURCE},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    told = [child.stdout.readline() for _ in range(answers)]
    child.send_signal(signal.SIGKILL)
    told += child.stdout.readlines()  # what it had told when it died
    assert child.wait(20) == -signal.SIGKILL
    child.stdout.close()
    committed = {int(line.split()[1]) for line in told if line.startswith("commit") and line.endswith("\n")}
    saved = {int(line.split()[1]) for line in told if line.startswith("save") and line.endswith("\n")}
    assert committed

    store = Store.open(tmp_path / "store.db", KeyRing.read(tmp_path / "key"))
    records = {record.profile.id: record for record in store.load()}
    assert sorted(records) == list(range(1, len(records) + 1))  # in order, no gap
    assert committed | saved <= records.keys()
    for number, record in records.items():
        assert len(record.profile.labels) == 2
        (flow,) = record.flows
        assert flow.call_id == f"c{number}"
        assert flow.cseq_reserved in ({512} if number in saved else {256, 512})
    assert store.next_profile_id() == len(records) + 1
    store.close()


class TestRest:
    """What pages of the file took is given back when there is nothing to write."""

    @pytest.fixture(autouse=True)
    def soon(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(writer, "REST_AFTER", 0.01)
        monkeypatch.setattr(writer, "REST_INTERVAL", 0.01)

    def test_after_each_time_that_something_was_written(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        shrunk, rest, saved = Answers(), Answers(), Answers()
        monkeypatch.setattr(store, "shrink", shrunk)
        running = Writer(store, saved, rest)
        commit(running, put(1))
        rest.wait(1)
        running.save([FlowRecord(1, call_id="a")])
        saved.wait()
        rest.wait(2)
        running.stop()
        assert len(shrunk.all) == len(rest.all) == 2

    def test_a_mistake_there_does_not_end_the_thread(self, store: Store) -> None:
        rest = Answers()

        def fail() -> None:
            rest()
            raise ValueError

        running = Writer(store, Answers(), fail)
        for number in (1, 2):
            commit(running, put(number))
            rest.wait(number)
        running.stop()

    def test_the_store_works_on(self, store: Store) -> None:
        store.commit([put(1)])
        store.shrink()
        store.save([FlowRecord(1, call_id="a")])
        assert [record.flows[0].call_id for record in store.load()] == ["a"]
        store.close()
