"""Finding the records that the database refuses, by halving the batch they are in."""

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Self, TypeVar

from services.kernel.transient import Fault, classify

T = TypeVar("T")


class Applied(NamedTuple):
    """What became of a batch's events, each counted once.

    `changed`: it changed a row. `duplicate`: the same event again, as another of its batch or as a row holds it.
    `stale`: any other, an older or outranked one.
    """

    changed: int
    stale: int = 0
    duplicate: int = 0

    @classmethod
    def counted(cls, events: int, *, distinct: int, changed: int, held: int) -> Self:
        """Of so many events, `distinct` ones, `changed` of these changed a row and `held` stood in one already."""
        duplicate = events - distinct + held
        return cls(changed, events - changed - duplicate, duplicate)

    def plus(self, other: "Applied") -> "Applied":
        """What became of both."""
        return Applied(*map(sum, zip(self, other, strict=True)))


class Refused(NamedTuple):
    """The place of an event in its batch that the database refuses, and the database's words."""

    place: int
    error: str


async def apply_by_halves(
    events: Sequence[T], apply: Callable[[Sequence[T]], Awaitable[Applied]], *, begin: int = 0
) -> tuple[Applied, list[Refused]]:
    """Apply all events but those that the database refuses; returns these with their places, counted from `begin`.

    A batch that is refused, or that hits a time limit, is applied in halves: halves of the events, each reduced anew,
    since the reduction may have hidden a good event behind a bad one. Whatever else `apply` raises goes on up.
    """
    if not events:
        return Applied(0, 0), []
    try:
        return await apply(events), []
    except Exception as error:
        fault = classify(error)
        if fault not in (Fault.REFUSED, Fault.SLOW) or (fault is Fault.SLOW and len(events) == 1):
            raise
        if len(events) == 1:
            return Applied(0, 0), [Refused(begin, str(error))]
    middle = len(events) // 2
    first, refused = await apply_by_halves(events[:middle], apply, begin=begin)
    second, refused_too = await apply_by_halves(events[middle:], apply, begin=begin + middle)
    return first.plus(second), refused + refused_too
