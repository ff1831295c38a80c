"""`minegnk metrics`: the reference of the metrics, written out from the code that registers them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Final

import typer
from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

import services.api.app
import services.cache.app
import services.earnings.app
import services.ingest.app
from services.cli.exporter import PipelineMetrics
from services.kernel.app import DEFAULT_METRICS_PORTS
from services.kernel.errors import ConfigurationError
from services.kernel.settings import (
    ApiSettings,
    ConsumerSettings,
    DatabaseSettings,
    KafkaSettings,
    PushSettings,
    ServiceSettings,
    load,
)

REFERENCE: Final = Path("docs/metrics.md")
_GENERATED: Final = re.compile(r"(<!-- minegnk metrics -->\n).*?(<!-- end -->)", re.DOTALL)
_UNITS: Final = {
    "_timestamp_seconds": "seconds since 1970",
    "_seconds": "seconds",
    "_bytes": "bytes",
    "_records": "records",
}


@dataclass(frozen=True)
class Metric:
    """A metric as it is queried. Of a histogram the series end in _bucket, _sum and _count."""

    name: str
    type: str
    labels: tuple[str, ...]
    meaning: str
    services: tuple[str, ...]

    @property
    def unit(self) -> str:
        """Its base unit; none of what is only counted or numbered."""
        name = self.name.removesuffix("_total")
        return next((unit for suffix, unit in _UNITS.items() if name.endswith(suffix)), "")

    @property
    def series(self) -> tuple[str, ...]:
        """The names under which its samples stand."""
        if self.type == "histogram":
            return tuple(self.name + suffix for suffix in ("_bucket", "_sum", "_count"))
        return (self.name,)


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def metrics(
        directory: Annotated[Path, typer.Argument(help="The repository's folder.")] = Path(),
    ) -> None:
        """Write the table of docs/metrics.md from the code."""
        path = directory / REFERENCE
        try:
            reference = path.read_text()
        except FileNotFoundError:
            raise ConfigurationError(f"{path} is not there: name the repository's folder.") from None
        path.write_text(with_table(reference))
        typer.echo(path)


def every_metric() -> list[Metric]:
    """The metrics of all services by name."""
    found: dict[str, Metric] = {}
    for service in DEFAULT_METRICS_PORTS:
        for metric in _metrics_of(service):
            others = found[metric.name].services if metric.name in found else ()
            found[metric.name] = replace(metric, services=(*others, *metric.services))
    return sorted(found.values(), key=lambda metric: metric.name)


def with_table(reference: str) -> str:
    """The reference with its table written anew."""
    table = "\n".join(_table())
    return _GENERATED.sub(lambda found: f"{found[1]}{table}\n\n{found[2]}", reference)


def _table() -> Iterator[str]:
    yield "| metric | type | unit | labels | from | |"
    yield "|---|---|---|---|---|---|"
    for metric in every_metric():
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        origin = ", ".join(metric.services)
        yield f"| `{metric.name}` | {metric.type} | {metric.unit} | {labels} | {origin} | {metric.meaning} |"


def _metrics_of(service: str) -> Iterator[Metric]:
    # The registry's own description of its metrics leaves the names of labels out.
    for collector in dict.fromkeys(_registry_of(service)._collector_to_names):
        assert isinstance(collector, MetricWrapperBase), "the library's own kinds"
        (described,) = collector.describe()
        name = described.name + ("_total" if described.type == "counter" else "")
        yield Metric(name, described.type, tuple(collector._labelnames), described.documentation, (service,))


def _registry_of(service: str) -> CollectorRegistry:
    """What the service registers when it is wired. Nothing is started."""
    registry = CollectorRegistry()
    kafka, database, own = load(KafkaSettings), load(DatabaseSettings), load(ServiceSettings)
    match service:
        case "ingest":
            services.ingest.app.create_app(kafka, own, load(PushSettings), (), registry, refresh_partitions=1)
        case "cache":
            services.cache.app.create_app(kafka, database, load(ConsumerSettings), own, registry)
        case "earnings":
            services.earnings.app.create_app(kafka, database, load(ConsumerSettings), own, registry)
        case "api":
            app = services.api.app.create_app(load(ApiSettings), database, kafka, registry)
            app.build_middleware_stack()  # otherwise at the first request
        case "exporter":
            PipelineMetrics(registry, load(ApiSettings).ttl)
        case _:
            raise ValueError(service)
    return registry
