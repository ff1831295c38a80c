"""Repeatable chance: every draw is a function of its key alone, so any part of the world can be computed on its own."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeVar

T = TypeVar("T")


def octets(size: int, *key: object) -> bytes:
    """`size` (at most 64) bytes that depend on nothing but the key."""
    return blake2b("/".join(map(str, key)).encode(), digest_size=size).digest()


def draw(*key: object) -> float:
    """A number in [0, 1), evenly distributed over keys."""
    return int.from_bytes(octets(6, *key), "big") / 2**48


def between(low: float, high: float, *key: object) -> float:
    """A number in [low, high)."""
    return low + (high - low) * draw(*key)


def whole(low: int, high: int, *key: object) -> int:
    """An integer from low to high, both possible."""
    return low + int((high - low + 1) * draw(*key))


def log_uniform(low: float, high: float, *key: object) -> float:
    """A number in [low, high) whose logarithm is evenly distributed: most are small, a few are large."""
    return float(low * (high / low) ** draw(*key))


def pick(choices: Sequence[T], *key: object) -> T:
    """One of the choices."""
    return choices[int(len(choices) * draw(*key))]
