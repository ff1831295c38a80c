"""The API's pure parts: cursors, spans of dates, tags, what is remembered, the feed's places."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from services.api import paging
from services.api.access import Access, StoredKey
from services.api.changes import Event, NodeRow, SettlementRow, Snapshot, SourceRow, Tick, source_state
from services.api.feed import Feed, Place
from services.api.parameters import days_between, seconds
from services.api.problems import ProblemError
from services.api.refreshing import LEAST_SECONDS, Refresher
from services.api.remembering import Shared, Versioned
from services.api.schemas import Scope, SourceState
from services.api.store.changes import Look
from services.api.views import last_day
from services.kernel.keys import API_KEYS, new_secret, sha256
from services.kernel.settings import ApiSettings

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TEXTS = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=50)


@given(order=TEXTS, value=st.none() | TEXTS, name=TEXTS)
def test_a_cursor_is_read_as_it_was_written(order: str, value: str | None, name: str) -> None:
    cursor = paging.Cursor(order, value, name)
    assert paging.read(paging.write(cursor), order) == cursor


@given(text=st.text(max_size=200))
def test_no_other_text_is_a_cursor_and_none_is_an_error_of_ours(text: str) -> None:
    with pytest.raises(ProblemError) as refused:
        paging.read(text, "jobs")
    assert refused.value.parameter == "cursor"


@given(number=st.decimals(-(10**30), 10**30, places=9, allow_nan=False, allow_infinity=False))
def test_an_amount_survives_its_cursor(number: Decimal) -> None:
    assert paging.value_of(paging.Cursor("-", str(number), ""), Decimal) == number


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Decimal, "NaN"),
        (Decimal, "Infinity"),
        (Decimal, "1e40"),
        (Decimal, "1e-41"),
        (Decimal, "0." + "1" * 100),
        (int, str(2**31)),
        (int, str(-(2**31) - 1)),
        (int, "1.0"),
        (date, "2026-02-30"),
    ],
)
def test_a_value_that_its_column_cannot_hold_is_refused(kind: type, text: str) -> None:
    with pytest.raises(ProblemError):
        paging.value_of(paging.Cursor("-", text, ""), kind)


@pytest.mark.parametrize(
    ("starts", "group", "last"),
    [
        (date(2026, 3, 1), "day", date(2026, 3, 1)),
        (date(2025, 12, 29), "week", date(2026, 1, 4)),
        (date(2024, 2, 1), "month", date(2024, 2, 29)),
        (date(2026, 12, 1), "month", date(2026, 12, 31)),
    ],
)
def test_a_period_ends(starts: date, group: str, last: date) -> None:
    assert last_day(starts, group) == last


def test_a_span_of_dates_ends_with_today_and_is_bounded() -> None:
    first, last = days_between(None, date(2026, 3, 10), default=7, most=90)
    assert (first, last) == (date(2026, 3, 4), date(2026, 3, 10))
    days_between(date(2026, 1, 1), date(2026, 3, 31), default=7, most=90)
    with pytest.raises(ProblemError):
        days_between(date(2026, 1, 1), date(2026, 4, 1), default=7, most=90)
    with pytest.raises(ProblemError):
        days_between(date(2026, 1, 2), date(2026, 1, 1), default=7, most=90)


def test_a_wait_is_in_seconds() -> None:
    assert [seconds(text) for text in (None, "2s", "0.25", "10s", "10.9s")] == [0, 2, 0.25, 10, 10]


@pytest.mark.parametrize(
    ("host", "access", "is_open"),
    [
        ("127.0.0.1", "auto", True),
        ("127.8.9.1", "auto", True),
        ("::1", "auto", True),
        ("localhost", "auto", True),
        ("0.0.0.0", "auto", False),
        ("::", "auto", False),
        ("192.0.2.1", "auto", False),
        ("localhost.example.org", "auto", False),
        ("127.0.0.1.example.org", "auto", False),
        ("0.0.0.0", "open", True),
        ("127.0.0.1", "keys", False),
    ],
)
def test_access_is_open_on_a_loopback_address_alone(host: str, access: Any, is_open: bool) -> None:
    settings = ApiSettings.model_validate({"host": host, "access": access})
    assert settings.open is is_open
    assert settings.requests_a_minute == (0 if is_open else 600)


async def test_a_key_is_looked_up_once_in_ten_seconds_also_where_it_is_unknown() -> None:
    key_id, secret, now = uuid4(), new_secret(), 0.0
    stored: dict[Any, StoredKey] = {key_id: StoredKey(sha256(secret), frozenset((Scope.READ,)), None)}
    asked = []

    async def find(wanted: Any) -> StoredKey | None:
        asked.append(wanted)
        return stored.get(wanted)

    access = Access(ApiSettings.model_validate({"access": "keys"}), find, clock=lambda: now)
    header, unknown = f"bearer {API_KEYS.text(key_id, secret)}", f"Bearer {API_KEYS.text(uuid4(), secret)}"
    for _ in range(3):
        assert (await access.principal(header, "a")).name == f"key {key_id}"
        with pytest.raises(ProblemError):
            await access.principal(unknown, "a")
    assert len(asked) == 2
    stored.clear()
    now = 9.9
    await access.principal(header, "a")
    now = 10.1
    with pytest.raises(ProblemError):
        await access.principal(header, "a")


async def test_a_key_is_no_token_and_a_token_needs_the_setting() -> None:
    async def find(_: Any) -> StoredKey | None:
        raise AssertionError("no key")

    with pytest.raises(ProblemError):
        await Access(ApiSettings.model_validate({}), find).principal("Bearer a.b.c", "a")
    with_secret = ApiSettings.model_validate({"jwt_secret": "x" * 32})
    assert "x" * 32 not in repr(with_secret)
    with pytest.raises(ProblemError):
        await Access(with_secret, find).principal("Bearer a.b.c", "a")


def _row(identifier: str = "a", **columns: Any) -> NodeRow:
    usual: dict[str, Any] = dict.fromkeys(NodeRow._fields)
    return NodeRow(**{**usual, "identifier": identifier, "version": "1", **columns})


def _names(tick: Tick) -> list[str]:
    return [event.name for event in tick.events]


def test_only_what_changed_is_told() -> None:
    snapshot = Snapshot()
    row = _row(status="healthy", fetched_at=NOW, source="gonka_api")
    assert _names(snapshot.note([row], [], [])) == ["readings"]
    assert snapshot.note([row], [], []) == Tick()
    assert _names(snapshot.note([row._replace(status="jailed")], [], [])) == ["status"]
    paid = row._replace(status="jailed", earnings_total=Decimal(1))
    assert _names(snapshot.note([paid], [], [])) == ["earnings"]
    assert snapshot.note([paid._replace(version="2")], [], []).nodes == {"a"}
    settled = SettlementRow(7, NOW, True)
    (event,) = snapshot.note([], [settled], []).events
    assert event.data["restated"] is False
    (event,) = snapshot.note([], [settled._replace(exact=False)], []).events
    assert event.data["restated"] is True
    source = SourceRow("gonka_api", SourceState.OK, NOW, None)
    assert _names(snapshot.note([], [], [source])) == ["source"]
    assert snapshot.note([], [], [source._replace(data_at=NOW + timedelta(seconds=1))]) == Tick()
    assert _names(snapshot.note([], [], [source._replace(state=SourceState.STALE)])) == ["source"]


@pytest.mark.parametrize(
    ("columns", "state"),
    [
        ({}, SourceState.UNKNOWN),
        ({"last_attempt_at": 241}, SourceState.SILENT),
        ({"last_attempt_at": 239, "data_at": 300}, SourceState.OK),
        ({"last_attempt_at": 1, "data_at": 301}, SourceState.STALE),
        ({"last_attempt_at": 1}, SourceState.STALE),
        ({"last_attempt_at": 1, "last_error_at": 1, "data_at": 1}, SourceState.FAILING),
        ({"last_attempt_at": 1, "last_error_at": 2, "last_success_at": 1, "data_at": 1}, SourceState.OK),
        ({"last_attempt_at": 1, "last_error_at": 1, "last_success_at": 2, "data_at": 1}, SourceState.FAILING),
    ],
)
def test_how_a_source_does(columns: dict[str, int], state: SourceState) -> None:
    times = ("last_attempt_at", "last_success_at", "last_error_at", "data_at")
    row: dict[str, Any] = {name: NOW - timedelta(seconds=columns[name]) if name in columns else None for name in times}
    assert source_state({**row, "poll_interval_seconds": 60}, NOW, 300) is state


async def _no_look(_: str | None) -> Look:
    raise AssertionError("not looked at")


def _feed(nodes: Iterable[int] = ()) -> Feed:
    feed = Feed(_no_look)
    feed.add(Tick())
    for number in nodes:
        feed.add(Tick((Event("earnings", {"nodes": number}),)))
    return feed


def test_a_place_is_read_on_from_until_it_is_no_longer_kept() -> None:
    feed = _feed(range(1000))
    begin = Place(0)
    assert len(feed.read(begin) or ()) == 1000
    assert feed.read(feed.newest) == ()
    assert [tick.events[0].data for tick in feed.read(Place(998)) or ()] == [{"nodes": 998}, {"nodes": 999}]
    feed.add(Tick((Event("earnings", {"nodes": 1000}),)))
    assert feed.read(begin) is None
    assert len(feed.read(Place(1)) or ()) == 1000


def test_many_changed_nodes_bound_what_is_kept_too() -> None:
    feed = _feed()
    for number in range(30):
        feed.add(Tick((), frozenset(f"{number}-{node}" for node in range(10_000))))
    assert feed.read(Place(0)) is None
    assert len(feed.read(Place(10)) or ()) == 20


def test_an_id_names_a_place_of_this_process_alone() -> None:
    feed, other = _feed(range(3)), _feed(range(3))
    assert feed.place_of(feed.text_of(Place(2))) == Place(2)
    assert feed.place_of(feed.text_of(Place(99))) == feed.newest
    assert feed.place_of(other.text_of(Place(2))) is None


async def test_one_fetch_is_shared_and_a_failed_one_is_tried_again() -> None:
    now, fetched, gate = 0.0, 0, asyncio.Event()

    async def fetch() -> int:
        nonlocal fetched
        fetched += 1
        if fetched == 1:
            raise OSError("away")
        await gate.wait()
        return fetched

    shared = Shared(fetch, 1.0, clock=lambda: now)
    with pytest.raises(OSError, match="away"):
        await shared.get()
    several = [asyncio.create_task(shared.get()) for _ in range(5)]
    await asyncio.sleep(0)
    gate.set()
    assert await asyncio.gather(*several) == [2] * 5
    now = 0.9
    assert await shared.get() == 2
    now = 1.1
    assert await shared.get() == 2  # while a newer one is fetched
    now = 9.0
    assert await shared.get() >= 3


def test_what_is_remembered_is_of_one_version_and_some_seconds() -> None:
    now = 0.0
    kept = Versioned[str](60, clock=lambda: now)
    kept.put("a", 1, "first")
    assert (kept.get("a", 1), kept.get("a", 2), kept.get("b", 1)) == ("first", None, None)
    now = 60.0
    assert kept.get("a", 1) is None
    for number in range(kept.MOST + 1):
        kept.put(str(number), 1, "x")
    assert kept.get("0", 1) is None
    assert kept.get(str(kept.MOST), 1) == "x"


async def test_a_source_is_asked_for_once_and_only_when_it_is_due() -> None:
    asked: list[str] = []
    told = {source: asyncio.Event() for source in ("often", "last")}

    async def ask(source: str) -> None:
        asked.append(source)
        told[source].set()

    async def due(source: str) -> bool:
        return source != "polled"

    refresher = Refresher(ask, due, CollectorRegistry())
    async with refresher:
        for _ in range(100):
            refresher.want(("often", "polled"))
        async with asyncio.timeout(5):
            await told["often"].wait()
        refresher.want(("often", "last"))
        async with asyncio.timeout(5):
            await told["last"].wait()
    assert LEAST_SECONDS >= 5
    assert asked == ["often", "last"]
