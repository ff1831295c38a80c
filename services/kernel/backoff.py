"""How long to wait before trying again."""

import random
from collections.abc import Iterator

from services.kernel.settings import ConsumerSettings


def pauses(settings: ConsumerSettings) -> Iterator[float]:
    """The pauses between tries, in seconds, for ever: doubled each time up to the cap, less up to half by chance.

    By chance, so that workers that failed at the same moment do not come back at the same moment.
    """
    pause, cap = settings.retry_first.total_seconds(), settings.retry_cap.total_seconds()
    while True:
        yield pause * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not a secret
        pause = min(2 * pause, cap)
