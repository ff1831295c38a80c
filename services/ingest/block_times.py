"""When blocks were made: a small table of known (height, time), and estimates between them."""

from bisect import bisect_left
from datetime import datetime, timedelta

_CAPACITY = 2000
_LOCAL_BLOCKS = 500
"""A rate measured over fewer blocks is mostly noise; one over many thousands misses how block times drift."""


class BlockTimes:
    """Known block times. The mean block time changed over months (6.02 s … 5.32 s), so estimates stay local."""

    def __init__(self) -> None:
        self._points: list[tuple[int, datetime]] = []

    def add(self, height: int, time: datetime) -> None:
        """Remember a block's own time. The first one told for a height stays."""
        at = self._place(height)
        if self.exact(height) is None:
            self._points.insert(at, (height, time))
        if len(self._points) > _CAPACITY:
            # Every second one of the older half; its ends stay, so that nothing has to be extrapolated for it.
            del self._points[1 : _CAPACITY // 2 : 2]

    def exact(self, height: int) -> datetime | None:
        """The block's own time, where it is known."""
        at = self._place(height)
        return self._points[at][1] if at < len(self._points) and self._points[at][0] == height else None

    def estimate(self, height: int) -> datetime | None:
        """The time on the line through the known heights around it, or through the two nearest on its one side.

        None while fewer than two heights are known.
        """
        if len(self._points) < 2:
            return None
        at = self._place(height)
        if 0 < at < len(self._points):
            (low, early), (high, late) = self._points[at - 1], self._points[at]
        else:
            (low, early), (high, late) = self._local_line(first=at == 0)
        share = (late - early) / timedelta(microseconds=1) / (high - low)
        return early + timedelta(microseconds=round((height - low) * share))

    def _local_line(self, *, first: bool) -> tuple[tuple[int, datetime], tuple[int, datetime]]:
        """The outermost point and its nearest neighbour that is not too near for a rate."""
        ordered = self._points if first else self._points[::-1]
        nearest = ordered[0]
        far = next((point for point in ordered[1:] if abs(point[0] - nearest[0]) >= _LOCAL_BLOCKS), ordered[-1])
        return min(nearest, far), max(nearest, far)

    def _place(self, height: int) -> int:
        return bisect_left(self._points, height, key=lambda point: point[0])
