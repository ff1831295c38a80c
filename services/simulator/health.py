"""How a host does at a moment: healthy or not in windows of minutes, jailed now and then."""

from dataclasses import dataclass
from datetime import datetime

from services.simulator.chance import draw
from services.simulator.hosts import Host
from services.simulator.timeline import microseconds, moment_of

_JAIL_WINDOW_SECONDS = 1200
_JAIL_TERM_SECONDS = 600
_JAILED_SHARE = 0.015


@dataclass(frozen=True)
class Health:
    """What a prober and the staking module know of a host at one moment."""

    healthy: bool
    jailed: bool
    jailed_until: datetime | None
    ready_to_unjail: bool


def health(seed: int, host: Host, moment: datetime) -> Health:
    """A host's health: a function of the seed, the host and the moment."""
    second = microseconds(moment) // 1_000_000
    shift = int(draw(seed, "phase", host.index) * 10_000)
    window = (second + shift) // host.health_period_seconds
    healthy = draw(seed, "health", host.index, window) >= host.unhealthy_share
    term = (second + shift) // _JAIL_WINDOW_SECONDS
    jailed = host.validates and draw(seed, "jail", host.index, term) < _JAILED_SHARE
    if not jailed:
        return Health(healthy, False, None, False)
    until = term * _JAIL_WINDOW_SECONDS - shift + _JAIL_TERM_SECONDS
    return Health(healthy, True, moment_of(until * 1_000_000), second >= until)
