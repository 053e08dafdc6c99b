"""What somebody outside, or somebody's own careless text, could do to the console: on every route of it."""

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
import requests

from channels.contract import File
from pipeline import accounts, operate, phrases, review, subscribers
from pipeline.models import AuditLine, StoredDepartment, StoredPerson
from tests.pipeline.newsletter import TYPES, newsletter
from tests.web.console.conftest import PASSWORD, Office
from tests.web.console.test_permissions import TABLE, address, furnish
from web.console import app


@pytest.fixture
def office(open_console: Callable[..., Office]) -> Office:
    return open_console(newsletter=newsletter(), item_types=TYPES)


WITHOUT_TOKEN = {"POST /sign-in", "POST /language"}  # nobody is signed in, or nothing is decided
EVIL = "\"'><img src=x onerror=alert(1)><script>alert(2)</script>{{7*7}}"
ELSEWHERE = (
    "//evil.example/", "https://evil.example/", "/\\evil.example/", "\\\\evil.example", "javascript:alert(1)",
    "/\t/evil.example", "http:evil.example", " //evil.example", "/\n/evil.example",
)  # fmt: skip


def posts() -> list[str]:
    return [route for route in TABLE if route.startswith("POST") and route not in WITHOUT_TOKEN]


def gets() -> list[str]:
    return [route for route in TABLE if route.startswith("GET")]


def decisions(office: Office) -> int:
    with office.bureau.rt.reading() as db:
        return db.query(AuditLine).count()


def test_no_form_is_taken_without_the_token_of_its_page(office: Office) -> None:
    """Another site can make a browser post, but cannot read the token (OWASP, CSRF)."""
    places = furnish(office)
    root, other = office.sign_in("root"), office.sign_in("wang")
    before = decisions(office)
    for route in posts():
        for token in ({}, {"csrf": ""}, {"csrf": "0" * 40}, {"csrf": other.csrf()}):
            answer = root.session.post(office.url + address(route, places), token, timeout=20, allow_redirects=False)
            # A field that is missing beside the token may be noticed first; nothing is decided either way.
            assert answer.status_code in (403, 404, 422), (route, token, answer.status_code)
    assert decisions(office) == before and root.get("/")


@pytest.mark.parametrize("to", ELSEWHERE)
def test_nobody_is_sent_on_to_another_site(office: Office, to: str) -> None:
    wang = office.sign_in("wang")
    answers = [
        requests.post(f"{office.url}/sign-in", {"name": "wang", "password": PASSWORD, "to": to}, timeout=20,
                      allow_redirects=False),
        wang.session.post(f"{office.url}/language", {"to": "zh", "back": to}, timeout=20, allow_redirects=False),
    ]  # fmt: skip
    for answer in answers:
        assert answer.status_code == 303
        assert re.fullmatch(r"/(?![/\\])[\x21-\x7e]*", answer.headers["Location"]), answer.headers["Location"]
    page = requests.get(f"{office.url}/sign-in", {"to": to}, timeout=20).text
    hidden = re.search(r'type="hidden" name="to" value="([^"]*)"', page)
    assert hidden and re.match(r"/(?![/\\])", hidden[1])


def test_every_answer_carries_the_headers_that_bind_the_browser(office: Office) -> None:
    places, root = furnish(office), office.sign_in("root")
    paths = [address(route, places) for route in gets()] + ["/no-such-page", "/items/99999", "/static/none.js"]
    for path in paths:
        answer = root.session.get(office.url + path, timeout=20, allow_redirects=False)
        headers = answer.headers
        policy = headers["Content-Security-Policy"]
        if path.endswith("/mail"):  # a mail brings its own looks; its frame may do nothing else
            assert policy.endswith("sandbox") and "script" not in policy
            assert "style-src 'unsafe-inline'; img-src data:;" in policy and "default-src 'none'" in policy
            continue
        assert "default-src 'none'" in policy and "unsafe" not in policy, path
        assert headers["X-Content-Type-Options"] == "nosniff", path
        assert headers["Referrer-Policy"] == "same-origin", path
        if not path.startswith("/static/console"):
            assert headers["Cache-Control"] == "no-store", path
        assert "script-src 'unsafe-inline'" not in policy
        if headers.get("Content-Type", "").startswith("text/html"):
            assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|\sstyle=", answer.text), path


def test_an_attachment_is_handed_over_and_never_opened_as_a_page(office: Office) -> None:
    page = File("说明.html", "text/html", b"<script>alert(1)</script>")
    item = office.bureau.write(files=(page,))
    answer = office.sign_in("zhao").session.get(f"{office.url}/items/{item}/files/{page.sha256}", timeout=20)
    assert answer.status_code == 200 and answer.content == page.content
    assert answer.headers["Content-Disposition"].startswith("attachment;")
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_a_request_without_end_is_cut_off(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "LARGEST_REQUEST", 100_000)
    wang = office.sign_in("wang")
    data, files = {"csrf": wang.csrf(), "channel": "sms"}, {"file": ("名单.csv", b"1" * 2_000_000)}
    answer = wang.session.post(f"{office.url}/admin/subscribers/import", data, files=files, timeout=20)
    assert answer.status_code == 413
    assert "请" in answer.text


def test_what_anybody_writes_is_shown_as_text_on_every_page(office: Office) -> None:
    places = furnish(office)
    bureau, rt = office.bureau, office.bureau.rt
    with rt.writing() as db:
        for person in db.query(StoredPerson):
            person.name = EVIL[:80]
        for department in db.query(StoredDepartment):
            department.name = EVIL[:80]
    item = int(places["out"])
    draft = bureau.draft(
        title=EVIL, text=f"{EVIL}\n\n一、{EVIL}\n\n| {EVIL} | 乙 |\n| 丙 | 丁 |\n", summary=EVIL, document_number=EVIL,
        theme=EVIL, source=EVIL, short_title=EVIL[:60], keywords=(EVIL,),
        files=(File("<img src=x>.txt", "text/plain", b"x"),),
    )  # fmt: skip
    zhao, root = bureau.actor("zhao"), bureau.actor("root")
    review.correct(rt, zhao, item, draft)
    bureau.submit(item)
    review.edit(rt, zhao, int(places["draft"]), replace(draft, text=f"{EVIL}\n二"))
    bureau.submit(int(places["draft"]), "web")
    review.return_(rt, bureau.actor("li"), int(places["draft"]), EVIL)
    operate.post(rt, zhao, item, EVIL, None)
    operate.pause(rt, root, "web", EVIL)
    subscribers.import_csv(
        rt, root, "sms", f'手机号,姓名,同意来源,同意日期\n{"1" * 11},"{EVIL[2:50]}","{EVIL[2:]}",2026-01-01\n'
    )
    subscribers.suppress(rt, root, "sms", "2" * 11, EVIL)
    for person in ("root", "zhao"):
        accounts.make_token(rt, bureau.actor(person), EVIL)
    phrases.add(rt, root, "<img src=x>甲", ["<img src=x>乙"], None, None)
    seen = 0
    for who in ("root", "zhao", "chen", "wang"):
        person = office.sign_in(who)
        for path in [address(route, places) for route in gets()] + [f"/items/{item}/review", f"/items/{item}/reach"]:
            answer = person.session.get(office.url + path, timeout=20)
            assert answer.status_code < 500, (path, answer.text[-500:])
            if answer.headers.get("Content-Type", "").startswith("text/html"):
                seen += "&lt;img src=x" in answer.text
                assert "<img src=x" not in answer.text and "<script>alert" not in answer.text, path
                assert "49</script" not in answer.text, path
    assert seen > 60  # they are really on the pages
