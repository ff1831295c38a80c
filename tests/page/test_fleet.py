"""The fleet: cards, the table, and finding nodes in it."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.api.server import RunningApi, running
from tests.integration.pipeline import Pipeline
from tests.page.browsing import Visitor, settled, visiting
from tests.page.conftest import NewPipeline
from tests.page.fleet import ALPHA, EPOCHS, ESTIMATED_EPOCH, ML_NODE, NODES, days_gnk, grouped, identifier
from tests.schema.sessions import session

MANY = 10_000

INSERT_MANY = """
WITH made AS (
    INSERT INTO nodes (identifier, identifier_type, display_name)
    SELECT 'gonka1' || lpad(i::text, 38, '0'), 'wallet', 'host ' || i FROM generate_series(1, %s) AS i
    RETURNING id, display_name
)
INSERT INTO node_stats_cache (node_id, status, earnings_total)
SELECT id, 'healthy', substr(display_name, 6)::integer FROM made
"""

# Until the table says that it has loaded this; returns how many rows were drawn at most.
SCROLL_TO_THE_END = """async all => {
    let most = 0;
    for (let loaded = false; ; ) {
        scrollTo(0, document.body.scrollHeight);
        await new Promise(requestAnimationFrame);
        most = Math.max(most, document.querySelectorAll("[data-testid=node-row]").length);
        if (loaded) return most;
        loaded = document.querySelector("[data-testid=node-count]").textContent === all;
    }
}"""


def test_cards_tell_the_fleet_with_its_trend(visitor: Visitor) -> None:
    page = visitor.open()
    settled(page)
    expect(page.get_by_test_id("card-nodes")).to_contain_text(f"{NODES + 2} nodes")
    for status, count in {"healthy": NODES // 4 + 1, "jailed": NODES // 4, "unknown": 1}.items():
        expect(page.get_by_test_id(f"count-{status}")).to_have_text(f"{count} {status}")
    newest = days_gnk()[-1]
    exact = page.get_by_test_id("card-day").locator("data")
    expect(exact).to_have_attribute("value", f"{newest:f}")
    expect(exact).to_have_attribute("title", f"{grouped(newest)} GNK")
    expect(page.get_by_test_id("card-estimate")).to_contain_text(f"≈ 5.00 GNKepoch {ESTIMATED_EPOCH}, 1 node")
    expect(page.get_by_test_id("card-settlement")).to_contain_text(f"epoch {EPOCHS}, 1 node")
    expect(page.get_by_test_id("card-sources")).to_contain_text("2 / 4 ok")
    expect(page.get_by_test_id("fleet-chart").locator("canvas")).to_be_visible()


def test_a_node_that_was_never_read_has_no_zero_and_its_name_is_only_text(visitor: Visitor) -> None:
    page = visitor.open("#/?q=beta")
    row = page.get_by_test_id("node-row")
    expect(row.get_by_test_id("node-link")).to_have_text("<b>مضيف</b> of a host")
    expect(row).to_have_count(1)
    expect(row.locator(".c-earnings_total")).to_have_text("–not known")
    assert not any(re.search(r"\b0", cell) for cell in row.locator("td").all_inner_texts())


def test_filters_order_and_search_stand_in_the_address_and_the_back_button_undoes_them(visitor: Visitor) -> None:
    page = visitor.open()
    rows = page.get_by_test_id("node-row")
    expect(rows.first).to_contain_text("alpha")
    page.get_by_test_id("filter-status").locator("summary").click()
    page.get_by_role("checkbox", name="jailed").check()
    expect(page).to_have_url(re.compile(r"#/\?status=jailed$"))
    expect(rows).to_have_count(NODES // 4)
    expect(rows.first).to_contain_text(f"host {NODES - 2}")
    assert set(rows.locator(".c-status").all_inner_texts()) == {"jailed"}

    page.keyboard.press("Escape")
    page.get_by_test_id("sort-earnings_total").click()
    expect(page).to_have_url(re.compile(r"sort=earnings_total"))
    expect(rows.first).to_contain_text("host 2")
    expect(page.locator("th[aria-sort]")).to_have_attribute("aria-sort", "ascending")

    page.get_by_test_id("filter-text").fill("host 10")
    expect(rows).to_have_count(1)
    expect(page).to_have_url(re.compile(r"q=host\+10"))
    page.reload()
    expect(page.get_by_test_id("filter-text")).to_have_value("host 10")
    expect(rows).to_have_count(1)

    page.go_back()
    expect(page).to_have_url(re.compile(r"#/\?status=jailed$"))
    expect(rows).to_have_count(NODES // 4)
    page.go_back()
    expect(rows.first).to_contain_text("alpha")


def test_a_node_and_back_to_the_same_filters(visitor: Visitor) -> None:
    page = visitor.open("#/?region=Finland&sort=identifier")
    page.get_by_test_id("node-link").first.click()
    expect(page).to_have_url(re.compile(f"#/nodes/{identifier(0)}$"))
    expect(page.get_by_role("heading", level=1)).to_have_text("host 0")
    page.get_by_test_id("back").click()
    expect(page).to_have_url(re.compile(r"region=Finland"))
    expect(page.get_by_test_id("node-count")).to_have_text(f"{NODES // 2} nodes")
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text("host 0")
    page.go_back()
    expect(page.get_by_test_id("node-link").first).to_have_text("host 0")


def test_nothing_found_says_so_and_offers_to_clear_the_filters(visitor: Visitor) -> None:
    page = visitor.open("#/?q=nobody&gpu_type=H100+80GB")
    page.get_by_test_id("no-nodes").get_by_role("button").click()
    expect(page).to_have_url(re.compile("/#/$"))
    expect(page.get_by_test_id("node-row").first).to_contain_text("alpha")


def test_an_address_is_copied_whole(visitor: Visitor) -> None:
    page = visitor.open("#/?q=alpha")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy address of alpha").click()
    expect(page.get_by_test_id("announcer")).to_contain_text("Copied.")
    assert page.evaluate("navigator.clipboard.readText()") == ALPHA


def test_the_list_as_csv_has_the_filters(visitor: Visitor) -> None:
    page = visitor.open("#/?status=unknown")
    settled(page)
    with page.expect_download() as download:
        page.get_by_test_id("csv").click()
    lines = download.value.path().read_text().splitlines()
    assert len(lines) == 2
    assert ML_NODE in lines[1]


@pytest.fixture(scope="module")
def empty(new_pipeline: NewPipeline) -> Iterator[tuple[Pipeline, RunningApi]]:
    """A database without rows, and its API."""
    pipeline = new_pipeline()
    with running(pipeline) as api:
        yield pipeline, api


def test_a_fleet_without_nodes_says_so(empty: tuple[Pipeline, RunningApi], chromium: Browser) -> None:
    with visiting(chromium, empty[1]) as visitor:
        page = visitor.open()
        expect(page.get_by_test_id("no-nodes")).to_contain_text("No node is known yet")
        expect(page.get_by_test_id("card-daily")).to_contain_text("Nothing has settled yet.")
        expect(page.get_by_test_id("card-month")).to_contain_text("not known")
        page.get_by_role("link", name="Sources", exact=True).click()
        expect(page.get_by_test_id("source-list")).to_have_text("No source is configured.")


def test_ten_thousand_nodes_scroll_with_few_rows_drawn(empty: tuple[Pipeline, RunningApi], chromium: Browser) -> None:
    pipeline, api = empty
    with session(pipeline.database) as connection, visiting(chromium, api) as visitor:
        connection.execute(INSERT_MANY, (MANY,))
        page = visitor.open()
        rows = page.get_by_test_id("node-row")
        expect(rows.first).to_contain_text(f"host {MANY}")
        assert page.evaluate(SCROLL_TO_THE_END, f"{MANY:,} nodes") < 80
        expect(rows.last).to_contain_text("host 1gonka1")
        expect(rows.last).to_be_in_viewport()
        page.evaluate("scrollTo(0, document.body.scrollHeight / 2)")
        expect(page.locator("[aria-rowindex='5000']")).to_be_attached()
        connection.execute("TRUNCATE nodes CASCADE")
