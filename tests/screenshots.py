"""Makes docs/screenshots again: `make screenshots`, or `python -m tests.screenshots [--data DIR] [NAME …]`.

The demonstration's own office (its 18 items really published on all channels), with items in every phase beside them;
each page at 1440 and 390 px, as the person who works there sees it. `--data` keeps the office for another run.
"""

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path

import uvicorn

from config import settings as config
from config.settings import HERE
from pipeline import accounts, assembly, counting, intake, issue_pages, issues, review, staff
from pipeline.decisions import Actor
from pipeline.models import Account
from pipeline.runtime import Runtime, open_runtime
from pipeline.states import Ground
from tests.channels.rig_portal import portal_process
from web.console.app import create
from workers.embedded import _portal

OUT = Path(__file__).parents[1] / "docs" / "screenshots"
PASSWORD = "dianbo-guangdian"
WIDTHS = (1440, 390)
MARK = "screenshots.ready"
QUIET = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--disable-background-networking", "--lang=zh-CN"]
# The browser's own words in Chinese (dates, "choose a file"), where Debian's chromium-l10n is there.
CHINESE: dict[str, str | float | bool] = {**os.environ, "LANGUAGE": "zh_CN"}
# A page that is unrolled has no foot where something could stick.
WHOLE = ".savebar { position: static !important } .beside { max-height: none !important }"

# name → who looks, and the path. {reviewing} and so on are items in these phases.
PAGES: Mapping[str, tuple[str, str]] = {
    "sign-in": ("", "/sign-in"),
    "password": ("zhao", "/password"),
    "desk": ("wang", "/"),
    "desk-author": ("qian", "/"),
    "desk-officer": ("li", "/"),
    "desk-empty": ("admin", "/"),
    "items": ("wang", "/items"),
    "item": ("wang", "/items/2"),
    "item-returned": ("wang", "/items/{returned}"),
    "reviews": ("li", "/reviews"),
    "review": ("li", "/items/{reviewing}/review"),
    "review-correction": ("li", "/items/{correcting}/review"),
    "review-gone": ("li", "/items/{returned}/review"),
    "reach": ("wang", "/reach"),
    "reach-item": ("wang", "/items/7/reach"),
    "withdraw": ("chen", "/items/7/withdraw"),
    "admin": ("admin", "/admin"),
    "admin-channels": ("admin", "/admin/channels"),
    "admin-people": ("admin", "/admin/people"),
    "admin-person": ("admin", "/admin/people/chen"),
    "admin-departments": ("admin", "/admin/departments"),
    "admin-deputies": ("admin", "/admin/deputies"),
    "admin-words": ("wang", "/admin/words"),
    "admin-subscribers": ("admin", "/admin/subscribers"),
    "admin-standing": ("wang", "/admin/standing"),
    "admin-log": ("admin", "/admin/log"),
    "admin-processes": ("admin", "/admin/processes"),
    "tokens": ("wang", "/tokens"),
    "calendar": ("wang", "/calendar"),
    "calendar-october": ("wang", "/calendar?month=2026-10"),
    "calendar-list": ("wang", "/calendar?view=list"),
    "numbers": ("wang", "/numbers"),
    "newsletter": ("wang", "/newsletter"),
    "newsletter-issue": ("wang", "/newsletter/{issue}"),
    "newsletter-entry": ("wang", "/newsletter/{issue}/entries/{entry}"),
    "newsletter-print": ("wang", "/newsletter/{issue}/preview"),
    "newsletter-mail": ("wang", "/newsletter/{issue}/preview?form=mail"),
    "new": ("zhao", "/items/new"),
    "edit": ("wang", "/items/{draft}/edit"),
    "correct": ("wang", "/items/2/correct"),
    "submit": ("wang", "/items/{draft}/submit"),
    "preview": ("wang", "/items/2/preview/bulletin"),
    "problem": ("zhao", "/items/999"),
}

# The portal's, by path, and the cookie of the view. Published by the demonstration, read from its own process.
PUBLIC: Mapping[str, tuple[str, str]] = {
    "portal-home": ("/", ""),
    "portal-catalogue": ("/catalogue?type=通知", ""),
    "portal-search": ("/search?q=应急广播", ""),
    "portal-item": ("/i/1", ""),
    "portal-notice": ("/i/2", ""),
    "portal-guide": ("/guide", ""),
    "portal-apply": ("/apply", ""),
    "portal-elder": ("/i/8", "1e"),
    "portal-contrast": ("/i/8", "0c"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="the office's data directory, made when it is not there yet")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("names", nargs="*", help="only these pages")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        data = given.data or Path(scratch) / "office"
        rt, phases = believable_office(data)
        with served(rt) as url:
            take(url, phases, given.out, given.names)
        environment = _portal(rt.settings)
        with portal_process(Path(environment.pop("PORTAL_DATA")), **environment) as portal:
            take_public(portal.url, given.out, given.names)


def believable_office(data: Path) -> tuple[Runtime, dict[str, int]]:
    """The demonstration's office with items in every phase and everybody let in; made once for a directory."""
    if not (data / MARK).exists():
        fabu = Path(sys.executable).with_name("fabu")
        subprocess.run([fabu, "demo", "--data", data], check=True, stdout=subprocess.DEVNULL)
    rt = open_runtime(config.load(data))
    if not (data / MARK).exists():
        made = _more_items(rt)
        for person in staff.people(rt):
            accounts.first_password(rt, person.id)
        known = accounts._hasher.hash(PASSWORD)
        with rt.writing() as db:
            for account in db.query(Account):
                account.password_hash, account.must_change = known, False
        counting.refresh(rt)
        (data / MARK).write_text("\n".join(f"{phase} {item}" for phase, item in made.items()))
    lines = (line.split() for line in (data / MARK).read_text().splitlines())
    return rt, {phase: int(item) for phase, item in lines}


def _more_items(rt: Runtime) -> dict[str, int]:
    """What lies on the desks: drafts, reviews of both levels, a return, a refusal, a correction."""
    samples = intake.read_samples(HERE / "samples")
    today = rt.now().astimezone(rt.settings.zone).date()

    def actor(person: str) -> Actor:
        return Actor(staff.person(rt, person), "screenshots")

    def write(place: int, title: str) -> tuple[int, str]:
        sample = samples[place]
        draft = replace(sample.draft, title=title, formed_on=today)
        return review.create(rt, actor(sample.author), draft), sample.author

    made = {}
    made["draft"], _ = write(0, "关于调整元旦期间广播电视节目播出安排的通知")
    for phase, place, title in (
        ("reviewing", 3, "2026年11月广播电视播出和融媒体传播情况"),
        ("reviewing2", 5, "关于召开2026年度新闻发布工作座谈会的通知"),
        ("returned", 6, "关于组织参加全市广播电视安全播出应急演练的通知"),
        ("refused", 14, "关于内部设备台账核对情况的说明"),
    ):
        made[phase], author = write(place, title)
        review.submit(rt, actor(author), made[phase], ["portal", "app_feed"])
    told = samples[1]
    changed = told.draft.text.replace("共5个工作日", "共7个工作日").replace("2026年11月20日止", "2026年11月24日止")
    made["correcting"] = 2
    period = (date(2026, 11, 16), date(2026, 11, 24))
    review.correct(
        rt, actor(told.author), 2, replace(told.draft, text=changed, period=period, summary="公示期延长为7个工作日。")
    )
    review.submit(rt, actor(told.author), 2)
    with rt.reading() as db:
        from pipeline.models import Submission  # the hash that the officer saw

        seen = db.query(Submission).filter_by(item_id=made["reviewing2"]).one().hash
    review.approve(rt, actor("li"), made["reviewing2"], seen)
    review.return_(rt, actor("li"), made["returned"], "附件中的联系人手机号请按规定处理后再提交。")
    review.refuse(rt, actor("li"), made["refused"], Ground.INTERNAL_AFFAIRS, "设备台账属于内部事务信息。")
    return made | _an_issue(rt, actor("wang"))


def _an_issue(rt: Runtime, editor: Actor) -> dict[str, int]:
    """The issue that the demonstration sent, while its editor corrects it."""
    issue = next(one.id for one in issues.plan(rt) if one.item)
    revision = issue_pages.page(rt, issue).revision
    entries = [one.item for column in issue_pages.page(rt, issue).columns for one in column.entries]
    revision = assembly.drop(rt, editor, issue, revision, entries[-1])
    assembly.write_editorial(
        rt, editor, issue, revision, "岁末将至，本期集中刊发冬季安全播出和便民服务信息，敬请留意。"
    )
    return {"issue": issue, "entry": entries[0]}


@contextmanager
def served(rt: Runtime) -> Iterator[str]:
    """The console on a free port."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create(rt), log_level="warning", timeout_keep_alive=75, lifespan="off"))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


def take(url: str, phases: Mapping[str, int], out: Path, names: list[str]) -> None:
    """Look at each page at each width, and keep what is seen."""
    from playwright.sync_api import sync_playwright

    out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=QUIET, env=CHINESE)
        for width in WIDTHS:
            for person in dict.fromkeys(who for name, (who, _) in PAGES.items() if not names or name in names):
                page = browser.new_context(
                    viewport={"width": width, "height": 900}, locale="zh-CN", bypass_csp=True
                ).new_page()
                if person:
                    page.goto(f"{url}/sign-in")
                    page.fill("[name=name]", person)
                    page.fill("[name=password]", PASSWORD)
                    page.click("button.main")
                for name, (who, path) in PAGES.items():
                    if who == person and (not names or name in names):
                        page.goto(url + path.format(**phases), wait_until="networkidle")
                        page.screenshot(path=out / f"{name}-{width}.png", full_page=True, style=WHOLE)
                        print(f"{name}-{width}.png", flush=True)
        browser.close()


def take_public(url: str, out: Path, names: list[str]) -> None:
    """The same of the portal."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=QUIET, env=CHINESE)
        for width in WIDTHS:
            for name, (path, view) in PUBLIC.items():
                if names and name not in names:
                    continue
                context = browser.new_context(viewport={"width": width, "height": 900}, locale="zh-CN")
                if view:
                    context.add_cookies([{"name": "view", "value": view, "url": url}])
                page = context.new_page()
                page.goto(url + path, wait_until="networkidle")
                page.screenshot(path=out / f"{name}-{width}.png", full_page=True)
                print(f"{name}-{width}.png", flush=True)
                context.close()
        browser.close()


if __name__ == "__main__":
    main()
