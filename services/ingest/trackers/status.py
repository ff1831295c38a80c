"""Which of the four statuses a host has: jailed, else offline, else unhealthy, else healthy."""

from services.kernel.events import Status

UNHEALTHY_PARTICIPANT = frozenset({"INACTIVE", "INVALID", "UNCONFIRMED"})
"""Participant statuses of the chain under which a host does not serve; RAMPING is a deprecated form of ACTIVE."""


def node_status(
    *,
    jailed: bool | None = None,
    offline: bool = False,
    node_healthy: bool | None = None,
    participant_statuses: tuple[str | None, ...] = (),
    excluded: bool = False,
) -> Status:
    """The status by that precedence. None means unknown: not jailed, and no statement about health."""
    if jailed:
        return "jailed"
    if offline:
        return "offline"
    if node_healthy is False or excluded or not UNHEALTHY_PARTICIPANT.isdisjoint(participant_statuses):
        return "unhealthy"
    return "healthy"
