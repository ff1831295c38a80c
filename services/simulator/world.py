"""The simulated network as a pure function of its settings and the time: no clock of its own, no input or output."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from services.kernel.errors import ConfigurationError
from services.simulator.health import Health, health
from services.simulator.hosts import Host, former_addresses, make_hosts
from services.simulator.payments import EpochFacts, Payment, Publication, Work, make_epoch
from services.simulator.timeline import FIRST_EPOCH, make_timeline

_LATE_ZERO_BLOCKS = 500
_NO_WORK = Work(0, 0, 0, 0)


@dataclass(frozen=True)
class WorldSettings:
    """What a world is made from; the same settings and start give the same world.

    `late_zero_seconds` is how long the summaries of an epoch answer zero for everybody after it has settled; None: 500
    blocks (2 s of a 60 s epoch), since 600 blocks after the settlement zeros are to be believed. `restated_share` is
    the part of the epochs whose amounts are corrected once. `started_at` None: the time of the start.
    `tracker_cadence_seconds` is how often the tracker computes its cached reply anew.
    """

    seed: int = 1
    hosts: int = 200
    days: int = 90
    epoch_seconds: float = 60.0
    late_zero_seconds: float | None = None
    restated_share: float = 0.15
    tracker_cadence_seconds: float = 5.0
    started_at: datetime | None = None

    def __post_init__(self) -> None:
        if not (1 <= self.hosts <= 100_000 and 2 <= self.days <= 3650):
            raise ConfigurationError("Give the simulator 1 to 100000 hosts and 2 to 3650 days.")
        if not (0.1 <= self.epoch_seconds <= 10_000_000 and self.tracker_cadence_seconds > 0):
            raise ConfigurationError(
                "Give the simulator an epoch of 0.1 seconds or more and a cadence above 0 seconds."
            )
        if not 0 <= self.restated_share <= 1 or (self.late_zero_seconds or 0) < 0:
            raise ConfigurationError("Give a restated share from 0 to 1 and late zeros of 0 seconds or more.")


@dataclass(frozen=True)
class Moment:
    """Where the chain stands at a time. The three epoch pointers disagree for a while around a settlement."""

    now: datetime
    height: int
    latest_epoch: int
    effective_epoch: int
    settled_epoch: int

    @property
    def running_epoch(self) -> int:
        """The epoch that the live counters count: they start at 0 when the one before it settles."""
        return self.settled_epoch + 1


@dataclass(frozen=True)
class Stats:
    """A host's counters of an epoch (`current_epoch_stats`)."""

    work: Work
    earned_ngonka: int


class World:
    """Hosts, epochs, payments and health. `payments` is the truth that everything else can be measured against."""

    def __init__(self, settings: WorldSettings, started_at: datetime) -> None:
        self.settings = settings
        self.started_at = settings.started_at or started_at
        self.timeline = make_timeline(settings.seed, self.started_at, settings.days, settings.epoch_seconds)
        self.hosts = make_hosts(settings.seed, settings.hosts, FIRST_EPOCH, self.timeline.last_past_epoch)
        self.by_address = {host.address: host for host in self.hosts}
        self.former_addresses = former_addresses(settings.seed, settings.hosts // 4)
        self.epoch = lru_cache(maxsize=256)(self._make_epoch)

    def _make_epoch(self, epoch: int) -> EpochFacts:
        return make_epoch(self.settings.seed, epoch, self.hosts, self.settings.restated_share)

    def at(self, now: datetime) -> Moment:
        """Where the chain stands at a time."""
        height = self.timeline.height_at(now)
        return Moment(
            now=now,
            height=height,
            latest_epoch=self.timeline.latest_epoch(height),
            effective_epoch=self.timeline.effective_epoch(height),
            settled_epoch=self.timeline.settled_epoch(height),
        )

    def listed(self, moment: Moment) -> list[Host]:
        """The hosts that have joined so far, in or out of the active set."""
        return [host for host in self.hosts if host.joins <= moment.running_epoch]

    def payments(self, epoch: int) -> tuple[Payment, ...]:
        """What the network pays for an epoch, after corrections: the truth. Empty before the first epoch."""
        return self.epoch(epoch).payments if epoch >= FIRST_EPOCH else ()

    def published_at(self, epoch: int) -> datetime:
        """When an epoch's amounts appear: some time after its settlement."""
        if self.settings.late_zero_seconds is None:
            return self.timeline.block_time(self.timeline.settlement_height(epoch) + _LATE_ZERO_BLOCKS)
        return self.timeline.settled_at(epoch) + timedelta(seconds=self.settings.late_zero_seconds)

    def restated_at(self, epoch: int) -> datetime | None:
        """When an epoch's amounts are corrected, before the next settlement; None for most epochs."""
        if not self.epoch(epoch).restated:
            return None
        published = self.published_at(epoch)
        left = self.timeline.settled_at(epoch + 1) - published
        share = 0.2 + 0.5 * (epoch * 7919 % 100) / 100
        return published + max(timedelta(0), left) * share

    def publication(self, epoch: int, now: datetime) -> Publication:
        """What the chain shows of an epoch's payments at a time."""
        if epoch < FIRST_EPOCH or now < self.timeline.settled_at(epoch):
            return Publication.OPEN
        if now < self.published_at(epoch):
            return Publication.ZEROS
        restated_at = self.restated_at(epoch)
        return Publication.FIRST if restated_at and now < restated_at else Publication.FINAL

    def published(self, epoch: int, publication: Publication) -> tuple[Payment, ...]:
        """The amounts that the chain shows in that state."""
        facts = self.epoch(epoch)
        match publication:
            case Publication.OPEN:
                return ()
            case Publication.ZEROS:
                return tuple(Payment(row.address, 0, 0) for row in facts.payments)
            case Publication.FIRST:
                return facts.first_payments
            case Publication.FINAL:
                return facts.payments

    def final_work(self, epoch: int, address: str) -> Work:
        """What a host had done when the epoch ended; nothing for one that was no member."""
        member = self.epoch(epoch).members.get(address)
        return member.work if member else _NO_WORK

    def progress(self, moment: Moment) -> float:
        """How much of the running epoch has passed, from 0 to 1."""
        began = self.timeline.settled_at(moment.settled_epoch)
        ends = self.timeline.settled_at(moment.running_epoch)
        return min(1.0, max(0.0, (moment.now - began) / (ends - began)))

    def live_stats(self, moment: Moment) -> dict[str, Stats]:
        """The running epoch's counters of its members (address → counters), growing until it settles."""
        facts = self.epoch(moment.running_epoch)
        part = self.progress(moment)
        work_ngonka = {row.address: row.work_ngonka for row in facts.first_payments}
        return {
            address: Stats(
                Work(
                    int(member.work.inferences * part),
                    int(member.work.missed * part),
                    int(member.work.validated * part),
                    int(member.work.invalidated * part),
                ),
                int(work_ngonka.get(address, 0) * part),
            )
            for address, member in facts.members.items()
        }

    def excluded(self, moment: Moment, epoch: int) -> dict[str, tuple[str, int]]:
        """The members excluded from an epoch so far (address → reason and the height from which it counts)."""
        first = self.timeline.validation_end(epoch)
        length = self.timeline.settlement_height(epoch) - first
        heights = {
            address: (member.excluded, first + int(length * member.excluded_part))
            for address, member in self.epoch(epoch).members.items()
            if member.excluded
        }
        return {address: (reason, at) for address, (reason, at) in heights.items() if at <= moment.height}

    def status(self, host: Host, moment: Moment, excluded: dict[str, tuple[str, int]]) -> str:
        """A host's `status` as the chain writes it; `excluded` is that of the running epoch."""
        if host.address in excluded:
            return "INVALID" if excluded[host.address][0] == "statistical_invalidations" else "INACTIVE"
        if not host.may_work:
            return "RAMPING"
        member = self.epoch(moment.running_epoch).members.get(host.address)
        return "UNCONFIRMED" if member and member.weight == 0 else "ACTIVE"

    def health(self, host: Host, now: datetime) -> Health:
        """How a host does at a time."""
        return health(self.settings.seed, host, now)
