"""Schedules of faults: drawn from a seed, so that a run can be repeated."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random

SERVICES = ("cache", "earnings")
SERVERS = ("postgres", "kafka")

OPENING_SECONDS = 14.0
"""The first two kills have this long to themselves, so that their recovery is nobody else's."""

FEWEST, MOST = 2, 3
"""Workers of a service."""

MAX_POLL_INTERVAL_SECONDS = 10
SESSION_TIMEOUT_SECONDS = 6


class Kind(StrEnum):
    """What happens."""

    KILL = "kill -9"
    TERMINATE = "SIGTERM"
    PAUSE = "SIGSTOP"
    JOIN = "join"
    LEAVE = "leave"
    CRASH = "server killed"
    AWAY = "database away"  # for more than twice max_poll_interval
    DELAY = "delay"
    CUT = "cut"
    HALF_OPEN = "half-open"


@dataclass(frozen=True)
class Fault:
    """Something that happens `at` seconds after the start, to a service's worker or to a server, for `seconds`."""

    at: float
    kind: Kind
    target: str
    seconds: float = 0.0
    latency_seconds: float = 0.0
    swallow: str = ""  # "both", or the direction whose bytes vanish
    reset: bool = True  # whether connections that lost bytes are reset afterwards

    def __str__(self) -> str:
        details = [f"{self.seconds:.1f} s"] if self.seconds else []
        if self.latency_seconds:
            details.append(f"{self.latency_seconds * 1000:.0f} ms")
        if self.swallow:
            details.append(f"{self.swallow}, {'reset' if self.reset else 'silent'} afterwards")
        return f"{self.at:5.1f} {self.kind} {self.target}" + (f" ({', '.join(details)})" if details else "")


@dataclass(frozen=True)
class Schedule:
    """Faults in two lanes that run side by side: one of workers, one of servers and the network to them."""

    seed: int
    seconds: float
    workers: dict[str, int]
    worker_faults: list[Fault] = field(default_factory=list)
    server_faults: list[Fault] = field(default_factory=list)

    @property
    def faults(self) -> list[Fault]:
        """All of them in the order of their beginning."""
        return sorted([*self.worker_faults, *self.server_faults], key=lambda fault: fault.at)

    def __str__(self) -> str:
        workers = ", ".join(f"{number} {service}" for service, number in self.workers.items())
        return "\n".join([f"seed {self.seed}: {self.seconds:.0f} s, {workers}", *(f"  {f}" for f in self.faults)])


def schedule(seed: int, seconds: float) -> Schedule:
    """The schedule of this seed; a longer one begins like a shorter one."""
    chance = Random(seed)
    workers = {service: chance.randint(FEWEST, MOST) for service in SERVICES}
    servers, lane = Random(chance.random()), Random(chance.random())
    return Schedule(
        seed,
        seconds,
        workers,
        list(_worker_faults(lane, seconds, dict(workers))),
        list(_server_faults(servers, seconds)),
    )


def _worker_faults(chance: Random, seconds: float, running: dict[str, int]) -> Iterator[Fault]:
    for service in SERVICES:
        yield Fault(chance.uniform(1, 2), Kind.KILL, service)
    at = OPENING_SECONDS + chance.uniform(0, 3)
    while at < seconds:
        service = chance.choice(SERVICES)
        kinds = [Kind.KILL, Kind.TERMINATE, Kind.PAUSE]
        if running[service] < MOST:
            kinds.append(Kind.JOIN)
        if running[service] > FEWEST:
            kinds.append(Kind.LEAVE)
        kind = chance.choice(kinds)
        running[service] += {Kind.JOIN: 1, Kind.LEAVE: -1}.get(kind, 0)
        length = SESSION_TIMEOUT_SECONDS + chance.uniform(1, 3) if kind is Kind.PAUSE else 0.0
        yield Fault(at, kind, service, length)
        at += length + chance.uniform(2, 6)


def _server_faults(chance: Random, seconds: float) -> Iterator[Fault]:
    """A deck of every kind is dealt again and again, so that each one's turn comes soon."""
    at = OPENING_SECONDS + chance.uniform(0, 3)
    deck: list[Fault] = []
    while at < seconds:
        deck = deck or _deck(chance)
        drawn = deck.pop()
        yield Fault(at, drawn.kind, drawn.target, drawn.seconds, drawn.latency_seconds, drawn.swallow, drawn.reset)
        at += drawn.seconds + chance.uniform(3, 7)


def _deck(chance: Random) -> list[Fault]:
    deck = [
        Fault(0, Kind.CRASH, "postgres", chance.triangular(0, 20, 3)),
        Fault(0, Kind.CRASH, "kafka", chance.uniform(0, 6)),
        Fault(0, Kind.AWAY, "postgres", 2 * MAX_POLL_INTERVAL_SECONDS + chance.uniform(1, 3)),
    ]
    for server in SERVERS:
        deck += [
            Fault(0, Kind.DELAY, server, chance.uniform(3, 8), latency_seconds=chance.choice((0.02, 0.1, 0.5))),
            Fault(0, Kind.CUT, server, chance.uniform(0, 5)),
            Fault(
                0,
                Kind.HALF_OPEN,
                server,
                chance.uniform(4, 10),
                swallow=chance.choice(("both", "to_server", "to_client")),
                reset=chance.random() < 0.7,
            ),
        ]
    chance.shuffle(deck)
    return deck
