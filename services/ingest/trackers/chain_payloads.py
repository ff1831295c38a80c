"""The replies of a Gonka node (`/v1`, `/chain-api`, `/chain-rpc`) as values. An unusable one is a SourceError."""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from services.ingest.trackers.wire import (
    Moment,
    Number,
    Participant,
    Payload,
    Text,
    Texts,
    Whole,
    each,
    read,
    rows,
    wallet,
)
from services.kernel.errors import InvalidRecordError, Reason, SourceError

_YEAR_2000 = datetime(2000, 1, 1, tzinfo=UTC)

Block = tuple[int, datetime]
"""A height and the time of its block."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a node stands: what it answers is the state at this height."""

    height: int
    time: datetime
    catching_up: bool
    earliest: Block | None
    """The oldest block that it still has, where it says so."""


class _SyncInfo(Payload):
    latest_block_height: Whole = None
    latest_block_time: Moment = None
    catching_up: bool | None = None
    earliest_block_height: Whole = None
    earliest_block_time: Moment = None


class _StatusResult(Payload):
    sync_info: _SyncInfo


class _Status(Payload):
    result: _StatusResult


def standing(body: object) -> Standing:
    """From /chain-rpc/status."""
    info = read(_Status, body, "status").result.sync_info
    if info.latest_block_height is None or info.latest_block_time is None or info.latest_block_height < 1:
        raise SourceError("status: no height or time in the reply")
    earliest: Block | None = None
    if info.earliest_block_height and info.earliest_block_time and info.earliest_block_time > _YEAR_2000:
        earliest = (info.earliest_block_height, info.earliest_block_time)
    return Standing(info.latest_block_height, info.latest_block_time, bool(info.catching_up), earliest)


class _Header(Payload):
    height: Whole = None
    time: Moment = None


class _Block(Payload):
    header: _Header


class _BlockResult(Payload):
    block: _Block


class _BlockReply(Payload):
    result: _BlockResult


def block(body: object) -> Block:
    """From /chain-rpc/block?height=."""
    header = read(_BlockReply, body, "block").result.block.header
    if header.height is None or header.time is None:
        raise SourceError("block: no height or time in the reply")
    return header.height, header.time


@dataclass(frozen=True, slots=True)
class LatestEpoch:
    """The chain's newest epoch. It begins at PoC start, long before the epoch before it has settled."""

    index: int
    validation_end: int | None
    """The height at which the epoch before this one settles."""
    new_validators_delay: int | None

    def newest_settled(self, height: int) -> int | None:
        """The newest epoch that has settled at this height."""
        settled = self.validation_end is not None and height >= self.validation_end
        newest = self.index - (1 if settled else 2)
        return newest if newest >= 0 else None


class _EpochIndex(Payload):
    index: Whole = None


class _Stages(Payload):
    epoch_index: Whole = None
    poc_validation_end: Whole = None
    set_new_validators: Whole = None


class _Params(Payload):
    set_new_validators_delay: Whole = None


class _Latest(Payload):
    latest_epoch: _EpochIndex
    epoch_stages: _Stages | None = None
    epoch_params: dict[str, Any] | None = None


def latest_epoch(body: object) -> LatestEpoch:
    """From /v1/epochs/latest; `epoch_params` may hold itself once more (drift of v0.2.15)."""
    reply = read(_Latest, body, "epochs/latest")
    index = reply.latest_epoch.index
    if index is None:
        raise SourceError("epochs/latest: no index in the reply")
    params = reply.epoch_params or {}
    if isinstance(params.get("epoch_params"), dict):
        params = params["epoch_params"]
    delay = read(_Params, params, "epochs/latest").set_new_validators_delay
    end: int | None = None
    stages = reply.epoch_stages
    if stages is not None and stages.epoch_index in (None, index):
        end = stages.poc_validation_end
        if not end and stages.set_new_validators and delay is not None:
            end = stages.set_new_validators - delay
    return LatestEpoch(index, end or None, delay)


@dataclass(frozen=True, slots=True)
class Member:
    """A host of the epoch's active set."""

    address: str
    weight: Decimal | None
    models: tuple[str, ...]
    validator_key: str | None


@dataclass(frozen=True, slots=True)
class ActiveSet:
    """The hosts of the running epoch."""

    epoch: int | None
    members: dict[str, Member]
    excluded: frozenset[str]
    complete: bool
    """Whether a host that is not here is proven not to be in the set."""
    skipped: tuple[str, ...]
    block: Block | None
    """A block about when the epoch before it settled, which a pruned node still knows."""


class _Member(Payload):
    index: Text = None
    address: Text = None
    weight: Number = None
    models: Texts = ()
    validator_key: Text = None


class _Active(Payload):
    participants: Any = None
    epoch_id: Whole = None


class _ActiveReply(Payload):
    active_participants: _Active
    addresses: Any = None
    excluded_participants: Any = None
    block: Any = None


class _Excluded(Payload):
    address: Text = None


def active_set(body: object) -> ActiveSet:
    """From /v1/epochs/{current|n}/participants."""
    what = "participants"
    reply = read(_ActiveReply, body, what)
    listed = rows(reply.active_participants.participants, what)
    members: dict[str, Member] = {}

    def add(item: Any) -> None:
        row = _Member.model_validate(item)
        address = wallet(row.index, row.address)
        if address is None or address in members:
            raise InvalidRecordError(Reason.INVALID_FIELD, f"{address}: no wallet address, or listed twice")
        weight = row.weight if row.weight is not None and row.weight >= 0 else None
        members[address] = Member(address, weight, row.models, row.validator_key)

    _, skipped = each(listed, add)
    if not members:
        raise SourceError(f"{what}: no usable row among {len(listed)}")
    complete = not skipped and (not isinstance(reply.addresses, list) or len(reply.addresses) == len(listed))
    return ActiveSet(
        epoch=reply.active_participants.epoch_id,
        members=members,
        excluded=_excluded(reply.excluded_participants),
        complete=complete,
        skipped=tuple(skipped),
        block=_header(reply.block),
    )


def _excluded(value: Any) -> frozenset[str]:
    """Addresses, from {address, reason, …} (gonka: entities.go ExcludedParticipant) or plain ones."""
    items = value if isinstance(value, list) else []
    found, _ = each(items, lambda item: item if isinstance(item, str) else _Excluded.model_validate(item).address)
    return frozenset(filter(None, found))


def _header(value: Any) -> Block | None:
    try:
        header = read(_Block, value, "block").header
    except SourceError:
        return None  # left out, or cut to a string
    return (header.height, header.time) if header.height and header.time else None


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a Cosmos list."""

    items: list[Any]
    next_key: str | None
    total: int | None
    """How many items all pages have; None or 0 when the node did not count."""


class _Pagination(Payload):
    next_key: Text = None
    total: Whole = None


class _Paged(Payload):
    pagination: _Pagination | None = None


def page(body: object, key: str) -> Page:
    """From any list of /chain-api, whose items stand under `key`."""
    pagination = read(_Paged, body, key).pagination
    items = body.get(key) if isinstance(body, dict) else None
    if not isinstance(items, list):
        raise SourceError(f"{key}: no list in the reply")
    return Page(items, pagination.next_key if pagination else None, pagination.total if pagination else None)


class ChainParticipant(Participant):
    """One of all participants. Its `weight` is -1 for nearly everybody and never used."""

    validator_key: Text = None


class _PubKey(Payload):
    key: Text = None


class _Validator(Payload):
    jailed: bool | None = None
    consensus_pubkey: _PubKey | None = None


def jailed_keys(items: list[Any]) -> frozenset[str]:
    """The consensus keys of jailed validators, from /chain-api/cosmos/staking/v1beta1/validators."""
    validators, _ = each(items, _Validator.model_validate)
    keys = (item.consensus_pubkey.key for item in validators if item.jailed and item.consensus_pubkey)
    return frozenset(filter(None, keys))


@dataclass(frozen=True, slots=True)
class Group:
    """An epoch's group on the chain. Its `epoch_group_id` is not the epoch."""

    effective_height: int
    members: tuple[str, ...]


class _Weight(Payload):
    member_address: Text = None


class _GroupData(Payload):
    effective_block_height: Whole = None
    validation_weights: Any = None


class _GroupReply(Payload):
    epoch_group_data: _GroupData


def group(body: object) -> Group:
    """From /chain-api/…/epoch_group_data/{epoch}."""
    data = read(_GroupReply, body, "epoch_group_data").epoch_group_data
    if not data.effective_block_height or data.effective_block_height < 0:
        raise SourceError("epoch_group_data: no effective_block_height in the reply")
    weights, _ = each(data.validation_weights or (), _Weight.model_validate)
    members = dict.fromkeys(filter(None, (wallet(row.member_address) for row in weights)))
    return Group(data.effective_block_height, tuple(members))
