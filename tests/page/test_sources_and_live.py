"""Sources with their age and error, and changes that reach a page that stays open."""

import re
from decimal import Decimal

from playwright.sync_api import Browser, Page, expect

from tests.api.rows import Rows, ago
from tests.api.server import RunningApi, running, wait_ready
from tests.integration.pipeline import Pipeline
from tests.page.browsing import Visitor, settled, visiting
from tests.page.fleet import ALPHA, ERROR, OLD_ERROR, identifier

# The feed looks once a second, the page reads again at most every five.
LIVE_MS = 15_000


def mark(page: Page) -> None:
    """Leave something in the page that a reload would lose."""
    page.evaluate("window.untouched = true")


def is_marked(page: Page) -> bool:
    return page.evaluate("window.untouched") is True


def test_sources_tell_their_state_age_and_last_error(visitor: Visitor) -> None:
    page = visitor.open("#/sources")
    expect(page.get_by_test_id("source-count")).to_have_text("2 of 4 sources ok")

    def source(name: str) -> str:
        """What its panel says, in one line."""
        return " ".join(page.locator(f"[data-testid=source][data-name={name}]").inner_text().split())

    assert re.search(r"ok .*Newest data \d+ (s|min) ago .*Polled every 1 h .*Height 4,000,000", source("gonka_api"))
    assert "rror" not in source("gonka_api")
    assert re.search(rf"ok .*Last error 3 days ago {OLD_ERROR}", source("gonkascan"))
    assert re.search(rf"failing .*Newest data 2 h( \d+ min)? ago .*Error \d+ (s|min) ago {ERROR}", source("down"))
    assert re.search(r"unknown .*Newest data –", source("new"))


def test_a_new_status_changes_its_row_without_a_reload(visitor: Visitor, rows: Rows) -> None:
    page = visitor.open("#/?q=host+7")
    status = page.locator(f"[data-id={identifier(7)}] .c-status")
    expect(status).to_have_text("offline")
    expect(page.get_by_test_id("connection")).to_have_text("live")
    mark(page)
    rows.update(identifier(7), status="healthy", fetched_at=ago())
    expect(status).to_have_text("healthy", timeout=LIVE_MS)
    expect(page.get_by_test_id("announcer")).to_contain_text("host 7 is now healthy.", timeout=LIVE_MS)
    rows.update(identifier(7), earnings_total=Decimal("4711.00000001"))
    expect(page.locator(f"[data-id={identifier(7)}] .c-earnings_total data")).to_have_attribute(
        "value", "4711.00000001", timeout=LIVE_MS
    )
    assert is_marked(page)


def test_a_reading_and_a_failing_source_reach_open_pages(visitor: Visitor, rows: Rows) -> None:
    node = visitor.open(f"#/nodes/{ALPHA}")
    sources = visitor.open("#/sources")
    expect(node.get_by_test_id("node-facts")).to_contain_text("12,345")
    failing = sources.locator("[data-testid=source][data-name=new]")
    expect(failing).to_contain_text("unknown")
    for page in (node, sources):
        expect(page.get_by_test_id("connection")).to_have_text("live")
        mark(page)
    rows.update(ALPHA, jobs_day=777, fetched_at=ago())
    rows.connection.execute(
        "UPDATE tracker_sources SET last_attempt_at = now(), last_error_at = now(), last_error = 'refused',"
        " poll_interval_seconds = 60 WHERE name = 'new'"
    )
    expect(node.get_by_test_id("node-facts")).to_contain_text("777", timeout=LIVE_MS)
    expect(failing).to_contain_text("refused", timeout=LIVE_MS)
    expect(failing).to_contain_text("failing")
    assert is_marked(node)
    assert is_marked(sources)
    rows.connection.execute("DELETE FROM tracker_sources WHERE name = 'new'")
    rows.source("new", kind="hyperfusion")


def test_a_page_outlives_its_api_and_catches_up_when_it_is_back(
    pipeline: Pipeline, rows: Rows, chromium: Browser
) -> None:
    with running(pipeline) as api, visiting(chromium, api) as visitor:
        page = visitor.open("#/?q=host+9", expected="ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED|502|503")
        status = page.locator(f"[data-id={identifier(9)}] .c-status")
        expect(status).to_have_text("unhealthy")
        connection = page.get_by_test_id("connection")
        expect(connection).to_have_text("live")
        mark(page)
        assert api.worker.stop() == 0
        expect(connection).to_have_text("offline", timeout=LIVE_MS)
        expect(page.get_by_test_id("notice")).to_contain_text(re.compile("Offline. ?Showing data as of"))
        expect(status).to_have_text("unhealthy")
        rows.update(identifier(9), status="healthy", fetched_at=ago())
        again = RunningApi(pipeline.start("api", MINEGNK_API_PORT=str(api.port)), api.port, api.client)
        wait_ready(again)
        expect(connection).to_have_text("live", timeout=20_000)
        expect(page.get_by_test_id("notice")).to_be_hidden()
        expect(status).to_have_text("healthy", timeout=LIVE_MS)
        assert is_marked(page)
        page.goto("about:blank")
        assert again.worker.stop() == 0
        pipeline.workers.remove(again.worker)


def test_a_locked_api_is_opened_with_a_key_that_only_this_tab_keeps(
    pipeline: Pipeline, rows: Rows, chromium: Browser
) -> None:
    key = rows.key("read")
    with running(pipeline, MINEGNK_API_ACCESS="keys") as api, visiting(chromium, api) as visitor:
        page = visitor.open("#/?q=alpha", expected="401")
        form = page.get_by_test_id("key-form")
        expect(form).to_be_visible()
        expect(page.get_by_test_id("connection")).to_have_text("locked")
        expect(page.get_by_test_id("key-input")).to_be_focused()
        page.keyboard.type("mgnk_wrong")
        page.keyboard.press("Enter")
        expect(form.get_by_role("alert")).to_have_text("The API did not take this key.")
        page.get_by_test_id("key-input").fill(key)
        page.get_by_test_id("key-submit").click()
        expect(page.get_by_test_id("node-row")).to_have_count(1)
        expect(page.get_by_test_id("connection")).to_have_text("live")
        page.reload()
        expect(page.get_by_test_id("node-row")).to_have_count(1)
        settled(page)
        with page.expect_download() as download:
            page.get_by_test_id("csv").click()
        assert ALPHA in download.value.path().read_text()
        assert key not in page.url
        assert page.evaluate("JSON.stringify(localStorage)") == "{}"
        page.get_by_test_id("forget-key").click()
        expect(form).to_be_visible()
        assert key not in page.evaluate("JSON.stringify(sessionStorage)")
