"""What a source says that all hosts together were rewarded in an epoch, against the ledger. Pure functions.

gonka-tracker adds up `rewarded_coins` of the epoch's active set and cuts the sum to whole GNK (its service.py,
_calculate_and_cache_total_rewards); a fork may add up the whole GNK that it shows for each host. Either way cutting
only takes away, and less than one GNK for each rewarded host. So a right total is never above the ledger's sum, and the
sum is less than one GNK per rewarded host above it. A host that is missing from the ledger shows as soon as its reward
is more than what was cut off.

Reward coins are compared: work coins are no part of such totals. Amounts are ngonka.
"""

from collections import defaultdict
from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from services.kernel.money import NGONKA_PER_GNK


class Finding(StrEnum):
    """Why a total and the ledger's sum are not the same. The value is said to people."""

    MISSING = "the ledger lacks rewards"
    """Nothing else explains it: hosts are missing from the ledger, or the source is wrong and nobody says so."""

    CONTRADICTED = "too large; another source's total fits"
    RESTATED = "too large; true before amounts were restated"
    """A tracker never lowers a total of its own (6block/gonkascan, 15e6e8e)."""

    LOW = "too small"
    """The source's own gap: a host that it cannot read is left out of its total."""


class Compared(NamedTuple):
    """A source's total of an epoch beside what the ledger has of it.

    A row of the ledger that does not tell work from reward may be all reward or none: `most` counts it, `least` does
    not. `once` is the sum if each host still had the largest reward that its source ever stated.
    """

    epoch: int
    source: str
    total: int
    hosts: int  # with a reward
    least: int
    most: int
    once: int

    @property
    def above(self) -> bool:
        """Whether the source says more than the ledger has. What it says beyond whole GNK may be rounded."""
        return _whole_gnk(self.total) > self.most

    @property
    def below(self) -> bool:
        """Whether the source says less, by more than what is cut off."""
        return self.least >= self.total + max(self.hosts, 1) * NGONKA_PER_GNK


class TotalDifference(NamedTuple):
    """A total that is not the ledger's sum. `difference` is what the ledger has more, in ngonka."""

    epoch: int
    source: str
    total: int
    ledger: int
    difference: int
    hosts: int
    finding: Finding


def differing_totals(compared: Iterable[Compared]) -> list[TotalDifference]:
    """Those that differ by more than cutting explains, with the reason that can be told, in the given order."""
    rows = list(compared)
    fitting: defaultdict[int, set[str]] = defaultdict(set)
    for row in rows:
        if not row.above and not row.below:
            fitting[row.epoch].add(row.source)
    return [
        TotalDifference(
            row.epoch,
            row.source,
            row.total,
            row.most,
            row.most - row.total,
            row.hosts,
            _finding(row, contradicted=bool(fitting[row.epoch])),
        )
        for row in rows
        if row.above or row.below
    ]


def _finding(row: Compared, *, contradicted: bool) -> Finding:
    if row.below:
        return Finding.LOW
    if contradicted:
        return Finding.CONTRADICTED
    return Finding.RESTATED if _whole_gnk(row.total) <= row.once else Finding.MISSING


def _whole_gnk(amount: int) -> int:
    return amount // NGONKA_PER_GNK * NGONKA_PER_GNK
