"""Who gets where: every route of the console × everybody, against one table. A new route needs a line in it."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import requests
from fastapi import FastAPI

from channels.contract import File
from config.locale import catalogue
from pipeline import accounts, assembly, deputies, issues, phrases, review
from pipeline.models import StoredPerson
from tests.office import Bureau
from tests.pipeline.newsletter import TYPES, newsletter
from tests.web.console.conftest import Office, let_in
from web.console.app import create

# Who signs in as what; beside the staff of tests.office three more.
PEOPLE = {
    "stranger": "ge",  # an author of another department than the item's
    "author": "zhao", "editor": "wang", "officer": "li", "leader": "chen", "auditor": "sun", "admin": "root",
    "deputy": "dai",  # an officer who stands in for the leader
}  # fmt: skip
MORE = (("ge", "tech", "author"), ("root", "office", "admin"), ("dai", "office", "officer"))

ANYBODY = "nobody stranger author editor officer leader deputy auditor admin"  # signed in or not
STAFF = "stranger author editor officer leader deputy auditor admin"
INSIDE = "author editor officer leader deputy auditor admin"  # who are shown an item of the author's department
WRITERS = "author editor"
ALL_WRITERS = "stranger author editor"
OFFICE = "editor officer leader deputy auditor admin"
DESK = "editor officer leader deputy admin"
LIST = "editor admin"

# The item was written by `author`, and lies where the route has something to do: as a draft, on the leader's desk, or
# published.
TABLE = {
    "GET /": STAFF,
    "GET /health": ANYBODY,
    "GET /static/{name}": ANYBODY,
    "POST /language": ANYBODY,
    "GET /sign-in": ANYBODY,
    "POST /sign-in": ANYBODY,
    "POST /sign-out": STAFF,
    "GET /password": STAFF,
    "POST /password": STAFF,
    "GET /tokens": STAFF,
    "POST /tokens": STAFF,
    "POST /tokens/{id}/revoke": "editor admin",  # the editor's own token
    # items
    "GET /items": STAFF,
    "GET /items/{item}": INSIDE,
    "GET /items/{item}/files/{sha256}": INSIDE,
    "GET /items/{item}/preview/{channel}": INSIDE,
    "GET /items/{item}/frame/{channel}": INSIDE,
    "GET /items/{item}/proof": INSIDE,
    "GET /items/{item}/scans/{sha256}": INSIDE,
    "POST /items/{item}/compare": WRITERS,
    "GET /items/new": ALL_WRITERS,
    "POST /items/new": WRITERS,  # for that department
    "GET /items/{item}/edit": WRITERS,
    "POST /items/{item}/edit": WRITERS,
    "GET /items/{item}/correct": WRITERS,
    "POST /items/{item}/correct": WRITERS,
    "GET /items/{item}/submit": WRITERS,
    "POST /items/{item}/submit": WRITERS,
    "POST /items/{item}/submit/preview": WRITERS,
    "POST /writing/discard": STAFF,  # one's own working copies
    "POST /writing/files": ALL_WRITERS,
    "POST /writing/keep": ALL_WRITERS,
    "POST /writing/outline": STAFF,
    "POST /writing/preview": STAFF,  # of what they typed themselves
    # reviews
    "GET /reviews": STAFF,
    "GET /reviews/next": STAFF,
    "GET /items/{item}/review": INSIDE,
    "GET /items/{item}/sheet": INSIDE,
    "POST /items/{item}/approve": "leader deputy",
    "POST /items/{item}/return": "leader deputy",
    "POST /items/{item}/refuse": "leader deputy",
    "POST /items/{item}/paper": "editor officer deputy admin",  # enter what the leader signed
    "POST /items/{item}/refer": "officer leader deputy",
    "POST /items/{item}/referrals/{id}": "editor officer leader deputy",
    # reach
    "GET /reach": STAFF,
    "GET /reach/live": STAFF,
    "GET /items/{item}/reach": INSIDE,
    "POST /items/{item}/retry": DESK,
    "POST /items/{item}/settle": DESK,
    "POST /items/{item}/post": WRITERS,
    "POST /items/{item}/unpost": WRITERS,
    "GET /items/{item}/withdraw": INSIDE,
    "POST /items/{item}/withdraw": "officer leader deputy",
    "POST /items/{item}/postpone": "editor officer leader deputy",
    "GET /calendar": STAFF,
    "GET /numbers": STAFF,
    "GET /numbers.csv": STAFF,
    "GET /numbers.xlsx": STAFF,
    # the newsletter: its issues are the editor's department's
    "GET /newsletter": STAFF,
    "POST /newsletter/skip": "editor leader",
    "POST /newsletter/take-back": "editor leader",
    "GET /newsletter/{id}": OFFICE,
    "GET /newsletter/{id}/live": OFFICE,
    "GET /newsletter/{id}/preview": OFFICE,
    "GET /newsletter/{id}/mail": OFFICE,
    "GET /newsletter/{id}/issue.pdf": OFFICE,
    "GET /newsletter/{id}/pages/{number}": OFFICE,
    "GET /newsletter/{id}/entries/{item}": OFFICE,
    "POST /newsletter/{id}/entries/{item}": "editor",
    "POST /newsletter/{id}/build": "editor",
    "POST /newsletter/{id}/arrange": "editor",
    "POST /newsletter/{id}/editorial": "editor",
    "POST /newsletter/{id}/submit": "editor",
    "POST /newsletter/{id}/release": DESK,
    "POST /newsletter/{id}/retry": DESK,
    "POST /newsletter/{id}/try": "editor officer leader deputy",
    # administration
    "GET /admin": STAFF,
    "GET /admin/channels": STAFF,
    "POST /admin/channels/{name}/pause": DESK,
    "POST /admin/channels/{name}/resume": DESK,
    "POST /admin/channels/{name}/test": DESK,
    "GET /admin/departments": STAFF,
    "POST /admin/departments": "admin",
    "POST /admin/departments/{id}": "admin",
    "GET /admin/deputies": STAFF,
    "POST /admin/deputies": "leader admin",  # for the leader
    "POST /admin/deputies/{id}/end": "leader admin",
    "GET /admin/people": STAFF,
    "GET /admin/people/new": STAFF,
    "POST /admin/people/new": "admin",
    "GET /admin/people/{id}": STAFF,
    "POST /admin/people/{id}": "admin",
    "POST /admin/people/{id}/password": "admin",
    "GET /admin/standing": STAFF,
    "POST /admin/standing": DESK,
    "GET /admin/words": STAFF,
    "POST /admin/words": "editor officer deputy admin",
    "POST /admin/words/{id}/end": "editor officer deputy admin",
    "GET /admin/subscribers": "editor auditor admin",
    "POST /admin/subscribers/find": "editor auditor admin",
    "GET /admin/subscribers/template.csv": STAFF,
    "POST /admin/subscribers/import": LIST,
    "POST /admin/subscribers/take": LIST,
    "POST /admin/subscribers/suppress": LIST,
    "POST /admin/subscribers/{id}/remove": LIST,
    "POST /admin/subscribers/export": LIST,
    "GET /admin/log": "auditor admin",
    "GET /admin/log.csv": "auditor admin",
    "GET /admin/processes": STAFF,
}
# What it is refused with when it is for others; anything else that is said has passed the question who asks.
NOT_YOURS = (
    "decision.not_permitted", "decision.other_department", "deputy.not_yours", "web_item.unknown",
    "writing.readers_only", "account.unknown_token", "review.not_in_charge",
)  # fmt: skip
_NOT_YOURS = re.compile(
    "|".join(re.sub(r"\\\{\w+\\\}", "[^<]{1,60}", re.escape(catalogue("zh")[code])) for code in NOT_YOURS)
)
LAST = "POST /sign-out"
# Every field that some form asks for before it asks who sends it.
FORM = {
    "title": "关于试播的通知", "text": "一、时间安排", "item_type": "通知", "department": "news",
    "formed_on": "2026-11-20", "reason": "理由", "ground": "14_state_secret", "at": "2026-12-01T09:00",
    "channel": "sms", "number": "13800000009", "correct": "工作安排", "wrong": "工作按排", "for_person": "chen",
    "person": "zhou", "from_on": "2026-11-23", "to_on": "2026-11-30", "kind": "secrecy", "to_whom": "区保密局",
    "question": "请确定", "answer": "可以公开", "sent": "yes",
}  # fmt: skip
FILE = File("附件.txt", "text/plain", "附件内容".encode())
LIST_FILE = ("名单.csv", "手机号,同意来源,同意日期\n13800000009,登记,2026-01-01\n".encode())

SCAN = ("审查单.pdf", b"%PDF-1.4\n")


def all_routes(bureau: Bureau) -> set[str]:
    application: FastAPI = create(bureau.rt).app  # type: ignore[attr-defined]
    described: dict[str, dict[str, Any]] = application.openapi()["paths"]
    return {f"{method.upper()} {path}" for path, ways in described.items() for method in ways}


def test_every_route_has_a_line_in_the_table(bureau: Bureau) -> None:
    assert all_routes(bureau) == set(TABLE)


@pytest.mark.parametrize("who", ["nobody", *PEOPLE])
def test_everybody_gets_where_the_table_says_and_nowhere_else(open_console: Callable[..., Office], who: str) -> None:
    office = open_console(newsletter=newsletter(), item_types=TYPES)
    places = furnish(office)
    person = office.sign_in(PEOPLE[who]) if who in PEOPLE else None
    session, csrf = (person.session, person.csrf()) if person else (requests.Session(), "")
    wrong = {}
    for route in sorted(TABLE, key=lambda one: (one == LAST, one)):
        may = who in TABLE[route].split()
        passed = reached(office, session, csrf, route, places)
        if passed is not may:
            wrong[route] = "gets there" if passed else "is kept out"
    assert wrong == {}


def furnish(office: Office) -> dict[str, str]:
    """The staff, and something for every route to work on: the values that its path takes."""
    bureau, rt = office.bureau, office.bureau.rt
    with rt.writing() as db:
        for id, department, role in MORE:
            person = StoredPerson(id=id, name=f"{id}某", department=department, roles=role, in_charge="", email="")
            db.add(person)
    let_in(bureau, *PEOPLE.values())
    draft = bureau.write(files=(FILE,))
    waiting = bureau.write(title="等待复核的信息")
    review.approve(rt, bureau.actor("li"), waiting, bureau.submit(waiting, "web"))
    out = bureau.publish("web", "board", draft={"title": "已发布的信息"})
    bureau.subscribe("13800000001")
    bureau.work()
    today = bureau.clock().date()
    deputation = deputies.name(rt, bureau.actor("chen"), "dai", "chen", today, today + timedelta(days=7))
    accounts.make_token(rt, bureau.actor("wang"), "月报程序")
    word = next(one.id for one in phrases.lines(rt) if one.standing == "in_force")
    return {
        "draft": str(draft), "waiting": str(waiting), "out": str(out), "sha256": FILE.sha256, "channel": "web",
        "static": "console.css", "channels": "web", "departments": "tech", "deputies": str(deputation),
        "people": "zhao", "words": str(word), "subscribers": "1", "tokens": "1",
        "referrals": "1", "newsletter": str(_issue(bureau)),
    }  # fmt: skip


def _issue(bureau: Bureau) -> int:
    """The newsletter's next issue with the item that is public; 0 where there is no newsletter."""
    if bureau.rt.settings.newsletter is None:
        return 0
    issues.ensure(bureau.rt)
    issue = issues.find(bureau.rt, "")
    assembly.build(bureau.rt, bureau.actor("wang"), issue)
    return issue


def address(route: str, places: dict[str, str]) -> str:
    path = route.partition(" ")[2]
    act = path.rpartition("/")[2]
    if path.startswith("/newsletter"):
        item = places["out"]
    elif act in ("edit", "submit", "{sha256}") or "/submit/" in path:
        item = places["draft"]
    elif act in ("review", "sheet", "approve", "return", "refuse", "paper", "refer") or "/referrals/" in path:
        item = places["waiting"]
    else:
        item = places["out"]
    path = (
        path.replace("{number}", "1")
        .replace("{item}", item)
        .replace("{sha256}", places["sha256"])
        .replace("{channel}", places["channel"])
    )
    return re.sub(r"/(\w+)/\{(?:id|name)\}", lambda found: f"/{found[1]}/{places[found[1]]}", path)


def reached(office: Office, session: requests.Session, csrf: str, route: str, places: dict[str, str]) -> bool:
    """Does this person get past the question who asks?"""
    method, url = route.partition(" ")[0], office.url + address(route, places)
    data = FORM | {"csrf": csrf} | ({"person": "chen"} if route.endswith("/paper") else {})
    files = {"/import": {"file": LIST_FILE}, "/paper": {"scan": SCAN}}.get(route[route.rindex("/") :])
    answer = session.request(
        method, url, data=data if method == "POST" else None, files=files if method == "POST" else None,
        timeout=20, allow_redirects=False,
    )  # fmt: skip
    assert answer.status_code < 500, (route, answer.status_code, answer.text)
    if answer.status_code == 303 and "/sign-in" in answer.headers["Location"] and route != LAST:
        return False
    if route == LAST:
        return bool(csrf)
    return not _NOT_YOURS.search(answer.text)
