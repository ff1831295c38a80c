"""Whoever comes: with a keyboard or a screen reader, in the dark, on a telephone or a wall, over a slow line."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.page.browsing import Theme, Visitor, photograph, settled, violations
from tests.page.fleet import ALPHA

PAGES = {"fleet": "#/", "node": f"#/nodes/{ALPHA}", "sources": "#/sources"}
WIDTHS = (320, 390, 768, 1024, 3840)
FIRST_VIEW_BYTES = 200_000

# The texts, of those that are shown, that reach out of what they stand in, or have no room at all.
CUT = """selector => [...document.querySelectorAll(selector)].filter(node => {
    const cell = node.closest("td, th, dd, p");
    const [text, room] = [node.getBoundingClientRect(), cell.getBoundingClientRect()];
    return cell.offsetParent && (text.right > room.right + 1 || text.width < 20);
}).map(node => node.textContent)"""


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing_wrong(visitor: Visitor, name: str, theme: Theme) -> None:
    page = visitor.open(PAGES[name], theme=theme)
    settled(page)
    if name == "node":
        page.get_by_test_id("expand-epoch").first.click()
        page.get_by_test_id("days-table").locator("summary").click()
    photograph(page, f"{name}-1440-{theme}")
    assert violations(page) == []
    if theme == "dark":
        page.set_viewport_size({"width": 390, "height": 844})
        assert violations(page) == []


@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_wider_than_the_window_and_no_amount_is_cut(visitor: Visitor, name: str) -> None:
    page = visitor.open(PAGES[name])
    settled(page)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": width * 9 // 16 if width > 1000 else 900})
        photograph(page, f"{name}-{width}-light")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(CUT, "main data, main [data-testid=node-link]") == [], width


def test_the_first_view_is_small(visitor: Visitor) -> None:
    page = visitor.open(None)
    devtools = page.context.new_cdp_session(page)
    devtools.send("Network.enable")
    sizes: list[float] = []
    devtools.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    page.goto("/")
    settled(page)
    expect(page.get_by_test_id("fleet-chart").locator("canvas")).to_be_visible()
    assert len(sizes) > 20
    assert sum(sizes) < FIRST_VIEW_BYTES


def background(page: Page) -> str:
    colour: str = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return colour


def test_the_theme_is_the_systems_until_one_is_chosen_which_lasts(visitor: Visitor) -> None:
    dark, light = visitor.open(theme="dark"), visitor.open(theme="light")
    assert background(dark) != background(light)
    light.get_by_role("button", name="Use the dark theme").click()
    assert background(light) == background(dark)
    light.reload()
    assert background(light) == background(dark)
    light.get_by_role("button", name="Use the light theme").click()
    assert background(light) != background(dark)


def test_everything_is_reached_with_the_keyboard_alone(visitor: Visitor) -> None:
    page = visitor.open()
    settled(page)

    def tab_to(what: str) -> None:
        """Press Tab until the focus, which must be visible, is on this."""
        for _ in range(60):
            page.keyboard.press("Tab")
            focused = page.locator("*:focus")
            if focused.and_(page.locator(what)).count():
                expect(focused).to_be_in_viewport()
                assert focused.evaluate("node => node.matches(':focus-visible')")
                return
        pytest.fail(f"Tab never comes to {what}")

    tab_to("#skip")
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("main")).to_be_focused()
    tab_to("[data-testid=filter-status] summary")
    page.keyboard.press("Enter")
    tab_to("input[value=healthy]")
    page.keyboard.press("Space")
    expect(page).to_have_url(re.compile("status=healthy$"))
    page.keyboard.press("Escape")
    expect(page.get_by_test_id("filter-status").locator("summary")).to_be_focused()
    tab_to("[data-testid=sort-identifier]")
    page.keyboard.press("Enter")
    expect(page.locator("th[aria-sort=ascending]")).to_have_text("Node")
    tab_to("[data-testid=node-link]")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    settled(page)
    tab_to("[data-testid=days-chart]")
    tab_to("[data-testid=timeline-grid]")


def test_no_script_but_the_pages_own_runs(visitor: Visitor) -> None:
    page = visitor.open(expected="Content Security Policy")
    with page.expect_console_message(lambda message: "Content Security Policy" in message.text):
        page.evaluate(
            """() => {
                const script = document.createElement("script");
                script.textContent = "window.intruder = true";
                document.body.append(script);
            }"""
        )
    assert page.evaluate("window.intruder") is None
