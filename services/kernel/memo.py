"""Remembering what a pure function said, of values that come again and again."""

from collections.abc import Callable, Hashable
from typing import TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_LONGEST_TEXT = 300


class Memo(dict[K, V]):
    """`memo[value]` is what the function says of the value; an error that it raises goes to the caller.

    A dictionary with `__missing__` costs a third of functools.lru_cache's look-up. What is remembered is bounded: when
    there are `limit` values all are forgotten, and long texts are never kept.
    """

    def __init__(self, function: Callable[[K], V], limit: int) -> None:
        super().__init__()
        self._function = function
        self._limit = limit

    def __missing__(self, value: K) -> V:
        """Ask the function."""
        said = self._function(value)
        if isinstance(value, str) and len(value) > _LONGEST_TEXT:
            return said
        if len(self) >= self._limit:
            self.clear()
        self[value] = said
        return said
