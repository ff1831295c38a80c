"""What a backfill of epochs asks for, remembers and says, without Kafka and ingest."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka.errors import KafkaConnectionError
from typer.testing import CliRunner

from services.cli.asking import GIVE_UP_AFTER_TRIES, UNFINISHED_AT_ONCE, UNTRIED_AT_ONCE, Asking
from services.cli.backfill_state import Span, State, united
from services.cli.epoch_backfill import EpochBackfill, Heard
from services.cli.main import create_app
from services.cli.progress import rate
from services.ingest.epochs import CAPACITY
from services.ingest.sources import Kind
from services.ingest.trackers.adapters import knows_epochs
from services.kernel.errors import ConfigurationError, UnavailableError
from services.kernel.events import SourceStatus

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
STATUS = SourceStatus(
    source="chain",
    kind="gonka_api",
    reported_at=NOON,
    last_attempt_at=NOON,
    preference_seconds=0,
    earnings_order=0,
    probes_health=False,
    poll_interval_seconds=60,
    newest_settled=300,
)


def told(**changes: Any) -> SourceStatus:
    return msgspec.structs.replace(STATUS, **changes)


def published(epoch: int) -> SourceStatus:
    return told(published_epoch=epoch)


def failed(epoch: int, reason: str = "HTTP 500") -> SourceStatus:
    return told(unpublished_epoch=epoch, unpublished_reason=reason)


# Which epochs are asked for.


def test_the_newest_are_asked_for_first_and_few_at_once() -> None:
    asking = Asking(range(200), again_after=10)
    assert asking.due(0) == list(range(199, 199 - UNTRIED_AT_ONCE, -1))
    assert asking.due(9) == []


def test_each_that_is_published_makes_room_for_the_next() -> None:
    asking = Asking(range(200), again_after=10)
    asking.due(0)
    asking.hear(published(170), 1)
    asking.hear(published(199), 1)
    assert asking.due(1) == [149, 148]
    assert asking.published == {170, 199}


def test_one_that_was_tried_makes_room_as_well_so_that_it_holds_up_nothing() -> None:
    asking = Asking(range(200), again_after=10)
    asking.due(0)
    for _ in range(2):
        asking.hear(failed(199), 1)
    assert asking.due(1) == [149]
    assert asking.problem == "1 to be tried again, epoch 199: HTTP 500"


def test_ingest_is_never_asked_for_more_than_half_of_what_it_lets_wait() -> None:
    asking = Asking(range(1000), again_after=1000)
    outstanding: set[int] = set()
    while due := asking.due(0):
        outstanding.update(due)
        for epoch in due:
            asking.hear(failed(epoch), 0)
    assert len(outstanding) == UNFINISHED_AT_ONCE <= CAPACITY / 2


def test_one_of_which_nothing_is_heard_is_asked_for_again() -> None:
    asking = Asking([1, 2], again_after=10)
    assert asking.due(0) == [2, 1]
    asking.hear(failed(2), 5)
    assert asking.due(10) == [1]
    assert asking.due(15) == [2]


def test_a_poller_that_has_just_begun_is_asked_for_everything_at_once() -> None:
    asking = Asking([1, 2, 3], again_after=1000)
    asking.due(0)
    asking.hear(published(2), 1)
    asking.hear(told(last_attempt_at=None), 2)
    assert asking.due(2) == [3, 1]


def test_one_that_fails_again_and_again_is_given_up_with_its_last_reason() -> None:
    asking = Asking([1, 2], again_after=10)
    asking.due(0)
    for number in range(GIVE_UP_AFTER_TRIES):
        assert not asking.given_up
        asking.hear(failed(2, f"reason {number}"), 0)
    assert asking.given_up == {2: "reason 4"}
    asking.hear(published(1), 0)
    assert asking.finished


def test_one_that_was_given_up_and_is_published_after_all_counts() -> None:
    asking = Asking([1, 2], again_after=10)
    asking.due(0)
    for _ in range(GIVE_UP_AFTER_TRIES):
        asking.hear(failed(2), 0)
    asking.hear(published(2), 0)
    assert (asking.given_up, asking.published) == ({}, {2})


def test_what_somebody_else_had_published_meanwhile_is_not_asked_for() -> None:
    asking = Asking([1, 2], again_after=10)
    asking.hear(published(2), 0)
    asking.hear(published(77), 0)
    assert asking.due(0) == [1]
    assert asking.published == {2}


# What is remembered.


def a_state(tmp_path: Path, source: str = "chain", kafka: str = "here") -> State:
    return State(tmp_path / "folder" / "state.json", source, kafka)


def test_a_state_remembers_across_processes_and_beside_another_backfill(tmp_path: Path) -> None:
    first, second = a_state(tmp_path), a_state(tmp_path)
    first.add([3, 5, 4])
    second.add([9])
    first.add([6])
    assert a_state(tmp_path).published(Span(0, 100)) == [Span(3, 6), Span(9, 9)]
    assert a_state(tmp_path).published(Span(4, 5)) == [Span(4, 5)]
    assert a_state(tmp_path).published(Span(7, 8)) == []


def test_what_is_asked_for_again_is_forgotten_and_nothing_else(tmp_path: Path) -> None:
    a_state(tmp_path).add(range(10))
    a_state(tmp_path).forget(Span(3, 5))
    assert a_state(tmp_path).published(Span(0, 100)) == [Span(0, 2), Span(6, 9)]


@pytest.mark.parametrize(("source", "kafka"), [("other", "here"), ("chain", "elsewhere")])
def test_the_state_of_another_source_or_kafka_does_not_count(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str, kafka: str
) -> None:
    a_state(tmp_path).add([1])
    state = a_state(tmp_path, source, kafka)
    assert state.published(Span(0, 9)) == []
    assert "is the state of another source or another Kafka: it is ignored, " in capsys.readouterr().err
    state.add([2])
    assert a_state(tmp_path, source, kafka).published(Span(0, 9)) == [Span(2, 2)]


@pytest.mark.parametrize("content", [b"", b"{", b"identifier,source\n", b"\xff", b'{"source":"chain","published":[]}'])
def test_a_file_that_is_no_state_is_ignored_and_never_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    path = tmp_path / "precious"
    path.write_bytes(content)
    state = State(path, "chain", "here")
    assert state.published(Span(0, 9)) == []
    assert f"{path} is no state of a backfill: it is ignored and left as it is" in capsys.readouterr().err
    state.add([1])
    assert path.read_bytes() == content


def test_a_state_that_cannot_be_written_is_told_once_and_ends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    state = State(Path("/proc/none/state.json"), "chain", "here")
    assert state.published(Span(0, 9)) == []
    for epoch in range(3):
        state.add([epoch])
    assert capsys.readouterr().err.count("/proc/none/state.json cannot be written (No such file") == 1


def test_a_state_that_cannot_be_read_is_told_and_ends_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert State(tmp_path, "chain", "here").published(Span(0, 9)) == []
    assert f"{tmp_path} cannot be read (Is a directory): it is ignored" in capsys.readouterr().err


def test_spans_are_as_few_as_can_be() -> None:
    assert united([Span(7, 9), Span(1, 3), Span(4, 4), Span(2, 2), Span(8, 12)]) == [Span(1, 4), Span(7, 12)]


# What is done and said.


@pytest.mark.parametrize(
    ("per_second", "text"),
    [(0.0333, "2/min"), (0.52, "31/min"), (1.52, "1.5/s"), (5, "5/s"), (15.4, "15/s"), (12_000, "12,000/s")],
)
def test_a_rate_is_in_the_unit_a_person_would_use(per_second: float, text: str) -> None:
    assert rate(per_second) == text


@dataclass
class Clock:
    seconds: float = 0.0

    def __call__(self) -> float:
        return self.seconds


@dataclass
class Script:
    """A feed that tells what it is given, one batch a poll of half a second, then nothing."""

    clock: Clock
    batches: list[Sequence[Heard]] = field(default_factory=list)
    kafka_away: bool = False

    async def heard(self) -> Sequence[Heard]:
        self.clock.seconds += 0.5
        return self.batches.pop(0) if self.batches else ()

    async def check(self) -> None:
        if self.kafka_away:
            raise KafkaConnectionError


@dataclass
class Run:
    state: State
    asked: list[int] = field(default_factory=list)
    shown: list[tuple[int, str]] = field(default_factory=list)
    clock: Clock = field(default_factory=Clock)

    async def fill(self, wanted: Span, *batches: Sequence[Heard], kafka_away: bool = False) -> EpochBackfill:
        """Run to the end; every request is answered as published in the next poll."""
        script = Script(self.clock, list(batches), kafka_away)

        async def ask(epochs: list[int]) -> None:
            self.asked += epochs
            script.batches.append([Heard(published(epoch), True) for epoch in epochs])

        work = EpochBackfill("chain", timedelta(seconds=60), wanted, self.state, clock=self.clock)
        await work.run(script, ask, lambda done, note: self.shown.append((done, note)))
        return work


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(a_state(tmp_path))


NEW = Heard(STATUS, True)


async def test_every_epoch_is_asked_for_and_remembered(run: Run) -> None:
    work = await run.fill(Span(100, 249), [NEW])
    assert sorted(run.asked) == list(range(100, 250))
    assert work.asking.published == set(range(100, 250))
    assert run.state.published(Span(0, 999)) == [Span(100, 249)]
    assert run.shown[-1] == (150, "")


async def test_only_what_is_missing_is_asked_for(run: Run) -> None:
    run.state.add([1, 2, 4])
    work = await run.fill(Span(1, 5), [NEW])
    assert sorted(run.asked) == [3, 5]
    assert (work.before, work.total) == (3, 2)


async def test_with_nothing_missing_nobody_is_waited_for(run: Run) -> None:
    run.state.add(range(10))
    work = await run.fill(Span(1, 5))
    assert (work.total, run.asked, run.clock.seconds) == (0, [], 0)


async def test_a_status_from_before_the_start_tells_what_has_settled_but_completes_nothing(run: Run) -> None:
    await run.fill(Span(5, 5), [Heard(published(5), False)])
    assert run.asked == [5]


async def test_an_epoch_that_has_not_settled_is_a_sentence_and_nothing_is_asked_for(run: Run) -> None:
    # What is known from before the start may have changed since.
    with pytest.raises(ConfigurationError, match=r"Epoch 301 has not settled: .* is 300; give --to-epoch 300 or less"):
        await run.fill(Span(0, 301), [Heard(STATUS, False)], [], [NEW])
    assert run.asked == []


async def test_an_epoch_that_settles_after_an_old_status_is_asked_for(run: Run) -> None:
    await run.fill(Span(301, 301), [Heard(STATUS, False)], [Heard(told(newest_settled=301), True)])
    assert run.asked == [301]


async def test_a_gigantic_range_is_refused_at_once(run: Run) -> None:
    with pytest.raises(ConfigurationError, match="has not settled"):
        await run.fill(Span(0, 2**31), [NEW])


async def test_nobody_who_polls_the_source_is_a_sentence(run: Run) -> None:
    with pytest.raises(UnavailableError, match="Nobody polls chain, for 180 s now: see that `minegnk ingest` runs"):
        await run.fill(Span(0, 1))
    assert 180 < run.clock.seconds < 182
    assert (0, "nothing heard of chain for 100 s") in run.shown


async def test_a_kafka_that_is_away_is_not_taken_for_an_ingest_that_is(run: Run) -> None:
    with pytest.raises(KafkaConnectionError):
        await run.fill(Span(0, 1), kafka_away=True)


async def test_a_source_that_never_says_what_has_settled_is_a_sentence_with_its_error(run: Run) -> None:
    failing = Heard(told(newest_settled=None, last_error="node2: HTTP 500"), True)
    with pytest.raises(UnavailableError, match=r"chain has not said in 180 s .* \(node2: HTTP 500\): see to it"):
        await run.fill(Span(0, 1), *[[failing]] * 1000)


async def test_other_epochs_go_on_while_one_fails_for_good(run: Run) -> None:
    script_failures = [[Heard(failed(3), True)] for _ in range(GIVE_UP_AFTER_TRIES)]
    script = Script(run.clock, [[NEW]])

    async def ask(epochs: list[int]) -> None:
        run.asked += epochs
        script.batches.append([Heard(published(epoch), True) for epoch in epochs if epoch != 3])
        script.batches.extend(script_failures)

    work = EpochBackfill("chain", timedelta(seconds=60), Span(1, 5), run.state, clock=run.clock)
    await work.run(script, ask, lambda done, note: run.shown.append((done, note)))
    assert (work.asking.published, work.asking.given_up) == ({1, 2, 4, 5}, {3: "HTTP 500"})
    assert (4, "1 to be tried again, epoch 3: HTTP 500") in run.shown
    assert run.state.published(Span(0, 9)) == [Span(1, 2), Span(4, 5)]


def test_only_the_network_itself_knows_epochs() -> None:
    assert [kind for kind in Kind if knows_epochs(kind)] == [Kind.GONKA_API]


SOURCES = """
[[sources]]
name = "chain"
kind = "gonka_api"
base_urls = ["https://node.example.com"]
poll_interval = 60
requests_per_minute = 20

[[sources]]
name = "tracker"
kind = "hyperfusion"
base_urls = ["https://tracker.example.com"]
poll_interval = 60
requests_per_minute = 20
"""


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("", "Give either --source, with --from-epoch and --to-epoch, or --file."),
        ("--source chain --file x.csv", "Give either --source"),
        ("--source chain --from-epoch 3", "Give --from-epoch and --to-epoch: "),
        ("--source chain --from-epoch 3 --to-epoch 2", "--from-epoch 3 is after --to-epoch 2: swap them."),
        ("--source x --from-epoch 1 --to-epoch 2", "sources.toml lists no source 'x': use one of chain, tracker."),
        ("--source tracker --from-epoch 1 --to-epoch 2", "tracker does not know what epochs paid: use chain."),
        ("--source chain --from-epoch 1 --to-epoch 2 --dry-run", "--dry-run goes with --file: leave it out."),
        ("--file x.csv --again", "--again goes with --source: leave it out."),
        ("--file x.csv --from-epoch 0", "--from-epoch goes with --source: leave it out."),
        ("--file /nowhere/x.csv", "/nowhere/x.csv cannot be read: No such file or directory."),
        ("--file /dev/null", "/dev/null is empty: give a file with earnings."),
    ],
)
def test_a_mistake_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: str, told: str) -> None:
    (tmp_path / "sources.toml").write_text(SOURCES)
    monkeypatch.setenv("MINEGNK_SOURCES_FILE", str(tmp_path / "sources.toml"))
    error = CliRunner().invoke(create_app(), ["backfill", *arguments.split()]).exception
    assert isinstance(error, ConfigurationError)
    assert told in str(error)
