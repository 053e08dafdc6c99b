"""The console with some years behind it: every page as those see it who work there, and what the API answers.

The addresses are those of the application itself: a page that is new and has no values here ends the measure.
"""

import os
import re
import statistics
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import requests
from rich.console import Console as Screen
from sqlalchemy import insert, select

from config import settings as config
from pipeline import accounts, assembly, deputies, issue_pages, issues, review, staff, working_copy
from pipeline.decisions import Actor
from pipeline.drafts import Draft
from pipeline.migrate import set_up
from pipeline.models import Account, Attempt, AttemptEnd, Delivery, IssueEntry, StoredIssue
from pipeline.runtime import Runtime, open_runtime
from pipeline.states import Result, State
from pipeline.working_copy import Place as Place_
from pipeline.working_copy import Sheet
from tests.bench import ledger, measures, years
from tests.bench.figures import Figure
from tests.bench.measures import Place, Scale
from web.console.app import create
from workers.embedded import programs
from workers.supervise import free_ports

PASSWORD = "dianbo-guangdian"
EVERYBODY = ("wang", "zhao", "li", "chen", "admin")  # editor, author, officer, leader, administrator
SHOWN = 5  # of the slowest


@dataclass(frozen=True)
class Load:
    items: int
    readers: int  # on each list, and of the newsletter's issue
    rounds: int  # so often each person asks for each address; 0: once, and that first time counts
    people: Sequence[str] = EVERYBODY


FULL, QUICK = Load(100_000, 3_000, 4), Load(2_000, 100, 0, ("wang", "admin"))
FEWER = 30_000  # items on PostgreSQL

# Files are handed over, not looked at: they are measured apart.
FILES = re.compile(r"\.csv|\.xlsx|\.pdf|/proof|/sheet|/files/|/scans/|/static/")
SKIPPED = ("/health", "/static/{name}", "/sign-in", "/items/{item}/files/{sha256}", "/items/{item}/scans/{sha256}")
# Beside the bare address of a page, what people ask of it.
ALSO: Mapping[str, Sequence[str]] = {
    "/items": (
        "?page=2", "?page=1000", "?page=100000", "?words=应急广播", "?words=没有这样的题目", "?words=370303/00099",
        "?words=应急 公示",
        "?phase=draft", "?phase=returned", "?phase=reviewing", "?phase=approved&page=30", "?phase=correcting",
        "?phase=refused", "?phase=withdrawn", "?department=tech", "?type=公示&department=news", "?type=没有", "?mine=1",
        "?formed_from=2021-01-01&formed_to=2021-01-31", "?formed_to=2019-06-30&department=media&phase=approved",
    ),
    "/reach": (
        "?page=2", "?page=1000", "?words=应急广播", "?words=没有这样的题目", "?channel=bulletin&state=accepted",
        "?channel=sms&state=failed", "?state=failed", "?state=in_doubt", "?state=on_hold", "?state=due",
        "?state=confirmed&page=50", "?channel=portal&state=confirmed", "?state=skipped", "?channel=mail",
        "?department=tech&type=公示", "?formed_from=2021-01-01&formed_to=2021-01-31",
    ),
    "/reach/live": ("?seen=0", "?state=failed"),
    "/calendar": ("?view=list", "?month=2021-05", "?month=2026-10&view=list"),
    "/numbers": ("?from=2019-01&to=2026-12", "?department=tech", "?from=2017-01&to=2026-12&department=news"),
    "/admin/log": (
        "?page=2", "?page=3000", "?person=admin", "?person=wang", "?decision=withdraw", "?decision=submit&person=sun",
        "?item={item}", "?words=00099000", "?words=没有", "?from_on=2021-01-01&to_on=2021-01-31",
    ),
    "/admin/subscribers": ("?channel=mail", "?channel=sms&page=50", "?channel=sms&group=policy"),
    "/items/new": ("?copy=0", "?corrects={item}"),
    "/newsletter/{id}/preview": ("?form=mail", "?form=portal"),
    "/newsletter/{id}": ("?correct=1",),
}  # fmt: skip
ALSO_API: Mapping[str, Sequence[str]] = {
    "/items": ("?page=500&size=200", "?words=应急广播", "?phase=draft"),
    "/reach": ("?state=failed", "?page=500", "?channel=bulletin&state=accepted"),
    "/log": ("?person=admin&most=1000", "?item={item}"),
    "/channels/{channel}/subscribers": ("?words=0123", "?page=50"),
}
NEEDED = {"/numbers": "?begin=2025-12-01&end=2026-11-30", "/calendar": "?begin=2026-11-01&end=2026-11-30"}


@dataclass(frozen=True)
class Address:
    path: str
    api: bool = False

    @property
    def file(self) -> bool:
        return FILES.search(self.path) is not None


def console_pages(data: Path, place: Place, scale: Scale) -> list[Figure]:
    """Every GET of the console's own process by HTTP, asked by each person in turn who may see it; the 95th percentile
    of each address over all of them. The slowest are printed."""
    load = QUICK if scale == measures.QUICK else FULL
    if place.name != "SQLite":
        load = replace(load, items=min(load.items, FEWER), rounds=min(load.rounds, 2))
    folder, name = data / f"console-{place.name}", place.name
    begun = time.monotonic()
    with _office(folder, place.url("console")) as rt:
        years.fill(rt, load.items, load.readers)
        values = _furnish(rt, load)
        ledger.settle_down(rt.engine)
        filled = time.monotonic() - begun
        with _served(rt) as url:
            takes = _ask(url, _addresses(rt, values), _clients(rt, url, load.people), load.rounds)
    worst = {
        address: _percentile([one for each in people.values() for one in each]) for address, people in takes.items()
    }
    pages = sorted((one for one in worst if not one.file), key=lambda one: -worst[one])
    files = [one for one in worst if one.file]
    _print(takes, pages[:SHOWN], name)
    middle = statistics.median(statistics.median(each) for one in pages for each in takes[one].values())
    slowest = max(files, key=lambda one: worst[one])
    return [
        Figure(f"the console's slowest page ({pages[0].path}) of {len(pages)}, 95th percentile, {name}",
               worst[pages[0]] * 1000, "ms", at_most=150),
        Figure(f"the console's pages, median, {name}", middle * 1000, "ms"),
        Figure(f"the console's slowest file ({slowest.path}), 95th percentile, {name}", worst[slowest] * 1000, "ms"),
        Figure(f"a ledger of {load.items:,} items written, {name}", filled, "s"),
    ]  # fmt: skip


# ── the office ───────────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _office(folder: Path, database_url: str) -> Iterator[Runtime]:
    """An office as `fabu up` makes it, on this database; nobody is woken."""
    config.prepare(folder, ports=free_ports(config.PARTS))
    settings = config.load(folder, {**os.environ, config.DATABASE_URL: database_url})
    set_up(settings)
    rt = replace(open_runtime(settings), wake=lambda *channels: None)
    try:
        yield rt
    finally:
        rt.engine.dispose()


def _furnish(rt: Runtime, load: Load) -> dict[str, str]:
    """What pages are asked about, written by the office's own functions: the values that addresses take."""
    days = years.past_issues(rt)
    with rt.writing() as db:
        db.add_all(
            StoredIssue(
                nominal=day, year=day.year, number=day.month * 2 - 1 + day.day // 15, running=n + 1, out_on=day,
                cut_off_at=rt.now() - timedelta(days=len(days) - n), send_at=rt.now() - timedelta(days=len(days) - n),
                made_at=rt.now(), item_id=9 * n + 1,
            )
            for n, day in enumerate(days)
        )  # fmt: skip
        for person in load.people:
            account = Account(person=person, password_hash=accounts._hasher.hash(PASSWORD), must_change=False)
            account.changed_at, account.failures = rt.now(), 0
            db.merge(account)
        entries = [{"item_id": at, "issue_id": 1 + at % len(days), "place": "其他", "dropped": False,
                    "offered_at": rt.now()} for at in range(1, load.items - 400)]  # fmt: skip
        db.execute(insert(IssueEntry), entries)
    (issue,) = issues.ensure(rt)  # the next one
    assembly.build(rt, _actor(rt, "wang"), issue)
    done = assembly.submit(rt, _actor(rt, "wang"), issue, {})
    for person in ("li", "chen"):
        review.approve(rt, _actor(rt, person), done.item_id, done.hash)
    entry = next(one.item for part in issue_pages.page(rt, issue).columns for one in part.entries)
    _sent(rt, done.item_id, load.readers)
    draft, waiting = (_written(rt, title) for title in ("关于试播的通知", "等待复核的通知"))
    submitted = review.submit(rt, _actor(rt, "zhao"), waiting, ["portal", "app_feed", "bulletin", "sms", "mail"])
    review.approve(rt, _actor(rt, "li"), waiting, submitted.hash)
    today = rt.now().date()
    deputies.name(rt, _actor(rt, "admin"), "wang", "chen", today, today + timedelta(days=3))
    working_copy.save(rt, _actor(rt, "zhao"), Place_(window="bench"), Sheet(title="写了一半", text="一、安排"))
    return {
        "draft": str(draft), "waiting": str(waiting), "item": str(load.items // 2 + 7), "issue": str(issue),
        "entry": str(entry),
    }  # fmt: skip


def _actor(rt: Runtime, person: str) -> Actor:
    return Actor(staff.person(rt, person), "bench")


def _written(rt: Runtime, title: str) -> int:
    text = "根据工作安排，现将有关事项通知如下。\n\n一、时间安排\n\n自即日起施行。\n"
    return review.create(rt, _actor(rt, "zhao"), Draft(title, text, "通知", "news", rt.now().date()))


def _sent(rt: Runtime, item: int, readers: int) -> None:
    """The issue as it is in the middle of its run: most have it, some failed, some wait."""
    now = rt.now()
    with rt.writing() as db:
        slot = db.scalars(select(Delivery).where(Delivery.item_id == item, Delivery.channel == "mail")).one()
        slot.expanded_at = now
        db.flush()
        states = [State.ACCEPTED] * 97 + [State.FAILED, State.DUE, State.IN_DOUBT]
        rows = [
            {"item_id": item, "channel": "mail", "recipient": f"reader{at}@qq.example", "slot_id": slot.id,
             "wanted_id": slot.wanted_id, "wanted_at": now, "generation": 1, "held_known": True,
             "state": states[at % 100], "publish_at": now, "attempts": int(states[at % 100] is not State.DUE),
             "first_tried_at": now, "last_tried_at": now, "look_after": None}
            for at in range(1, readers + 1)
        ]  # fmt: skip
        db.execute(insert(Delivery), rows)
        tried = db.execute(
            select(Delivery.id).where(Delivery.slot_id == slot.id, Delivery.state != State.DUE)
        ).scalars().all()  # fmt: skip
        db.execute(insert(Attempt), [
            {"delivery_id": id, "number": 1, "generation": 1, "rendition_id": slot.wanted_id, "started_at": now,
             "worker": "bench"} for id in tried
        ])  # fmt: skip
        db.execute(insert(AttemptEnd), [
            {"delivery_id": id, "number": 1, "at": now, "result": Result.ACCEPTED, "reference": "", "evidence": "250",
             "error": ""} for id in tried
        ])  # fmt: skip


# ── its addresses ────────────────────────────────────────────────────────────────────────────────────────────────────


def _addresses(rt: Runtime, values: Mapping[str, str]) -> list[Address]:
    """Every GET there is, and what else is asked of it."""
    application: Any = create(rt)
    pages = application.app.openapi()["paths"]
    described: Any = next(one.app for one in application.app.routes if getattr(one, "path", "") == "/api/v1")
    found = []
    for also, paths, api in ((ALSO, pages, False), (ALSO_API, described.openapi()["paths"], True)):
        for path in (path for path, ways in paths.items() if "get" in ways and path not in SKIPPED):
            bare = NEEDED.get(path, "") if api else ""
            for query in (bare, *also.get(path, ())):
                found.append(Address(("/api/v1" if api else "") + _filled(path, query, values), api))
    return list(dict.fromkeys(found))


def _filled(path: str, query: str, values: Mapping[str, str]) -> str:
    last = path.rpartition("/")[2]
    if path.startswith("/newsletter"):
        item = values["entry"]
    elif last in ("edit", "submit"):
        item = values["draft"]
    elif last in ("review", "sheet", "views", "referrals") or "/frame/" in path:
        item = values["waiting"]
    else:
        item = values["item"]
    channel = "mail" if "/frame/" in path or last == "subscribers" else "bulletin"
    filled = (path + query).replace("{number}", "1").replace("{item}", item).replace("{channel}", channel)
    filled = filled.replace("/newsletter/{id}", f"/newsletter/{values['issue']}")
    filled = filled.replace("/people/{id}", "/people/chen")
    assert "{" not in filled, f"{path} is new: which value does it take?"
    return filled


# ── asking ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _served(rt: Runtime) -> Iterator[str]:
    """The console's own process, as `fabu up` starts it."""
    program = next(one for one in programs(rt.settings) if one.name == "console")
    environment = {**os.environ, **program.environment, config.DATABASE_URL: rt.settings.database_url}
    process = subprocess.Popen(program.command, env=environment)
    try:
        deadline = time.monotonic() + 60
        while not program.ready():
            assert process.poll() is None and time.monotonic() < deadline, "the console does not answer"
            time.sleep(0.05)
        yield f"http://127.0.0.1:{program.port}"
    finally:
        process.terminate()
        process.wait(20)


@dataclass(frozen=True)
class _Client:
    """One person at a browser, and their program."""

    browser: requests.Session
    program: requests.Session


def _clients(rt: Runtime, url: str, people: Sequence[str]) -> dict[str, _Client]:
    found = {}
    for person in people:
        browser, program = requests.Session(), requests.Session()
        browser.trust_env = program.trust_env = False
        browser.post(f"{url}/sign-in", {"name": person, "password": PASSWORD}, timeout=20)
        assert browser.cookies, person
        program.headers["Authorization"] = f"Bearer {accounts.make_token(rt, _actor(rt, person), 'bench')}"
        found[person] = _Client(browser, program)
    return found


def _ask(
    url: str, addresses: Sequence[Address], clients: Mapping[str, _Client], rounds: int
) -> dict[Address, dict[str, list[float]]]:
    """Seconds, by address and person. All that is asked comes round again and again, so that what else the machine
    does meets every address; the first time says who may see it, and counts only where it is the only one (as it is of
    a file)."""
    takes = dict[Address, dict[str, list[float]]]()
    for address in addresses:
        takes[address] = {}
        for person, client in clients.items():
            seconds, status = _get(url, address, client)
            assert status < 500, (status, address.path)
            if status < 400:
                takes[address][person] = [seconds] if address.file or not rounds else []
                if address.file:
                    break  # some hold years: once is enough
        assert takes[address], f"nobody sees {address.path}"
    for _ in range(rounds):
        for address, people in ((one, people) for one, people in takes.items() if not one.file):
            for person, each in people.items():
                each.append(_get(url, address, clients[person])[0])
    return takes


def _get(url: str, address: Address, client: _Client) -> tuple[float, int]:
    session = client.program if address.api else client.browser
    begun = time.perf_counter()
    answer = session.get(url + address.path, timeout=60, allow_redirects=False)
    return time.perf_counter() - begun, answer.status_code


def _percentile(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=20, method="inclusive")[-1] if len(values) > 1 else values[0]


def _print(takes: Mapping[Address, Mapping[str, Sequence[float]]], slowest: Sequence[Address], name: str) -> None:
    screen = Screen(width=120)
    for address in slowest:
        told = ", ".join(
            f"{person} {_percentile(each) * 1000:.0f} ({statistics.median(each) * 1000:.0f})"
            for person, each in takes[address].items()
        )
        screen.print(f"       {address.path}  {told} ms, 95th percentile (median), {name}", style="dim")
