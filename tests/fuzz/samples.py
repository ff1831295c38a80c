"""Valid events of all four types, made by chance: what the mutations start from."""

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

from services.kernel.events import (
    EarningsReport,
    Event,
    IdentifierType,
    NodeReading,
    RefreshRequest,
    SourceStatus,
    Status,
)

EVENT_CLASSES: tuple[type[Event], ...] = (NodeReading, EarningsReport, RefreshRequest, SourceStatus)

NODES = 400
SOURCES = ("hyperfusion", "gonka_api", "gonkascan", "operator", "a.b_c-d", "0" * 50)
STATUSES: tuple[Status, ...] = ("healthy", "unhealthy", "jailed", "offline")
TEXTS = ("NVIDIA H100", "8 x H200", "Qwen/Qwen3-235B-A22B", "eu-central", "Köln 🏔", "节点", "x" * 120)


def sample(random: Random, event_class: type[Event], now: datetime) -> Event:
    """A valid event whose times lie within the hundred days before `now`; each optional field is there or not."""
    return _SAMPLES[event_class](random, now)


def _past(random: Random, now: datetime) -> datetime:
    return now - timedelta(microseconds=random.randrange(100 * 86_400 * 10**6))


def _node(random: Random) -> tuple[str, IdentifierType]:
    number = random.randrange(NODES)
    forms: tuple[tuple[str, IdentifierType], ...] = (
        (f"gonka1{number:038}", "wallet"),
        (f"gonkavaloper1{number:038}", "operator"),
        (f"gonkavalcons1{number:038}", "validator"),
        (f"gonka1{number:038}/node{number % 7}", "node_id"),
        (f"rig-{number}", "node_id"),
    )
    return forms[number % len(forms)]


def _some(random: Random, **optional: Any) -> dict[str, Any]:
    """Most of the optional fields."""
    return {name: value for name, value in optional.items() if random.random() < 0.6}


def _reading(random: Random, now: datetime) -> NodeReading:
    identifier, identifier_type = _node(random)
    return NodeReading(
        identifier=identifier,
        identifier_type=identifier_type,
        source=random.choice(SOURCES),
        observed_at=_past(random, now),
        **_some(
            random,
            status=random.choice(STATUSES),
            health_probed=True,
            jobs_day=random.randrange(100_000),
            active_model=random.choice(TEXTS),
            voting_weight=Decimal(random.randrange(10**20)).scaleb(-8),
            epoch=random.randrange(1000),
            height=random.randrange(10**7),
            tokens_per_sec=Decimal(random.randrange(10**10)).scaleb(-2),
            display_name=random.choice(TEXTS),
            gpu_type=random.choice(TEXTS),
            region=random.choice(TEXTS),
        ),
    )


def _report(random: Random, now: datetime) -> EarningsReport:
    identifier, identifier_type = _node(random)
    kind = random.choice(("epoch", "epoch", "day", "total"))
    observed_at = _past(random, now)
    amount = random.randrange(10**14)
    work = random.randrange(amount + 1)
    split: dict[str, Any] = {"work_ngonka": work, "reward_ngonka": str(amount - work)} if random.random() < 0.5 else {}
    final = random.random() < 0.7
    return EarningsReport(
        identifier=identifier,
        identifier_type=identifier_type,
        source=random.choice(SOURCES),
        kind=kind,  # type: ignore[arg-type]  # one of the three
        period=random.randrange(300) if kind == "epoch" else observed_at.date().isoformat(),
        amount_ngonka=random.choice((amount, str(amount))),
        observed_at=observed_at,
        settled_at=observed_at if final or random.random() < 0.5 else None,
        final=final,
        **split,
        **_some(random, settled_exact=True, claimed=random.random() < 0.5),
    )


def _request(random: Random, now: datetime) -> RefreshRequest:
    return RefreshRequest(
        source=random.choice(SOURCES),
        requested_at=_past(random, now),
        requested_by=random.choice(("api", "earnings")),
        **_some(random, epoch=random.randrange(1000)),
    )


def _status(random: Random, now: datetime) -> SourceStatus:
    total = random.choice((None, random.randrange(1, 10**15)))
    return SourceStatus(
        source=f"{random.choice(SOURCES)[:40]}{random.randrange(50)}",
        kind=random.choice(("hyperfusion", "gonka_api", "gonkascan")),
        reported_at=_past(random, now),
        preference_seconds=random.randrange(1000),
        earnings_order=random.randrange(100),
        probes_health=random.random() < 0.5,
        poll_interval_seconds=random.randrange(1, 600),
        **_some(
            random,
            last_attempt_at=_past(random, now),
            last_success_at=_past(random, now),
            last_error_at=_past(random, now),
            last_error=random.choice(TEXTS),
            data_at=_past(random, now),
            epoch=random.randrange(1000),
            height=random.randrange(10**7),
        ),
        total_epoch=None if total is None else random.randrange(1000),
        total_ngonka=total,
    )


_SAMPLES: dict[type[Event], Callable[[Random, datetime], Event]] = {
    NodeReading: _reading,
    EarningsReport: _report,
    RefreshRequest: _request,
    SourceStatus: _status,
}
