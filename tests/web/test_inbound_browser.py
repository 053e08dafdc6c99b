"""The citizens' pages in a real browser: without script, with the keyboard, enlarged, and read aloud."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from axe_playwright_python.sync_playwright import Axe

from pipeline import subscriptions
from tests.office import Bureau
from tests.pipeline.letters import code_in, letters, open_town, path_in
from tests.pipeline.test_subscriptions import MAIL, PHONE, told
from tests.web.test_inbound import inbound

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


def barriers(page: "Page") -> list[str]:
    """Everything that axe-core finds, scrolling sideways at 320 px (WCAG 2.1, 1.4.10), and what a finger may miss."""
    page.set_viewport_size({"width": 320, "height": 900})
    found = [f"{page.url}: {one['id']}" for one in Axe().run(page).response["violations"]]
    if page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
        found.append(f"{page.url}: sideways")
    small = "[...document.querySelectorAll('button, input:not([type=hidden]):not([type=checkbox]), label.choice')]"
    if page.evaluate(f"{small}.some(one => one.getBoundingClientRect().height < 60)"):
        found.append(f"{page.url}: a target below 60 px")
    shown = "[...document.querySelectorAll('main *')].filter(one => one.innerText)"
    if page.evaluate(f"{shown}.some(one => parseFloat(getComputedStyle(one).fontSize) < 18)"):
        found.append(f"{page.url}: letters below 18 px")
    return found


def test_a_citizen_subscribes_and_leaves_with_the_keyboard_and_without_script(
    open_office: Callable[..., Bureau],
    tmp_path: Path,
    chromium: "Browser",
) -> None:
    town = open_town(open_office, tmp_path)
    with inbound(town) as address:
        page = chromium.new_context(java_script_enabled=False).new_page()
        page.goto(f"{address}/subscribe")
        page.focus("#to-sms")
        page.keyboard.type(PHONE)
        page.keyboard.press("Tab")
        page.keyboard.type(MAIL)
        for _ in range(2):
            page.keyboard.press("Tab")
        page.keyboard.press("Space")  # 停电停水播出安排
        for _ in range(2):
            page.keyboard.press("Tab")
        page.keyboard.press("Space")  # 同意
        page.keyboard.press("Tab")
        with page.expect_navigation():
            page.keyboard.press("Enter")
        assert page.locator("h1").inner_text() == "还差一步：请确认"
        subscriptions.invite(town.rt)
        page.fill(".code", code_in(letters(town, "sms")[0][1]))
        with page.expect_navigation():
            page.keyboard.press("Enter")
        assert page.locator("h1").inner_text() == "已订阅" and "停电停水播出安排" in page.inner_text("main")
        page.goto(address + path_in(letters(town, "mail")[0][1]))
        with page.expect_navigation():
            page.click("button")
        assert told(town, "mail") == [MAIL] and told(town, "sms") == [PHONE]
        leave = subscriptions.unsubscribe_address(town.rt, "mail", MAIL).removeprefix(town.rt.settings.inbound_url)
        page.goto(address + leave)
        with page.expect_navigation():
            page.click("button")
        assert page.locator("h1").inner_text() == "已退订" and told(town, "mail") == []


def test_nothing_on_these_pages_keeps_anybody_out(
    open_office: Callable[..., Bureau],
    tmp_path: Path,
    chromium: "Browser",
) -> None:
    town, found = open_town(open_office, tmp_path), list[str]()
    leave = subscriptions.unsubscribe_address(town.rt, "mail", MAIL).removeprefix(town.rt.settings.inbound_url)
    with inbound(town) as address:
        page = chromium.new_page()
        page.goto(f"{address}/subscribe")
        found += barriers(page)
        page.fill("#to-sms", PHONE)
        page.fill("#to-mail", MAIL)
        page.check("[name=consent]")
        with page.expect_navigation():
            page.click("button")
        found += barriers(page)  # no group was chosen
        page.check("[value=policy]")
        with page.expect_navigation():
            page.click("button")
        found += barriers(page)
        page.fill(".code", "000000")
        with page.expect_navigation():
            page.click("button")
        found += barriers(page)
        subscriptions.invite(town.rt)
        for place in (path_in(letters(town, "mail")[0][1]), leave, "/u/x"):
            page.goto(address + place)
            found += barriers(page)
            if page.locator("button").count():
                with page.expect_navigation():
                    page.click("button")
                found += barriers(page)
    assert found == []
