"""The list of nodes: filters, orders, pages; and what an item of it says."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from services.api.store.nodes import SORTS
from tests.api.rows import Rows, today
from tests.api.server import RunningApi

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

SAME: dict[str, Any] = {"earnings_total": "100.1", "jobs_day": 5, "uptime_percent": "99.5", "voting_weight": "10.5"}
FLEET: dict[str, dict[str, Any]] = {
    "gonka1alpha": {
        "display_name": "100% of Alpha",
        "gpu_type": "H100 80GB",
        "region": "Germany",
        "status": "healthy",
        "active_model": "Qwen/Qwen3-32B-FP8",
        "tokens_per_sec": "12.34",
        "earnings_day": "1.00000001",
        "source": "hyperfusion",
        "age": 10,
        **SAME,
    },
    "gonka1beta": {
        "display_name": "under_score",
        "gpu_type": "A100 80GB",
        "status": "jailed",
        "active_model": "zeta/model_b",
        "earnings_day": "0",
        "earnings_total": "3",
        "uptime_percent": "0",
        "jobs_day": 0,
        "tokens_per_sec": "7",
        "source": "gonkascan",
        "age": 1000,
    },
    "gonka1gamma/node-1": {
        "identifier_type": "node_id",
        "display_name": 'O\'Hara "quoted" \\ back',
        "region": "Germany",
        "status": "unhealthy",
        "earnings_total": "0.00000001",
        "age": None,
    },
    "gonkavaloper1delta": {"identifier_type": "operator", "read": False},
    "gonka1epsilon": {
        "display_name": "=SUM(A1)",
        "gpu_type": "H100 80GB",
        "region": "Finland",
        "status": "offline",
        "source": "hyperfusion",
        "age": 60,
        **SAME,
    },
    "gonka1zeta": {"display_name": "ALPHA twin", "status": "healthy", "source": "hyperfusion", "age": 30, **SAME},
}
COLUMN_OF = {
    "earnings_day": "earnings_day",
    "earnings_total": "earnings_total",
    "uptime": "uptime_percent",
    "jobs": "jobs_day",
    "weight": "voting_weight",
    "tokens": "tokens_per_sec",
    "age": "age",
}


@pytest.fixture(scope="module", autouse=True)
def fleet(rows: Rows) -> None:
    for identifier, columns in FLEET.items():
        rows.node(identifier, **columns)
    rows.history("gonka1alpha", {today() - timedelta(days=3): "4", today(): "1.00000001"})
    rows.history("gonka1beta", {today() - timedelta(days=1): "0"})
    users = rows.user("one@example.org"), rows.user("two@example.org")
    rows.assign(users[0], "gonka1alpha")
    rows.assign(users[0], "gonka1gamma/node-1")
    rows.assign(users[1], "gonka1alpha")


def user(rows: Rows, email: str) -> str:
    (found,) = rows.connection.execute("SELECT id FROM users WHERE email = %s", (email,)).fetchone() or ()
    return str(found)


@pytest.mark.parametrize(
    ("parameters", "found"),
    [
        ({}, set(FLEET)),
        ({"status": "healthy"}, {"gonka1alpha", "gonka1zeta"}),
        ({"status": ["jailed", "offline"]}, {"gonka1beta", "gonka1epsilon"}),
        ({"status": "unknown"}, {"gonkavaloper1delta"}),
        ({"status": ["unknown", "unhealthy"]}, {"gonkavaloper1delta", "gonka1gamma/node-1"}),
        ({"gpu_type": "H100 80GB"}, {"gonka1alpha", "gonka1epsilon"}),
        ({"gpu_type": "unknown"}, {"gonka1gamma/node-1", "gonkavaloper1delta", "gonka1zeta"}),
        ({"gpu_type": "h100 80gb"}, set()),
        ({"region": ["Finland", "unknown"]}, {"gonka1epsilon", "gonka1beta", "gonkavaloper1delta", "gonka1zeta"}),
        ({"source": "gonkascan"}, {"gonka1beta"}),
        ({"source": "unknown"}, {"gonka1gamma/node-1", "gonkavaloper1delta"}),
        ({"stale": "true"}, {"gonka1beta", "gonka1gamma/node-1", "gonkavaloper1delta"}),
        ({"region": "Germany", "status": "healthy"}, {"gonka1alpha"}),
        ({"q": "alpha"}, {"gonka1alpha", "gonka1zeta"}),
        ({"q": "100%"}, {"gonka1alpha"}),
        ({"q": "%"}, {"gonka1alpha"}),
        ({"q": "_"}, {"gonka1beta"}),
        ({"q": "er_s"}, {"gonka1beta"}),
        ({"q": "er s"}, set()),
        ({"q": 'O\'Hara "quoted" \\'}, {"gonka1gamma/node-1"}),
        ({"q": "\\"}, {"gonka1gamma/node-1"}),
        ({"q": "a/n"}, {"gonka1gamma/node-1"}),
        ({"q": "qwen3"}, {"gonka1alpha"}),
        ({"q": "GONKAVALOPER"}, {"gonkavaloper1delta"}),
    ],
)
def test_a_filter_leaves_those_that_it_names(api: RunningApi, parameters: dict[str, Any], found: set[str]) -> None:
    answer = api.get("/nodes", **parameters)
    assert {item["identifier"] for item in answer["items"]} == found
    assert answer["total"] == len(found)
    assert answer["next_cursor"] is None


def test_what_is_not_stale_is_what_was_read_within_the_time_to_live(api: RunningApi) -> None:
    assert set(api.identifiers(stale="false")) >= {"gonka1alpha", "gonka1zeta"}
    assert not set(api.identifiers(stale="false")) & set(api.identifiers(stale="true"))


def test_a_user_s_nodes_are_those_assigned_also_when_others_have_them_too(api: RunningApi, rows: Rows) -> None:
    first, second = user(rows, "one@example.org"), user(rows, "two@example.org")
    assert set(api.identifiers(user=first)) == {"gonka1alpha", "gonka1gamma/node-1"}
    assert api.identifiers(user=second) == ["gonka1alpha"]
    assert api.identifiers(user="00000000-0000-0000-0000-000000000000") == []


@pytest.mark.parametrize("descending", [False, True], ids=["ascending", "descending"])
@pytest.mark.parametrize("sort", SORTS)
def test_an_order_has_nodes_without_a_value_last_and_pages_go_through_it(
    api: RunningApi, sort: str, descending: bool
) -> None:
    def key(identifier: str) -> Any:
        found = identifier if sort == "identifier" else FLEET[identifier].get(COLUMN_OF.get(sort, sort))
        return Decimal(found) if sort in COLUMN_OF and found is not None else found

    values = sorted({key(each) for each in FLEET if key(each) is not None}, reverse=descending)
    expected = [each for wanted in [*values, None] for each in sorted(FLEET) if key(each) == wanted]
    asked = f"-{sort}" if descending else sort
    assert api.identifiers(sort=asked) == expected
    for limit in (1, 2, 5):
        assert paged(api, sort=asked, limit=limit) == expected


def paged(api: RunningApi, **parameters: Any) -> list[str]:
    found: list[str] = []
    cursor: str | None = None
    while True:
        page = api.get("/nodes", **parameters, **({"cursor": cursor} if cursor else {}))
        assert page["total"] == len(FLEET)
        found += [item["identifier"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            return found


def test_an_item_says_all_that_its_row_holds(api: RunningApi) -> None:
    (item,) = api.get("/nodes", q="gonka1alpha")["items"]
    age, fetched_at = item.pop("age_seconds"), item.pop("fetched_at")
    assert 10 <= age < 120
    assert fetched_at.endswith("Z")
    assert abs((datetime.now(UTC) - datetime.fromisoformat(fetched_at)).total_seconds() - age) < 5
    assert item == {
        "identifier": "gonka1alpha",
        "identifier_type": "wallet",
        "display_name": "100% of Alpha",
        "gpu_type": "H100 80GB",
        "region": "Germany",
        "status": "healthy",
        "active_model": "Qwen/Qwen3-32B-FP8",
        "voting_weight": "10.50000000",
        "jobs_day": 5,
        "tokens_per_sec": 12.34,
        "uptime_percent": 99.5,
        "earnings_day": {"date": today().isoformat(), "gnk": "1.00000001", "final": False},
        "earnings_total_gnk": "100.10000000",
        "source": "hyperfusion",
        "stale": False,
    }


def test_the_newest_day_s_amount_is_final_once_its_date_is_over_and_zero_is_an_amount(api: RunningApi) -> None:
    (item,) = api.get("/nodes", q="gonka1beta")["items"]
    yesterday = today() - timedelta(days=1)
    assert item["earnings_day"] == {"date": yesterday.isoformat(), "gnk": "0.00000000", "final": True}
    assert item["jobs_day"] == 0
    assert item["stale"] is True
    assert 1000 <= item["age_seconds"] < 1120


def test_what_is_not_known_is_null_and_never_zero(api: RunningApi) -> None:
    (never_read,) = api.get("/nodes", q="gonkavaloper1delta")["items"]
    known = {"identifier": "gonkavaloper1delta", "identifier_type": "operator", "stale": True}
    assert {name: value for name, value in never_read.items() if value is not None} == known
    (smallest,) = api.get("/nodes", q="gonka1gamma")["items"]
    assert smallest["earnings_total_gnk"] == "0.00000001"
    assert smallest["age_seconds"] is None


def test_pages_show_every_node_once_while_rows_change_and_appear(api: RunningApi, rows: Rows) -> None:
    names = [f"gonka1page{number:03}" for number in range(40)]
    for number, name in enumerate(names):
        rows.node(name, display_name="turning pages", jobs_day=number % 7, age=5)
    try:
        seen: list[str] = []
        cursor: dict[str, str] = {}
        while True:
            page = api.get("/nodes", q="turning pages", sort="identifier", limit=7, **cursor)
            seen += [item["identifier"] for item in page["items"]]
            rows.update(names[len(seen) % 40], jobs_day=99, earnings_total="5", status="jailed")
            rows.node(f"gonka0early{len(seen)}", display_name="turning pages", age=1)  # before the place: not met
            if page["next_cursor"] is None:
                break
            cursor = {"cursor": page["next_cursor"]}
        assert seen == names
        assert page["total"] == 45
    finally:
        rows.connection.execute("DELETE FROM nodes WHERE display_name = 'turning pages'")


def test_a_page_goes_on_after_the_row_that_its_cursor_names_has_gone(api: RunningApi, rows: Rows) -> None:
    rows.node("gonka1lost", status="jailed", age=5, display_name="lost row")
    rows.node("gonka1lost2", status="jailed", age=5, display_name="lost row")
    page = api.get("/nodes", q="lost row", sort="identifier", limit=1)
    rows.connection.execute("DELETE FROM nodes WHERE identifier = 'gonka1lost'")
    after = api.get("/nodes", q="lost row", sort="identifier", limit=1, cursor=page["next_cursor"])
    assert [item["identifier"] for item in after["items"]] == ["gonka1lost2"]
    rows.connection.execute("DELETE FROM nodes WHERE display_name = 'lost row'")


@pytest.mark.parametrize(("limit", "items", "more"), [(5, 5, True), (6, 6, False), (7, 6, False), (500, 6, False)])
def test_a_cursor_is_given_exactly_where_something_is_left(api: RunningApi, limit: int, items: int, more: bool) -> None:
    page = api.get("/nodes", limit=limit)
    assert (len(page["items"]), page["next_cursor"] is not None) == (items, more)


def test_a_page_says_when_it_was_read_and_how_long_readings_live(api: RunningApi) -> None:
    page = api.get("/nodes", status="offline")
    assert abs((datetime.now(UTC) - datetime.fromisoformat(page["as_of"])).total_seconds()) < 10
    assert page["ttl_seconds"] == 300
