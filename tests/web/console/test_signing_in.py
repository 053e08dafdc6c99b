"""Coming in: passwords, lock-out, forced change, sessions that end, forms that cannot be forged."""

from collections.abc import Callable
from datetime import timedelta

import pytest
import requests
from sqlalchemy import select

from pipeline import accounts
from pipeline.decisions import Refused
from pipeline.models import Account, AuditLine, SignedIn, StoredPerson
from tests.office import Bureau
from tests.web.console.conftest import PASSWORD, Office, let_in


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(Refused) as caught:
        act()
    return caught.value.code


def test_nobody_sees_anything_before_signing_in(office: Office) -> None:
    stranger = requests.get(f"{office.url}/reach?department=news", allow_redirects=False, timeout=10)
    assert stranger.status_code in (303, 404)
    home = requests.get(f"{office.url}/", allow_redirects=False, timeout=10)
    assert home.headers["Location"] == "/sign-in?to=/"


def test_a_person_signs_in_by_account_or_by_name_and_goes_out_again(office: Office) -> None:
    for name in ("zhao", "赵记者"):
        zhao = office.sign_in(name)
        assert "赵记者" in zhao.get("/")
        zhao.post("/sign-out")
        assert zhao.session.get(f"{office.url}/", allow_redirects=False, timeout=10).status_code == 303


def test_a_wrong_password_is_said_without_telling_whether_the_account_exists(office: Office) -> None:
    answers = [
        requests.post(f"{office.url}/sign-in", {"name": name, "password": "wrong-password"}, timeout=10)
        for name in ("zhao", "nobody")
    ]
    assert [answer.status_code for answer in answers] == [403, 403]
    assert "账号或密码不对" in answers[0].text
    assert answers[0].text.replace("zhao", "X") == answers[1].text.replace("nobody", "X")


def test_five_wrong_passwords_lock_the_account_for_a_quarter_of_an_hour(bureau: Bureau) -> None:
    let_in(bureau, "zhao")
    for _ in range(5):
        assert refusal(lambda: accounts.sign_in(bureau.rt, "zhao", "wrong")) == "account.wrong"
    assert refusal(lambda: accounts.sign_in(bureau.rt, "zhao", PASSWORD)) == "account.locked"
    bureau.clock.forward(minutes=16)
    assert accounts.visitor(bureau.rt, accounts.sign_in(bureau.rt, "zhao", PASSWORD)) is not None


def test_a_first_password_opens_nothing_but_its_change(office: Office) -> None:
    first = accounts.first_password(office.bureau.rt, "zhao")
    zhao = office.sign_in("zhao", first)
    page = zhao.get("/")
    assert "初始密码" in page
    assert "太容易" in zhao.post("/password", {"old": first, "new": "zhao-zhao-zhao", "again": "zhao-zhao-zhao"}, 409)
    done = zhao.post("/password", {"old": first, "new": "four odd words here", "again": "four odd words here"})
    assert "密码已修改" in done
    assert "密码已修改" not in zhao.get("/")  # said once


def test_a_changed_password_ends_all_other_sessions(bureau: Bureau) -> None:
    let_in(bureau, "zhao")
    other = accounts.sign_in(bureau.rt, "zhao", PASSWORD)
    own = accounts.change_password(bureau.rt, bureau.actor("zhao"), PASSWORD, "another good one")
    assert accounts.visitor(bureau.rt, other) is None
    assert accounts.visitor(bureau.rt, own) is not None
    with bureau.rt.reading() as db:
        assert db.scalars(select(AuditLine.decision)).all() == ["password"]


def test_a_session_ends_when_idle_at_the_end_of_the_day_and_when_its_person_leaves(bureau: Bureau) -> None:
    let_in(bureau, "zhao", "li")
    zhao, li = (accounts.sign_in(bureau.rt, one, PASSWORD) for one in ("zhao", "li"))
    for _ in range(2):
        bureau.clock.forward(hours=7)
        assert accounts.visitor(bureau.rt, zhao) is not None
    assert accounts.visitor(bureau.rt, li) is None  # idle for more than eight hours
    bureau.clock.forward(hours=3)
    assert accounts.visitor(bureau.rt, zhao) is None
    zhao = accounts.sign_in(bureau.rt, "zhao", PASSWORD)
    with bureau.rt.writing() as db:
        db.get_one(StoredPerson, "zhao").active = False
    assert accounts.visitor(bureau.rt, zhao) is None


def test_who_reads_the_database_can_sign_in_nowhere(bureau: Bureau) -> None:
    let_in(bureau, "zhao")
    token = accounts.sign_in(bureau.rt, "zhao", PASSWORD)
    program = accounts.make_token(bureau.rt, bureau.actor("zhao"), "报表")
    with bureau.rt.reading() as db:
        kept = [*db.scalars(select(SignedIn.token_hash)), *db.scalars(select(Account.password_hash))]
        kept += [one.token_hash for one in accounts.tokens(bureau.rt, "zhao")]
    assert len(kept) == 3 and not {token, program, PASSWORD} & set(kept)


def test_a_form_from_elsewhere_changes_nothing(office: Office) -> None:
    zhao = office.sign_in("zhao")
    for csrf in ("", "x" * 40, office.sign_in("li").csrf()):
        answer = zhao.session.post(
            f"{office.url}/password", {"old": PASSWORD, "new": "n" * 12, "again": "n" * 12, "csrf": csrf}, timeout=10
        )
        assert answer.status_code == 403 and "页面已过期" in answer.text
    assert accounts.sign_in(office.bureau.rt, "zhao", PASSWORD)


def test_signing_in_never_leads_to_another_site(office: Office) -> None:
    for to in ("https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)"):
        answer = requests.post(
            f"{office.url}/sign-in", {"name": "zhao", "password": PASSWORD, "to": to}, allow_redirects=False, timeout=10
        )
        assert answer.headers["Location"] == "/"


def test_every_answer_carries_the_headers_that_protect_its_reader(office: Office) -> None:
    for path in ("/sign-in", "/static/console.css", "/nowhere"):
        headers = requests.get(office.url + path, timeout=10).headers
        assert "script-src 'self'" in headers["Content-Security-Policy"] and "unsafe" not in str(headers)
        assert headers["X-Content-Type-Options"] == "nosniff"
    cookie = office.sign_in("zhao").session.cookies
    assert {one.name: one.has_nonstandard_attr("HttpOnly") for one in cookie}["fabu_session"]


def test_the_console_works_below_a_base_path(open_console: Callable[..., Office]) -> None:
    office = open_console(base="/fabu")
    zhao = office.sign_in("zhao")
    page = zhao.get("/")
    assert 'href="/fabu/items"' in page and "赵记者" in page
    assert zhao.session.cookies.list_paths() == ["/fabu"]
    zhao.get("/static/console.css")


def test_a_token_lets_a_program_in_until_it_is_revoked(bureau: Bureau) -> None:
    token = accounts.make_token(bureau.rt, bureau.actor("zhao"), "报表")
    known = accounts.bearer(bureau.rt, token)
    assert known is not None and known.person.id == "zhao"
    assert refusal(lambda: accounts.make_token(bureau.rt, bureau.actor("zhao"), " ")) == "account.label_missing"
    (kept,) = accounts.tokens(bureau.rt, "zhao")
    assert refusal(lambda: accounts.revoke_token(bureau.rt, bureau.actor("li"), kept.id)) == "account.unknown_token"
    accounts.revoke_token(bureau.rt, bureau.actor("zhao"), kept.id)
    assert accounts.bearer(bureau.rt, token) is None


def test_only_an_administrator_gives_passwords(bureau: Bureau) -> None:
    assert refusal(lambda: accounts.give_password(bureau.rt, bureau.actor("chen"), "zhao")) == "decision.not_permitted"


def test_not_every_page_writes_when_somebody_was_last_seen(bureau: Bureau) -> None:
    let_in(bureau, "zhao")
    before = bureau.clock()
    token = accounts.sign_in(bureau.rt, "zhao", PASSWORD)
    bureau.clock.forward(seconds=30)
    assert accounts.visitor(bureau.rt, token) is not None
    with bureau.rt.reading() as db:
        assert db.scalars(select(SignedIn.seen_at)).one() == before
    bureau.clock.forward(seconds=40)
    assert accounts.visitor(bureau.rt, token) is not None
    with bureau.rt.reading() as db:
        assert db.scalars(select(SignedIn.seen_at)).one() == before + timedelta(seconds=70)
