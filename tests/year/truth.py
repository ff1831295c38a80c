"""What the tables must hold, computed from what the simulated network says it paid, in arithmetic of its own."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from math import floor
from typing import Any, NamedTuple

import httpx

_EPOCHS_AT_ONCE = 20


class Paid(NamedTuple):
    """Work and reward of a host in an epoch, in ngonka."""

    work: int
    reward: int


class Truth(NamedTuple):
    """What was paid, by address and epoch, and when each epoch settled."""

    paid: Mapping[tuple[str, int], Paid]
    settled_at: Mapping[int, datetime]

    def history(self, dates: Mapping[int, date]) -> dict[tuple[str, date], Decimal]:
        """GNK by address and date, where the epochs belong to these dates: added up exactly, rounded once."""
        sums: dict[tuple[str, date], Fraction] = {}
        for (address, epoch), paid in self.paid.items():
            if epoch in dates:
                key = address, dates[epoch]
                sums[key] = sums.get(key, Fraction(0)) + Fraction(paid.work + paid.reward, 10**9)
        return {key: rounded(amount) for key, amount in sums.items()}

    def totals(self) -> dict[str, Decimal]:
        """GNK by address, all epochs together, rounded once."""
        sums: dict[str, Fraction] = {}
        for (address, _), paid in self.paid.items():
            sums[address] = sums.get(address, Fraction(0)) + Fraction(paid.work + paid.reward, 10**9)
        return {address: rounded(amount) for address, amount in sums.items()}


def rounded(gnk: Fraction) -> Decimal:
    """To eight places; a half goes away from zero."""
    units = floor(abs(gnk) * 10**8 + Fraction(1, 2))
    return Decimal(units if gnk >= 0 else -units).scaleb(-8)


def dates_of(settled_at: Mapping[int, datetime]) -> dict[int, date]:
    """The UTC date of each epoch's settlement."""
    return {epoch: moment.astimezone(UTC).date() for epoch, moment in settled_at.items()}


async def truth(simulator_url: str, epochs: range) -> Truth:
    """Ask the simulator's control API."""
    paid: dict[tuple[str, int], Paid] = {}
    settled_at: dict[int, datetime] = {}
    async with httpx.AsyncClient(base_url=simulator_url, timeout=60) as client:
        for first in epochs[::_EPOCHS_AT_ONCE]:
            last = min(first + _EPOCHS_AT_ONCE, epochs.stop) - 1
            reply = await client.get("/_simulator/payments", params={"from_epoch": first, "to_epoch": last})
            for row in reply.raise_for_status().json():
                paid[row["address"], row["epoch"]] = Paid(int(row["work_ngonka"]), int(row["reward_ngonka"]))
                settled_at[row["epoch"]] = datetime.fromisoformat(row["settled_at"])
    return Truth(paid, settled_at)


def differences(held: Mapping[Any, object], expected: Mapping[Any, object], what: str) -> list[str]:
    """What is missing, too much or different, a few examples of each said; empty when nothing is."""
    wrong = [key for key in held.keys() | expected.keys() if held.get(key, ...) != expected.get(key, ...)]
    shown = [f"{what} {key}: {held.get(key, 'missing')}, not {expected.get(key, 'there')}" for key in wrong[:5]]
    return [f"{len(wrong)} of {what} differ", *shown] if wrong else []
