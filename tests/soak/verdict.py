"""Whether what a worker uses grows: pure functions over samples.

After the warm-up the samples are cut into quarters by time. Memory is flat when the last quarter's mean is neither 5 %
nor 10 MiB above the second's (the first still fills caches and the allocator's arenas). Descriptors and threads are
flat when the last quarter's most are at most two above the second's most (a pool opens and closes connections).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, linear_regression

from tests.soak.watch import Sample

MEMORY_SHARE = 0.05
MEMORY_BYTES = 10 * 2**20
HANDLES = 2
MIB = 2**20


@dataclass(frozen=True)
class Check:
    """A question, its answer, and the figures behind it."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True)
class Course:
    """How a figure went from the end of the warm-up to the end of the soak."""

    start: float
    end: float
    slope_per_hour: float


def course(samples: Sequence[Sample], figure: Callable[[Sample], float]) -> Course:
    """The first and last value, and the slope of the line of least squares."""
    values = [figure(sample) for sample in samples]
    slope = linear_regression([sample.at for sample in samples], values).slope
    return Course(values[0], values[-1], slope * 3600)


def quarters(samples: Sequence[Sample]) -> list[list[Sample]]:
    """The samples in four parts of equal time. Raises ValueError when one is empty: there are too few."""
    begin, end = samples[0].at, samples[-1].at
    parts: list[list[Sample]] = [[], [], [], []]
    for sample in samples:
        parts[min(3, int(4 * (sample.at - begin) / (end - begin)))].append(sample)
    if not all(parts):
        raise ValueError(f"{len(samples)} samples are too few to cut them into quarters")
    return parts


def growth(name: str, samples: Sequence[Sample]) -> list[Check]:
    """Whether the worker's memory, descriptors and threads were flat; the samples are those after the warm-up."""
    _, second, _, last = quarters(samples)
    before, after = (fmean(sample.rss for sample in part) for part in (second, last))
    limit = min(before * (1 + MEMORY_SHARE), before + MEMORY_BYTES)
    checks = [
        Check(
            f"{name}: memory is flat",
            after <= limit,
            f"mean RSS {before / MIB:.1f} MiB in the second quarter, {after / MIB:.1f} in the last"
            f" (limit {limit / MIB:.1f})",
        )
    ]
    figures: tuple[tuple[str, Callable[[Sample], int]], ...] = (
        ("descriptors", lambda sample: sample.descriptors),
        ("threads", lambda sample: sample.threads),
    )
    for what, figure in figures:
        most, later = (max(map(figure, part)) for part in (second, last))
        checks.append(
            Check(
                f"{name}: {what} are flat",
                later <= most + HANDLES,
                f"at most {most} in the second quarter, {later} in the last",
            )
        )
    return checks
