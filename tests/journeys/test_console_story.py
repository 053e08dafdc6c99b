"""The whole story of an item in real browsers: four people in four sessions, on the whole stack with a real portal, app
feed, notice board and the sandbox's phone network."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.journeys import Place, office, page, until
from workers import embedded

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

TITLE = "关于调整元旦期间广播电视节目播出安排的通知"
TEXT = "根据工作安排，现将有关事项通知如下。\n\n一、时间安排\n\n自2026年12月31日起调整，至2027年1月3日结束。\n"
PASSWORD = "four words nobody knows"
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with office(tmp_path / "data") as place:
        embedded.prepare(place.data, "demo.toml")
        yield place


def sign_in(browser: "Browser", place: Place, person: str, screen: "dict[str, int]" = DESK) -> "Page":
    """Somebody's first day: the password that the administrator gave, and then their own."""
    first = place.json("password", person)["password"]
    seat = browser.new_context(viewport=screen, locale="zh-CN", base_url=place.address("console")).new_page()  # type: ignore[arg-type]
    seat.set_default_timeout(20_000)
    seat.goto("/")
    seat.fill("[name=name]", person)
    seat.fill("[name=password]", first)
    seat.click("main button.main")
    seat.fill("[name=old]", first)
    seat.fill("[name=new]", PASSWORD)
    seat.fill("[name=again]", PASSWORD)
    seat.click("main button.main")
    seat.wait_for_selector("text=密码已修改")
    return seat


def approve_next(seat: "Page") -> None:
    """Two taps: open what waits, approve."""
    seat.goto("/")
    seat.click("main a.button.main:has-text('审查')")
    seat.click("button:has-text('通过')")
    seat.wait_for_selector(".said")


@pytest.mark.timeout(400)
def test_an_item_is_written_reviewed_published_corrected_and_withdrawn_by_four_people(
    place: Place, chromium: "Browser", tmp_path: Path
) -> None:
    people = tmp_path / "people.csv"
    people.write_text("phone,name,consent_source,consent_on\n13800000010,甲,窗口登记,2026-01-05\n", "utf-8")
    running = place.up()
    place.json("subscribers", "import", str(people), "--as", "wang")
    author, officer = sign_in(chromium, place, "zhao"), sign_in(chromium, place, "li")
    leader, editor = sign_in(chromium, place, "chen", PHONE), sign_in(chromium, place, "wang")

    author.click("text=新建信息")
    author.fill("[name=title]", TITLE)
    author.fill("[name=text]", TEXT)
    author.fill("[name=summary]", "元旦期间节目播出安排有调整。")
    author.click("button:has-text('提交审查'):visible")
    for channel in ("portal", "app_feed", "bulletin", "sms"):
        author.check(f"[name=channels][value={channel}]")
    author.click("button.big:has-text('提交审查')")
    author.wait_for_selector(".said")
    number = re.search(r"/items/(\d+)", author.url)
    item = int(number[1]) if number else 1

    approve_next(officer)
    approve_next(leader)

    editor.goto("/reach")  # and only looks: the page follows by itself
    arrived = "td[data-label='{}'] .state.confirmed"
    for label in ("门户网站", "手机台", "短信"):
        editor.wait_for_selector(arrived.format(label), timeout=60_000)
    assert TITLE in page(f"{place.address('portal')}/i/{item}")
    assert "13800000010" not in editor.content()
    editor.wait_for_selector("td[data-label='公开栏'] .state.accepted", timeout=60_000)
    editor.goto(f"/items/{item}/reach")
    editor.fill("[name=place]", "局一楼公开栏")
    editor.click("button:has-text('登记张贴')")
    editor.wait_for_selector("text=已登记张贴")
    assert {one["state"] for one in place.json("reach", str(item))["deliveries"]} == {"confirmed"}

    author.goto(f"/items/{item}/correct")
    author.fill("[name=text]", TEXT.replace("1月3日", "1月5日"))
    author.click("button:has-text('提交审查'):visible")
    author.click("button.big:has-text('提交审查')")
    author.wait_for_selector(".said")
    officer.goto("/reviews/next")
    assert officer.inner_text("ins") == "5" and officer.inner_text("del") == "3"
    approve_next(officer)
    approve_next(leader)
    until(lambda: "1月5日" in page(f"{place.address('portal')}/i/{item}"))

    leader.goto(f"/items/{item}/withdraw")
    assert "已发给 1 人，无法收回" in leader.inner_text("main")
    leader.fill("[name=reason]", "时间还要调整")
    leader.click("button.danger.big")
    leader.wait_for_selector("text=正在从所有渠道撤下")
    until(lambda: page(f"{place.address('portal')}/i/{item}") == "410")
    until(lambda: _states(place, item)["portal"] == ("confirmed", None))

    running.process.terminate()
    assert running.wait() == 0
    for log in (place.data / "logs").iterdir():
        assert "13800000010" not in log.read_text("utf-8", errors="replace"), log.name


def _states(place: Place, item: int) -> "dict[str, tuple[str, int | None]]":
    told = place.json("reach", str(item))["deliveries"]
    return {one["channel"]: (one["state"], one["wanted"]) for one in told}
