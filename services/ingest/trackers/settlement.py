"""What epochs paid, from the chain's final summaries.

Epoch n settles when PoC validation of epoch n+1 ends (chain: accountsettle.go SettleAccounts). Its amount is
earned_coins + rewarded_coins; burned_coins are not subtracted, and it is final whatever `claimed` says.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from services.ingest.http import NotFoundError
from services.ingest.trackers import chain_payloads as payloads
from services.ingest.trackers.base import Settlement
from services.ingest.trackers.chain_client import INFERENCE, UNKNOWN_ZERO_BLOCKS, Chain
from services.ingest.trackers.chain_payloads import Group, Standing
from services.ingest.trackers.wire import Payload, Text, Whole, each, rows, wallet
from services.kernel.errors import InvalidRecordError, Reason, SourceError
from services.kernel.events import EarningsReport

SUMMARY_KEY = "epochPerformanceSummary"
_SUMMARY = f"{INFERENCE}/epoch_performance_summary"
_FAILURES_IN_A_ROW = 3
_REMEMBERED_EPOCHS = 32
_READ_AGAIN_AFTER_BLOCKS = 6_000
"""Reading an epoch host by host begins anew after that: longer than it is tried, shorter than an epoch lasts."""


@dataclass(frozen=True, slots=True)
class Boundary:
    """The block at which an epoch settled."""

    height: int
    time: datetime
    exact: bool
    """Whether the time was read from the block or estimated."""


class _Summary(Payload):
    epoch_index: Whole = None
    participant_id: Text = None
    earned_coins: Whole = None
    rewarded_coins: Whole = None
    claimed: bool | None = None


def report_of(item: Any, source: str, epoch: int, boundary: Boundary, observed_at: datetime) -> EarningsReport:
    """One summary as a final report. An amount that is missing or negative is unknown, never zero: the row is refused.

    Raises InvalidRecordError or pydantic's ValidationError.
    """
    row = _Summary.model_validate(item)
    address, earned, rewarded = wallet(row.participant_id), row.earned_coins, row.rewarded_coins
    if address is None:
        raise InvalidRecordError(Reason.INVALID_FIELD, "no wallet address")
    if row.epoch_index != epoch:
        raise InvalidRecordError(Reason.INVALID_FIELD, f"{address}: a summary of epoch {row.epoch_index}, not {epoch}")
    if earned is None or rewarded is None or earned < 0 or rewarded < 0:
        raise InvalidRecordError(Reason.INVALID_FIELD, f"{address}: earned or rewarded coins are missing or negative")
    return EarningsReport(
        identifier=address,
        identifier_type="wallet",
        source=source,
        kind="epoch",
        period=epoch,
        amount_ngonka=earned + rewarded,
        work_ngonka=earned,
        reward_ngonka=rewarded,
        settled_at=boundary.time,
        settled_exact=boundary.exact,
        final=True,
        claimed=row.claimed,
        observed_at=observed_at,
    )


def not_counted_yet(reports: Iterable[EarningsReport], boundary: Boundary, height: int) -> bool:
    """Whether these amounts may only be the zeros that the chain shows just after a settlement.

    Rewards decide: they are most of every real epoch's amount, and are written in one go.
    """
    return height < boundary.height + UNKNOWN_ZERO_BLOCKS and not any(int(r.reward_ngonka or 0) for r in reports)


@dataclass(slots=True)
class _OneByOne:
    """An epoch whose hosts are asked one by one: what was read so far."""

    begun: int
    """The height at which the first was read: the chain restates."""
    reports: dict[str, EarningsReport] = field(default_factory=dict)


class Settlements:
    """Reads the settlements of epochs for one source, as background work within its budget."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._exact: dict[int, Boundary] = {}
        self._groups: dict[int, Group] = {}
        self._one_by_one: dict[int, _OneByOne] = {}

    async def settled(self, epoch: int) -> Settlement | None:
        """The epoch's settlement; None when it has not settled or its amounts are not known yet. Raises SourceError.

        The list of all hosts is asked of every base URL, then each host of the epoch's group. What was not read is
        left out, and the settlement says that it is incomplete; asked again, only the missing hosts are read.
        """
        if epoch < 0:
            return None
        try:
            return await self._chain.first(partial(self._by_list, epoch))
        except SourceError:
            pass  # e.g. HTTP 500 for every epoch, recorded on node2
        try:
            return await self._chain.first(partial(self._by_host, epoch))
        except SourceError:
            held = self._one_by_one.get(epoch)
            if held is None or not held.reports:
                raise
            return self._settlement(epoch, held, complete=False)

    async def _by_list(self, epoch: int, url: str) -> Settlement | None:
        standing = await self._chain.standing(url, background=True)
        boundary = await self._boundary(epoch, url, standing)
        if boundary is None:
            return None
        listed = await self._chain.listed(url, f"{_SUMMARY}/{epoch}", SUMMARY_KEY, 10_000, background=True)
        hosts = [item for item in rows(listed.items, SUMMARY_KEY) if not _is_no_host(item)]
        build = partial(report_of, source=self._chain.source, epoch=epoch, boundary=boundary, observed_at=standing.time)
        read, skipped = each(hosts, build)
        reports: dict[str, EarningsReport] = {}
        for report in read:
            reports.setdefault(report.identifier, report)
        if not reports:
            raise SourceError(f"{SUMMARY_KEY}: no usable row among {len(listed.items)}")
        if not_counted_yet(reports.values(), boundary, standing.height):
            return None
        missing = set(await self._members(epoch, url, required=False)) - reports.keys()
        self._one_by_one.pop(epoch, None)
        return Settlement(
            epoch=epoch,
            reports=tuple(reports.values()),
            complete=listed.finished and not skipped and not missing,
            skipped=tuple(skipped),
        )

    async def _by_host(self, epoch: int, url: str) -> Settlement | None:
        standing = await self._chain.standing(url, background=True)
        boundary = await self._boundary(epoch, url, standing)
        if boundary is None:
            return None
        members = await self._members(epoch, url, required=True)
        held = self._one_by_one.get(epoch)
        if held is None or standing.height >= held.begun + _READ_AGAIN_AFTER_BLOCKS:
            held = _OneByOne(standing.height)
        self._one_by_one[epoch] = held
        _forget_oldest(self._one_by_one)
        failures = uncounted = 0
        for address in [member for member in members if member not in held.reports]:
            try:
                report = await self._one(epoch, address, url, boundary, standing)
                failures = 0
                if not_counted_yet([report], boundary, standing.height):
                    uncounted += 1  # the chain may count before the next host is read: asked for again
                else:
                    held.reports[address] = report
            except NotFoundError:
                continue  # an answer, but none that says zero
            except SourceError:
                failures += 1
                if failures == _FAILURES_IN_A_ROW:
                    raise  # the next base URL goes on with those that are left
        if not held.reports:
            if uncounted:
                return None
            raise SourceError(f"{SUMMARY_KEY}: none of {len(members)} hosts could be read")
        return self._settlement(epoch, held, complete=held.reports.keys() >= set(members))

    async def _one(self, epoch: int, address: str, url: str, boundary: Boundary, standing: Standing) -> EarningsReport:
        body = await self._chain.get(url, f"{_SUMMARY}/{epoch}/{address}", background=True)
        item = body.get(SUMMARY_KEY) if isinstance(body, dict) else None
        build = partial(report_of, source=self._chain.source, epoch=epoch, boundary=boundary, observed_at=standing.time)
        read, skipped = each([item], build)
        if skipped or read[0].identifier != address:
            raise SourceError(f"{SUMMARY_KEY}: {'; '.join(skipped) or 'the summary of another host'}")
        return read[0]

    def _settlement(self, epoch: int, held: _OneByOne, *, complete: bool) -> Settlement:
        if complete:
            del self._one_by_one[epoch]
        return Settlement(epoch=epoch, reports=tuple(held.reports.values()), complete=complete)

    async def _boundary(self, epoch: int, url: str, standing: Standing) -> Boundary | None:
        """Where the epoch settled; None when it has not."""
        known = self._exact.get(epoch)
        if known is not None:
            return known
        latest = payloads.latest_epoch(await self._chain.get(url, "/v1/epochs/latest", background=True))
        if latest.index <= epoch:
            return None
        if latest.index == epoch + 1:
            height = latest.validation_end
        else:
            group = await self._group(epoch + 1, url)
            delay = latest.new_validators_delay
            height = group.effective_height - delay if delay is not None else None
        if height is None or height < 1:
            raise SourceError(f"epochs/latest: does not say at which height epoch {epoch} settled")
        if standing.height < height:
            return None
        time, exact = await self._chain.block_time(url, height, epoch + 1)
        boundary = Boundary(height, time, exact)
        if exact:
            self._exact[epoch] = boundary
            _forget_oldest(self._exact)
        return boundary

    async def _group(self, epoch: int, url: str) -> Group:
        known = self._groups.get(epoch)
        if known is None:
            known = payloads.group(await self._chain.get(url, f"{INFERENCE}/epoch_group_data/{epoch}", background=True))
            if known.members:
                self._groups[epoch] = known
                _forget_oldest(self._groups)
        return known

    async def _members(self, epoch: int, url: str, *, required: bool) -> tuple[str, ...]:
        """The hosts of the epoch's group. Raises SourceError when they are required and not to be had."""
        try:
            members = (await self._group(epoch, url)).members
            if members:
                return members
        except SourceError:
            pass
        if not required:
            return ()
        body = await self._chain.get(url, f"/v1/epochs/{epoch}/participants", background=True)
        return tuple(payloads.active_set(body).members)


def _is_no_host(item: Any) -> bool:
    """Whether a row names something that is no wallet: not for us, and no gap either."""
    name = item.get("participant_id") if isinstance(item, dict) else None
    return isinstance(name, str) and wallet(name) is None


def _forget_oldest(memory: dict[int, Any]) -> None:
    while len(memory) > _REMEMBERED_EPOCHS:
        del memory[next(iter(memory))]
