"""Finding the records that the database refuses, by halving the batch they are in."""

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, TypeVar

from services.kernel.transient import Fault, classify

T = TypeVar("T")


class Applied(NamedTuple):
    """What a handler did with a batch: events that changed rows, and events that newer ones (or repeats) superseded."""

    changed: int
    superseded: int


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
    return Applied(first.changed + second.changed, first.superseded + second.superseded), refused + refused_too
