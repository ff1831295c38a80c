"""What the earnings service does beside consuming: it follows the sources' order, keeps daily totals, reconciles."""

import faust
import structlog
from prometheus_client import CollectorRegistry, Gauge

from services.earnings.reconciliation import TOTALS_ASKED_AT_ONCE, Reconciliation, reconcile
from services.earnings.source_order import follow_order
from services.earnings.totals import refresh_totals
from services.kernel.database import Database
from services.kernel.publisher import KafkaPublisher
from services.kernel.refresh import ask_for_epochs
from services.kernel.transient import classify

FOLLOW_ORDER_SECONDS = 30.0
REFRESH_TOTALS_SECONDS = 60.0
"""How often changed dates are added up again; until then whoever reads them adds them up."""

NIGHTLY = "17 3 * * *"
"""When to reconcile (UTC): after the portal's midnight reports, before offices open."""

ASKED_AT_ONCE = 100
"""Missing epochs that are asked for in one night, the newest first."""

_log = structlog.get_logger(__name__)


class ReconciliationMetrics:
    """The outcome of this process's last reconciliation."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.differences = Gauge(
            "minegnk_reconciliation_differences",
            "What differs, by the last reconciliation: history, sums, sources, or totals (sources' own, of epochs).",
            ["between"],
            registry=registry,
        )
        self.missing_epochs = Gauge(
            "minegnk_reconciliation_missing_epochs", "Epochs that nobody reported.", registry=registry
        )
        self.short_epochs = Gauge(
            "minegnk_reconciliation_short_epochs",
            "Epochs of which the ledger lacks rewards, by a source's own total that nothing explains.",
            registry=registry,
        )
        self.completed = Gauge(
            "minegnk_reconciliation_completed_timestamp_seconds",
            "When the last reconciliation of this process was complete.",
            registry=registry,
        )

    def note(self, found: Reconciliation) -> None:
        """Set the gauges."""
        self.differences.labels("history").set(len(found.differences))
        self.differences.labels("sums").set(len(found.sums))
        self.differences.labels("sources").set(len(found.disagreements))
        self.differences.labels("totals").set(len(found.totals))
        self.missing_epochs.set(len(found.missing_epochs))
        self.short_epochs.set(len(found.short_epochs))
        self.completed.set_to_current_time()

    def forget(self) -> None:
        """Another worker reconciles: what this one found the night before is no alarm any more."""
        self.differences.clear()
        self.missing_epochs.set(0)
        self.short_epochs.set(0)


def schedule(app: faust.App, registry: CollectorRegistry, database: Database, publisher: KafkaPublisher) -> None:
    """Let the app follow the sources' order, refresh the daily totals, and reconcile every night."""
    metrics = ReconciliationMetrics(registry)

    @app.timer(FOLLOW_ORDER_SECONDS)  # type: ignore[untyped-decorator]
    async def order() -> None:
        try:
            if nodes := await follow_order(database):
                _log.info("projected_again", reason="the order of sources changed", nodes=nodes)
        except Exception as error:
            if not classify(error).passes:
                raise
            _log.warning("order_postponed", error=repr(error))

    @app.timer(REFRESH_TOTALS_SECONDS)  # type: ignore[untyped-decorator]
    async def totals() -> None:
        try:
            if dates := await refresh_totals(database):
                _log.info("totals_refreshed", dates=dates)
        except Exception as error:
            if not classify(error).passes:
                raise
            _log.warning("totals_postponed", error=repr(error))

    @app.crontab(NIGHTLY)
    async def nightly() -> None:
        try:
            found = await reconcile(database, fix=False)
            if found is None:
                metrics.forget()
                return
            metrics.note(found)
            await ask_for_missing(publisher, found)
        except Exception as error:
            if not classify(error).passes:
                raise
            _log.warning("reconciliation_postponed", error=repr(error))
            return
        log = _log.error if found.open else _log.info
        log(
            "reconciled",
            nodes=found.nodes,
            differences=len(found.differences),
            sums=len(found.sums),
            disagreements=len(found.disagreements),
            totals=len(found.totals),
            short_epochs=found.short_epochs[-10:],
            missing_epochs=found.missing_epochs[-10:],
        )


async def ask_for_missing(publisher: KafkaPublisher, found: Reconciliation) -> list[int]:
    """Ask ingest for the epochs that nobody reported, or of which the ledger lacks rewards; returns them.

    Sources are asked for their own totals too: for those that differ, since a source may have mended them, the newest
    first, and for those that are not known. Raises KafkaError.
    """
    wanted = sorted({*found.missing_epochs, *found.short_epochs})[-ASKED_AT_ONCE:]
    for source in found.epoch_sources:
        await ask_for_epochs(publisher, source, wanted, requested_by="reconciliation")
    for source, epochs in _totals_to_ask_for(found).items():
        await ask_for_epochs(publisher, source, epochs, requested_by="reconciliation")
    return wanted if found.epoch_sources else []


def _totals_to_ask_for(found: Reconciliation) -> dict[str, list[int]]:
    wanted: dict[str, list[int]] = {}
    for total in found.totals:
        wanted.setdefault(total.source, []).append(total.epoch)
    wanted = {source: sorted(epochs)[-TOTALS_ASKED_AT_ONCE:] for source, epochs in wanted.items()}
    for source, epoch in found.unstated:
        wanted.setdefault(source, []).append(epoch)
    return wanted
