"""What nodes are called and made of changes rarely: published when it is new, and now and then again."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final, TypeAlias

import msgspec

from services.kernel.events import NodeReading

REPEATED_AFTER: Final = timedelta(minutes=15)
"""Facts that are as they were are published again after this: another source may have said otherwise meanwhile."""

Facts: TypeAlias = tuple[object, ...]
_FIELDS: Final = ("display_name", "gpu_type", "region", "tokens_per_sec")


def _facts(reading: NodeReading) -> Facts:
    return (reading.display_name, reading.gpu_type, reading.region, reading.tokens_per_sec)


class PublishedFacts:
    """The facts of one source's nodes that Kafka has acknowledged.

    An absent fact means unknown, so that leaving out what was just said changes nothing; but each fact of a reading is
    one more row to merge, and with every poll they were half of the database's work.
    """

    def __init__(self) -> None:
        self._published: dict[str, tuple[Facts, datetime]] = {}

    def unsaid(self, readings: Iterable[NodeReading]) -> list[NodeReading]:
        """The readings, without facts that were published lately and have not changed."""
        return [self._without_known(reading) for reading in readings]

    def _without_known(self, reading: NodeReading) -> NodeReading:
        published = self._published.get(reading.identifier)
        if published is None or reading.status is None:  # a reading without a status is nothing but its facts
            return reading
        facts, since = published
        if facts != _facts(reading) or reading.observed_at - since >= REPEATED_AFTER:
            return reading
        return msgspec.structs.replace(reading, **dict.fromkeys(_FIELDS))

    def note(self, readings: Iterable[NodeReading]) -> None:
        """These readings were acknowledged: remember the facts of those that carry any."""
        for reading in readings:
            facts = _facts(reading)
            if any(fact is not None for fact in facts):
                self._published[reading.identifier] = (facts, reading.observed_at)
