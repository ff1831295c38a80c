"""Heights and times of the chain: which block was when, and where an epoch starts and settles.

Epochs are 15391 blocks. Past ones took 25.7 h at first and ever less since, 22.7 h lately; the one that runs when the
simulator starts bridges the time since yesterday; the ones after it take `epoch_seconds` each, so heights then simply
advance faster.
"""

from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from services.simulator.chance import between

EPOCH_LENGTH = 15391
"""Blocks of an epoch (chain: epoch_params.epoch_length, the same in every recorded epoch)."""

SET_NEW_VALIDATORS_DELAY = 120
"""Blocks from the end of PoC validation until the new epoch is effective (chain: epoch_params)."""

FIRST_EPOCH = 250
"""The oldest epoch of the simulated past."""

EARLY_VALIDATION_OFFSET = 185
LATE_VALIDATION_OFFSET = 280
"""Blocks from PoC start to the end of PoC validation: it was 185 in December 2025 and 280 later."""

_FIRST_POC_START = 11355  # recorded: epoch 56 at 873251, 105 at 1627410, 250 at 3859105
_OLD_BLOCK_US = 6_020_000
_UNIX = datetime(1970, 1, 1, tzinfo=UTC)


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970."""
    return (moment - _UNIX) // timedelta(microseconds=1)


def moment_of(us: int) -> datetime:
    """The aware UTC time of microseconds since 1970."""
    return _UNIX + timedelta(microseconds=us)


def poc_start(epoch: int) -> int:
    """The height at which an epoch's proof of compute starts; `latest_epoch` becomes this epoch there."""
    return epoch * EPOCH_LENGTH + _FIRST_POC_START


@dataclass(frozen=True)
class Timeline:
    """A monotone, piecewise linear map between heights and microseconds, and the epochs' marks on it."""

    last_past_epoch: int
    offset_changed_at: int
    live_epoch_us: int
    heights: tuple[int, ...]
    times: tuple[int, ...]

    def validation_offset(self, epoch: int) -> int:
        """Blocks from an epoch's PoC start to the end of its PoC validation."""
        return EARLY_VALIDATION_OFFSET if epoch < self.offset_changed_at else LATE_VALIDATION_OFFSET

    def validation_end(self, epoch: int) -> int:
        """The height at which an epoch's members are fixed and the epoch before it settles."""
        return poc_start(epoch) + self.validation_offset(epoch)

    def effective_height(self, epoch: int) -> int:
        """The height from which an epoch's validators are in force."""
        return self.validation_end(epoch) + SET_NEW_VALIDATORS_DELAY

    def settlement_height(self, epoch: int) -> int:
        """The height at which an epoch settles (chain: the end of the next epoch's PoC validation)."""
        return self.validation_end(epoch + 1)

    def settled_at(self, epoch: int) -> datetime:
        """The block time of an epoch's settlement."""
        return self.block_time(self.settlement_height(epoch))

    def latest_epoch(self, height: int) -> int:
        """The epoch whose PoC started last."""
        return (height - _FIRST_POC_START) // EPOCH_LENGTH

    def settled_epoch(self, height: int) -> int:
        """The newest epoch that has settled."""
        latest = self.latest_epoch(height)
        return latest - 1 if height >= self.validation_end(latest) else latest - 2

    def effective_epoch(self, height: int) -> int:
        """The epoch whose validators are in force."""
        latest = self.latest_epoch(height)
        return latest if height >= self.effective_height(latest) else latest - 1

    def block_time(self, height: int) -> datetime:
        """When a block was made."""
        start, began, blocks, took = self._segment(bisect_right(self.heights, height) - 1)
        return moment_of(began + (height - start) * took // blocks)

    def height_at(self, moment: datetime) -> int:
        """The newest block at a moment: the highest one whose time is not after it."""
        us = microseconds(moment)
        start, began, blocks, took = self._segment(bisect_right(self.times, us) - 1)
        return start + ((us - began + 1) * blocks - 1) // took

    def _segment(self, index: int) -> tuple[int, int, int, int]:
        """A straight piece: its first height and time, and a number of blocks with the microseconds they take."""
        if index < 0:
            return self.heights[0], self.times[0], 1, _OLD_BLOCK_US
        start, began = self.heights[index], self.times[index]
        if index + 1 == len(self.heights):
            return start, began, EPOCH_LENGTH, self.live_epoch_us
        return start, began, self.heights[index + 1] - start, self.times[index + 1] - began


def make_timeline(seed: int, started_at: datetime, days: int, epoch_seconds: float) -> Timeline:
    """The chain's times for a simulator that starts at `started_at` with a past of `days` days.

    The last past epoch settled yesterday (UTC), the running one settles `epoch_seconds` after the start.
    """
    midnight = started_at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    late_yesterday = midnight - timedelta(minutes=between(5, 55, seed, "yesterday"))
    settlement = min(started_at - timedelta(hours=23), late_yesterday)
    settlements = [settlement]
    while settlement >= started_at - timedelta(days=days):
        age = (started_at - settlement) / timedelta(days=days)
        settlement -= timedelta(seconds=EPOCH_LENGTH * _past_block_seconds(seed, age, len(settlements)))
        settlements.append(settlement)
    settlements.reverse()  # the first one is that of the epoch before FIRST_EPOCH

    past = len(settlements) - 1
    last = FIRST_EPOCH + past - 1
    # A third of the past has the early offset, and so does the epoch before it, which is the first mark.
    offset_changed_at = FIRST_EPOCH + 1 + past // 3
    live_epoch_us = round(epoch_seconds * 1_000_000)
    draft = Timeline(last, offset_changed_at, live_epoch_us, (), ())
    heights = [draft.settlement_height(FIRST_EPOCH - 1 + i) for i in range(len(settlements))]
    times = [microseconds(moment) for moment in settlements]
    # From the next PoC start on, blocks come at the live rate.
    offset = draft.validation_offset(last + 2)
    heights.append(poc_start(last + 2))
    times.append(microseconds(started_at) + live_epoch_us - offset * live_epoch_us // EPOCH_LENGTH)
    return Timeline(last, offset_changed_at, live_epoch_us, tuple(heights), tuple(times))


def _past_block_seconds(seed: int, age: float, epochs_ago: int) -> float:
    """Seconds a block: 5.31 now, 6.01 at the beginning (age 1), a smooth change between, a little noise."""
    age = min(1.0, age)
    return 5.31 + 0.70 * age * age * (3 - 2 * age) + between(-0.01, 0.01, seed, "block", epochs_ago)
