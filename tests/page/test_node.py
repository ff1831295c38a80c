"""A node's page: what it earned to the last digit, its health, and what each source said."""

import re
from datetime import timedelta

from playwright.sync_api import Page, expect

from tests.api.rows import today
from tests.page.browsing import Visitor, settled
from tests.page.fleet import (
    ALPHA,
    EPOCHS,
    ESTIMATED_EPOCH,
    ML_NODE,
    RESTATED_EPOCH,
    days_gnk,
    grouped,
    ngonka_of,
)

ALPHA_PAGE = f"#/nodes/{ALPHA}"


def gnk_text(ngonka: int) -> str:
    """All nine places, grouped."""
    return f"{ngonka // 10**9:,}.{ngonka % 10**9:09d}"


def colours_of(page: Page, canvas: str) -> int:
    """How many colours a canvas has, the transparent one among them."""
    count: int = page.locator(canvas).evaluate(
        """canvas => {
            const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            return new Set(new Uint32Array(data.buffer)).size;
        }"""
    )
    return count


def test_windows_tell_every_digit(visitor: Visitor) -> None:
    page = visitor.open(ALPHA_PAGE)
    days = days_gnk()
    expect(page.get_by_test_id("window-1d").locator("td").first).to_have_text(grouped(days[-1]))
    expect(page.get_by_test_id("window-7d").locator("td").first).to_have_text(grouped(*days[-7:]))
    expect(page.get_by_test_id("window-all").locator("td").first).to_have_text(grouped(*days))
    expect(page.get_by_test_id("node-facts")).to_contain_text(f"{grouped(*days)} GNK")
    expect(page.get_by_test_id("node-status")).to_contain_text("healthy")
    expect(page.get_by_test_id("node-address")).to_have_text(ALPHA)


def test_bars_tell_each_day_to_the_pointer_the_keyboard_and_as_a_table(visitor: Visitor) -> None:
    page = visitor.open(ALPHA_PAGE)
    settled(page)
    days = days_gnk()
    chart = page.get_by_test_id("days-chart")
    assert colours_of(page, "[data-testid=days-chart] canvas") > 2
    chart.focus()
    page.keyboard.press("End")
    expect(chart).to_have_attribute("aria-valuetext", re.compile("no settlement known"))
    page.keyboard.press("ArrowLeft")
    expect(chart).to_have_attribute("aria-valuetext", re.compile(f"{grouped(days[-1])} GNK, from gonka_api"))
    expect(chart.get_by_test_id("tooltip")).to_contain_text(grouped(days[-1]))
    page.keyboard.press("Home")
    expect(chart).to_have_attribute("aria-valuetext", re.compile("no settlement known"))

    page.get_by_test_id("days").get_by_role("button", name="7 d").click()
    expect(page).to_have_url(re.compile(r"days=7"))
    expect(page.get_by_test_id("days-summary")).to_contain_text("Settlements on 6 of 7 days")
    over = chart.locator(".u-over")
    box = over.bounding_box()
    assert box is not None
    over.hover(position={"x": box["width"] * 0.5, "y": box["height"] / 2})  # of seven days, today the last
    expect(chart.get_by_test_id("tooltip")).to_contain_text(grouped(days[-3]))

    page.get_by_test_id("days-table").locator("summary").click()
    listed = page.get_by_test_id("days-table").locator("tbody tr")
    expect(listed).to_have_count(7)
    expect(listed.nth(0)).to_contain_text("not known")
    expect(listed.nth(1)).to_contain_text(grouped(days[-1]))


def test_the_timeline_has_a_cell_for_every_five_minutes(visitor: Visitor) -> None:
    page = visitor.open(ALPHA_PAGE)
    settled(page)
    summary = page.get_by_test_id("timeline-summary")
    expect(summary).to_contain_text("healthy in 50.0 % of the 24 h known, not healthy for 6 h, absent for 6 h")
    assert colours_of(page, "[data-testid=timeline-grid] canvas") >= 5  # four states, and nothing
    grid = page.get_by_test_id("timeline-grid")
    grid.focus()
    page.keyboard.press("Home")
    expect(grid).to_have_attribute("aria-valuetext", re.compile(r"^not known, .*00:00–00:05 UTC"))
    for _ in range(5):
        page.keyboard.press("ArrowDown")
    expect(grid).to_have_attribute("aria-valuetext", re.compile(r"^healthy, .*00:00–00:05 UTC"))
    page.keyboard.press("ArrowRight")
    expect(grid).to_have_attribute("aria-valuetext", re.compile(r"^healthy, .*00:05–00:10 UTC"))
    for _ in range(12):
        page.keyboard.press("PageDown")
    expect(grid).to_have_attribute("aria-valuetext", re.compile(r"^seen but not healthy, .*12:05–12:10 UTC"))
    box = grid.bounding_box()
    assert box is not None
    grid.hover(position={"x": box["width"] * 0.9, "y": box["height"] * 5.5 / 7})
    expect(grid.get_by_test_id("tooltip")).to_contain_text("absent")
    expect(page.get_by_test_id("uptime")).to_contain_text(re.compile(r"Uptime 7 d50\.00 %144 of 288 slots"))
    page.get_by_test_id("timeline").get_by_role("button", name="30 d").click()
    expect(summary).to_contain_text("30 UTC days")


def test_epochs_tell_what_is_final_provisional_and_restated_and_what_each_source_said(visitor: Visitor) -> None:
    page = visitor.open(ALPHA_PAGE)
    provisional = page.get_by_test_id("provisional-row")
    told = rf"{ESTIMATED_EPOCH}.*seen \d min ago.*≈ 5\.00000000.*gonkascan.*provisional.*weight"
    expect(provisional).to_contain_text(re.compile(told))
    rows = page.get_by_test_id("epoch-row")
    expect(rows).to_have_count(EPOCHS)
    newest = rows.first
    expect(newest).to_contain_text(gnk_text(ngonka_of(EPOCHS)))
    expect(newest).to_contain_text("final")
    expect(newest).not_to_contain_text("restated")
    restated = rows.nth(EPOCHS - RESTATED_EPOCH)
    expect(restated).to_contain_text("restated")

    expand = restated.get_by_test_id("expand-epoch")
    expect(expand).to_have_attribute("aria-expanded", "false")
    expand.focus()
    page.keyboard.press("Enter")
    expect(expand).to_have_attribute("aria-expanded", "true")
    reports = page.get_by_role("table", name=f"Reports of epoch {RESTATED_EPOCH}").locator("tbody tr")
    expect(reports).to_have_count(2)
    paid = ngonka_of(RESTATED_EPOCH)
    expect(reports.filter(has_text="gonka_api")).to_contain_text(gnk_text(paid))
    expect(reports.filter(has_text="gonka_api")).to_contain_text(re.compile("counts.*2 versions"))
    expect(reports.filter(has_text="gonkascan")).to_contain_text(gnk_text(paid + 7))
    expect(reports.filter(has_text="gonkascan")).not_to_contain_text("counts")


def test_another_time_zone_groups_the_days_anew_and_stays_in_the_address(visitor: Visitor) -> None:
    page = visitor.open(f"{ALPHA_PAGE}?tz=Pacific/Kiritimati&days=30")
    expect(page.get_by_test_id("zone-statement")).to_contain_text("date of settlement in Pacific/Kiritimati")
    settled(page)
    page.get_by_test_id("days-table").locator("summary").click()
    # Noon in UTC is the next day there: yesterday's settlement is today's.
    newest = page.get_by_test_id("days-table").locator("tbody tr").filter(has_text=grouped(days_gnk()[-1]))
    expect(newest).to_contain_text(f"{today():%a}, {today().day} ")
    page.get_by_test_id("time-zone").select_option("UTC")
    expect(page.get_by_test_id("zone-statement")).to_contain_text("Days are UTC dates")
    expect(page).to_have_url(re.compile(f"{ALPHA}.days=30$"))


def test_a_node_that_is_only_known_by_name_has_no_numbers(visitor: Visitor) -> None:
    page = visitor.open("#/?q=beta")
    page.get_by_test_id("node-link").click()
    expect(page.get_by_test_id("node-address")).to_have_text(ML_NODE)
    settled(page)
    expect(page.get_by_test_id("windows")).to_contain_text("Nothing has settled for this node yet.")
    expect(page.get_by_test_id("epochs")).to_contain_text("No source has told of an epoch of this node.")
    expect(page.get_by_test_id("node-facts")).not_to_contain_text(re.compile(r"(?<![\d,])0(?!\d)"))


def test_an_unknown_node_and_an_unknown_address_lead_back(visitor: Visitor) -> None:
    page = visitor.open("#/nodes/nobody", expected="404")
    expect(page.get_by_test_id("no-node")).to_contain_text("No source has ever told of nobody.")
    page = visitor.open("#/nowhere")
    page.get_by_test_id("missing").get_by_role("link").click()
    expect(page.get_by_test_id("view-fleet")).to_be_visible()


def test_days_as_csv_are_those_shown(visitor: Visitor) -> None:
    page = visitor.open(f"{ALPHA_PAGE}?days=7")
    settled(page)
    with page.expect_download() as download:
        page.get_by_test_id("days").get_by_test_id("csv").click()
    lines = download.value.path().read_text().splitlines()
    assert len(lines) == 1 + 6
    assert f"{today() - timedelta(days=1)}" in "".join(lines)
    assert f"{days_gnk()[-1]:f}" in "".join(lines)
