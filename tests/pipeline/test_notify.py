"""Mails to the staff, against a real mail server on loopback: what is told to whom, once, and when it fails."""

import re
import threading
from collections.abc import Callable, Iterator
from datetime import date
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
import trustme

from channels.contract import Unavailable
from pipeline import deputies, notify, operate, review, staff
from pipeline.decisions import Refused
from pipeline.models import StoredPerson
from tests.channels.recording import Fault, set_faults
from tests.mail_server import MailServer, mail_server
from tests.office import Bureau
from tests.pipeline.test_review import approve

Office = Callable[..., Bureau]
pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")  # the test server's own


@pytest.fixture
def server() -> Iterator[MailServer]:
    with mail_server() as running:
        yield running


@pytest.fixture
def bureau(open_office: Office, server: MailServer) -> Bureau:
    """A bureau with a mail server, whose people all have an address."""
    return with_addresses(open_office(mail=server.section()))


def with_addresses(bureau: Bureau) -> Bureau:
    with bureau.rt.writing() as db:
        for row in db.query(StoredPerson):
            row.email = f"{row.id}@gd.example"
    return bureau


def text(server: MailServer, address: str = "li@gd.example") -> str:
    return str(server.to(address)[-1].get_content())


# ── what is told, and when ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_review_that_waits_is_mailed_to_those_whose_turn_it_is(bureau: Bureau, server: MailServer) -> None:
    bureau.submit(bureau.write(), "web")
    assert notify.run(bureau.rt) == notify.Done(sent=2)
    assert sorted(server.recipients) == ["both@gd.example", "li@gd.example"]
    mail = server.to("li@gd.example")[0]
    assert mail["Subject"] == "〔发布〕1 件待初审"
    assert "信息 1《关于试播的通知》，新闻部，应于 2026-12-18 前公开，还剩 19 个工作日" in text(server)


def test_nothing_is_mailed_when_nothing_waits_or_no_server_is_configured(
    bureau: Bureau, server: MailServer, open_office: Office
) -> None:
    bureau.write()  # an author knows their own drafts
    assert notify.run(bureau.rt) == notify.Done()
    off = with_addresses(open_office())
    off.submit(1, "web")
    assert notify.run(off.rt) == notify.Done()
    assert server.mails == []


def test_somebody_is_mailed_again_only_when_there_is_something_new(bureau: Bureau, server: MailServer) -> None:
    first = bureau.write()
    seen = bureau.submit(first, "web")
    notify.run(bureau.rt)
    bureau.clock.forward(hours=3)
    notify.run(bureau.rt)
    assert len(server.to("li@gd.example")) == 1
    second = bureau.write(title="第二件")
    bureau.submit(second, "web")
    notify.run(bureau.rt)
    assert server.to("li@gd.example")[1]["Subject"] == "〔发布〕2 件待初审"
    bureau.clock.forward(hours=3)
    approve(bureau, "li", first, seen)
    notify.run(bureau.rt)  # less than before is nothing new
    assert len(server.to("li@gd.example")) == 2
    assert server.to("chen@gd.example")[0]["Subject"] == "〔发布〕1 件待复核"


def test_nobody_is_mailed_more_than_once_an_hour(bureau: Bureau, server: MailServer) -> None:
    for minutes, mails in ((0, 1), (59, 1), (1, 2)):
        bureau.clock.forward(minutes=minutes)
        bureau.submit(bureau.write(title=f"第 {minutes} 分"), "web")
        notify.run(bureau.rt)
        assert len(server.to("li@gd.example")) == mails
    assert "第 59 分" in text(server) and "第 1 分" in text(server)


def test_a_mail_says_that_a_machine_sent_it(bureau: Bureau, server: MailServer) -> None:
    bureau.submit(bureau.write(), "web")
    notify.run(bureau.rt)
    one, other = server.mails
    assert one["Auto-Submitted"] == "auto-generated"
    assert parsedate_to_datetime(one["Date"]) == bureau.clock()
    assert re.fullmatch(r"<[^@<>]+@gd\.example>", one["Message-ID"]) and one["Message-ID"] != other["Message-ID"]
    assert one.get_content_type() == "text/plain" and one["From"].addresses[0].addr_spec == "fabu@gd.example"


def test_a_mail_holds_no_whole_text_and_no_phone_number(bureau: Bureau, server: MailServer) -> None:
    title = f"关于{'很长的' * 30}通知"
    bureau.submit(bureau.write(title=title), "web")
    bureau.submit(bureau.write(title="请致电13812345678"), "web", why={"check.mobile": "公开的值班电话"})
    notify.run(bureau.rt)
    assert "138****5678" in text(server) and "13812345678" not in str(server.to("li@gd.example")[0])
    assert title not in text(server) and "根据工作安排" not in text(server)


def test_a_returned_item_is_mailed_to_its_author_without_the_reason(bureau: Bureau, server: MailServer) -> None:
    item = bureau.write()
    bureau.submit(item, "web")
    review.return_(bureau.rt, bureau.actor("li"), item, "涉及张某某的隐私")
    notify.run(bureau.rt)
    assert server.to("zhao@gd.example")[0]["Subject"] == "〔发布〕1 件被退回"
    assert "李信息员 退回" in text(server, "zhao@gd.example") and "张某某" not in text(server, "zhao@gd.example")


def test_what_failed_is_mailed_to_editor_officer_and_administrator_and_again_when_it_fails_again(
    open_office: Office, server: MailServer
) -> None:
    bureau = with_addresses(open_office(mail=server.section()))
    set_faults(bureau.rt.settings.data / "web", Fault(raises="rejected"), Fault(raises="rejected"))
    item = bureau.publish("web")
    bureau.work()
    notify.run(bureau.rt)
    assert sorted(server.recipients) == ["both@gd.example", "li@gd.example", "wang@gd.example"]
    assert server.to("wang@gd.example")[0]["Subject"] == "〔发布〕1 个渠道失败"
    assert "网站" in text(server, "wang@gd.example")
    bureau.clock.forward(hours=2)
    operate.retry(bureau.rt, bureau.actor("wang"), item)
    bureau.work()
    notify.run(bureau.rt)
    assert len(server.to("wang@gd.example")) == 2


def test_what_is_in_doubt_is_mailed_once_the_machine_had_time_to_look(bureau: Bureau, server: MailServer) -> None:
    bureau.subscribe("13800000001", "13800000002")
    set_faults(bureau.rt.settings.data / "sms", *[Fault(raises="in_doubt")] * 2)
    bureau.publish("web", "sms")
    bureau.work()
    bureau.work()
    notify.run(bureau.rt)
    assert server.to("wang@gd.example") == []
    bureau.clock.forward(minutes=11)
    notify.run(bureau.rt)
    assert server.to("wang@gd.example")[0]["Subject"] == "〔发布〕1 项结果待核实"
    assert "短信，2 人" in text(server, "wang@gd.example") and "1380000" not in text(server, "wang@gd.example")


def test_a_notice_to_post_and_to_take_down_is_mailed_to_its_author_and_the_editor(
    bureau: Bureau, server: MailServer
) -> None:
    item = bureau.publish("web", "board")
    bureau.work()
    notify.run(bureau.rt)
    assert sorted(server.recipients) == ["wang@gd.example", "zhao@gd.example"]
    assert server.mails[0]["Subject"] == "〔发布〕1 件待张贴"
    operate.post(bureau.rt, bureau.actor("wang"), item, "局一楼公开栏")
    review.withdraw(bureau.rt, bureau.actor("chen"), item, "数据有误")
    bureau.work()
    bureau.clock.forward(hours=1)
    notify.run(bureau.rt)
    assert server.to("wang@gd.example")[1]["Subject"] == "〔发布〕1 件待揭下"


def test_a_legal_deadline_is_mailed_three_working_days_before_and_each_working_day_from_then(
    bureau: Bureau, server: MailServer
) -> None:
    bureau.submit(bureau.write(formed_on=date(2026, 10, 29)), "web")  # due on Thursday, 26 November
    notify.run(bureau.rt)
    for address in ("li@gd.example", "zhao@gd.example"):
        assert server.to(address)[0]["Subject"].endswith("1 件公开期限将到")
    assert "应于 2026-11-26 前公开，还剩 3 个工作日" in text(server)
    assert server.to("chen@gd.example") == []  # not yet the leader's turn
    mails = []
    for _ in range(7):
        bureau.clock.forward(days=1)
        notify.run(bureau.rt)
        mails.append(len(server.to("li@gd.example")))
    assert mails == [2, 3, 4, 5, 5, 5, 5]  # two, one, no days left, overdue; and then no more
    assert "已逾期" in text(server)


def test_a_deputy_is_told_for_whom(bureau: Bureau, server: MailServer) -> None:
    day = date(2026, 11, 23)
    deputies.name(bureau.rt, bureau.actor("li"), "wang", "li", day, day)
    bureau.submit(bureau.write(), "web")
    notify.run(bureau.rt)
    assert "代 李信息员" in text(server, "wang@gd.example")


def test_mails_are_english_where_the_office_says_so(open_office: Office, server: MailServer) -> None:
    bureau = with_addresses(
        open_office(mail=server.section(), locale="en", console_url="https://fabu.gd.example/console")
    )
    bureau.submit(bureau.write(), "web")
    notify.run(bureau.rt)
    assert server.mails[0]["Subject"] == "[Fabu] first reviews: 1"
    assert "https://fabu.gd.example/console" in text(server)


# ── once ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_two_workers_at_once_mail_each_person_once(bureau: Bureau, server: MailServer) -> None:
    bureau.submit(bureau.write(), "web")
    start = threading.Barrier(4)
    done: list[notify.Done] = []

    def work() -> None:
        start.wait()
        done.append(notify.run(bureau.rt))

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(server.recipients) == ["both@gd.example", "li@gd.example"]
    assert sum(one.sent for one in done) == 2 and len(done) == 4


def test_a_digest_that_was_read_before_another_worker_mailed_it_is_not_mailed_again(
    bureau: Bureau, server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    bureau.submit(bureau.write(), "web")
    stale = {person.id: notify._told(bureau.rt, person.id) for person in staff.people(bureau.rt)}
    notify.run(bureau.rt)
    monkeypatch.setattr(notify, "_told", lambda rt, person: stale[person])  # the slower worker read it before
    assert notify.run(bureau.rt).sent == 0
    assert len(server.mails) == 2


def test_a_digest_whose_worker_died_is_told_with_the_next_new_thing_and_never_twice(
    bureau: Bureau, server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    bureau.submit(bureau.write(), "web")

    def dies(*_: object) -> None:
        raise SystemExit("power failure")

    with monkeypatch.context() as patch:
        patch.setattr(notify, "_hand_over", dies)
        with pytest.raises(SystemExit):
            notify.run(bureau.rt)
    notify.run(bureau.rt)
    assert server.to("both@gd.example") == []  # was claimed: it may have gone out
    bureau.clock.forward(hours=1)
    bureau.submit(bureau.write(title="第二件"), "web")
    notify.run(bureau.rt)
    assert server.to("both@gd.example")[0]["Subject"] == "〔发布〕2 件待初审"


# ── when the mail server does not ────────────────────────────────────────────────────────────────────────────────────


def test_while_the_server_is_down_mails_are_kept_and_it_is_left_alone_for_a_while(
    open_office: Office, server: MailServer
) -> None:
    bureau = with_addresses(open_office(mail=server.section(port=1)))
    bureau.submit(bureau.write(), "web")
    assert notify.run(bureau.rt) == notify.Done(kept=1)
    status = notify.status(bureau.rt)
    assert status.failures == 1 and status.error is not None and status.error["code"] == "smtp.unreachable"
    assert status.paused_until is not None and status.paused_until > bureau.clock()
    assert notify.run(bureau.rt) == notify.Done()  # in the pause
    again = open_office(mail=server.section())
    again.clock.forward(minutes=5)
    assert notify.run(again.rt) == notify.Done(sent=2)
    assert notify.status(again.rt).failures == 0


@pytest.mark.parametrize(("command", "answer"), [("RCPT", "451 later"), ("DATA", "452 full")])
def test_a_mail_that_the_server_does_not_take_now_goes_the_next_time_and_holds_up_nobody(
    bureau: Bureau, server: MailServer, command: str, answer: str
) -> None:
    bureau.submit(bureau.write(), "web")
    server.answers[command] = answer
    assert notify.run(bureau.rt) == notify.Done(kept=2)
    server.answers.clear()
    server.refused["both@gd.example"] = "450 greylisted"
    assert notify.run(bureau.rt) == notify.Done(sent=1, kept=1)
    server.refused.clear()
    assert notify.run(bureau.rt) == notify.Done(sent=1)
    assert sorted(server.recipients) == ["both@gd.example", "li@gd.example"]
    assert notify.status(bureau.rt).refused == {}


@pytest.mark.parametrize(("command", "answer"), [("RCPT", "550 no such user"), ("DATA", "554 refused")])
def test_a_refused_address_is_named_for_the_doctor_and_not_tried_again_until_something_is_new(
    bureau: Bureau, server: MailServer, command: str, answer: str
) -> None:
    bureau.submit(bureau.write(), "web")
    server.answers[command] = answer
    assert notify.run(bureau.rt) == notify.Done(failed=2)
    refused = notify.status(bureau.rt).refused
    assert set(refused) == {"both", "li"} and refused["li"]["facts"] == {"status": answer[:3]}
    server.answers.clear()
    bureau.clock.forward(hours=2)
    assert notify.run(bureau.rt) == notify.Done()
    bureau.submit(bureau.write(title="第二件"), "web")
    assert notify.run(bureau.rt) == notify.Done(sent=2)
    assert notify.status(bureau.rt).refused == {}


def test_an_address_that_was_corrected_is_told_at_once_what_the_old_one_was_not(
    bureau: Bureau, server: MailServer
) -> None:
    with bureau.rt.writing() as db:
        db.get_one(StoredPerson, "li").email = "li@@gd.example"
        db.get_one(StoredPerson, "wang").roles = "admin"
    bureau.submit(bureau.write(), "web")
    assert notify.run(bureau.rt) == notify.Done(sent=1, failed=1)
    assert notify.status(bureau.rt).refused["li"]["code"] == "notify.bad_address"
    staff.change_person(bureau.rt, bureau.actor("wang"), "li", staff.Change(email="li@gd.example"))
    assert notify.run(bureau.rt) == notify.Done(sent=1)


def test_a_mail_whose_line_broke_may_have_gone_out_and_is_not_sent_again(bureau: Bureau, server: MailServer) -> None:
    bureau.submit(bureau.write(), "web")
    server.answers["DATA"] = "close"
    assert notify.run(bureau.rt) == notify.Done(failed=2)
    assert notify.status(bureau.rt).refused["li"]["code"] == "notify.line_broke"
    server.answers.clear()
    bureau.clock.forward(hours=2)
    assert notify.run(bureau.rt) == notify.Done()
    assert len(server.mails) == 2


def test_a_sender_that_the_server_refuses_is_the_offices_fault_and_keeps_all_mails(
    bureau: Bureau, server: MailServer
) -> None:
    bureau.submit(bureau.write(), "web")
    server.answers["MAIL"] = "550 who are you"
    assert notify.run(bureau.rt) == notify.Done(kept=1)
    assert notify.status(bureau.rt).refused == {}
    server.answers.clear()
    bureau.clock.forward(minutes=5)
    assert notify.run(bureau.rt) == notify.Done(sent=2)


# ── encryption and signing in ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("security", ["tls", "starttls"])
def test_mails_go_encrypted_and_signed_in(open_office: Office, tmp_path: Path, security: str) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    how = {"implicit_tls": security == "tls", "starttls": security == "starttls"}
    with mail_server(authority=authority, login=("fabu", "s3cret"), **how) as server:
        known = {"ca_file": str(tmp_path / "ca.pem"), "username": "fabu", "password": "s3cret"}
        bureau = with_addresses(open_office(mail=server.section(security=security, **known)))
        bureau.submit(bureau.write(), "web")
        assert notify.run(bureau.rt) == notify.Done(sent=2)
        assert server.encrypted == [True, True]
        assert "s3cret" not in repr(bureau.rt.settings)


@pytest.mark.parametrize("security", ["tls", "starttls"])
def test_nothing_is_sent_to_a_server_that_nobody_vouches_for(
    open_office: Office, tmp_path: Path, security: str
) -> None:
    how = {"implicit_tls": security == "tls", "starttls": security == "starttls"}
    with mail_server(authority=trustme.CA(), **how) as server:
        bureau = with_addresses(open_office(mail=server.section(security=security)))
        bureau.submit(bureau.write(), "web")
        assert notify.run(bureau.rt) == notify.Done(kept=1)
        assert server.mails == []


def test_nothing_is_sent_in_the_clear_to_a_server_without_starttls(open_office: Office, server: MailServer) -> None:
    bureau = with_addresses(open_office(mail=server.section(security="starttls")))
    bureau.submit(bureau.write(), "web")
    assert notify.run(bureau.rt) == notify.Done(kept=1)
    status = notify.status(bureau.rt)
    assert status.error is not None and status.error["code"] == "smtp.not_supported"
    assert server.mails == []


def test_a_wrong_password_is_said_and_keeps_all_mails(open_office: Office) -> None:
    with mail_server(login=("fabu", "s3cret")) as server:
        bureau = with_addresses(open_office(mail=server.section(username="fabu", password="wrong")))
        bureau.submit(bureau.write(), "web")
        assert notify.run(bureau.rt) == notify.Done(kept=1)
        status = notify.status(bureau.rt)
        assert status.error == {"code": "smtp.login_refused", "facts": {"status": "535"}}


# ── a test mail ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_test_mail_arrives_or_says_why_not(bureau: Bureau, server: MailServer, open_office: Office) -> None:
    li = staff.person(bureau.rt, "li")
    notify.send_test(bureau.rt, li)
    assert server.to("li@gd.example")[0]["Subject"] == "〔发布〕测试邮件"
    with pytest.raises(Refused, match="no_address"):
        notify.send_test(bureau.rt, li.model_copy(update={"email": ""}))
    with pytest.raises(Refused, match="off"):
        notify.send_test(open_office().rt, li)
    with pytest.raises(Unavailable, match="unreachable"):
        notify.send_test(open_office(mail=server.section(port=1)).rt, li)
