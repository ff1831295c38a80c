"""The rows that the page's tests look at: a fleet, and one node of which everything is known."""

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import Final

from tests.api.rows import Rows, ago, today

NODES: Final = 60
STATUSES: Final = ("healthy", "unhealthy", "jailed", "offline")
GPUS: Final = ("H100 80GB", "A100 80GB", None)
REGIONS: Final = ("Finland", "Germany")

ALPHA: Final = "gonka1alpha00000000000000000000000000000"
"""Earned an exact amount a day, in ten epochs of which the eighth was restated; seen and probed yesterday."""
EPOCHS: Final = 10
ESTIMATED_EPOCH: Final = EPOCHS + 1
RESTATED_EPOCH: Final = 8

ML_NODE: Final = "gonka1beta000000000000000000000000000000/node one"
"""Never read; its identifier has a slash and a space."""

OLD_ERROR: Final = "no answer within 10 s"
ERROR: Final = "502 Bad Gateway"


def identifier(number: int) -> str:
    """Of one of the fleet's nodes, from 0."""
    return f"gonka1{number:038d}"


def ngonka_of(epoch: int) -> int:
    """What ALPHA was paid: more digits than a float can tell apart, fewer than there are GNK."""
    return 98_765_432_101_234_567 + epoch * 10_000_001


def settled_at(epoch: int) -> datetime:
    """At noon of a day; the last epoch's was yesterday."""
    return datetime.combine(today() - timedelta(days=EPOCHS + 1 - epoch), time(12), UTC)


def fill(rows: Rows) -> None:
    """Write all of them into empty tables."""
    _sources(rows)
    for number in range(NODES):
        rows.node(
            identifier(number),
            display_name=f"host {number}",
            gpu_type=GPUS[number % len(GPUS)],
            region=REGIONS[number % len(REGIONS)],
            age=10,
            status=STATUSES[number % len(STATUSES)],
            earnings_total=Decimal(number) + Decimal("0.12345678"),
            uptime_percent=Decimal(90),
            source="gonka_api",
        )
    _alpha(rows)
    rows.node(ML_NODE, identifier_type="node_id", read=False, display_name="<b>مضيف</b> of a host")
    rows.refresh_sums()


def _sources(rows: Rows) -> None:
    polled = {"poll_interval_seconds": 3600, "last_attempt_at": ago(seconds=5)}
    well = {**polled, "last_success_at": ago(seconds=5), "data_at": ago(seconds=5), "epoch": EPOCHS, "height": 4000000}
    rows.source("gonka_api", kind="gonka_api", probes_health=True, **well)
    rows.source("gonkascan", kind="gonkascan", last_error=OLD_ERROR, last_error_at=ago(days=3), **well)
    rows.source(
        "down", kind="gonkascan", last_error=ERROR, last_error_at=ago(seconds=5), data_at=ago(hours=2), **polled
    )
    rows.source("new", kind="hyperfusion")
    rows.order(gonka_api=0, gonkascan=10)


def _alpha(rows: Rows) -> None:
    rows.node(
        ALPHA,
        display_name="alpha",
        gpu_type="H200 141GB",
        region="Iceland",
        age=10,
        status="healthy",
        earnings_total=sum(days_gnk()),
        earnings_day=_gnk(EPOCHS),
        uptime_percent=Decimal("66.67"),
        active_model="Qwen/Qwen3-32B-FP8",
        voting_weight=Decimal(12345),
        source="gonka_api",
    )
    rows.basis(ALPHA)
    for epoch in range(1, EPOCHS + 1):
        rows.settlement(epoch, settled_at(epoch))
        paid = ngonka_of(epoch)
        rows.report(ALPHA, "gonka_api", epoch, paid, before=[paid - 1] if epoch == RESTATED_EPOCH else [])
        rows.report(ALPHA, "gonkascan", epoch, paid + 7)
    rows.history(ALPHA, {settled_at(epoch).date(): f"{_gnk(epoch):f}" for epoch in range(1, EPOCHS + 1)})
    estimated = ago(minutes=4)
    rows.report(ALPHA, "gonkascan", ESTIMATED_EPOCH, 5_000_000_000, final=False, method="weight", observed_at=estimated)
    yesterday = today() - timedelta(days=1)
    rows.insert("source_uptime", source="gonka_api", date=yesterday, reachable="1" * 288)
    # Of yesterday: half healthy, a quarter seen but not healthy, a quarter absent.
    healthy, seen = "1" * 144 + "0" * 144, "1" * 216 + "0" * 72
    rows.insert("node_uptime", node_id=rows.id_of(ALPHA), date=yesterday, healthy=healthy, seen=seen)


def _gnk(epoch: int) -> Decimal:
    """A day's amount, rounded once as history has it."""
    return (Decimal(ngonka_of(epoch)) / 10**9).quantize(Decimal("0.00000001"))


def days_gnk(days: int = EPOCHS) -> Sequence[Decimal]:
    """What ALPHA earned on the last so many days before today, the oldest first."""
    return [_gnk(epoch) for epoch in range(EPOCHS + 1 - days, EPOCHS + 1)]


def grouped(*numbers: Decimal) -> str:
    """Their sum with commas, as the page writes it."""
    return f"{sum(numbers, Decimal()):,f}"
