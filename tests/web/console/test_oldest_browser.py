"""Office computers are old: no page needs a feature newer than Chromium 86. Asked of Chromium 86 itself."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import chromium86
from tests.screenshots import PAGES
from tests.web.console.conftest import PASSWORD, Office
from tests.web.console.test_accessible import address_of, everybody_at_work

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

WEB = Path(__file__).parents[3] / "web"

SUPPORTED = """asked => asked.map(([kind, name, value]) =>
    kind === "media" ? !matchMedia(name).media.includes("not all")
    : kind === "selector" ? CSS.supports(`selector(${name})`) : CSS.supports(name, value))"""
NAMES = """() => {
  const names = new Set();
  const take = (one) => Object.getOwnPropertyNames(one).forEach((name) => names.add(name));
  take(window);
  for (const value of Object.getOwnPropertyNames(window).map((name) => window[name])) {
    for (const one of [value, value && value.prototype]) if (/object|function/.test(one && typeof one)) take(one);
  }
  return [...names];
}"""
PARSED = "source => import(URL.createObjectURL(new Blob([source], { type: 'text/javascript' }))).then(() => '', String)"
SIGN_IN = """([name, password]) => {
  const form = document.querySelector("main form");
  form.elements.name.value = name;
  form.elements.password.value = password;
  form.submit();
}"""
OURS = {"changed", "take", "when"}  # called like something new
SPEECH = {"getVoices", "localService", "speak"}  # in Chrome since 33; this build for servers was made without


@pytest.fixture(scope="module")
def oldest(chromium: "Browser") -> "Iterator[Browser]":
    """Chromium 86."""
    if not chromium86.BINARY.exists():
        pytest.skip("Chromium 86 is not unpacked (python -m tests.setup_parts; needs npm, node and x86-64)")
    browser = chromium86.launch(chromium.browser_type)
    yield browser
    browser.close()


@pytest.fixture
def then(oldest: "Browser", tmp_path: Path) -> "Page":
    """An empty page in Chromium 86."""
    return _blank(oldest, tmp_path)


@pytest.fixture
def now(chromium: "Browser", tmp_path: Path) -> "Page":
    """The same in the browser of today: what it does not know either is no new feature."""
    return _blank(chromium, tmp_path)


def _blank(browser: "Browser", tmp_path: Path) -> "Page":
    blank = tmp_path / "blank.html"
    blank.write_text("<!doctype html><title>blank</title>", "utf-8")
    page = browser.new_page()
    page.goto(blank.as_uri())
    return page


def questions(sheet: str) -> list[tuple[str, ...]]:
    """Every media condition, selector and declaration of a style sheet."""
    sheet = re.sub(r"/\*.*?\*/", "", sheet, flags=re.DOTALL)
    asked: list[tuple[str, ...]] = [("media", one.strip(), "") for one in re.findall(r"@media([^{]+)\{", sheet)]
    for selectors, declarations in re.findall(r"([^{};]+)\{([^{}]*)\}", sheet):
        asked += [("selector", one.strip(), "") for one in re.split(r",(?![^(]*\))", selectors)]
        for one in filter(str.strip, declarations.split(";")):
            name, _, value = one.partition(":")
            asked.append(("declaration", name.strip(), value.replace("!important", "").strip()))
    return asked


def newer_styles(sheet: str, then: "Page", now: "Page") -> list[str]:
    asked = questions(sheet)
    answers = zip(asked, then.evaluate(SUPPORTED, asked), now.evaluate(SUPPORTED, asked), strict=True)
    return [" ".join(one) for one, before, today in answers if today and not before]


def newer_script(source: str, then: "Page", names: set[str]) -> list[str]:
    """`names`: what scripts can reach today and could not then."""
    bare = re.sub(r"//[^\n]*|/\*.*?\*/", "", source, flags=re.DOTALL)
    used = {name for found in re.findall(r"\.(\w+)|\bnew (\w+)|(?<![\w.])(\w+)\(", bare) for name in found}
    wrong = then.evaluate(PARSED, source)
    return sorted(used & names - OURS - SPEECH) + ([wrong] if "SyntaxError" in wrong else [])


def newer_names(then: "Page", now: "Page") -> set[str]:
    return set(now.evaluate(NAMES)) - set(then.evaluate(NAMES))


def test_what_is_newer_than_chromium_86_is_found(then: "Page", now: "Page") -> None:
    sheet = ".a { color: red; inset: 0 } .a:has(b) { aspect-ratio: 1 } @media (width > 30rem) { p { margin: 0 } }"
    assert newer_styles(sheet, then, now) == [
        "media (width > 30rem) ", "declaration inset 0", "selector .a:has(b) ", "declaration aspect-ratio 1",
    ]  # fmt: skip
    names = newer_names(then, now)
    assert newer_script("structuredClone(1); [1].findLast((one) => one);", then, names) == [
        "findLast",
        "structuredClone",
    ]
    assert "SyntaxError" in newer_script("class A { static { } }", then, names)[0]


def test_styles_and_scripts_use_nothing_newer_than_chromium_86(then: "Page", now: "Page") -> None:
    names = newer_names(then, now)
    told = {
        file.name: newer_styles(file.read_text("utf-8"), then, now)
        if file.suffix == ".css"
        else newer_script(file.read_text("utf-8"), then, names)
        for file in sorted(WEB.glob("*/static/*.[cj]s*"))
    }
    assert {"console.css", "portal.css", "subscribe.css", "writing.js", "page.js"} <= told.keys()
    assert not {name: found for name, found in told.items() if found}


def test_chromium_86_opens_every_page_of_the_console_without_an_error(
    open_console: Callable[..., Office], oldest: "Browser"
) -> None:
    office, phases = everybody_at_work(open_console)
    told: list[str] = []
    for person in dict.fromkeys(who for who, _ in PAGES.values()):
        page = oldest.new_context(viewport={"width": 390, "height": 844}, locale="zh-CN").new_page()
        page.on("pageerror", lambda error: told.append(str(error)))
        if person:
            page.goto(f"{office.url}/sign-in")
            with page.expect_navigation():
                page.evaluate(SIGN_IN, [person, PASSWORD])
        for name, (who, path) in PAGES.items():
            if who == person:
                page.goto(office.url + address_of(path, phases))
                wide = page.evaluate("document.scrollingElement.scrollWidth")
                if wide > 390 or page.evaluate("document.querySelectorAll('h1').length") != 1:
                    told.append(f"{name}: {wide} px wide")
        page.context.close()
    assert not told, "\n".join(told)
