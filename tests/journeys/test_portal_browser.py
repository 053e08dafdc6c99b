"""The portal in a real browser: searched, enlarged, read aloud, printed; and no other host is asked for anything."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from tests.channels.rig_portal import portal_process
from tests.web import public
from tests.web.console.test_accessible import barriers
from web.portal import words

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PAGES = ("/", "/catalogue?type=通知", "/search?q=应急广播", "/search?q=没有的词", "/columns/newsletter", "/guide",
         "/apply", "/i/1", "/i/2", "/i/3", "/i/4", "/i/6", "/i/7", "/i/8", "/nowhere")  # fmt: skip
MODES = {"normal": "0", "elder, largest": "3e", "contrast": "0c"}
SITE = {
    "PORTAL_SITE_NAME": "张店区广播电视局政府信息公开", "PORTAL_SITE_ID_CODE": "3703030001",
    "PORTAL_ORGANISER": "张店区广播电视局", "PORTAL_CONTACT": "0533-2860000", "PORTAL_ICP": "鲁ICP备00000000号",
    "PORTAL_REPORT_ERROR_URL": "https://elsewhere.example/report", "PORTAL_SUBSCRIBE_URL": "https://fw.example/subscribe",
}  # fmt: skip

# Voices, and what is said with which of them: Debian's Chromium has none of its own.
VOICES = """
window.said = [];
class Utterance { constructor(text) { this.text = text; } }
const speech = new EventTarget();
Object.assign(speech, {
  paused: false,
  queue: [],
  getVoices: () => __VOICES__,
  speak(one) { window.said.push([one.text, one.voice && one.voice.name]); speech.queue.push(one); },
  cancel() { speech.queue = []; speech.paused = false; },
  pause() { speech.paused = true; },
  resume() { speech.paused = false; },
});
window.finish = () => { const one = speech.queue.shift(); if (one && one.onend) one.onend(); };
Object.defineProperty(window, "speechSynthesis", { value: speech });
window.SpeechSynthesisUtterance = Utterance;
"""
LOCAL = '{ name: "local", lang: "zh-CN", localService: true }'
REMOTE = '{ name: "remote", lang: "zh-CN", localService: false }'


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with portal_process(tmp_path_factory.mktemp("browser") / "portal", **SITE) as process:
        public.believable(process.url, words.today(datetime.now(UTC)))
        yield process.url


@pytest.fixture
def visit(chromium: "Browser", url: str) -> "Iterator[Callable[..., Page]]":
    """Somebody at the portal; fails afterwards when a page complained or asked anybody else for anything."""
    opened = []
    strange: list[str] = []

    def open_it(path: str = "/", view: str = "", voices: str = "", **how: Any) -> "Page":
        context = chromium.new_context(viewport={"width": 1280, "height": 900}, locale="zh-CN", **how)
        opened.append(context)
        if view:
            context.add_cookies([{"name": "view", "value": view, "url": url}])
        page = context.new_page()
        if voices:
            page.add_init_script(VOICES.replace("__VOICES__", voices))
        page.on("request", lambda request: request.url.startswith(url) or strange.append(request.url))
        page.on("console", lambda line: line.type != "error" or "status of 4" in line.text or strange.append(line.text))
        page.on("pageerror", lambda error: strange.append(str(error)))
        page.goto(url + path)
        return page

    yield open_it
    for context in opened:
        context.close()
    assert strange == []


def go(page: "Page", what: str) -> None:
    """Press what leads to another page, or to the same one anew, and wait until that is there."""
    with page.expect_navigation():
        page.click(what)


@pytest.mark.parametrize("mode", MODES)
def test_no_page_shuts_anybody_out_and_none_asks_another_host(
    visit: "Callable[..., Page]", url: str, mode: str
) -> None:
    page = visit(view=MODES[mode])
    told = {}
    for path in PAGES:
        page.goto(url + path, wait_until="networkidle")
        if found := barriers(page):
            told[path] = found
    assert not told, "\n".join(f"{path}\n    " + "\n    ".join(found) for path, found in told.items())


def test_somebody_searches_narrows_and_reads(visit: "Callable[..., Page]", url: str) -> None:
    page = visit()
    page.fill("[type=search]", "应急广播")
    with page.expect_navigation():
        page.press("[type=search]", "Enter")
    assert page.locator(".list mark").count() > 3
    assert "应急广播" in page.title()
    go(page, "aside h3:has-text('体裁') + ul >> text=统计信息")
    assert page.locator(".list h2").all_text_contents() == ["应急广播终端运行情况"]
    page.fill("[type=search]", "运行情况")
    with page.expect_navigation():
        page.press("[type=search]", "Enter")
    assert page.locator(".chosen a").all_text_contents() == ["取消体裁：统计信息"]  # the filter stayed
    go(page, ".list h2 a")
    assert page.url == f"{url}/i/8"
    assert page.locator("h1").text_content() == "应急广播终端运行情况"


@pytest.mark.parametrize("javascript", [True, False])
def test_elder_mode_makes_everything_large_and_stays(visit: "Callable[..., Page]", url: str, javascript: bool) -> None:
    page = visit("/i/1", java_script_enabled=javascript)
    pixels = "element => parseFloat(getComputedStyle(element).fontSize)"
    assert page.locator(".text p").first.evaluate(pixels) >= 18
    go(page, "text=长者模式")
    assert page.url == f"{url}/i/1"
    assert page.locator(".text p").first.evaluate(pixels) == 22
    go(page, "text=放大字号")
    go(page, "text=放大字号")
    assert page.locator(".text p").first.evaluate(pixels) == 30
    assert not page.is_visible("text=放大字号")
    page.goto(f"{url}/catalogue")
    small = []
    for control in page.locator("main a:visible, header a:visible, button:visible, input:visible").all():
        box = control.bounding_box()
        if box and (box["height"] < 60 or box["width"] < 60):
            small.append((control.inner_text(), box))
    assert not small
    line = page.locator("body").evaluate(
        "e => parseFloat(getComputedStyle(e).lineHeight) / parseFloat(getComputedStyle(e).fontSize)"
    )
    assert line >= 1.3
    go(page, "text=退出长者模式")
    assert page.url == f"{url}/catalogue"
    assert page.locator("body").evaluate(pixels) == 18


def test_high_contrast_is_chosen_by_a_button_and_left_by_another(visit: "Callable[..., Page]") -> None:
    page = visit("/i/1")
    ground = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(ground)
    go(page, "text=高对比度")
    assert page.evaluate(ground) == "rgb(0, 0, 0)"
    go(page, "text=普通对比度")
    assert page.evaluate(ground) == before


def test_the_page_is_read_aloud_piece_by_piece_with_a_voice_of_the_device(visit: "Callable[..., Page]") -> None:
    page = visit("/i/8", voices=f"[{REMOTE}, {LOCAL}]")
    page.click("text=朗读本页")
    assert page.evaluate("window.said") == [["应急广播终端运行情况", "local"]]
    assert page.locator("h1.reading").count() == 1
    page.evaluate("window.finish()")
    page.evaluate("window.finish()")
    assert [said for said, _ in page.evaluate("window.said")] == ["应急广播终端运行情况", "一、情况", "见下表。"]
    assert page.locator(".reading").text_content() == "见下表。"
    page.click("text=暂停朗读")
    assert page.evaluate("speechSynthesis.paused")
    page.click("text=继续朗读")
    assert not page.evaluate("speechSynthesis.paused")
    page.evaluate("window.finish()")
    assert page.evaluate("window.said")[-1][0].startswith("第0行0列的内容，第0行1列的内容，")  # a row of the table
    page.click("text=停止朗读")
    assert page.locator(".reading").count() == 0
    assert page.is_visible("text=朗读本页")


@pytest.mark.parametrize("voices", ["", "[]", f"[{REMOTE}]"])
def test_no_button_reads_aloud_where_no_voice_of_the_device_does(visit: "Callable[..., Page]", voices: str) -> None:
    """A voice from the net would tell its maker what somebody reads."""
    assert not visit("/i/1", voices=voices).is_visible("text=朗读本页")


def test_without_a_script_nothing_is_missing_but_reading_aloud_and_the_button_to_print(
    visit: "Callable[..., Page]",
) -> None:
    page = visit("/i/1", java_script_enabled=False)
    assert page.is_visible("h1") and page.is_visible(".permanent img")
    assert not page.is_visible("text=打印本页") and not page.is_visible("text=朗读本页")


def test_by_keyboard_the_first_stop_leads_to_the_content_and_every_stop_is_seen(visit: "Callable[..., Page]") -> None:
    page = visit("/i/4")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "跳到正文"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    page.goto(page.url.partition("#")[0])
    stops = 0
    while True:
        page.keyboard.press("Tab")
        seen = page.evaluate(
            "(() => { const e = document.activeElement; if (e === document.body) return null;"
            "const s = getComputedStyle(e); return s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2; })()"
        )
        if seen is None or stops > 80:
            break
        assert seen, page.evaluate("document.activeElement.outerHTML")
        stops += 1
    assert stops > 15


def test_on_paper_stand_the_text_and_the_code_and_nothing_to_press(visit: "Callable[..., Page]") -> None:
    page = visit("/i/1", view="3ec")
    page.set_viewport_size({"width": 640, "height": 900})  # about that of A4
    page.emulate_media(media="print")
    for gone in (".tools", ".menu", ".search", ".foot", ".trail"):
        assert not page.is_visible(gone)
    for there in ("h1", ".catalogue", ".text", ".permanent img"):
        assert page.is_visible(there)
    assert page.evaluate("getComputedStyle(document.documentElement).fontSize") != "30px"
    assert re.search("rgb\\(29|rgb\\(0", page.evaluate("getComputedStyle(document.querySelector('h1')).color"))
    assert page.locator(".text").bounding_box()["x"] >= 0  # nothing is cut off at the edge of the paper
    page.goto(page.url.replace("/i/1", "/i/8"))
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 640  # not even of a table of ten columns
