"""`minegnk backfill` against a simulated network, with real ingest and earnings processes: exact, whatever happens."""

import asyncio
import gzip
import itertools
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from services.cli.proof import Proof, compare
from services.ingest.settling import RESTATED_EPOCHS
from services.kernel import database
from services.kernel.events import EARNINGS_TOPIC, REFRESH_TOPIC, SOURCE_STATUS_TOPIC
from services.simulator.app import Simulator, running
from services.simulator.faults import Fault
from services.simulator.timeline import FIRST_EPOCH
from services.simulator.world import WorldSettings
from tests.integration.pipeline import REPOSITORY, Pipeline, Worker, records_of, until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

SUMMARIES = "*/epoch_performance_summary/*"
_names = (f"chain-{number}" for number in itertools.count(1))


@dataclass
class Outcome:
    code: int
    out: str
    err: str


@dataclass
class Network:
    """A simulated network, the source that reads it, and the processes that work on it."""

    pipeline: Pipeline
    simulator: Simulator
    client: httpx.AsyncClient
    directory: Path
    source: str = field(default_factory=lambda: next(_names))
    interval: float = 0.5

    def __post_init__(self) -> None:
        (self.directory / "sources.toml").write_text(
            "".join(
                f'[[sources]]\nname = "{name}"\nkind = "{kind}"\nbase_urls = ["{self.simulator.base_url}"]\n'
                f"poll_interval = {interval}\nrequests_per_minute = 6000\nallow_private = true\n"
                for name, kind, interval in (
                    (self.source, "gonka_api", self.interval),
                    (f"{self.source}.tracker", "hyperfusion", 30),
                )
            )
        )

    @property
    def environment(self) -> dict[str, str]:
        return {"MINEGNK_SOURCES_FILE": str(self.directory / "sources.toml")}

    @property
    def state(self) -> Path:
        return self.directory / "state.json"

    @property
    def last_past(self) -> int:
        return self.simulator.world.timeline.last_past_epoch

    @property
    def settled(self) -> int:
        return self.simulator.world.at(self.simulator.clock()).settled_epoch

    def ingest(self) -> Worker:
        return self.pipeline.start("ingest", **self.environment)

    def fault(self, **fault: Any) -> None:
        self.simulator.faults.turn_on(Fault.model_validate(fault), self.simulator.clock())

    async def start(self, *arguments: str, first: int = FIRST_EPOCH, last: int | None = None) -> Process:
        """The command on its way."""
        return await self.command(
            "--source", self.source, "--from-epoch", str(first), "--to-epoch", str(last or self.last_past),
            "--state", str(self.state), *arguments,
        )  # fmt: skip

    async def command(self, *arguments: str) -> Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "services", "backfill", *arguments),
            env=self.pipeline.environment(**self.environment),
            cwd=REPOSITORY,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
        )

    async def backfill(self, *arguments: str, **span: int) -> Outcome:
        """The command, to its end."""
        return await ended(await self.start(*arguments, **span))

    async def remembered(self) -> int:
        """How many epochs the state file holds."""
        if not self.state.exists():
            return 0
        return sum(last - first + 1 for first, last in msgspec.json.decode(self.state.read_bytes())["published"])

    async def proof(self, *, first: int = FIRST_EPOCH, last: int | None = None) -> Proof:
        connection = await database.connect(self.pipeline.database)
        try:
            return await compare(
                connection, self.client, first_epoch=first, last_epoch=last or self.last_past, source=self.source
            )
        finally:
            await connection.close()

    async def proven(self, *, last: Callable[[], int] | None = None) -> Proof:
        """Wait until ledger and history are what the simulator paid, to the last ngonka."""
        proof: Proof | None = None

        async def holds() -> bool:
            nonlocal proof
            proof = await self.proof(last=last() if last else None)
            return proof.holds

        try:
            await until(holds, "the ledger equals the payments", 40)
        except AssertionError as error:
            raise AssertionError(f"{error}: {proof}\n" + "\n".join(map(str, self.pipeline.workers))) from None
        assert proof is not None
        return proof

    async def followed(self) -> bool:
        """Whether ingest has published what it publishes unasked when it begins, the newest epoch first."""
        records = await records_of(self.pipeline.kafka, SOURCE_STATUS_TOPIC)
        statuses = (msgspec.json.decode(record.value) for record in records)
        last = self.last_past - RESTATED_EPOCHS
        return any(each["source"] == self.source and each.get("published_epoch") == last for each in statuses)

    async def requests(self) -> Counter[int]:
        """How often each epoch was asked for."""
        records = await records_of(self.pipeline.kafka, REFRESH_TOPIC)
        asked = (msgspec.json.decode(record.value) for record in records)
        return Counter(each["epoch"] for each in asked if each["source"] == self.source)


async def ended(process: Process) -> Outcome:
    out, err = await process.communicate()
    assert b"Traceback" not in err, err.decode()
    assert process.returncode is not None
    return Outcome(process.returncode, out.decode(), err.decode())


@pytest.fixture(scope="module")
def earnings(pipeline: Pipeline) -> Pipeline:
    """Tables that follow the topics."""
    pipeline.start("earnings")
    pipeline.start("cache")
    return pipeline


@asynccontextmanager
async def network(pipeline: Pipeline, directory: Path, **settings: Any) -> AsyncIterator[Network]:
    """45 days of past epochs; new ones settle only where a test says how often."""
    world = WorldSettings(**{"hosts": 20, "days": 45, "epoch_seconds": 100_000.0, **settings})
    before = len(pipeline.workers)
    async with running(world) as simulator, httpx.AsyncClient(base_url=simulator.base_url, timeout=10) as client:
        try:
            yield Network(pipeline, simulator, client, directory)
        finally:
            for worker in pipeline.workers[before:]:
                if not worker.ended:
                    await asyncio.to_thread(worker.stop)
            await pipeline.drained(EARNINGS_TOPIC, SOURCE_STATUS_TOPIC)
            await pipeline.empty_tables()


@pytest.fixture
async def simulated(earnings: Pipeline, tmp_path: Path) -> AsyncIterator[Network]:
    async with network(earnings, tmp_path) as found:
        yield found


# Exactness.


async def test_past_epochs_are_what_the_network_paid_and_nothing_is_asked_for_twice(simulated: Network) -> None:
    simulated.ingest()
    await until(simulated.followed, "ingest follows the source")  # else what it publishes unasked is not asked for
    first = await simulated.backfill()
    epochs = simulated.last_past - FIRST_EPOCH + 1
    assert epochs > 40
    assert first.code == 0, first
    assert f"{epochs} epochs of {simulated.source} published in " in first.out
    proof = await simulated.proven()
    assert proof.epochs == epochs
    assert (proof.paid, proof.wrong_payments, proof.wrong_history) == (proof.in_ledger, 0, 0)
    assert await simulated.requests() == Counter(range(FIRST_EPOCH, simulated.last_past + 1))

    second = await simulated.backfill()
    assert (second.code, second.err) == (0, "")
    assert f"{epochs} epochs were published before" in second.out
    again = await simulated.backfill("--again", first=simulated.last_past - 1)
    assert f"2 epochs of {simulated.source} published" in again.out
    asked = await simulated.requests()
    assert {epoch for epoch, times in asked.items() if times > 1} == {simulated.last_past - 1, simulated.last_past}
    assert await simulated.remembered() == epochs
    assert (await simulated.proven()).holds


async def test_what_ingest_tells_of_epochs_leaves_the_sources_row_right(simulated: Network) -> None:
    worker = simulated.ingest()
    assert (await simulated.backfill()).code == 0
    await asyncio.to_thread(worker.stop)
    await simulated.pipeline.drained(SOURCE_STATUS_TOPIC)
    records = await records_of(simulated.pipeline.kafka, SOURCE_STATUS_TOPIC)
    statuses = [msgspec.json.decode(record.value) for record in records]
    own = [status for status in statuses if status["source"] == simulated.source]
    assert {status.get("published_epoch") for status in own} >= set(range(FIRST_EPOCH, simulated.last_past + 1))
    times = [status["reported_at"] for status in own]
    assert times == sorted(times)
    rows = await simulated.pipeline.rows(
        "SELECT name, reported_at, last_success_at, poll_interval_seconds, height FROM tracker_sources ORDER BY name"
    )
    newest = own[-1]
    assert rows[0] == (
        simulated.source,
        datetime.fromisoformat(newest["reported_at"]),
        datetime.fromisoformat(newest["last_success_at"]),
        1,
        newest["height"],
    )
    assert [name for name, *_ in rows] == [simulated.source, f"{simulated.source}.tracker"]


async def test_epochs_of_pruned_blocks_say_that_their_time_is_interpolated(simulated: Network) -> None:
    simulated.fault(kind="pruned")
    simulated.ingest()
    assert (await simulated.backfill()).code == 0
    proof: Proof | None = None

    async def all_there() -> bool:
        nonlocal proof
        proof = await simulated.proof()
        return proof.wrong_payments == 0

    await until(all_there, "every payment in the ledger")
    rows = await simulated.pipeline.rows("SELECT epoch, settled_at, exact FROM epoch_settlement ORDER BY epoch")
    timeline = simulated.simulator.world.timeline
    assert [epoch for epoch, *_ in rows] == list(range(FIRST_EPOCH, simulated.last_past + 1))
    assert not any(exact for epoch, _, exact in rows if epoch < simulated.last_past - 1)
    assert all(abs(settled - timeline.settled_at(epoch)) < timedelta(minutes=1) for epoch, settled, _ in rows)
    for record in await records_of(simulated.pipeline.kafka, EARNINGS_TOPIC):
        report = msgspec.json.decode(record.value)
        if report["source"] == simulated.source and report["period"] < simulated.last_past - 1:
            assert not report.get("settled_exact", False)

    # A node that has every block corrects the times.
    simulated.simulator.faults.clear()
    for worker in simulated.pipeline.workers:
        if worker.arguments[0] == "ingest" and not worker.ended:
            await asyncio.to_thread(worker.stop)
    simulated.ingest()
    assert (await simulated.backfill("--again")).code == 0
    await simulated.proven()
    assert await simulated.pipeline.rows("SELECT count(*) FROM epoch_settlement WHERE NOT exact") == [(0,)]


# Interruptions.


async def test_a_killed_backfill_goes_on_where_it_was(simulated: Network) -> None:
    simulated.ingest()
    simulated.fault(kind="slow", path=SUMMARIES, delay_seconds=0.3)
    process = await simulated.start()

    async def half_way() -> bool:
        assert process.returncode is None
        return await simulated.remembered() >= 10

    await until(half_way, "ten epochs remembered", 60)
    process.kill()
    await process.wait()
    before = await simulated.remembered()
    assert before < simulated.last_past - FIRST_EPOCH + 1
    simulated.simulator.faults.clear()
    resumed = await simulated.backfill()
    assert resumed.code == 0, resumed
    assert f"{before} epochs were published before" in resumed.out
    await simulated.proven()


async def test_ctrl_c_says_how_to_go_on(simulated: Network) -> None:
    simulated.ingest()
    simulated.fault(kind="slow", path=SUMMARIES, delay_seconds=0.5)
    process = await simulated.start()

    async def begun() -> bool:
        return await simulated.remembered() >= 3

    await until(begun, "some epochs remembered", 60)
    process.send_signal(signal.SIGINT)
    outcome = await ended(process)
    assert outcome.code == 128 + signal.SIGINT
    done = await simulated.remembered()
    total = simulated.last_past - FIRST_EPOCH + 1
    assert f"{done} of {total} epochs are published: the same command does the others." in outcome.err


async def test_two_overlapping_backfills_at_once_are_harmless(simulated: Network) -> None:
    simulated.ingest()
    third = (simulated.last_past - FIRST_EPOCH) // 3
    outcomes = await asyncio.gather(
        simulated.backfill(last=simulated.last_past - third), simulated.backfill(first=FIRST_EPOCH + third)
    )
    assert [outcome.code for outcome in outcomes] == [0, 0], outcomes
    await simulated.proven()
    assert await simulated.remembered() == simulated.last_past - FIRST_EPOCH + 1


async def test_ingest_may_be_killed_meanwhile(simulated: Network) -> None:
    worker = simulated.ingest()
    simulated.fault(kind="slow", path=SUMMARIES, delay_seconds=0.2)
    process = await simulated.start()

    async def begun() -> bool:
        return await simulated.remembered() >= 5

    await until(begun, "some epochs remembered", 60)
    worker.kill()
    before = await simulated.remembered()
    assert before < simulated.last_past - FIRST_EPOCH + 1
    simulated.simulator.faults.clear()
    simulated.ingest()
    outcome = await ended(process)
    assert outcome.code == 0, outcome
    await simulated.proven()


async def test_live_epochs_settle_while_a_backfill_goes_on(earnings: Pipeline, tmp_path: Path) -> None:
    async with network(earnings, tmp_path, epoch_seconds=4.0, restated_share=0) as simulated:
        simulated.ingest()
        simulated.fault(kind="slow", path=SUMMARIES, delay_seconds=0.4)
        process = await simulated.start()

        async def live_ones_in_the_ledger() -> int:
            assert process.returncode is None, await ended(process)
            ((count,),) = await simulated.pipeline.rows(
                "SELECT count(DISTINCT period) FROM earnings_ledger WHERE period > $1", simulated.last_past
            )
            return int(count) >= 2

        await until(live_ones_in_the_ledger, "two new epochs, before the backfill's end", 60)
        assert await simulated.remembered() < simulated.last_past - FIRST_EPOCH + 1
        simulated.simulator.faults.clear()
        outcome = await ended(process)
        assert outcome.code == 0, outcome
        await simulated.proven(last=lambda: simulated.settled)


# Faults of the source.


async def test_faults_of_the_source_delay_and_change_nothing(simulated: Network) -> None:
    # Not for ever: an epoch is given up that fails five times, and one of 44 would.
    simulated.fault(kind="500", path=SUMMARIES, probability=0.2, count=12)
    simulated.fault(kind="truncated_list", path=SUMMARIES, probability=0.2, count=12, keep=5)
    simulated.fault(kind="truncated_body", path=SUMMARIES, probability=0.05, count=3)
    simulated.fault(kind="slow", probability=0.05, delay_seconds=0.3)
    simulated.ingest()
    outcome = await simulated.backfill()
    assert outcome.code == 0, outcome
    await simulated.proven()


async def test_an_epoch_that_cannot_be_had_is_listed_with_its_reason_and_asked_for_the_next_time(
    simulated: Network,
) -> None:
    lost = FIRST_EPOCH + 7
    simulated.fault(kind="500", path=f"*/epoch_performance_summary/{lost}*")
    simulated.ingest()
    outcome = await simulated.backfill()
    assert outcome.code == 1
    assert f"epoch {lost}: " in outcome.err
    assert "HTTP 500" in outcome.err
    assert f"minegnk: 1 epoch of {simulated.source} could not be published in full" in outcome.err
    assert await simulated.remembered() == simulated.last_past - FIRST_EPOCH
    simulated.simulator.faults.clear()
    resumed = await simulated.backfill()
    assert (resumed.code, f"1 epoch of {simulated.source} published" in resumed.out) == (0, True), resumed
    await simulated.proven()


# Mistakes.


async def test_an_epoch_that_has_not_settled_is_refused(simulated: Network) -> None:
    simulated.ingest()
    outcome = await simulated.backfill(last=simulated.last_past + 1)
    assert outcome.code == 2
    assert f"Epoch {simulated.last_past + 1} has not settled: the newest that" in outcome.err
    assert f"give --to-epoch {simulated.last_past} or less." in outcome.err
    assert await simulated.requests() == Counter()


async def test_a_kafka_that_is_away_is_a_sentence(simulated: Network, unused_tcp_port: int) -> None:
    servers = f"127.0.0.1:{unused_tcp_port}"
    (simulated.directory / "one.csv").write_text(f"{HEADER}\n{ROW}\n")
    away = Pipeline(
        simulated.pipeline.database,
        simulated.pipeline.kafka.model_copy(update={"bootstrap_servers": servers}),
        simulated.pipeline.logs,
    )
    simulated.pipeline = away
    for outcome in (
        await simulated.backfill(),
        await ended(await simulated.command("--file", str(simulated.directory / "one.csv"))),
    ):
        assert outcome.code == 3
        assert f"Kafka at {servers} cannot be reached" in outcome.err


# Files.

NODE = "gonka1qzmhx83xnamk0uqup3lxpf2te9karrwjm9cjh7"
HEADER = "identifier,identifier_type,source,kind,period,amount_gnk,settled_at,settled_exact,final"
ROW = f"{NODE},wallet,books,epoch,7,0.000003805,2026-03-01T12:00:00Z,true,true"


def rows_of(path: Path, *rows: str, header: str = HEADER) -> str:
    path.write_text("\n".join([header, *rows]) + "\n")
    return str(path)


async def from_file(pipeline: Pipeline, *arguments: str) -> Outcome:
    return await ended(
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "services", "backfill", "--file", *arguments),
            env=pipeline.environment(),
            cwd=REPOSITORY,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
        )
    )


LEDGER = """
SELECT source, kind, period, amount_ngonka::text, final FROM earnings_ledger ORDER BY source, period
"""
HISTORY = "SELECT date::text, earnings_gnk::text, source FROM earnings_history ORDER BY date"


async def test_good_rows_of_a_file_become_history_and_bad_ones_are_named(earnings: Pipeline, tmp_path: Path) -> None:
    path = rows_of(
        tmp_path / "books.csv",
        ROW,
        ROW.replace(",7,", ",8,").replace("0.000003805", "1.0000000000"),
        ROW.replace(",7,", ",9,").replace("0.000003805", "9007199.254740993").replace("03-01", "03-02"),
        ROW.replace(",7,", ",10,").replace("true,true", "true,false"),
    )
    checked = await from_file(earnings, path, "--dry-run")
    assert checked.code == 1
    assert "3 valid, nothing was published; 1 invalid." in checked.out
    assert (await earnings.state(EARNINGS_TOPIC)).records == len(await records_of(earnings.kafka, EARNINGS_TOPIC))
    assert await earnings.rows(LEDGER) == []
    bad = "line 3: invalid_field: amount_gnk: not a decimal number of GNK with at most 9 places: '1.0000000000'\n"
    assert bad in checked.err

    for _ in range(2):  # running it again is how to go on after an interruption
        published = await from_file(earnings, path)
        assert (published.code, bad in published.err) == (1, True), published
        assert "3 published to node.earnings.v1; 1 invalid." in published.out
        assert "1 are not final: they stand in the ledger and make no history." in published.out
    await earnings.drained(EARNINGS_TOPIC)
    assert await earnings.rows(LEDGER) == [
        ("books", "epoch", 7, "3805", True),
        ("books", "epoch", 9, "9007199254740993", True),
        ("books", "epoch", 10, "3805", False),
    ]
    assert await earnings.rows(HISTORY) == [
        ("2026-03-01", "0.00000381", "books"),
        ("2026-03-02", "9007199.25474099", "books"),
    ]
    assert await earnings.rows("SELECT epoch, exact FROM epoch_settlement ORDER BY epoch") == [(7, True), (9, True)]
    await earnings.empty_tables()


async def test_json_lines_in_a_compressed_file_are_published(earnings: Pipeline, tmp_path: Path) -> None:
    path = tmp_path / "books.jsonl.gz"
    lines = [
        f'{{"identifier":"{NODE}","identifier_type":"wallet","source":"books","kind":"day","period":"2026-03-0{day}",'
        f'"amount_ngonka":"{day}000000000","final":true,"observed_at":"2026-03-0{day + 1}T00:10:00Z"}}'
        for day in range(1, 4)
    ]
    path.write_bytes(gzip.compress("\r\n".join(lines).encode()))
    published = await from_file(earnings, str(path))
    assert (published.code, published.err) == (0, "")
    await earnings.drained(EARNINGS_TOPIC)
    assert [amount for _, amount, _ in await earnings.rows(HISTORY)] == ["1.00000000", "2.00000000", "3.00000000"]
    await earnings.empty_tables()


async def test_a_file_may_speak_for_a_source_which_itself_outranks_it_where_it_reports(
    simulated: Network, tmp_path: Path
) -> None:
    """A row's `source` decides whose row it is: what the network itself says of it later replaces it."""
    epoch = simulated.last_past
    payment = next(row for row in simulated.simulator.world.payments(epoch) if row.amount_ngonka)
    settled_at = simulated.simulator.world.timeline.settled_at(epoch).isoformat()
    wrong = f"{payment.address},wallet,{simulated.source},epoch,{epoch},1,{settled_at},true,true"
    assert (await from_file(simulated.pipeline, rows_of(tmp_path / "wrong.csv", wrong))).code == 0
    await simulated.pipeline.drained(EARNINGS_TOPIC)
    assert [amount for *_, amount, _ in await simulated.pipeline.rows(LEDGER)] == ["1000000000"]
    simulated.ingest()
    assert (await simulated.backfill()).code == 0
    assert (await from_file(simulated.pipeline, str(tmp_path / "wrong.csv"))).code == 0
    await simulated.proven()
