"""Which dead letters a command is about: its options, and the filter that they make."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import typer

from services.cli.times import moment
from services.cli.topic_names import TOPICS_BY_NAME, topic_named
from services.kernel.errors import ConfigurationError, Reason
from services.kernel.letters import Letter

TopicOption = Annotated[
    str | None, typer.Option("--topic", help="Letters of this topic: readings, earnings, sources or its full name.")
]
ReasonOption = Annotated[str | None, typer.Option("--reason", help="Letters with this reason.")]
SinceOption = Annotated[
    str | None, typer.Option("--since", help="Rejected then or later: 2026-03-01T12:00:00Z, or how long ago: 2h, 3d.")
]
UntilOption = Annotated[str | None, typer.Option("--until", help="Rejected before then; written like --since.")]
PartitionOption = Annotated[
    int | None, typer.Option("--partition", min=0, help="The topic's partition (needs --topic).")
]
OffsetOption = Annotated[int | None, typer.Option("--offset", min=0, help="The record's offset (needs --partition).")]


@dataclass(frozen=True)
class Wanted:
    """Which letters a command is about."""

    topics: Sequence[str]
    reason: Reason | None
    since: datetime | None
    until: datetime | None
    partition: int | None
    offset: int | None

    @property
    def everything(self) -> bool:
        """Whether nothing narrows it down."""
        return len(self.topics) > 1 and (self.reason, self.since, self.until) == (None, None, None)

    def includes(self, letter: Letter) -> bool:
        """Whether the letter, of one of the topics, is meant."""
        rejected = datetime.fromtimestamp(letter.rejected_ms / 1000, UTC)
        return (
            self.reason in (None, letter.reason)
            and (self.since is None or rejected >= self.since)
            and (self.until is None or rejected < self.until)
            and self.partition in (None, letter.identity.partition)
            and self.offset in (None, letter.identity.offset)
        )


def wanted_by(
    *,
    topic: str | None,
    reason: str | None,
    since: str | None,
    until: str | None,
    partition: int | None,
    offset: int | None,
) -> Wanted:
    """The filter that the options make. Raises ConfigurationError."""
    if reason not in (None, *Reason):
        raise ConfigurationError(f"There is no reason {reason!r}: use one of {', '.join(Reason)}.")
    if partition is not None and topic is None:
        raise ConfigurationError("--partition needs --topic, since every topic has a partition of that number.")
    if offset is not None and partition is None:
        raise ConfigurationError("--offset needs --topic and --partition: an offset belongs to one partition.")
    now = datetime.now(UTC)
    return Wanted(
        tuple(TOPICS_BY_NAME.values()) if topic is None else (letters_topic(topic),),
        None if reason is None else Reason(reason),
        None if since is None else moment(since, now),
        None if until is None else moment(until, now),
        partition,
        offset,
    )


def letters_topic(name: str) -> str:
    """The topic with this name, short or full, whose letters are meant. Raises ConfigurationError."""
    return topic_named(name, f"No dead letters come from a topic {name!r}")
