from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.cache.merge import Reduced, grouped, newest_totals, reduce_groups
from services.cache.uptime import slot_bit, slot_of, slot_text
from services.kernel.events import NodeReading, SourceStatus, Status

START = datetime(2026, 3, 1, tzinfo=UTC)


def reading(
    node: str = "rig-1",
    source: str = "hyperfusion",
    at: int = 0,
    status: Status | None = "healthy",
    *,
    probed: bool = False,
    gpu_type: str | None = None,
) -> NodeReading:
    return NodeReading(
        identifier=node,
        identifier_type="node_id",
        source=source,
        observed_at=START + timedelta(seconds=at),
        status=status,
        health_probed=probed,
        gpu_type=gpu_type,
    )


def reduced_of(readings: Iterable[NodeReading]) -> Reduced:
    return reduce_groups(grouped(readings).items())


def test_the_newest_reading_of_each_node_and_source_stays() -> None:
    old, new, other = reading(at=1), reading(at=2), reading(source="gonka_api", at=0)
    reduced = reduced_of([new, old, other])
    assert reduced.stats == {("rig-1", "hyperfusion"): new, ("rig-1", "gonka_api"): other}


def test_of_two_readings_with_one_identity_the_first_stays() -> None:
    first, second = reading(status="healthy"), reading(status="jailed")
    assert reduced_of([first, second]).stats["rig-1", "hyperfusion"] is first


def test_a_reading_without_a_status_only_carries_facts() -> None:
    reduced = reduced_of([reading(status=None, gpu_type="H100 80GB")])
    assert reduced.stats == {}
    assert reduced.facts["rig-1", "gpu_type"].value == "H100 80GB"


def test_the_last_writer_of_a_field_wins_whoever_it_is() -> None:
    reduced = reduced_of(
        [reading(source="b", at=5, gpu_type="A100"), reading(source="a", at=6, gpu_type="H100"), reading(at=9)]
    )
    assert reduced.facts["rig-1", "gpu_type"].value == "H100"


def test_an_operators_fact_outranks_newer_ones_of_trackers() -> None:
    reduced = reduced_of([reading(source="operator", at=1, gpu_type="H200"), reading(at=9, gpu_type="H100")])
    assert reduced.facts["rig-1", "gpu_type"].value == "H200"


def test_ties_between_sources_go_to_the_greater_name() -> None:
    first = reduced_of([reading(source="a", gpu_type="x"), reading(source="b", gpu_type="y")])
    assert first.facts["rig-1", "gpu_type"].value == "y"


def test_only_readings_that_rest_on_a_probe_count_for_uptime() -> None:
    assert reduced_of([reading(probed=False)]).slots == {}
    assert reduced_of([reading(at=0, probed=False), reading(at=1, probed=False)]).slots == {}


def test_one_healthy_reading_makes_its_five_minutes_healthy() -> None:
    seen: list[tuple[int, Status]] = [(0, "unhealthy"), (299, "healthy"), (300, "jailed")]
    reduced = reduced_of(reading(at=at, status=status, probed=True) for at, status in seen)
    slots = reduced.slots["rig-1", date(2026, 3, 1)]
    assert f"{slots.healthy:0288b}"[:3] == "100"
    assert f"{slots.seen:0288b}"[:3] == "110"


def test_slots_are_of_the_utc_date_and_leftmost_first() -> None:
    assert slot_of(datetime.fromisoformat("2026-03-01T01:04:59+02:00")) == (date(2026, 2, 28), 276)
    assert slot_text(slot_bit(0) | slot_bit(287)) == "x8" + 70 * "0" + "1"


READINGS = st.lists(
    st.builds(
        reading,
        node=st.sampled_from(["a", "b"]),
        source=st.sampled_from(["hyperfusion", "gonka_api", "operator"]),
        at=st.integers(0, 900),
        probed=st.booleans(),
        gpu_type=st.none() | st.sampled_from(["A100", "H100"]),
    ),
    unique_by=lambda r: (r.identifier, r.source, r.observed_at),
)


@given(READINGS, st.randoms(use_true_random=False))
def test_order_and_repetition_change_nothing(readings: list[NodeReading], random: object) -> None:
    shuffled = [*readings, *readings[: len(readings) // 2]]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert reduced_of(shuffled) == reduced_of(readings)


def test_of_a_sources_totals_of_an_epoch_the_last_told_stays_and_of_two_told_at_once_the_larger() -> None:
    def told(at: int, epoch: int | None = 7, total: int | None = 1, source: str = "hyperfusion") -> SourceStatus:
        return SourceStatus(
            source=source,
            kind=source,
            reported_at=START + timedelta(seconds=at),
            preference_seconds=0,
            earnings_order=0,
            probes_health=True,
            poll_interval_seconds=60,
            total_epoch=epoch,
            total_ngonka=total,
        )

    said = [told(5, total=3), told(9, total=2), told(9, total=1), told(1, epoch=8), told(10, epoch=None, total=None)]
    expected = {
        ("gonkascan", 7): (START + timedelta(seconds=3), 4),
        ("hyperfusion", 7): (START + timedelta(seconds=9), 2),
        ("hyperfusion", 8): (START + timedelta(seconds=1), 1),
    }
    said.append(told(3, total=4, source="gonkascan"))
    assert newest_totals(said) == newest_totals(reversed(said)) == expected
