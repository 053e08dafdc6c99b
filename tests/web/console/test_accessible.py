"""Every page of the console for people who do not use a mouse, do not see colours, or enlarge the page fourfold."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from axe_playwright_python.sync_playwright import Axe

from pipeline import assembly, issues, review
from pipeline.states import Ground
from tests.channels.recording import Fault, set_faults
from tests.office import Bureau
from tests.pipeline.newsletter import TYPES, newsletter
from tests.screenshots import PAGES
from tests.web.console.conftest import PASSWORD, Office, let_in

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

LONG = "关于" + "进一步做好全区广播电视和网络视听安全播出保障" * 5 + "工作的通知"
PEOPLE = [
    ("zhao", "news", ["author"]), ("qian", "tech", ["author"]), ("wang", "office", ["editor"]),
    ("li", "office", ["officer"]), ("chen", "office", ["leader"]), ("zhou", "office", ["leader"]),
    ("sun", "office", ["auditor"]), ("admin", "office", ["admin"]), ("both", "office", ["author", "officer"]),
]  # fmt: skip
EXAMPLES = {"bulletin": "board"}  # a channel of the demonstration → the like of it in the tests' bureau


def phases_of(bureau: Bureau) -> dict[str, int]:
    """Seven published items, with all that can go wrong and be posted, and one in each phase of review."""
    bureau.subscribe("13800001234", "13800001235")
    set_faults(bureau.rt.settings.data / "sms", Fault("in_doubt", times=1), Fault("rejected", times=1))
    everywhere = [bureau.publish("web", "board", "sms", draft={"title": LONG}) for _ in range(7)]
    bureau.work()
    made = {"correcting": everywhere[1]}
    for phase in ("draft", "reviewing", "returned", "refused"):
        made[phase] = bureau.write(title=f"{phase} 的通知")
        if phase != "draft":
            bureau.submit(made[phase], "web", "board")
    review.correct(bureau.rt, bureau.actor("zhao"), made["correcting"], bureau.draft(text="改过的正文。\n"))
    bureau.submit(made["correcting"])
    review.return_(bureau.rt, bureau.actor("li"), made["returned"], "缺少附件")
    review.refuse(bureau.rt, bureau.actor("li"), made["refused"], Ground.INTERNAL_AFFAIRS, "内部台账")
    issues.ensure(bureau.rt)
    made["issue"], made["entry"] = issues.find(bureau.rt, ""), everywhere[0]
    revision = assembly.build(bureau.rt, bureau.actor("wang"), made["issue"]).revision
    assembly.drop(bureau.rt, bureau.actor("wang"), made["issue"], revision, everywhere[2])
    return made


def everybody_at_work(open_console: Callable[..., Office]) -> tuple[Office, dict[str, int]]:
    """The console with everybody let in, and items in all phases."""
    everybody = [
        {"id": name, "name": f"{name}同志", "department": department, "roles": roles}
        for name, department, roles in PEOPLE
    ]
    office = open_console(people=everybody, newsletter=newsletter(), item_types=TYPES)
    let_in(office.bureau, "admin", "qian")
    return office, phases_of(office.bureau)


def address_of(path: str, phases: dict[str, int]) -> str:
    """Where a page of `PAGES` is in this office."""
    return re.sub(r"\w+$", lambda end: EXAMPLES.get(end[0], end[0]), path.format(**phases))


def barriers(page: "Page") -> list[str]:
    """What axe-core calls serious or critical, and whether the page must be scrolled sideways at 320 px (WCAG 2.1,
    1.4.10: 1280 px at 400 %)."""
    page.evaluate("document.querySelectorAll('details:not(.menu)').forEach(one => { one.open = true })")
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    told = [
        f"{rule['id']}: {node['target']} {node['html'][:160]} {node['failureSummary'][:240]}"
        for rule in found
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"][:3]
    ]
    page.set_viewport_size({"width": 320, "height": 640})
    wide = page.evaluate("document.scrollingElement.scrollWidth")
    page.set_viewport_size({"width": 1280, "height": 900})
    return [*told, f"{wide} px wide at 320"] if wide > 320 else told


def test_what_shuts_people_out_is_found(chromium: "Browser") -> None:
    """The test below would see it: a picture without words, a field without a name, grey on grey, a wide page."""
    page = chromium.new_page()
    page.set_content(
        "<!doctype html><html lang=zh-CN><title>坏的</title><main><h1>坏的</h1><img src=data:,><input>"
        "<p style='color:#aaa;background:#bbb'>看不清</p><div style='width:600px'>太宽</div></main></html>"
    )
    found = "\n".join(barriers(page))
    page.close()
    assert all(rule in found for rule in ("image-alt", "label", "color-contrast", "px wide at 320")), found


def test_no_page_shuts_anybody_out(open_console: Callable[..., Office], chromium: "Browser") -> None:
    office, phases = everybody_at_work(open_console)
    told = {}
    for person in dict.fromkeys(who for who, _ in PAGES.values()):
        page = chromium.new_context(viewport={"width": 1280, "height": 900}, locale="zh-CN").new_page()
        if person:
            page.goto(f"{office.url}/sign-in")
            page.fill("[name=name]", person)
            page.fill("[name=password]", PASSWORD)
            page.click("button.main")
        for name, (who, path) in PAGES.items():
            if who == person:
                address = address_of(path, phases)
                answer = page.goto(office.url + address)
                expected = {"problem": 404, "review-gone": 409}.get(name, 200)
                assert answer is not None and answer.status == expected, (name, address, answer and answer.status)
                assert page.locator("h1").count() == 1, name
                if found := barriers(page):
                    told[name] = found
        page.context.close()
    assert not told, "\n".join(f"{name}\n    " + "\n    ".join(found) for name, found in told.items())
