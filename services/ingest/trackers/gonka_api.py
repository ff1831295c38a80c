"""The network itself: the APIs that every Gonka node serves. One poll is answered by one node, at one height."""

from collections.abc import Mapping
from dataclasses import replace

from services.ingest.clock import Clock
from services.ingest.http import Fetcher
from services.ingest.sources import Source
from services.ingest.trackers import chain_payloads as payloads
from services.ingest.trackers.base import Poll, Settlement, every_failure
from services.ingest.trackers.chain_client import INFERENCE, UNKNOWN_ZERO_BLOCKS, Chain, Listed
from services.ingest.trackers.chain_payloads import ActiveSet, ChainParticipant, LatestEpoch, Standing
from services.ingest.trackers.estimates import Estimates
from services.ingest.trackers.host_facts import HostFacts
from services.ingest.trackers.settlement import Settlements
from services.ingest.trackers.status import node_status
from services.ingest.trackers.wire import each
from services.kernel.errors import SourceError
from services.kernel.events import NodeReading

_RACE_BLOCKS = 20
"""The lists are read some blocks after the height they are filed under: a settlement may lie between."""


def counts_known(active: ActiveSet, latest: LatestEpoch | None, height: int, counts: list[int]) -> bool:
    """Whether inference counts are those of the active set's epoch.

    They are reset when the epoch before the latest settles (chain: accountsettle.go SettleAccounts). Between that and
    the new set taking over they belong to no epoch that could be named; soon after it a 0 for all means unknown.
    """
    boundary = latest.validation_end if latest else None
    if latest and boundary and height >= boundary and active.epoch is not None and active.epoch < latest.index:
        return False
    if any(counts):
        return True
    return boundary is not None and not boundary - _RACE_BLOCKS <= height < boundary + UNKNOWN_ZERO_BLOCKS


def readings_of(
    source: str,
    standing: Standing,
    *,
    active: ActiveSet,
    latest: LatestEpoch | None,
    chain_list: Listed | None,
    jailed: frozenset[str],
    gpu_types: Mapping[str, str],
) -> tuple[list[NodeReading], list[str]]:
    """The readings of one cycle, and why rows were left out.

    `offline` is given only to hosts of the complete list of participants that a complete active set does not have.
    Hosts in neither list get no reading. The weight is the one in the epoch's active set.
    """
    listed, skipped = each(chain_list.items if chain_list else (), ChainParticipant.model_validate)
    known = counts_known(active, latest, standing.height, [row.jobs for row in listed if row.jobs is not None])
    proven = chain_list is not None and chain_list.finished and active.complete
    participants = {row.identifier: row for row in reversed(listed) if row.identifier is not None}
    skipped += ["no wallet address" for row in listed if row.identifier is None]

    def reading(address: str) -> NodeReading:
        row, member = participants.get(address), active.members.get(address)
        keys = {key for key in (row and row.validator_key, member and member.validator_key) if key}
        return NodeReading(
            identifier=address,
            identifier_type="wallet",
            source=source,
            observed_at=standing.time,
            status=node_status(
                jailed=not jailed.isdisjoint(keys),
                offline=member is None,
                participant_statuses=(row.status,) if row else (),
                excluded=address in active.excluded,
            ),
            jobs_day=row.jobs if row and known else None,
            active_model=member.models[0] if member and member.models else None,
            voting_weight=member.weight if member else None,
            epoch=active.epoch,
            height=standing.height,
            gpu_type=gpu_types.get(address),
        )

    absent = [address for address in participants if address not in active.members] if proven else []
    readings, refused = each([*active.members, *absent], reading)
    return readings, skipped + refused


class GonkaApi:
    """The adapter. A poll is four requests and some for single hosts, all to one node.

    When one of the four fails, the next node does the whole cycle.
    """

    def __init__(self, source: Source, fetcher: Fetcher, clock: Clock) -> None:
        self._chain = Chain(source, fetcher, clock)
        per_poll = source.requests_per_minute * source.poll_interval.total_seconds() / 60
        self._facts = HostFacts(self._chain, clock, hosts_per_poll=max(1, min(int(per_poll / 2), 20)))
        self._estimates = Estimates(self._chain, hosts_per_poll=min(int(per_poll / 4), 10))
        self._settlements = Settlements(self._chain)
        self._largest: tuple[int | None, int] = (None, 0)

    async def poll(self) -> Poll:
        """One cycle. The first complete one is taken, else the one that says most. Raises SourceError."""
        errors: list[SourceError] = []
        best: Poll | None = None
        for url in self._chain.urls.in_order():
            try:
                poll = await self._cycle(url)
            except SourceError as error:
                errors.append(error)
                continue
            if best is None or (poll.complete, len(poll.readings)) > (best.complete, len(best.readings)):
                best = poll
                self._chain.urls.answered(url)
            if best.complete:
                break
        if best is None:
            raise every_failure(errors)
        return best

    async def settled(self, epoch: int) -> Settlement | None:
        """What the epoch paid; None when that is not known yet. Raises SourceError."""
        return await self._settlements.settled(epoch)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._chain.aclose()

    async def _cycle(self, url: str) -> Poll:
        standing = await self._chain.standing(url)
        latest = await self._latest(url)
        active = self._trusted(payloads.active_set(await self._chain.get(url, "/v1/epochs/current/participants")))
        if active.block is not None:
            self._chain.block_times.add(*active.block)
        participants = await self._participants(url)
        members = active.members.keys() - active.excluded
        readings, skipped = readings_of(
            self._chain.source,
            standing,
            active=active,
            latest=latest,
            chain_list=participants,
            jailed=await self._facts.jailed(url),
            gpu_types=await self._facts.gpu_types(url, active.members),
        )
        return Poll(
            readings=tuple(readings),
            data_at=standing.time,
            epoch=active.epoch,
            height=standing.height,
            complete=active.complete and participants is not None and participants.finished,
            skipped=(*active.skipped, *skipped),
            newest_settled=latest.newest_settled(standing.height) if latest else None,
            estimates=await self._estimates.some(url, active.epoch, members, standing),
        )

    async def _latest(self, url: str) -> LatestEpoch | None:
        try:
            return payloads.latest_epoch(await self._chain.get(url, "/v1/epochs/latest"))
        except SourceError:
            return None  # only epochs need it

    async def _participants(self, url: str) -> Listed | None:
        try:
            listed = await self._chain.listed(url, f"{INFERENCE}/participant", "participant", 10_000)
        except SourceError:
            return None  # then the active set speaks alone
        return listed if listed.items else None

    def _trusted(self, active: ActiveSet) -> ActiveSet:
        """The set, not complete when it is smaller than an earlier one of its epoch: hosts only leave by exclusion."""
        size = len(active.members.keys() | active.excluded)
        epoch, largest = self._largest
        if epoch == active.epoch and size < largest:
            return replace(active, complete=False)
        self._largest = (active.epoch, size)
        return active
