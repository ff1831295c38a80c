"""The topics that consumers read, by the names that commands take."""

from typing import Final

from services.kernel.errors import ConfigurationError
from services.kernel.events import EARNINGS_TOPIC, READINGS_TOPIC, SOURCE_STATUS_TOPIC

TOPICS_BY_NAME: Final = {"readings": READINGS_TOPIC, "earnings": EARNINGS_TOPIC, "sources": SOURCE_STATUS_TOPIC}


def topic_named(name: str, refusal: str) -> str:
    """The topic with this name, short or full. Raises ConfigurationError: `refusal`, and which there are."""
    topic = TOPICS_BY_NAME.get(name, name)
    if topic not in TOPICS_BY_NAME.values():
        names = f"{', '.join(TOPICS_BY_NAME)} or {', '.join(TOPICS_BY_NAME.values())}"
        raise ConfigurationError(f"{refusal}: use {names}.")
    return topic
