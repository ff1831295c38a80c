"""What an epoch is: its members, their weights and work, and what the network pays for it."""

import math
from dataclasses import dataclass
from enum import StrEnum

from services.kernel.money import NGONKA_PER_GNK
from services.simulator.chance import between, draw, log_uniform, pick, whole
from services.simulator.hosts import Host

_REASONS = ("failed_confirmation_poc",) * 18 + ("consecutive_failures", "statistical_invalidations")


@dataclass(frozen=True)
class Payment:
    """What the network settled for one host and epoch, in ngonka."""

    address: str
    work_ngonka: int
    reward_ngonka: int

    @property
    def amount_ngonka(self) -> int:
        """Work and reward together: the host's income of that epoch."""
        return self.work_ngonka + self.reward_ngonka


@dataclass(frozen=True)
class Work:
    """What a host has done in an epoch when it ends."""

    inferences: int
    missed: int
    validated: int
    invalidated: int


@dataclass(frozen=True)
class Member:
    """A host in an epoch's active set.

    `node_weights` are in the order of its ML nodes. `excluded` is the reason if it is not paid, and `excluded_part` how
    much of the epoch has passed when that shows.
    """

    host: Host
    node_weights: tuple[int, ...]
    confirmation_weight: int
    work: Work
    excluded: str | None
    excluded_part: float

    @property
    def weight(self) -> int:
        """The host's voting weight in the epoch."""
        return sum(self.node_weights)


class Publication(StrEnum):
    """What the chain shows of an epoch's payments."""

    OPEN = "open"
    ZEROS = "zeros"
    FIRST = "first"
    FINAL = "final"


@dataclass(frozen=True)
class EpochFacts:
    """Everything about an epoch that does not change with time.

    `payments` is the truth; `first_payments` is what the summaries say until they are corrected (the same tuple in most
    epochs). Both are in the order of the hosts and have a few rows of hosts that are no members.
    """

    epoch: int
    members: dict[str, Member]
    payments: tuple[Payment, ...]
    first_payments: tuple[Payment, ...]

    @property
    def total_weight(self) -> int:
        """The sum of the members' weights."""
        return sum(member.weight for member in self.members.values())

    @property
    def restated(self) -> bool:
        """Whether the chain corrects this epoch's amounts once."""
        return self.payments is not self.first_payments


def emission_ngonka(epoch: int) -> int:
    """The fixed emission of an epoch (chain: bitcoin_reward_params, 323,000 GNK decaying by 0.0475 % an epoch)."""
    return int(323_000 * NGONKA_PER_GNK * math.exp(-0.000475 * (epoch - 1)))


def make_epoch(seed: int, epoch: int, hosts: tuple[Host, ...], restated_share: float) -> EpochFacts:
    """The facts of an epoch."""
    chance = draw(seed, "unpaid", epoch)
    unpaid_share = between(0.03, 0.12, seed, "few unpaid", epoch)
    if chance < 0.2:
        unpaid_share = 0.67 if chance < 0.02 else 0.33
    present = [host for host in hosts if _present(seed, epoch, host)]
    members = {host.address: _member(seed, epoch, host, unpaid_share) for host in present}
    payments = _payments(seed, epoch, hosts, members)
    first = payments
    if draw(seed, "restated", epoch) < restated_share:
        first = tuple(_before_correction(seed, epoch, row) for row in payments)
        first = payments if first == payments else first
    return EpochFacts(epoch, members, payments, first)


def _present(seed: int, epoch: int, host: Host) -> bool:
    """Whether a host is in an epoch's active set: it leaves and returns for a few epochs at a time."""
    if not host.may_work or epoch < host.joins:
        return False
    stretch = (epoch + host.index) // host.stretch_epochs
    return draw(seed, "present", host.index, stretch) < host.presence


def _member(seed: int, epoch: int, host: Host, unpaid_share: float) -> Member:
    key = (seed, "member", epoch, host.index)
    factor = 0.0 if draw(*key, "weightless") < 0.008 else between(0.9, 1.08, *key, "factor")
    weights = tuple(int(node.power * factor) for node in host.ml_nodes)
    inferences = int(log_uniform(1, 6000, *key, "inferences"))
    invalidated = int(inferences * between(0, 0.004, *key, "invalidated"))
    validated = max(0, int(inferences * between(0.8, 1.0, *key, "validated")) - invalidated)
    confirmed = draw(*key, "confirmation")
    return Member(
        host=host,
        node_weights=weights,
        confirmation_weight=0 if confirmed < 0.3 else int(sum(weights) * between(0.85, 1.0, *key, "confirmed")),
        work=Work(inferences, whole(0, 1 + inferences // 40, *key, "missed"), validated, invalidated),
        excluded=pick(_REASONS, *key, "reason") if draw(*key, "unpaid") < unpaid_share else None,
        excluded_part=between(0.2, 0.95, *key, "when"),
    )


def _payments(seed: int, epoch: int, hosts: tuple[Host, ...], members: dict[str, Member]) -> tuple[Payment, ...]:
    """The emission split by weight. What excluded hosts would have got is not paid out, so the sum stays below it."""
    total = sum(member.weight for member in members.values())
    emission = emission_ngonka(epoch)
    rows = []
    for host in hosts:
        key = (seed, "payment", epoch, host.index)
        work = int(log_uniform(20, 30_000_000, *key, "work"))
        member = members.get(host.address)
        if member is None:
            # A few rows are for addresses that are in no group of the epoch: most of them empty.
            if host.joins <= epoch and draw(*key, "stray") < 0.015:
                rows.append(Payment(host.address, work if draw(*key, "stray work") < 0.3 else 0, 0))
        elif member.excluded or total == 0:
            rows.append(Payment(host.address, 0, 0))
        elif draw(*key, "work only") < 0.02:
            rows.append(Payment(host.address, work, 0))
        else:
            rows.append(Payment(host.address, work if member.weight else 0, emission * member.weight // total))
    return tuple(rows)


def _before_correction(seed: int, epoch: int, truth: Payment) -> Payment:
    """The wrong amount that is shown first: for one host in eight it is missing, too low or a little too high."""
    chance = draw(seed, "wrong", epoch, truth.address)
    if truth.reward_ngonka == 0 or chance > 0.125:
        return truth
    factor_ppm = 0 if chance < 0.03 else whole(900_000, 1_020_000, seed, "how wrong", epoch, truth.address)
    return Payment(truth.address, truth.work_ngonka, truth.reward_ngonka * factor_ppm // 1_000_000)
