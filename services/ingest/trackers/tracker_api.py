"""The replies of the open-source gonka-tracker's `/api/v1/inference`: Hyperfusion and Gonkascan run it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from services.ingest.clock import Clock
from services.ingest.http import Fetcher
from services.ingest.sources import MAX_CACHE_AGE
from services.ingest.trackers.base import BaseUrls, Poll, every_failure, not_ahead
from services.ingest.trackers.status import node_status
from services.ingest.trackers.wire import (
    Moment,
    Number,
    Participant,
    ParticipantStatus,
    Payload,
    Text,
    Texts,
    Whole,
    each,
    read,
    rows,
)
from services.kernel.errors import InvalidRecordError, Reason, SourceError
from services.kernel.events import NodeReading
from services.kernel.money import ngonka_of_number

CURRENT = "/api/v1/inference/current"
EPOCHS = "/api/v1/inference/epochs"


class _Participant(Participant):
    weight: Number = None
    models: Texts = ()
    participant_status: ParticipantStatus = None
    is_jailed: bool | None = None
    node_healthy: bool | None = None
    moniker: Text = None


class _Reply(Payload):
    epoch_id: Whole = None
    height: Whole = None
    cached_at: Moment = None
    participants: Any = None


def poll_of(body: object, source: str, regions: Mapping[str, str] | None = None) -> Poll:
    """The readings of one reply, observed at its `cached_at`. Raises SourceError for a reply without list or time.

    Counts that are 0 for every host at once are unknown: so they stand right after an epoch's boundary. Of epochs, a
    tracker only knows which one it shows: those before it have settled, the last of them perhaps only soon.
    """
    reply = read(_Reply, body, CURRENT)
    if reply.cached_at is None:
        raise SourceError(f"{CURRENT}: no cached_at in the reply")
    listed, skipped = each(rows(reply.participants, CURRENT), _Participant.model_validate)
    counts = [row.jobs for row in listed if row.jobs is not None]
    known = any(counts) or len(counts) == 1
    seen: set[str] = set()

    def reading(row: _Participant) -> NodeReading:
        identifier = row.identifier
        if identifier is None:
            raise InvalidRecordError(Reason.INVALID_FIELD, "no wallet address")
        if identifier in seen:
            raise InvalidRecordError(Reason.INVALID_FIELD, f"{identifier} is listed twice")
        seen.add(identifier)
        return NodeReading(
            identifier=identifier,
            identifier_type="wallet",
            source=source,
            observed_at=_required(reply.cached_at),
            status=node_status(
                jailed=row.is_jailed,
                node_healthy=row.node_healthy,
                participant_statuses=(row.status, row.participant_status),
            ),
            health_probed=row.node_healthy is not None,
            jobs_day=row.jobs if known else None,
            active_model=row.models[0] if row.models else None,
            voting_weight=positive(row.weight),
            epoch=reply.epoch_id,
            height=reply.height,
            display_name=row.moniker,
            region=(regions or {}).get(identifier),
        )

    readings, refused = each(listed, reading)
    if not readings:
        raise SourceError(f"{CURRENT}: no usable row among {len(reply.participants)}")
    return Poll(
        readings=tuple(readings),
        data_at=reply.cached_at,
        epoch=reply.epoch_id,
        height=reply.height,
        complete=not skipped and not refused,
        skipped=(*skipped, *refused),
        newest_settled=reply.epoch_id - 1 if reply.epoch_id else None,
    )


class _EpochReply(Payload):
    epoch_id: Whole = None
    is_current: bool | None = None
    total_assigned_rewards_gnk: Number = None


def total_of(body: object, epoch: int) -> int | None:
    """What a reply of /inference/epochs/{epoch} states as the total of all rewards, in ngonka. Raises SourceError.

    gonka-tracker adds up the `rewarded_coins` of the epoch's active set and cuts the sum to whole GNK. None is no zero:
    the total is null until it is added up, and a 0 was added up before the chain had written the rewards.
    """
    reply = read(_EpochReply, body, EPOCHS)
    if reply.epoch_id != epoch:
        raise SourceError(f"{EPOCHS}: a reply about epoch {reply.epoch_id}, not {epoch}")
    total = reply.total_assigned_rewards_gnk
    if reply.is_current or not total:
        return None
    try:
        amount_ngonka = ngonka_of_number(total)
    except ValueError as error:
        raise SourceError(f"{EPOCHS}: total_assigned_rewards_gnk: {error}") from None
    if amount_ngonka < 1:
        raise SourceError(f"{EPOCHS}: total_assigned_rewards_gnk is no amount: {total:.20}")
    return amount_ngonka


def positive(weight: Decimal | None) -> Decimal | None:
    """A weight of -1 stands for "none given"."""
    return weight if weight is not None and weight >= 0 else None


def _required(moment: datetime | None) -> datetime:
    assert moment is not None
    return moment


@dataclass(frozen=True, slots=True)
class TrackerApi:
    """Asks one base URL after the other until one gives data no older than such a tracker's cache may be."""

    urls: BaseUrls
    fetcher: Fetcher
    clock: Clock

    async def newest(self, ask: Callable[[str], Awaitable[Poll]]) -> Poll:
        """The first fresh poll, else the one with the newest data. Raises SourceError when all fail."""
        errors: list[SourceError] = []
        best: Poll | None = None
        for url in self.urls.in_order():
            try:
                poll = await ask(url)
                not_ahead(poll.data_at, self.clock.now(), CURRENT)
            except SourceError as error:
                errors.append(error)
                continue
            if best is None or poll.data_at > best.data_at:
                best = poll
                self.urls.answered(url)
            if self.clock.now() - best.data_at <= MAX_CACHE_AGE:
                break
        if best is None:
            raise every_failure(errors)
        return best

    async def current(self, url: str) -> object:
        """The reply's JSON."""
        return await self.fetcher.get_json(url, CURRENT)

    async def total(self, epoch: int) -> int | None:
        """The total of the first base URL that has one, in ngonka; None when none has. Raises SourceError.

        One request, for it leaves half of the budget to polls, and more only where a base URL has no answer.
        """
        errors: list[SourceError] = []
        for url in self.urls.in_order():
            try:
                body = await self.fetcher.get_json(url, f"{EPOCHS}/{epoch}", background=True)
                total = total_of(body, epoch)
            except SourceError as error:
                errors.append(error)
                continue
            if total is not None:
                return total
        if len(errors) == len(self.urls.in_order()):
            raise every_failure(errors)
        return None
