"""Uptime as bits: a UTC day is 288 slots of five minutes, bit 0 the first, leftmost as in PostgreSQL's get_bit."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

SLOTS_PER_DAY = 288
_SLOT_MINUTES = 5


def slot_of(moment: datetime) -> tuple[date, int]:
    """The UTC date and the slot (0 to 287) that hold the moment."""
    moment = moment.astimezone(UTC)
    return moment.date(), (moment.hour * 60 + moment.minute) // _SLOT_MINUTES


def slot_bounds(moment: datetime) -> tuple[datetime, datetime]:
    """When the slot that holds the moment begins and ends, in UTC."""
    moment = moment.astimezone(UTC)
    begin = moment.replace(minute=moment.minute - moment.minute % _SLOT_MINUTES, second=0, microsecond=0)
    return begin, begin + timedelta(minutes=_SLOT_MINUTES)


def slot_text(bits: int) -> str:
    """The day's bits as PostgreSQL reads a bit string in hexadecimal."""
    return f"x{bits:0{SLOTS_PER_DAY // 4}x}"


def slot_bit(slot: int) -> int:
    """The bit of one slot."""
    return 1 << (SLOTS_PER_DAY - 1 - slot)


@dataclass(frozen=True, slots=True)
class Slots:
    """The slots of one day in which a node was seen, and seen healthy."""

    healthy: int = 0
    seen: int = 0

    def __or__(self, other: "Slots") -> "Slots":
        return Slots(self.healthy | other.healthy, self.seen | other.seen)
