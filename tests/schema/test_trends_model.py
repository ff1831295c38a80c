"""Sums, moving averages and trends of random histories against a plain model of their definitions."""

import random
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import psycopg
import pytest

from tests.schema.history import add_node, add_user

pytestmark = pytest.mark.integration

SPANS = {"1d": 1, "7d": 7, "30d": 30, "90d": 90, "all": None}
Days = dict[date, Fraction]


def _rounded(number: Fraction, places: int) -> Decimal:
    """Half away from zero."""
    scaled = abs(number) * 10**places
    whole = int(scaled + Fraction(1, 2))
    return Decimal(whole if number >= 0 else -whole).scaleb(-places)


def _average(days: Days, until: date, length: int | None) -> tuple[date, Decimal | None]:
    """Since when the window counts, and its sum by its calendar days."""
    since = max(min(days), until - timedelta(days=length - 1)) if length else min(days)
    amounts = [amount for day, amount in days.items() if since <= day <= until]
    return since, _rounded(sum(amounts, Fraction()) / ((until - since).days + 1), 8) if amounts else None


def _model_trend(days: Days, until: date, length: int | None) -> tuple[Any, ...]:
    """A row of trends from `since` on, as the documentation defines it."""
    since, average = _average(days, until, length)
    now = {day: amount for day, amount in days.items() if since <= day <= until}
    start = until - timedelta(days=(length or 0) - 1)
    before_start = start - timedelta(days=length or 0)
    before = [amount for day, amount in days.items() if before_start <= day < start] if length else []
    change = None
    if now and before and min(days) <= before_start:
        change = sum(now.values(), Fraction()) - sum(before, Fraction())
    best = min(now, key=lambda day: (-now[day], day)) if now else None
    worst = min(now, key=lambda day: (now[day], day)) if now else None
    return (
        since,
        (until - since).days + 1,
        len(now),
        sum(now.values()) if now else None,
        average,
        len(before) if length else None,
        sum(before) if before else None,
        change,
        _rounded(100 * change / sum(before, Fraction()), 2) if change is not None and sum(before) > 0 else None,
        best,
        now[best] if best else None,
        worst,
        now[worst] if worst else None,
    )


@dataclass
class World:
    """Random nodes, users and days, written to a database in random order, and what their sums are."""

    chance: random.Random
    rows: dict[tuple[str, date], Fraction] = field(default_factory=dict)
    groups: dict[str, dict[str, set[str]]] = field(default_factory=dict)

    FIRST = date(2027, 11, 20)
    """Windows reach over a new year and a 29th of February."""

    def store(self, connection: psycopg.Connection) -> None:
        nodes = [f"node-{number}" for number in range(6)]
        self.groups = {name: defaultdict(set) for name in ("gpu_type", "region", "user")}
        self.groups |= {"node": {node: {node} for node in nodes}, "fleet": {"fleet": set(nodes)}}
        for node in nodes:
            gpu_type, region = self.chance.choice(["A100", "H100", None]), self.chance.choice(["eu", None])
            add_node(connection, node, {}, gpu_type=gpu_type, region=region)
            self.groups["gpu_type"][gpu_type or "unknown"].add(node)
            self.groups["region"][region or "unknown"].add(node)
        for number in range(3):
            owned = self.chance.sample(nodes, number)
            self.groups["user"][add_user(connection, f"{number}@example.org", *owned)] = set(owned)
        for _ in range(3):
            for node in nodes:
                self._write(connection, node, self.chance.choice([3, 60, 200]))
            if self.chance.random() < 0.6:
                connection.execute("SELECT earnings_refresh()")

    def _write(self, connection: psycopg.Connection, node: str, reach: int) -> None:
        kept = self.chance.choice([0.05, 0.5, 0.97])
        days = [self.FIRST + timedelta(days=at) for at in range(reach) if self.chance.random() < kept]
        amounts = [Fraction(self.chance.choice([0, 1, 7, 10**8, self.chance.randrange(10**18)]), 10**8) for _ in days]
        self.rows |= {(node, day): amount for day, amount in zip(days, amounts, strict=True)}
        connection.execute(
            """
            INSERT INTO earnings_history (node_id, date, earnings_gnk)
            SELECT id, date, amount FROM nodes, unnest(%s::date[], %s::numeric[]) AS day (date, amount)
            WHERE identifier = %s
            ON CONFLICT (node_id, date) DO UPDATE SET earnings_gnk = excluded.earnings_gnk
            """,
            (days, [_rounded(amount, 8) for amount in amounts], node),
        )
        gone = [day for day in days if self.chance.random() < 0.05]
        for day in gone:
            del self.rows[node, day]
        connection.execute(
            "DELETE FROM earnings_history USING nodes WHERE nodes.id = node_id AND identifier = %s AND date = ANY (%s)",
            (node, gone),
        )

    def series(self, as_of: date = date.max) -> Iterable[tuple[str, str, Days]]:
        """Dimension, key and daily sums of all keys that had history by then."""
        for dimension, keys in self.groups.items():
            for key, members in keys.items():
                days: Days = defaultdict(Fraction)
                for (node, day), amount in self.rows.items():
                    if node in members and day <= as_of:
                        days[day] += amount
                if days:
                    yield dimension, key, days


def _exact(rows: Iterable[tuple[Any, ...]]) -> set[tuple[Any, ...]]:
    return set(rows)  # equal Decimals and Fractions are equal, and have equal hashes


@pytest.mark.parametrize("seed", range(4))
def test_sums_averages_and_trends_are_what_their_definitions_give(history: psycopg.Connection, seed: int) -> None:
    world = World(random.Random(seed))
    world.store(history)
    expected: dict[str, set[tuple[Any, ...]]] = defaultdict(set)
    for dimension, key, days in world.series():
        weeks, months = defaultdict(list), defaultdict(list)
        for day, amount in days.items():
            weeks[day - timedelta(days=day.weekday())].append(amount)
            months[day.replace(day=1)].append(amount)
            expected["daily"].add((dimension, key, day, amount))
            averages = [_average(days, day, length)[1] for length in (7, 30)]
            expected["moving_averages"].add((dimension, key, day, amount, *averages))
        expected["weekly"] |= {(dimension, key, week, sum(all_), len(all_)) for week, all_ in weeks.items()}
        expected["monthly"] |= {(dimension, key, month, sum(all_), len(all_)) for month, all_ in months.items()}
    assert _exact(history.execute("SELECT dimension, key, date, earnings_gnk FROM earnings_daily")) == expected["daily"]
    for view in ("weekly", "monthly", "moving_averages"):
        assert _exact(history.execute(f"SELECT * FROM earnings_{view}".encode())) == expected[view], view
    for reach in (0, 1, 6, 7, 13, 14, 59, 60, 101, 179, 180, 200, 300):
        as_of = world.FIRST + timedelta(days=reach)
        found = history.execute(
            """
            SELECT dimension, key, span, since, calendar_days, days, earnings_gnk, average_gnk, before_days, before_gnk,
                   change_gnk, change_percent, best_date, best_gnk, worst_date, worst_gnk
            FROM earnings_trends_at(%s)
            """,
            (as_of,),
        )
        assert _exact(found) == {
            (dimension, key, span, *_model_trend(days, as_of, length))
            for dimension, key, days in world.series(as_of)
            for span, length in SPANS.items()
        }, as_of
