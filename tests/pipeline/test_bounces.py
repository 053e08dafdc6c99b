"""Mails that came back: what they say, whom they concern, and that each is counted once whatever happens."""

import imaplib
import threading
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from channels import smtp
from channels.contract import Rejected, Unavailable
from pipeline import bounces, publish, reports
from pipeline.decisions import Refused
from pipeline.models import Bounce, BounceKind, StoredReport, Suppression
from pipeline.words import state_code
from tests.mail_server import MailServer, mail_server
from tests.office import Bureau

Office = Callable[..., Bureau]
READER, OTHER = "li.ming@mail.example", "wang@mail.example"


@pytest.fixture
def server() -> Iterator[MailServer]:
    with mail_server() as running:
        yield running
        smtp.close_all()


def mail_section(server: MailServer, **changes: Any) -> dict[str, Any]:
    plain = {"kind": "mail", "label": "邮件", "host": "127.0.0.1", "port": server.port, "security": "none",
             "sender": "tongxun@gd.example", "bounces": "tuixin+*@gd.example"}  # fmt: skip
    return {**plain, **changes}


@pytest.fixture
def bureau(open_office: Office, server: MailServer, tmp_path: Path) -> Bureau:
    """A bureau whose returned mails lie in a folder."""
    (tmp_path / "returned").mkdir()
    return open_office(
        channels={"mail": mail_section(server)}, bounces={"folder": str(tmp_path / "returned"), "soft_limit": 3}
    )


def send(bureau: Bureau, *to: str) -> int:
    """An item that went to these readers."""
    known = set(bureau_readers(bureau))
    bureau.subscribe(*(one for one in to if one not in known), channel="mail")
    item = bureau.publish("mail")
    publish.deliver(bureau.rt, "mail")
    return item


def bureau_readers(bureau: Bureau) -> list[str]:
    from pipeline.models import Subscriber

    with bureau.rt.reading() as db:
        return list(db.scalars(select(Subscriber.address)))


def returned(
    server: MailServer, to: str = READER, status: str = "5.1.1", action: str = "failed", words: str = "", **how: Any
) -> bytes:
    """The newest mail to this reader, come back (RFC 3464). `verp`: to the address of its own; `headers`: with the
    headers of the mail."""
    sent = server.to(to)[-1]
    sender = [sender for sender, one in zip(server.senders, server.recipients, strict=True) if one == to][-1]
    if not how.get("verp", True):
        sender = "tuixin@gd.example"
    original = f"\n--B\nContent-Type: text/rfc822-headers\n\nMessage-ID: {sent['Message-ID']}\nTo: {to}\n"
    return (
        f"From: MAILER-DAEMON@mail.example\nTo: {sender.upper() if how.get('upper') else sender}\n"
        f"Subject: Undelivered\nMIME-Version: 1.0\n"
        f"Content-Type: multipart/report; report-type=delivery-status; boundary=B\n\n"
        f"--B\nContent-Type: text/plain\n\nsorry {how.get('salt', '')}\n\n"
        f"--B\nContent-Type: message/delivery-status\n\n"
        f"Reporting-MTA: dns; mail.example\n\n"
        f"Final-Recipient: rfc822; {how.get('names', to)}\nAction: {action}\nStatus: {status}\n"
        f"Diagnostic-Code: smtp; {words or '550 ' + status}\n"
        f"{original if how.get('headers', True) else ''}\n--B--\n"
    ).encode()


def complaint(server: MailServer, to: str = READER) -> bytes:
    sent = server.to(to)[-1]
    return (
        "From: feedback@mail.example\nTo: tuixin@gd.example\nSubject: complaint\nMIME-Version: 1.0\n"
        "Content-Type: multipart/report; report-type=feedback-report; boundary=B\n\n"
        "--B\nContent-Type: text/plain\n\nspam\n\n"
        "--B\nContent-Type: message/feedback-report\n\n"
        f"Feedback-Type: abuse\nUser-Agent: x/1\nVersion: 1\nOriginal-Rcpt-To: <{to}>\n\n"
        f"--B\nContent-Type: text/rfc822-headers\n\nMessage-ID: {sent['Message-ID']}\n\n--B--\n"
    ).encode()


def put(bureau: Bureau, *mails: bytes) -> None:
    folder = Path(bureau.rt.settings.bounces.folder)  # type: ignore[union-attr]
    for mail in mails:
        (folder / f"{len(list(folder.iterdir()))}-{hash(mail)}.eml").write_bytes(mail)


def barred(bureau: Bureau) -> dict[str, str]:
    with bureau.rt.reading() as db:
        return {row.address: row.reason for row in db.scalars(select(Suppression))}


def states(bureau: Bureau, item: int) -> dict[str, int]:
    return dict(bureau.cell(item, "mail").counts)


# ── what follows ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_mail_that_was_taken_counts_as_arrived_until_it_comes_back(bureau: Bureau, server: MailServer) -> None:
    item = send(bureau, READER, OTHER)
    cell = bureau.cell(item, "mail")
    assert (state_code(cell), cell.arrived) == ("state.accepted", 2)
    put(bureau, returned(server))
    bounces.run(bureau.rt)
    assert bureau.cell(item, "mail").arrived == 1


def test_a_dead_address_fails_the_delivery_and_is_written_to_no_more(bureau: Bureau, server: MailServer) -> None:
    item = send(bureau, READER, OTHER)
    assert states(bureau, item) == {"accepted": 2}, "silence is all that one can hope for"
    put(bureau, returned(server))
    done = bounces.run(bureau.rt)
    assert (done.kinds["hard"], done.orphans, done.suppressed, done.others) == (1, 0, 1, 0)
    assert states(bureau, item) == {"accepted": 1, "failed": 1}
    assert barred(bureau) == {READER: "退信：对方没有这个收件人"}
    send(bureau)
    assert [mail["To"] for mail in server.mails].count(READER) == 1
    assert not list(Path(bureau.rt.settings.bounces.folder).iterdir())  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "how", [{"verp": True, "headers": False, "names": "x@y.example"}, {"upper": True, "headers": False},
            {"verp": False}, {"verp": False, "names": "forwarded@elsewhere.example"}],
)  # fmt: skip
def test_a_mail_that_came_back_is_known_by_its_own_address_or_by_its_message_id(
    bureau: Bureau, server: MailServer, how: dict[str, Any]
) -> None:
    item = send(bureau, READER, OTHER)
    put(bureau, returned(server, **how))
    assert bounces.run(bureau.rt).suppressed == 1
    assert barred(bureau).keys() == {READER} and states(bureau, item)["failed"] == 1


def test_nobody_can_get_somebody_else_off_the_list_with_a_forged_mail(bureau: Bureau, server: MailServer) -> None:
    item = send(bureau, READER, OTHER)
    honest = returned(server, OTHER, headers=False, verp=False, names=READER)
    at = server.recipients.index(READER)
    guessed = b"tuixin+1.1.1700000000000000.aaaaaaaaaaaaaaaa@gd.example"
    forged = returned(server).replace(server.senders[at].encode(), guessed)
    name = str(server.mails[at]["Message-ID"]).encode()
    forged = forged.replace(name, f"<{item}.1.aaaaaaaaaaaaaaaa@gd.example>".encode())
    put(bureau, honest, forged)
    done = bounces.run(bureau.rt)
    assert (done.orphans, done.suppressed) == (2, 0)
    assert barred(bureau) == {} and states(bureau, item) == {"accepted": 2}
    assert {line.orphan for line in bounces.latest(bureau.rt)} == {True}
    assert READER not in str(bounces.latest(bureau.rt)), "masked"


def test_soft_bounces_are_counted_by_mail_and_too_many_are_enough(bureau: Bureau, server: MailServer) -> None:
    for turn in range(3):
        assert barred(bureau) == {}
        item = send(bureau, READER)
        full = returned(server, status="5.2.2", words="552 mailbox full")
        put(bureau, full, full.replace(b"sorry", b"sorry again"))  # told twice of the same mail
        assert bounces.run(bureau.rt).kinds["soft"] == 2
        assert states(bureau, item) == {"failed": 1}, turn
        bureau.clock.forward(days=15)
    assert barred(bureau) == {READER: "多次退信"}


def test_soft_bounces_of_long_ago_are_forgiven(bureau: Bureau, server: MailServer) -> None:
    for _ in range(5):
        send(bureau, READER)
        put(bureau, returned(server, status="4.4.7", words="delivery time expired"))
        bounces.run(bureau.rt)
        bureau.clock.forward(days=60)
    assert barred(bureau) == {}


def test_a_complaint_says_that_the_mail_arrived_and_is_the_last_one(bureau: Bureau, server: MailServer) -> None:
    item = send(bureau, READER)
    put(bureau, complaint(server))
    assert bounces.run(bureau.rt).kinds["complaint"] == 1
    assert barred(bureau) == {READER: "收件人投诉为垃圾邮件"} and states(bureau, item) == {"confirmed": 1}


def test_a_server_that_goes_on_trying_has_not_failed_yet(bureau: Bureau, server: MailServer) -> None:
    item = send(bureau, READER)
    put(bureau, returned(server, action="delayed", status="4.4.1"))
    assert bounces.run(bureau.rt).kinds["delayed"] == 1
    assert states(bureau, item) == {"accepted": 1} and barred(bureau) == {}


def test_a_bounce_that_is_faster_than_our_own_record_is_not_lost(
    bureau: Bureau, server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, told = publish.record, list[bounces.Done]()

    def late(*args: Any) -> None:
        if not told:
            put(bureau, returned(server))
            reader = threading.Thread(target=lambda: told.append(bounces.run(bureau.rt)))
            if bureau.rt.engine.dialect.name == "sqlite":  # one writer: read before, or after
                original(*args)
                told.append(bounces.Done({}))
                return
            reader.start()
            reader.join(10)
        original(*args)

    monkeypatch.setattr(publish, "record", late)
    item = send(bureau, READER)
    bounces.run(bureau.rt)
    assert states(bureau, item) == {"failed": 1} and barred(bureau).keys() == {READER}


# ── once, whatever happens ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_crash_before_the_mailbox_was_tidied_counts_no_mail_twice(
    bureau: Bureau, server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = send(bureau, READER)
    put(bureau, returned(server, status="5.2.2"))

    def dies(*_: object) -> None:
        raise SystemExit("power failure")

    with monkeypatch.context() as patch:
        patch.setattr(bounces._Folder, "done", dies)
        for _ in range(3):
            with pytest.raises(SystemExit):
                bounces.run(bureau.rt)
    done = bounces.run(bureau.rt)
    assert set(done.kinds.values()) == {0}
    with bureau.rt.reading() as db:
        assert len(db.scalars(select(Bounce)).all()) == len(db.scalars(select(StoredReport)).all()) == 1
    assert states(bureau, item) == {"failed": 1}
    assert not list(Path(bureau.rt.settings.bounces.folder).iterdir())  # type: ignore[union-attr]


def test_a_crash_between_keeping_and_applying_is_made_up_for_by_the_sweep(
    bureau: Bureau, server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = send(bureau, READER)
    put(bureau, returned(server))

    def dies(*_: object) -> None:
        raise SystemExit("power failure")

    with monkeypatch.context() as patch:
        patch.setattr(reports, "settle", dies)
        with pytest.raises(SystemExit):
            bounces.run(bureau.rt)
    assert states(bureau, item) == {"accepted": 1}
    reports.settle_waiting(bureau.rt)
    assert states(bureau, item) == {"failed": 1}


def test_two_workers_that_read_the_same_mail_count_it_once(bureau: Bureau, server: MailServer) -> None:
    send(bureau, READER)
    mail = returned(server)
    heard = bounces.hear(mail)
    section = bureau.rt.settings.bounces
    assert heard is not None and section is not None
    found = list[object]()
    threads = [
        threading.Thread(target=lambda: found.append(bounces._keep(bureau.rt, section, "a" * 64, heard)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sum(one is not None for one in found) == 1 and len(found) == 4


# ── what a mail says ─────────────────────────────────────────────────────────────────────────────────────────────────


def dsn(status: str, words: str) -> bytes:
    return (
        "Content-Type: multipart/report; report-type=delivery-status; boundary=B\n\n--B\n"
        "Content-Type: message/delivery-status\n\nReporting-MTA: dns; a\n\n"
        f"Final-Recipient: rfc822; a@b.example\nAction: failed\nStatus: {status}\nDiagnostic-Code: {words}\n\n--B--\n"
    ).encode()


@pytest.mark.parametrize(
    ("status", "words", "kind"),
    [
        ("5.1.1", "smtp; 550 no", BounceKind.HARD),
        ("5.1.10", "smtp; 556 null MX", BounceKind.HARD),
        ("5.2.1", "smtp; 550 mailbox disabled", BounceKind.HARD),
        ("5.0.0", "smtp; 550 Mailbox not found. http://service.mail.qq.com/", BounceKind.HARD),
        ("5.0.0", "smtp; 550 5.1.1 user unknown", BounceKind.HARD),
        ("5.5.0", "smtp; 550 User not found: li@163.example", BounceKind.HARD),
        ("5.0.0", "smtp; 554 DT:SPM 163 mx", BounceKind.SOFT),
        ("5.2.2", "smtp; 552 mailbox full", BounceKind.SOFT),
        ("5.7.1", "smtp; 550 blocked: user unknown to the list", BounceKind.SOFT),
        ("4.4.7", "smtp; 451 expired", BounceKind.SOFT),
        ("", "", BounceKind.SOFT),
    ],
)
def test_only_an_address_that_is_none_is_dead_and_never_one_that_refused_our_server(
    status: str, words: str, kind: BounceKind
) -> None:
    heard = bounces.hear(dsn(status, words))
    assert heard is not None and heard.kind is kind


def test_what_older_servers_write_is_understood() -> None:
    qmail = (
        b"From: MAILER-DAEMON@mail.example\nSubject: failure notice\n\n"
        b"Hi. This is the qmail-send program at mail.example.\n"
        b"I'm afraid I wasn't able to deliver your message to the following addresses.\n"
        b"This is a permanent error; I've given up. Sorry it didn't work out.\n\n"
        b"<li.ming@mail.example>:\nSorry, no mailbox here by that name. (#5.1.1)\n\n"
        b"--- Below this line is a copy of the message.\n\nMessage-ID: <1.1.abcdefghijklmnop@gd.example>\n"
    )
    heard = bounces.hear(qmail)
    assert heard is not None
    assert (heard.kind, heard.addresses) == (BounceKind.HARD, ("li.ming@mail.example",))
    assert heard.effects == ((1, 1, "abcdefghijklmnop"),)


@pytest.mark.parametrize(
    "mail",
    [
        b"From: li@mail.example\nSubject: \xe8\xb0\xa2\n\nthank you",
        b"From: li@mail.example\nAuto-Submitted: auto-replied\nSubject: on holiday\n\nback on Monday",
        b"", b"\x00\xff" * 100, b"Content-Type: multipart/report; boundary=\n\n",
        b"Content-Type: multipart/report; report-type=feedback-report; boundary=B\n\n--B\n"
        b"Content-Type: message/feedback-report\n\nFeedback-Type: not-spam\n\n--B--\n",
    ],
)  # fmt: skip
def test_what_is_no_returned_mail_is_left_for_a_person_and_not_read_again(bureau: Bureau, mail: bytes) -> None:
    assert bounces.hear(mail) is None
    put(bureau, mail)
    assert bounces.run(bureau.rt).others == 1
    assert bounces.run(bureau.rt).others == 0
    (left,) = (Path(bureau.rt.settings.bounces.folder) / "other").iterdir()  # type: ignore[union-attr]
    assert left.read_bytes() == mail


# ── where they are ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_maildir_is_read_and_what_stays_in_it_is_marked_as_seen(bureau: Bureau, server: MailServer) -> None:
    send(bureau, READER)
    folder = Path(bureau.rt.settings.bounces.folder)  # type: ignore[union-attr]
    for name in ("new", "cur", "tmp"):
        (folder / name).mkdir()
    (folder / "new" / "1.mail").write_bytes(returned(server))
    (folder / "new" / "2.mail").write_bytes(b"Subject: thanks\n\nthanks")
    done = bounces.run(bureau.rt)
    assert (done.suppressed, done.others) == (1, 1)
    assert [file.name for file in folder.rglob("*.mail*")] == ["2.mail:2,S"]


class FakeImap:
    """A mailbox as `imaplib` shows it."""

    def __init__(self, mails: dict[str, bytes]) -> None:
        self.mails, self.flags = mails, {uid: set[str]() for uid in mails}

    def __call__(self, host: str, port: int, **_: object) -> "FakeImap":
        return self

    def login(self, user: str, password: str) -> None:
        if password != "s3cret":
            raise imaplib.IMAP4.error("[AUTHENTICATIONFAILED] li.ming")

    def select(self, mailbox: str) -> tuple[str, list[bytes]]:
        return ("OK" if mailbox == '"INBOX"' else "NO"), [b""]

    def uid(self, command: str, *arguments: str) -> tuple[str, list[Any]]:
        match command:
            case "SEARCH":
                new = [uid for uid, flags in self.flags.items() if not flags]
                return "OK", [" ".join(new).encode()]
            case "FETCH":
                return "OK", [(b"1 (BODY[]<0> {%d}", self.mails[arguments[0]]), b")"]
            case _:
                self.flags[arguments[0]].add(arguments[2])
                return "OK", [None]

    def expunge(self) -> None:
        self.flags = {uid: flags for uid, flags in self.flags.items() if r"(\Deleted)" not in flags}

    def logout(self) -> None:
        pass


def test_a_mailbox_is_read_over_imap(open_office: Office, server: MailServer, monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"host": "imap.gd.example", "username": "tuixin", "password": "s3cret"}
    bureau = open_office(channels={"mail": mail_section(server)}, bounces=known)
    item = send(bureau, READER)
    box = FakeImap({"7": returned(server), "9": b"Subject: thanks\n\nthanks"})
    monkeypatch.setattr(imaplib, "IMAP4_SSL", box)
    done = bounces.run(bureau.rt)
    assert (done.suppressed, done.others) == (1, 1) and states(bureau, item) == {"failed": 1}
    assert box.flags == {"9": {r"(\Seen)"}}
    assert bounces.run(bureau.rt).others == 0
    wrong = open_office(channels={"mail": mail_section(server)}, bounces={**known, "password": "wrong"})
    with pytest.raises(Rejected, match="login_refused"):
        bounces.run(wrong.rt)
    nowhere = open_office(channels={"mail": mail_section(server)}, bounces={**known, "mailbox": "nowhere"})
    with pytest.raises(Rejected, match="no_mailbox"):
        bounces.run(nowhere.rt, at_once=True)


def test_a_mailbox_that_is_down_is_asked_again_later_and_the_doctor_knows(open_office: Office, tmp_path: Path) -> None:
    channels = {"mail": {"kind": "mail", "label": "邮件", "host": "127.0.0.1", "sender": "a@gd.example"}}
    bureau = open_office(channels=channels, bounces={"folder": str(tmp_path / "nowhere")})
    with pytest.raises(Unavailable, match="no_folder"):
        bounces.run(bureau.rt)
    known = bounces.status(bureau.rt)
    assert known.failures == 1 and known.error is not None and known.error["code"] == "bounces.no_folder"
    assert bounces.run(bureau.rt) == bounces.Done({})  # in the pause
    bureau.clock.forward(minutes=1)
    (tmp_path / "nowhere").mkdir()
    bounces.run(bureau.rt)
    assert bounces.status(bureau.rt).failures == 0
    with pytest.raises(Refused, match=r"bounces\.off"):
        bounces.run(open_office().rt)


def test_a_whole_mail_as_a_provider_returns_it_in_a_mail_is_known(bureau: Bureau, server: MailServer) -> None:
    """The original comes along whole, and only its own headers name it."""
    item = send(bureau, READER)
    report = EmailMessage()
    report["From"], report["To"], report["Subject"] = "MAILER-DAEMON@x.example", "tuixin@gd.example", "failure"
    report.set_content("550 5.1.1 no such user")
    report.add_attachment(server.mails[-1])
    raw = bytes(report).replace(b"multipart/mixed", b"multipart/report; report-type=delivery-status")
    boundary = report.get_boundary() or ""
    part = f"--{boundary}\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; a\n\n" \
        f"Final-Recipient: rfc822; {READER}\nAction: failed\nStatus: 5.1.1\n\n"  # fmt: skip
    raw = raw.replace(f"--{boundary}--".encode(), part.encode() + f"--{boundary}--".encode())
    put(bureau, raw)
    assert bounces.run(bureau.rt).suppressed == 1 and states(bureau, item) == {"failed": 1}
