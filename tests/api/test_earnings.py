"""What nodes and groups of nodes earned, as JSON and CSV; the fleet at a glance; five-minute slots; sources."""

import csv
import io
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from tests.api.rows import Rows, ago, today
from tests.api.server import RunningApi

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

EPOCHS, DAYS, NEW = "gonka1epochs", "gonka1days", "gonka1new"
SETTLED = {
    100: datetime(2026, 3, 1, 21, 59, tzinfo=UTC),
    101: datetime(2026, 3, 1, 23, 30, tzinfo=UTC),  # the next date in Berlin
    102: datetime(2026, 3, 2, 0, 30, tzinfo=UTC),
    103: datetime(2026, 3, 31, 23, 59, 59, tzinfo=UTC),
}
NGONKA = {100: 1_000_000_001, 101: 4, 102: 10**17 + 1, 103: 5}
HISTORY = {
    date(2026, 3, 1): "1.00000001",
    date(2026, 3, 2): "100000000.00000000",
    date(2026, 3, 31): "0.00000001",
}
MARCH = {"since": "2026-03-01", "until": "2026-03-31"}
GROUPS = ["day", "week", "month", "epoch"]


@pytest.fixture(scope="module", autouse=True)
def earned(rows: Rows) -> None:
    rows.node(EPOCHS, gpu_type="H100", region="Germany", age=5, status="healthy", source="gonka_api")
    rows.node(DAYS, gpu_type="A100", age=1000, status="jailed", source="gonkascan", uptime_percent="50")
    rows.node(NEW, read=False)
    rows.basis(EPOCHS)
    rows.basis(DAYS, "day")
    rows.order(gonka_api=1, gonkascan=2)
    for epoch, settled_at in SETTLED.items():
        rows.settlement(epoch, settled_at, exact=epoch != 102)
        restated = {"before": [7]} if epoch == 101 else {}
        rows.report(EPOCHS, "gonka_api", epoch, NGONKA[epoch], work_ngonka=1, claimed=True, **restated)
    rows.report(EPOCHS, "gonkascan", 101, 9)
    rows.report(EPOCHS, "gonka_api", 104, 77, final=False, method="weight share", observed_at=ago(minutes=3))
    rows.history(EPOCHS, HISTORY)
    rows.history(DAYS, {today() - timedelta(days=back): f"{back}.5" for back in range(100)}, "gonkascan")
    rows.source("gonka_api", kind="gonka_api", last_attempt_at=ago(seconds=9), data_at=ago(seconds=9))
    rows.source("gonkascan", last_attempt_at=ago(seconds=9), last_error_at=ago(seconds=9), last_error="HTTP 502")
    rows.source("silent", last_attempt_at=ago(hours=9), poll_interval_seconds=60)
    rows.source("old", last_attempt_at=ago(seconds=9), last_success_at=ago(seconds=9), data_at=ago(hours=1))
    rows.source("unpolled")
    rows.refresh_sums()


def csv_rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def pages(api: RunningApi, path: str, **parameters: Any) -> Iterator[dict[str, Any]]:
    cursor: dict[str, str] = {}
    while True:
        page = api.get(path, **parameters, **cursor)
        yield from page["items"]
        if page["next_cursor"] is None:
            return
        cursor = {"cursor": page["next_cursor"]}


def test_days_are_utc_days_with_exact_amounts_and_the_newest_first(api: RunningApi) -> None:
    answer = api.get(f"/nodes/{EPOCHS}/earnings", **MARCH)
    assert (answer["time_zone"], answer["group"], answer["next_cursor"]) == ("UTC", "day", None)
    assert answer["items"] == [
        {"starts": day.isoformat(), "gnk": gnk, "days": 1, "final": True, "source": "gonka_api"}
        for day, gnk in sorted(HISTORY.items(), reverse=True)
    ]


def test_a_running_epoch_s_estimate_is_apart_from_what_settled(api: RunningApi) -> None:
    for group in GROUPS:
        (estimate,) = api.get(f"/nodes/{EPOCHS}/earnings", group=group)["provisional"]
        assert (estimate["epoch"], estimate["gnk"], estimate["method"]) == (104, "0.00000008", "weight share")
    assert 104 not in [item["epoch"] for item in api.get(f"/nodes/{EPOCHS}/earnings", group="epoch")["items"]]


def test_weeks_begin_on_monday_and_periods_add_up_within_the_dates(api: RunningApi) -> None:
    weeks = api.get(f"/nodes/{EPOCHS}/earnings", group="week", **MARCH)["items"]
    assert [(week["starts"], week["gnk"], week["days"]) for week in weeks] == [
        ("2026-03-30", "0.00000001", 1),
        ("2026-03-02", "100000000.00000000", 1),
        ("2026-02-23", "1.00000001", 1),
    ]
    (month,) = api.get(f"/nodes/{EPOCHS}/earnings", group="month", **MARCH)["items"]
    assert (month["starts"], month["gnk"], month["final"]) == ("2026-03-01", "100000001.00000002", True)
    (cut,) = api.get(f"/nodes/{EPOCHS}/earnings", group="month", since="2026-03-02", until="2026-03-30")["items"]
    assert cut["gnk"] == "100000000.00000000"


def test_a_period_is_final_once_it_is_over(api: RunningApi) -> None:
    for group in ("day", "week", "month"):
        items = api.get(f"/nodes/{DAYS}/earnings", group=group)["items"]
        assert [item["final"] for item in items] == [False] + [True] * (len(items) - 1)


def test_an_epoch_says_who_reported_what_of_it(api: RunningApi) -> None:
    items = api.get(f"/nodes/{EPOCHS}/earnings", group="epoch", **MARCH)["items"]
    assert [item["epoch"] for item in items] == [103, 102, 101, 100]
    assert [item["gnk"] for item in items] == ["0.000000005", "100000000.000000001", "0.000000004", "1.000000001"]
    assert [item["settled_exact"] for item in items] == [True, False, True, True]
    assert [item["restated"] for item in items] == [False, False, True, False]
    of_two = items[2]
    assert (of_two["date"], of_two["settled_at"], of_two["ngonka"]) == ("2026-03-01", "2026-03-01T23:30:00Z", "4")
    assert (of_two["claimed"], of_two["work_ngonka"], of_two["reward_ngonka"]) == (True, "1", None)
    told = [(each["source"], each["ngonka"], each["counts"], each["versions"]) for each in of_two["reports"]]
    assert told == [("gonka_api", "4", True, 2), ("gonkascan", "9", False, 1)]


def test_another_time_zone_s_days_are_summed_exactly_and_rounded_once(api: RunningApi) -> None:
    answer = api.get(f"/nodes/{EPOCHS}/earnings", tz="Europe/Berlin", since="2026-03-01", until="2026-04-01")
    assert answer["time_zone"] == "Europe/Berlin"
    assert [(item["starts"], item["gnk"], item["days"]) for item in answer["items"]] == [
        ("2026-04-01", "0.00000001", 1),  # 5 ngonka
        ("2026-03-02", "100000000.00000001", 1),  # 4 ngonka and 10^17 + 1
        ("2026-03-01", "1.00000000", 1),
    ]
    (epoch,) = api.get(
        f"/nodes/{EPOCHS}/earnings", group="epoch", tz="Europe/Berlin", since="2026-04-01", until="2026-04-01"
    )["items"]
    assert (epoch["epoch"], epoch["date"]) == (103, "2026-04-01")


@pytest.mark.parametrize(
    ("node", "zone", "parameter"),
    [(EPOCHS, "Mars/Olympus", "tz"), (DAYS, "Europe/Berlin", "tz"), (EPOCHS, "utc", "tz")],
)
def test_days_that_cannot_be_told_are_refused(api: RunningApi, node: str, zone: str, parameter: str) -> None:
    problem = api.problem(f"/nodes/{node}/earnings", params={"tz": zone})
    assert (problem["status"], problem["parameter"]) == (422, parameter)


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("node", [EPOCHS, DAYS])
def test_pages_and_csv_say_what_one_answer_says(api: RunningApi, node: str, group: str) -> None:
    span = {"since": "2026-01-01", "until": today().isoformat()}
    whole = api.get(f"/nodes/{node}/earnings", group=group, limit=1000, **span)["items"]
    assert list(pages(api, f"/nodes/{node}/earnings", group=group, limit=2, **span)) == whole
    response = api.ask(
        "GET", f"/nodes/{node}/earnings", params={"group": group, **span}, headers={"Accept": "text/csv"}
    )
    rows = csv_rows(response.text)
    assert [row["amount_gnk"] for row in rows] == [item["gnk"] for item in whole]
    assert {row["node"] for row in rows} == ({node} if whole else set())
    if group == "epoch":
        assert [row["epoch"] for row in rows] == [str(item["epoch"]) for item in whole]
    else:
        assert [(row["starts"], row["days"], row["final"]) for row in rows] == [
            (item["starts"], str(item["days"]), str(item["final"]).lower()) for item in whole
        ]


def test_csv_is_a_file_by_accept_or_by_format(api: RunningApi) -> None:
    by_format = api.ask("GET", f"/nodes/{EPOCHS}/earnings", params={"format": "csv", **MARCH})
    by_accept = api.ask("GET", f"/nodes/{EPOCHS}/earnings", params=MARCH, headers={"Accept": "text/csv, */*"})
    assert by_format.content == by_accept.content
    assert by_format.headers["content-type"] == "text/csv; charset=utf-8"
    assert by_format.headers["content-disposition"] == f'attachment; filename="earnings-{EPOCHS}.csv"'
    overruled = api.ask("GET", f"/nodes/{EPOCHS}/earnings?format=json", headers={"Accept": "text/csv"})
    assert overruled.headers["content-type"] == "application/json"


def test_csv_of_nodes_is_all_of_them_and_equal_to_their_json(api: RunningApi, rows: Rows) -> None:
    rows.connection.execute(
        "INSERT INTO nodes (identifier, identifier_type, display_name) "
        "SELECT 'gonka1many' || n, 'wallet', '=cmd|' || n FROM generate_series(1, 2500) AS n"
    )
    try:
        response = api.ask("GET", "/nodes", params={"format": "csv", "sort": "identifier"})
        found = csv_rows(response.text)
        items = list(pages(api, "/nodes", sort="identifier", limit=500))
    finally:
        rows.connection.execute("DELETE FROM nodes WHERE identifier LIKE 'gonka1many%'")
    assert len(found) == 2503
    assert [row["node"] for row in found] == [item["identifier"] for item in items]
    for row, item in zip(found, items, strict=True):
        name = item["display_name"]
        assert row["display_name"] == ("" if name is None else f"'{name}")
        assert row["stale"] == str(item["stale"]).lower()
        assert row["status"] == (item["status"] or "")


def test_a_node_s_windows_add_up_its_days_that_are_over(api: RunningApi) -> None:
    detail = api.get(f"/nodes/{DAYS}")
    windows = {window["span"]: window for window in detail["windows"]}
    assert set(windows) == {"1d", "7d", "30d", "90d", "all"}
    for span, days in (("1d", 1), ("7d", 7), ("30d", 30), ("90d", 90), ("all", 99)):
        gnk = sum((Decimal(f"{back}.5") for back in range(1, days + 1)), Decimal())
        assert Decimal(windows[span]["gnk"]) == gnk
        assert windows[span]["until"] == (today() - timedelta(days=1)).isoformat()
    before = sum((Decimal(f"{back}.5") for back in range(8, 15)), Decimal())
    week = windows["7d"]
    assert Decimal(week["before_gnk"]) == before
    assert Decimal(week["change_gnk"]) == Decimal(week["gnk"]) - before
    assert windows["90d"]["change_gnk"] is None
    assert week["best"] == {"date": (today() - timedelta(days=7)).isoformat(), "gnk": "7.50000000"}
    assert api.get(f"/nodes/{NEW}")["windows"] == []


def test_groups_of_nodes_have_sums_and_trends(api: RunningApi) -> None:
    fleet = api.get("/earnings", **MARCH)["items"]
    assert Decimal(next(item["gnk"] for item in fleet if item["starts"] == "2026-03-01")) >= Decimal("1.00000001")
    by_type = api.get("/earnings", dimension="gpu_type", group="month", key="H100", **MARCH)["items"]
    assert by_type == [{"key": "H100", "starts": "2026-03-01", "gnk": "100000001.00000002", "days": 3, "final": True}]
    text = api.ask("GET", "/earnings", params={"dimension": "gpu_type", "format": "csv", **MARCH}).text
    assert [row["amount_gnk"] for row in csv_rows(text)] == [
        item["gnk"] for item in api.get("/earnings", dimension="gpu_type", **MARCH)["items"]
    ]
    trends = api.get("/trends", dimension="region", key="unknown", span="7d")["items"]
    assert [(each["key"], each["span"]) for each in trends] == [("unknown", "7d")]
    node = next(each for each in api.get(f"/nodes/{DAYS}")["windows"] if each["span"] == "7d")
    assert {name: trends[0][name] for name in node} == node


def test_a_timeline_has_288_letters_a_utc_day(api: RunningApi, rows: Rows) -> None:
    day = date(2026, 3, 1)
    healthy, seen, reachable = ("".join(bits) for bits in ("1000" + "0" * 284, "1100" + "0" * 284, "1110" + "0" * 284))
    rows.connection.execute(
        "INSERT INTO node_uptime VALUES (%s, %s, %s::bit(288), %s::bit(288))", (rows.id_of(DAYS), day, healthy, seen)
    )
    rows.connection.execute("INSERT INTO source_uptime VALUES ('gonkascan', %s, %s::bit(288))", (day, reachable))
    answer = api.get(f"/nodes/{DAYS}/timeline", since="2026-03-01", until="2026-03-02")
    assert answer["slot_seconds"] == 300
    assert answer["days"] == [
        {"date": "2026-03-01", "slots": "hua" + "-" * 285},
        {"date": "2026-03-02", "slots": "-" * 288},
    ]
    assert len(api.get(f"/nodes/{DAYS}/timeline")["days"]) == 7


@pytest.mark.parametrize(
    ("path", "since", "until"),
    [
        ("timeline", "2026-01-01", "2026-12-31"),
        ("timeline", "2026-03-02", "2026-03-01"),
        ("earnings", "2026-03-02", "2026-03-01"),
        ("earnings", "1999-12-31", "2026-03-01"),
        ("earnings", "2026-02-30", "2026-03-01"),
        ("earnings", "20260301", "2026-03-01"),
        ("earnings", "9000-01-01", "2026-03-01"),
    ],
)
def test_dates_that_are_no_span_are_refused(api: RunningApi, path: str, since: str, until: str) -> None:
    problem = api.problem(f"/nodes/{DAYS}/{path}", params={"since": since, "until": until})
    assert (problem["status"], problem["parameter"]) == (422, "since")


@pytest.mark.parametrize("path", ["", "/earnings", "/timeline"])
def test_a_node_that_nobody_knows_is_not_found(api: RunningApi, path: str) -> None:
    assert api.problem(f"/nodes/gonka1nobody{path}")["code"] == "not_found"


def test_the_summary_counts_nodes_and_tells_the_newest_settlements(api: RunningApi) -> None:
    summary = api.get("/summary")
    assert summary["nodes"] == {
        "total": 3,
        "healthy": 1,
        "unhealthy": 0,
        "jailed": 1,
        "offline": 0,
        "unknown": 1,
        "stale": 2,
    }
    assert {each["key"]: each["nodes"] for each in summary["gpu_types"]} == {"H100": 1, "A100": 1, "unknown": 1}
    assert [each["epoch"] for each in summary["settlements"]] == [103, 102, 101, 100]
    assert summary["settlements"][2]["gnk"] == "0.00000000"  # 4 ngonka
    assert (summary["estimate"]["epoch"], summary["estimate"]["nodes"]) == (104, 1)
    assert summary["uptime_percent"] == 50
    assert summary["sources"] == {"ok": 1, "failing": 1, "silent": 1, "stale": 1, "unknown": 1}
    assert len(summary["daily"]) == 90


def test_every_source_says_how_it_does(api: RunningApi) -> None:
    items = {item["name"]: item for item in api.get("/sources")["items"]}
    states = {name: item["state"] for name, item in items.items()}
    assert states == {
        "gonka_api": "ok",
        "gonkascan": "failing",
        "silent": "silent",
        "old": "stale",
        "unpolled": "unknown",
    }
    assert items["gonkascan"]["last_error"] == "HTTP 502"
    assert (items["gonkascan"]["nodes"], items["silent"]["nodes"]) == (1, 0)
    assert items["unpolled"]["data_age_seconds"] is None
    assert 3600 <= items["old"]["data_age_seconds"] < 3720
