"""What the earnings service does beside consuming: it follows the sources' order, keeps daily totals, reconciles."""

import faust
import structlog
from prometheus_client import CollectorRegistry, Gauge

from services.earnings.reconciliation import Reconciliation, reconcile
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
            "Values that are not what the ledger gives, found by the last reconciliation: history, sums, sources.",
            ["between"],
            registry=registry,
        )
        self.missing_epochs = Gauge(
            "minegnk_reconciliation_missing_epochs", "Epochs that nobody reported.", registry=registry
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
        self.missing_epochs.set(len(found.missing_epochs))
        self.completed.set_to_current_time()


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
            missing_epochs=found.missing_epochs[-10:],
        )


async def ask_for_missing(publisher: KafkaPublisher, found: Reconciliation) -> int:
    """Ask ingest for the epochs that nobody reported; returns for how many. Raises KafkaError."""
    wanted = found.missing_epochs[-ASKED_AT_ONCE:]
    for source in found.epoch_sources:
        await ask_for_epochs(publisher, source, wanted, requested_by="reconciliation")
    return len(wanted) if found.epoch_sources else 0
