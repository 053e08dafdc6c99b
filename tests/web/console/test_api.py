"""The API as a program uses it: an item from its writing to its withdrawal, and every way of being refused."""

from dataclasses import dataclass
from typing import Any

import pytest
import requests

from pipeline import accounts
from tests.web.console.conftest import Office

TEXT = {
    "title": "关于试播的通知", "text": "一、时间安排\n\n自2026年11月23日起试播。", "item_type": "通知",
    "department": "news", "formed_on": "2026-11-20", "summary": "试播安排",
}  # fmt: skip


@dataclass
class Program:
    """A program with somebody's token."""

    url: str
    token: str

    def __call__(self, method: str, path: str, status: int = 200, **how: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.token}", **how.pop("headers", {})}
        answer = requests.request(method, f"{self.url}/api/v1{path}", headers=headers, timeout=20, **how)
        assert answer.status_code == status, (answer.status_code, path, answer.text[:500])
        if status >= 400:
            assert answer.headers["Content-Type"] == "application/problem+json"
        return answer.json() if answer.content else None


@pytest.fixture
def program(office: Office):  # type: ignore[no-untyped-def]
    def of(person: str) -> Program:
        token = accounts.make_token(office.bureau.rt, office.bureau.actor(person), "测试程序")
        return Program(office.url, token)

    return of


def test_an_item_goes_from_a_program_through_both_reviews_to_its_withdrawal(office: Office, program: Any) -> None:
    zhao, li, chen = program("zhao"), program("li"), program("chen")
    kept = zhao("POST", "/files", 201, files={"file": ("附件.txt", "内容".encode())})
    files = [{"name": "附件.txt", "media_type": "text/plain", "sha256": kept["sha256"]}]
    item = zhao("POST", "/items", 201, json={**TEXT, "files": files})["item"]
    submitted = zhao("POST", f"/items/{item}/submission", json={"channels": ["web", "board"]})
    assert submitted["index_number"].startswith("370303/")
    assert [one["item"] for one in li("GET", "/reviews")] == [item]
    seen = li("GET", f"/items/{item}/review")
    assert seen["hash"] == submitted["hash"] and seen["text"]["files"] == files
    assert {one["channel"] for one in li("GET", f"/items/{item}/views")} == {"web", "board"}
    assert li("POST", f"/items/{item}/approval", json={"hash": seen["hash"]})["last"] is False
    assert chen("POST", f"/items/{item}/approval", json={"hash": seen["hash"]})["last"] is True
    office.bureau.work()
    states = {one["channel"]: one["state"] for one in zhao("GET", f"/items/{item}/reach")["cells"]}
    assert states == {"web": "confirmed", "board": "accepted"}
    foreseen = {one["channel"]: one["consequence"] for one in chen("GET", f"/items/{item}/withdrawal")}
    assert foreseen == {"web": "recall", "board": "person"}
    assert chen("POST", f"/items/{item}/withdrawal", json={"reason": "数字有误"})["channels"] == ["board", "web"]
    told = zhao("GET", f"/items/{item}")
    assert told["line"]["phase"] == "withdrawn" and told["text"]["title"] == TEXT["title"]


def test_without_a_token_there_is_nothing(office: Office) -> None:
    for headers in ({}, {"Authorization": "Bearer fabu_wrong"}, {"Authorization": "Basic eDp5"}):
        answer = requests.get(f"{office.url}/api/v1/items", headers=headers, timeout=10)
        assert answer.status_code == 401 and answer.json()["code"] == "api.no_token"
    cookie = office.sign_in("zhao").session
    assert cookie.get(f"{office.url}/api/v1/items", timeout=10).status_code == 401  # a browser's cookie is no token


def test_a_program_may_do_what_its_person_may_and_no_more(office: Office, program: Any) -> None:
    zhao, sun = program("zhao"), program("sun")
    item = zhao("POST", "/items", 201, json=TEXT)["item"]
    assert sun("POST", "/items", 403, json=TEXT)["code"] == "decision.not_permitted"
    assert zhao("GET", "/log", 403)["code"] == "decision.not_permitted"
    assert sun("GET", "/log")[0]["item"] == item
    other = office.bureau.write("wang", department="tech")
    assert zhao("GET", f"/items/{other}", 404)["code"] == "item.unknown"
    assert zhao("POST", f"/items/{item}/submission", json={"channels": ["web"]})
    hash = program("li")("GET", f"/items/{item}/review")["hash"]
    assert zhao("POST", f"/items/{item}/approval", 403, json={"hash": hash})["code"]


def test_what_is_wrong_is_said_in_the_callers_language(program: Any) -> None:
    zhao = program("zhao")
    wrong = zhao("POST", "/items", 422, json={**TEXT, "title": ""})
    assert wrong["code"] == "draft.title_missing" and "缺少标题" in wrong["detail"]
    english = zhao("POST", "/items", 422, json={**TEXT, "title": ""}, headers={"Accept-Language": "en"})
    assert "title" in english["detail"]
    assert zhao("POST", "/items", 422, json={**TEXT, "formed_on": "0000-01-01"})["code"] == "api.not_understood"
    assert zhao("POST", "/items", 422, json={**TEXT, "surprise": 1})["code"] == "api.not_understood"
    assert zhao("POST", "/items", 422, data=b"\xff{")["code"].startswith("api.")
    assert zhao("GET", "/nowhere", 404)["code"] == "api.no_such_address"
    assert zhao("DELETE", "/items", 405)["code"] == "api.no_such_method"
    missing = zhao("POST", "/items", 404, json={**TEXT, "files": [{"name": "x", "sha256": "0" * 64}]})
    assert missing["code"] == "api.unknown_file"


def test_a_document_becomes_the_fields_of_a_draft(program: Any) -> None:
    read = program("zhao")(
        "POST", "/documents", files={"file": ("通知.txt", "一、安排\n\n照此办理。".encode("gb18030"))}
    )
    assert "照此办理" in read["text"]


def test_the_description_names_every_endpoint(office: Office) -> None:
    description = requests.get(f"{office.url}/api/v1/openapi.json", timeout=10).json()
    operations = [one for path in description["paths"].values() for one in path.values()]
    assert len(operations) > 30
    ids = [one["operationId"] for one in operations]
    assert len(ids) == len(set(ids)) and not [one for one in operations if not one.get("tags")]


def test_what_others_are_asked_paper_sheet_and_proof(program: Any) -> None:
    zhao, li, wang, chen = (program(one) for one in ("zhao", "li", "wang", "chen"))
    item = zhao("POST", "/items", 201, json=TEXT)["item"]
    hash = zhao("POST", f"/items/{item}/submission", json={"channels": ["web"]})["hash"]
    question = {"kind": "secrecy", "to_whom": "区国家保密局", "question": "是否涉密"}
    asked = li("POST", f"/items/{item}/referrals", 201, json=question)["id"]
    assert li("POST", f"/items/{item}/approval", 422, json={"hash": hash})["code"] == "referral.open"
    wang("POST", f"/items/{item}/referrals/{asked}/answer", json={"answer": "不涉密"})
    assert wang("GET", f"/items/{item}/referrals")[0]["answer"] == "不涉密"
    sheet = requests.get(
        f"{li.url}/api/v1/items/{item}/sheet", headers={"Authorization": f"Bearer {li.token}"}, timeout=20
    )
    assert sheet.content.startswith(b"%PDF")
    scan = {"file": ("审查单.pdf", b"%PDF-1.7 scan")}
    done = wang(
        "POST", f"/items/{item}/paper", files={"scan": scan["file"]}, data={"person": "li", "hash": hash}
    )  # fmt: skip
    assert done["last"] is False
    assert chen("POST", f"/items/{item}/approval", json={"hash": hash})["last"] is True
    proof = requests.get(
        f"{li.url}/api/v1/items/{item}/proof", headers={"Authorization": f"Bearer {li.token}"}, timeout=20
    )
    assert proof.content.startswith(b"PK")


def test_subscribers_words_numbers_and_staff(office: Office, program: Any) -> None:
    wang, zhao = program("wang"), program("zhao")
    people = "phone,name,consent_source,consent_on\n13800001234,甲,窗口,2026-01-05\n13800001235,乙,窗口,2027-01-05\n"
    for dry_run, total in (("true", 0), ("false", 1)):
        done = wang(
            "POST", f"/channels/sms/subscribers?dry_run={dry_run}", files={"file": ("名单.csv", people.encode())}
        )  # fmt: skip
        assert (done["new"], [one["line"] for one in done["bad"]]) == (1, [3])
        assert wang("GET", "/channels/sms/subscribers")["total"] == total
    listed = wang("GET", "/channels/sms/subscribers")["subscribers"]
    assert listed[0]["address"] == "138****1234"
    barred = {"address": "13800001234", "reason": "本人要求"}
    wang("POST", "/channels/sms/suppressions", json=barred)
    assert wang("GET", "/channels/sms/subscribers")["subscribers"][0]["suppressed"]
    wang("POST", "/channels/sms/suppressions/end", json=barred)
    wang("DELETE", f"/subscribers/{listed[0]['id']}", 204)
    (added,) = wang("POST", "/words", 201, json={"correct": "按部就班", "wrong": ["按步就搬"]})
    wang("POST", f"/words/{added['id']}/end")
    assert zhao("GET", "/numbers?begin=2026-01-01&end=2026-12-31")["total"]["items"] == 0
    assert zhao("PUT", "/people/new", 403, json={"name": "新人"})["code"] == "decision.not_permitted"
