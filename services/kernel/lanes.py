"""Applying a large batch over several connections at once, each with the events of its own nodes."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar

from services.kernel.halving import Applied

T = TypeVar("T")

LANES: Final = 3
LEAST_ROWS: Final = 1000
"""Of a lane: fewer are not worth another transaction."""


async def apply_in_lanes(
    events: Sequence[T],
    apply: Callable[[Sequence[T]], Coroutine[Any, Any, Applied]],
    *,
    node_of: Callable[[T], str],
    rows: int,
) -> Applied:
    """Apply the events in transactions side by side, all events of a node in the same one.

    `node_of` says which node an event is of, `rows` about how many rows they are when reduced. While PostgreSQL works
    for one lane, this process prepares the next. Returns when every lane has committed; raises when one failed, once
    the others have ended. What these wrote is written again with the batch, and changes nothing.
    """
    lanes = min(LANES, rows // LEAST_ROWS)
    if lanes < 2:
        return await apply(events)
    split: list[list[T]] = [[] for _ in range(lanes)]
    for event in events:
        split[hash(node_of(event)) % lanes].append(event)
    tasks = [asyncio.create_task(apply(lane)) for lane in split if lane]
    try:
        await asyncio.wait(tasks)
    except asyncio.CancelledError:  # a time limit, or a stop: each lane rolls back
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        raise
    # All are looked at, so that none is said to have failed unseen.
    failures = [error for task in tasks if (error := task.exception()) is not None]
    if failures:
        raise failures[0]
    return Applied(*map(sum, zip(*(task.result() for task in tasks), strict=True)))
