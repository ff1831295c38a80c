"""Any tracker that answers with JSON over HTTP, read as its source's configuration says: no code for a new one."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, get_args

from services.ingest.clock import Clock
from services.ingest.http import Fetcher
from services.ingest.mapping import Expression, Mapped
from services.ingest.sources import Source
from services.ingest.trackers.base import BaseUrls, Poll, every_failure, not_ahead
from services.ingest.trackers.wire import Moment, Number, Payload, Text, Whole, each, read, rows
from services.kernel.errors import InvalidRecordError, Reason, SourceError
from services.kernel.events import IdentifierType, NodeReading, Status, type_of


class _Reply(Payload):
    observed_at: Moment = None
    epoch: Whole = None
    height: Whole = None


class _Node(Payload):
    """A node's fields as trackers write them: numbers also as strings, blanks for what is not known."""

    identifier: Text = None
    identifier_type: Text = None
    status: Text = None
    health_probed: bool | None = None
    jobs_day: Whole = None
    active_model: Text = None
    voting_weight: Number = None
    tokens_per_sec: Number = None
    display_name: Text = None
    gpu_type: Text = None
    region: Text = None


class JsonApi:
    """The adapter: one request a poll, to the first base URL that answers."""

    def __init__(self, source: Source, fetcher: Fetcher, clock: Clock) -> None:
        assert source.json_api is not None, "its configuration is checked when it is read"
        self._name = source.name
        self._mapped = source.json_api
        self._urls = BaseUrls(source.urls)
        self._fetcher = fetcher
        self._clock = clock

    async def poll(self) -> Poll:
        """The tracker's current list. Raises SourceError."""
        errors: list[SourceError] = []
        for url in self._urls.in_order():
            try:
                body = await self._fetcher.get_json(url, self._mapped.path)
                poll = poll_of(body, self._name, self._mapped, self._clock.now())
            except SourceError as error:
                errors.append(error)
                continue
            self._urls.answered(url)
            return poll
        raise every_failure(errors)

    async def aclose(self) -> None:
        """Close its connections."""
        await self._fetcher.aclose()


def poll_of(body: object, source: str, mapped: Mapped, now: datetime) -> Poll:
    """The readings of one reply, observed at the time that it states, else `now`. Raises SourceError."""
    what = mapped.path.partition("?")[0]  # a query may hold a key
    reply = read(_Reply, _values(mapped.reply, body), what)
    if mapped.observed_at is not None and reply.observed_at is None:
        raise SourceError(f"{what}: no time at {mapped.observed_at}")
    observed_at = not_ahead(reply.observed_at or now, now, what)
    listed, skipped = each(
        rows(mapped.nodes.of(body), what), lambda item: _Node.model_validate(_values(mapped.node, item))
    )
    unknown = {field for field in mapped.zero_for_all_is_unknown if not any(getattr(node, field) for node in listed)}
    seen: set[str] = set()

    def reading(node: _Node) -> NodeReading:
        if node.identifier is None:
            raise InvalidRecordError(Reason.INVALID_FIELD, "no identifier")
        if node.identifier in seen:
            raise InvalidRecordError(Reason.INVALID_FIELD, f"{node.identifier} is listed twice")
        seen.add(node.identifier)
        fields: dict[str, Any] = {
            name: None if name in unknown else _scaled(value, mapped.scale.get(name))
            for name, value in node.model_dump(exclude={"identifier_type", "health_probed"}).items()
        }
        _check_word("status", node.status, get_args(Status))
        identifier_type: Any = node.identifier_type or type_of(node.identifier) or "node_id"
        _check_word("identifier_type", identifier_type, get_args(IdentifierType))
        return NodeReading(
            **fields,
            identifier_type=identifier_type,
            source=source,
            observed_at=observed_at,
            health_probed=bool(node.health_probed),
            epoch=reply.epoch,
            height=reply.height,
        )

    readings, refused = each(listed, reading)
    if not readings:
        raise SourceError(f"{what}: no usable node among {len(listed) + len(skipped)}: {(*skipped, *refused)[0]}")
    return Poll(
        readings=tuple(readings),
        data_at=observed_at,
        epoch=reply.epoch,
        height=reply.height,
        complete=not skipped and not refused,
        skipped=(*skipped, *refused),
    )


def _values(expressions: Mapping[str, Expression], document: object) -> dict[str, object]:
    return {name: expression.of(document) for name, expression in expressions.items()}


def _scaled(value: Any, factor: Decimal | None) -> Any:
    """A number in our units; a negative one stands for "none given"."""
    if not isinstance(value, int | Decimal):
        return value
    if value < 0:
        return None
    return value if factor is None else type(value)(value * factor)


def _check_word(field: str, word: str | None, known: Sequence[str]) -> None:
    if word is not None and word not in known:
        raise InvalidRecordError(Reason.INVALID_FIELD, f"{field} is one of {', '.join(known)}, not {word[:40]!r}")
