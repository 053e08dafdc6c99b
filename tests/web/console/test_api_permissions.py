"""The API as a place to get into: every operation × everybody, against one table, and what it refuses of anybody."""

import json
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import requests

from channels.contract import File
from pipeline import accounts, operate
from pipeline.models import AuditLine
from tests.office import Bureau
from tests.pipeline.newsletter import TYPES, newsletter
from tests.web.console.conftest import Office
from tests.web.console.test_permissions import PEOPLE, furnish

STAFF = "stranger author editor officer leader deputy auditor admin"
INSIDE = "author editor officer leader deputy auditor admin"
WRITERS = "author editor"
ALL_WRITERS = "stranger author editor"
DESK = "editor officer leader deputy admin"
LIST = "editor admin"
OFFICE = "editor officer leader deputy auditor admin"

TABLE = {
    "listItems": STAFF, "createItem": WRITERS, "readItem": INSIDE, "editItem": WRITERS, "correctItem": WRITERS,
    "uploadFile": ALL_WRITERS, "readDocument": STAFF, "checkText": STAFF, "submitItem": WRITERS,
    "listCopies": STAFF, "keepCopy": ALL_WRITERS, "discardCopy": STAFF, "compareSource": WRITERS,
    "listReviews": STAFF, "readReview": INSIDE, "viewItem": INSIDE, "approveItem": "leader deputy",
    "returnItem": "leader deputy", "refuseItem": "leader deputy", "listReferrals": INSIDE,
    "referItem": "officer leader deputy", "answerReferral": "editor officer leader deputy", "printSheet": INSIDE,
    "recordPaper": "editor officer deputy admin", "readScan": INSIDE,
    "listReach": STAFF, "readReach": INSIDE, "foreseeWithdrawal": INSIDE, "withdrawItem": "officer leader deputy",
    "retryItem": DESK, "settleItem": DESK, "postItem": WRITERS, "unpostItem": WRITERS,
    "postponeItem": "editor officer leader deputy", "readProof": INSIDE,
    "listChannels": STAFF, "testChannel": DESK, "pauseChannel": DESK, "resumeChannel": DESK,
    "listSubscribers": "editor auditor admin", "importSubscribers": LIST, "removeSubscriber": LIST, "suppress": LIST,
    "unsuppress": LIST, "listWords": STAFF, "addWord": "editor officer deputy admin",
    "endWord": "editor officer deputy admin", "readNumbers": STAFF, "readStanding": STAFF,
    "putPerson": "admin", "putDepartment": "admin",
    "readMe": STAFF, "readDesk": STAFF, "readCalendar": STAFF, "listPeople": STAFF, "listDepartments": STAFF,
    "listDeputies": STAFF, "nameDeputy": "leader admin", "endDeputy": "leader admin", "readLog": "auditor admin",
    "revokeToken": STAFF,
    # an issue is the editor's department's
    "planNewsletter": STAFF, "skipIssue": "editor leader", "takeIssueBack": "editor leader", "readIssue": OFFICE,
    "readProgress": OFFICE, "buildIssue": "editor", "arrangeIssue": "editor", "submitIssue": "editor",
    "setIssuePicture": "editor", "retryIssue": DESK, "tryIssue": "editor officer leader deputy",
    "releaseIssue": OFFICE,  # when none waits nobody is asked who they are
}  # fmt: skip
TEXT = {
    "title": "关于试播的通知",
    "text": "一、时间安排",
    "item_type": "通知",
    "department": "news",
    "formed_on": "2026-11-20",
}
REASON = {"reason": "理由"}
BODIES: dict[str, Any] = {
    "createItem": TEXT, "editItem": TEXT, "correctItem": TEXT, "checkText": TEXT, "submitItem": {"channels": ["web"]},
    "keepCopy": {"sheet": {"title": "写了一半"}}, "approveItem": {"hash": "0" * 64}, "returnItem": REASON,
    "refuseItem": {**REASON, "ground": "16_internal_affairs"}, "withdrawItem": REASON, "retryItem": {},
    "referItem": {"kind": "secrecy", "to_whom": "区保密局", "question": "请确定"}, "answerReferral": {"answer": "可以"},
    "settleItem": {"channel": "web", "sent": True, **REASON}, "postItem": {"place": "一楼"}, "unpostItem": {},
    "postponeItem": {"at": "2026-12-01T09:00:00+08:00", **REASON}, "pauseChannel": REASON,
    "suppress": {"address": "13800000009", **REASON}, "unsuppress": {"address": "13800000009", **REASON},
    "addWord": {"correct": "工作安排", "wrong": ["工作按排"]}, "putPerson": {"name": "新名"},
    "putDepartment": {"name": "新名"}, "skipIssue": {"day": "2027-02-01", **REASON},
    "takeIssueBack": {"day": "2027-03-01", **REASON}, "submitIssue": {},
    "setIssuePicture": {"based_on": 1}, "retryIssue": {"channel": "sms"}, "tryIssue": {"channel": "sms"},
    "arrangeIssue": {"act": "editorial", "based_on": 1, "text": "寄语"},
    "nameDeputy": {"person": "zhou", "for_person": "chen", "from_on": "2026-11-23", "to_on": "2026-11-30"},
}  # fmt: skip
LISTED = "手机号,同意来源,同意日期\n13800000009,登记,2026-01-01\n".encode()
FORMS: dict[str, tuple[dict[str, str], dict[str, tuple[str, bytes]]]] = {
    "uploadFile": ({}, {"file": ("附件.txt", b"x")}),
    "readDocument": ({}, {"file": ("通知.txt", "一、安排".encode())}),
    "recordPaper": ({"person": "chen", "hash": "0" * 64}, {"scan": ("审查单.pdf", b"%PDF-1.4\n")}),
    "importSubscribers": ({}, {"file": ("名单.csv", LISTED)}),
}
# Refused because of who asks; the same sentence where something is not shown to them.
NOT_YOURS = {"decision.not_permitted", "decision.other_department", "deputy.not_yours", "item.unknown",
             "review.not_in_charge"}  # fmt: skip
PHOTO = File("照片.jpg", "image/jpeg", b"\xff\xd8\xff photo")


@pytest.fixture
def office(open_console: Callable[..., Office]) -> Office:
    return open_console(newsletter=newsletter(), item_types=TYPES)


@cache
def operations(url: str) -> dict[str, tuple[str, str]]:
    """By operationId: method and path."""
    paths = requests.get(f"{url}/api/v1/openapi.json", timeout=20).json()["paths"]
    return {one["operationId"]: (method.upper(), path) for path, ways in paths.items() for method, one in ways.items()}


def places_of(office: Office) -> dict[str, str]:
    places = furnish(office)
    operate.post(office.bureau.rt, office.bureau.actor("wang"), int(places["out"]), "一楼", photo=PHOTO)
    return places


def ask(office: Office, token: str, name: str, places: dict[str, str], **how: Any) -> requests.Response:
    method, path = operations(office.url)[name]
    waiting = {"approveItem", "returnItem", "refuseItem", "readReview", "viewItem", "referItem", "answerReferral",
               "listReferrals", "printSheet", "recordPaper"}  # fmt: skip
    item = places["waiting" if name in waiting else "draft" if name in ("editItem", "submitItem") else "out"]
    path = path.replace("{item}", item).replace("{channel}", "sms" if "ubscri" in name or "uppress" in name else "web")
    path = path.replace("{sha256}", PHOTO.sha256)
    path = re.sub(r"/(\w+)/\{id\}", lambda found: f"/{found[1]}/{places.get(found[1], '1')}", path)
    query = {"readNumbers": {"begin": "2026-01-01", "end": "2026-12-31"},
             "readCalendar": {"begin": "2026-11-01", "end": "2026-11-30"}}.get(name)  # fmt: skip
    data, files = FORMS.get(name, (None, None))
    how = {"json": BODIES.get(name), "data": data, "files": files, "params": query, **how}
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return requests.request(method, f"{office.url}/api/v1{path}", headers=headers, timeout=20, **how)


def token_of(bureau: Bureau, person: str) -> str:
    return accounts.make_token(bureau.rt, bureau.actor(person), "测试")


def test_every_operation_has_a_line_in_the_table(office: Office) -> None:
    assert set(operations(office.url)) == set(TABLE)


@pytest.mark.parametrize("who", list(PEOPLE))
def test_a_program_gets_where_the_table_says_and_nowhere_else(open_console: Callable[..., Office], who: str) -> None:
    office = open_console(newsletter=newsletter(), item_types=TYPES)
    places = places_of(office)
    token = token_of(office.bureau, PEOPLE[who])
    wrong = {}
    for name in sorted(TABLE, key=lambda one: (one == "revokeToken", one)):
        answer = ask(office, token, name, places)
        assert answer.status_code < 500, (name, answer.text)
        code = answer.json().get("code") if answer.headers.get("Content-Type") == "application/problem+json" else ""
        assert code != "api.not_understood", (name, answer.text)  # the table's own body must be one that is understood
        if (code not in NOT_YOURS) is not (who in TABLE[name].split()):
            wrong[name] = (answer.status_code, code)
    assert wrong == {}


def test_nothing_is_answered_without_a_token_and_a_cookie_is_none(office: Office) -> None:
    places = places_of(office)
    with office.bureau.rt.reading() as db:
        before = db.query(AuditLine).count()
    root = office.sign_in("root")
    for name, (method, path) in operations(office.url).items():
        assert ask(office, "", name, places).status_code == 401, name
        assert ask(office, "fabu_" + "0" * 43, name, places).status_code == 401, name
        answer = root.session.request(method, f"{office.url}/api/v1{re.sub('{[a-z0-9]+}', '1', path)}", timeout=20)
        assert answer.status_code == 401, name
    with office.bureau.rt.reading() as db:
        assert db.query(AuditLine).count() == before


def test_every_answer_binds_the_browser_and_none_is_a_page(office: Office) -> None:
    places, token = places_of(office), token_of(office.bureau, "root")
    for name in TABLE.keys() - {"revokeToken"}:
        answer = ask(office, token, name, places)
        assert answer.headers["X-Content-Type-Options"] == "nosniff", name
        assert answer.headers["Cache-Control"] == "no-store", name
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"], name
        assert "text/html" not in answer.headers.get("Content-Type", ""), name


def test_a_body_of_another_kind_changes_nothing(office: Office) -> None:
    places, token = places_of(office), token_of(office.bureau, "root")
    with office.bureau.rt.reading() as db:
        before = db.query(AuditLine).count()
    for name in BODIES:
        for body in (b"", b"\xff\xfe{", b"[]", b'"x"', json.dumps({**BODIES[name], "surprise": 1}).encode()):
            answer = ask(office, token, name, places, json=None, data=body)
            assert answer.status_code in (400, 422), (name, body, answer.status_code)
            assert answer.headers["Content-Type"] == "application/problem+json", name
    with office.bureau.rt.reading() as db:
        assert db.query(AuditLine).count() == before


def test_a_photo_and_a_typed_sheet_go_in_and_come_out_again(office: Office) -> None:
    bureau = office.bureau
    item = bureau.publish("web", "board")
    bureau.work()
    headers = {"Authorization": f"Bearer {token_of(bureau, 'wang')}"}
    url = f"{office.url}/api/v1"
    sha256 = requests.post(
        f"{url}/files", files={"file": ("照片.jpg", PHOTO.content)}, headers=headers, timeout=20
    ).json()["sha256"]
    given = {"place": "一楼", "photo": sha256}
    assert requests.post(f"{url}/items/{item}/posting", json=given, headers=headers, timeout=20).status_code == 200
    told = requests.get(f"{url}/items/{item}/reach", headers=headers, timeout=20).json()
    assert [(one["place"], one["photo"]) for one in told["postings"]] == [("一楼", sha256)]
    assert any(one["seen"] == "posted" for one in told["sightings"])
    photo = requests.get(f"{url}/items/{item}/scans/{sha256}", headers=headers, timeout=20)
    assert (photo.content, photo.headers["Content-Type"]) == (PHOTO.content, "image/jpeg")
    kept = requests.put(f"{url}/copies", json={"sheet": {"title": "半句"}}, headers=headers, timeout=20).json()
    again = {"copy_id": kept["copy_id"], "known": kept["known"], "sheet": {"title": "一句"}}
    requests.put(f"{url}/copies", json=again, headers=headers, timeout=20)
    (mine,) = requests.get(f"{url}/copies", headers=headers, timeout=20).json()
    assert mine["sheet"]["title"] == "一句" and "一句" in office.sign_in("wang").get("/")
    requests.delete(f"{url}/copies/{mine['copy_id']}", headers=headers, timeout=20)
    assert requests.get(f"{url}/copies", headers=headers, timeout=20).json() == []
