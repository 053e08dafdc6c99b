"""Mail against a real server on loopback: what a subscriber's mail program gets, and what each answer means."""

import json
import socket
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from itertools import pairwise
from pathlib import Path

import dkim
import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from channels import smtp
from channels.contract import (
    Call,
    DeliveryError,
    File,
    Gone,
    InDoubt,
    Office,
    Outcome,
    PutOff,
    Rejected,
    Rendition,
    Unavailable,
)
from channels.mail import SLOT, BadAddress, Mail, _Ready, _ready, normalise
from channels.pace import BURST_SECONDS, LONGEST, SHORTEST, STRIKES, Pace
from tests.channels.test_contract import message
from tests.mail_server import MailServer, mail_server

pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")  # the test server's own
TO = "li.ming@mail.example"
LINK = "https://in.example/u/abcdefg"
TOKEN = "12.1.1790000000000000.abcdefghijklmnop"


@pytest.fixture
def server() -> Iterator[MailServer]:
    with mail_server() as running:
        yield running
        smtp.close_all()


def channel(server: MailServer, **changes: object) -> Mail:
    how: dict[str, object] = {"port": server.port, "security": "none", "seconds": 5.0, "sender_name": "张店区广电局"}
    return Mail("127.0.0.1", "tongxun@gd.example", **{**how, **changes})  # type: ignore[arg-type]


def call(to: str = TO, number: int = 7, **changes: object) -> Call:
    facts = {"unsubscribe": LINK, "effect": f"{number}.1.abcdefghijklmnop"}
    return replace(Call(f"mail/{number}", 1, to, facts, f"https://in.example/reports/mail/{TOKEN}"), **changes)


def sent(server: MailServer, mail: Mail, called: Call | None = None) -> EmailMessage:
    mail.deliver(mail.render(message(7)), called or call())
    return server.mails[-1]


# ── what arrives ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_mail_says_who_sends_it_what_it_is_and_how_to_leave(server: MailServer) -> None:
    mail = sent(server, channel(server))
    assert mail["From"].addresses[0].addr_spec == "tongxun@gd.example"
    assert mail["From"].addresses[0].display_name == "张店区广电局"
    assert mail["To"].addresses[0].addr_spec == TO
    assert mail["Subject"] == "关于农村数字电视改造期间临时停播的公告"
    assert mail["List-Unsubscribe"] == f"<{LINK}>"
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert mail["Auto-Submitted"] == "auto-generated" and mail["Precedence"] == "bulk"
    assert mail["Message-ID"] == "<7.1.abcdefghijklmnop@gd.example>"
    assert mail["Date"].datetime is not None and not mail.defects


def test_a_mail_is_read_as_a_page_or_as_a_text_and_both_tell_how_to_leave(server: MailServer) -> None:
    mail = sent(server, channel(server))
    assert mail.get_content_type() == "multipart/alternative"
    text, html = (mail.get_body((kind,)) for kind in ("plain", "html"))
    assert text is not None and html is not None
    for part in (text.get_content(), html.get_content()):
        assert "2026年3月5日9时至12时" in part and "http://www.example.gov.cn/i/7" in part
        assert LINK in part and SLOT not in part


def test_pictures_come_along_and_are_named_as_the_page_names_them(server: MailServer) -> None:
    body = b'{"html": "<img src=\\"cid:picture-1.png\\">", "subject": "x", "text": "x"}'
    picture = File("picture-1.png", "image/png", bytes(range(256)) * 20)
    channel(server).deliver(Rendition("application/vnd.fabu.mail+json", body, (picture,)), call())
    mail = server.mails[-1]
    related = next(part for part in mail.walk() if part.get_content_type() == "multipart/related")
    html, image = related.iter_parts()  # type: ignore[attr-defined]
    assert html.get_content_type() == "text/html"
    assert (image["Content-ID"], image.get_content()) == ("<picture-1.png>", picture.content)


@pytest.mark.parametrize("link", [b"", b"https://a.example/u/1", b"https://a.example/u/12", b"https://a.example/u/123"])
@pytest.mark.parametrize(
    "text", ["", "没有", SLOT, f"前{SLOT}后", f"a{SLOT}b{SLOT}c", f"{'长' * 200}{SLOT}ab", f"ab\n.点{SLOT}x\r\n"]
)
def test_only_the_last_slot_is_a_recipients_link_whatever_stands_around_it(text: str, link: bytes) -> None:
    body = {"subject": "x", "html": "", "text": text}
    rendition = Rendition("x", json.dumps(body).encode())
    mail = _mail(_ready(rendition, "a@b.example", ""), link.decode())
    before, slot, after = text.replace("\r\n", "\n").rpartition(SLOT)
    wanted = (before + link.decode() + after) if slot else before + after
    assert mail.get_body(("plain",)).get_content().replace("\r\n", "\n") == wanted.replace("\r\n", "\n")  # type: ignore[union-attr]


def _mail(ready: _Ready, link: str) -> EmailMessage:
    raw = b"".join([ready.head, b"\r\n", *ready.fill(link)])
    assert all(len(line) <= 998 and b"\n" not in line for line in raw.split(b"\r\n"))  # RFC 5322, 2.1.1
    mail = message_from_bytes(raw, policy=default)
    assert isinstance(mail, EmailMessage)
    return mail


def test_a_retry_has_the_same_message_id_and_another_bounce_address(server: MailServer) -> None:
    mail = channel(server, bounces="tuixin+*@gd.example")
    first = sent(server, mail)
    second = sent(
        server, mail, call(report_to="https://in.example/reports/mail/12.2.1790000000000001.zzzzzzzzzzzzzzzz")
    )
    assert first["Message-ID"] == second["Message-ID"]
    assert server.senders == [f"tuixin+{TOKEN}@gd.example", "tuixin+12.2.1790000000000001.zzzzzzzzzzzzzzzz@gd.example"]
    assert all(len(sender.partition("@")[0]) <= 64 for sender in server.senders)


def test_where_a_server_wants_its_own_address_bounces_come_there(server: MailServer) -> None:
    sent(server, channel(server))
    sent(server, channel(server, bounces="tuixin@gd.example"))
    assert server.senders == ["tongxun@gd.example", "tuixin@gd.example"]


def test_a_bounce_address_that_would_grow_too_long_is_refused_at_the_start(server: MailServer) -> None:
    with pytest.raises(BadAddress, match="bounces_too_long"):
        channel(server, bounces="returned-newsletters+*@gd.example")
    with pytest.raises(BadAddress, match="bad_sender"):
        channel(server, bounces="tui xin@gd.example")


def test_who_is_asked_whether_they_subscribed_gets_a_link_and_nothing_to_leave(server: MailServer) -> None:
    mail = channel(server)
    invitation = mail.invitation(Office("张店区广播电视局", "370303"), "https://in.example/c/1?a=1&b=2", "123456")
    mail.deliver(invitation, call(facts={}))
    got = server.mails[-1]
    text, html = (got.get_body((kind,)) for kind in ("plain", "html"))
    assert text is not None and "https://in.example/c/1?a=1&b=2" in text.get_content()
    assert html is not None and 'href="https://in.example/c/1?a=1&amp;b=2"' in html.get_content()
    assert got["List-Unsubscribe"] is None and got["Precedence"] is None


# ── addresses ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("typed", "address"),
    [
        (" li.ming@GD.Example ", "li.ming@gd.example"),
        ("Li.Ming@gd.example", "Li.Ming@gd.example"),
        ("ｌｉ＠ｇｄ．example", "li@gd.example"),
        ("li@例子.中国", "li@xn--fsqu00a.xn--fiqs8s"),
        ("li+news@gd.example.", "li+news@gd.example"),
    ],
)
def test_an_address_is_written_in_one_way_however_it_was_typed(typed: str, address: str) -> None:
    assert normalise(typed) == address == normalise(address)


@pytest.mark.parametrize(
    "typed",
    ["", "li", "li@", "@gd.example", "li@localhost", "li@gd..example", "li@-gd.example", "a b@gd.example",
     "li@gd.example\r\nBcc: x@y.example", "li\n@gd.example", '"li"@gd.example', ".li@gd.example", "li..ming@gd.example",
     "李@gd.example", "li@gd.example>", "li@127.0.0.1", f"{'l' * 65}@gd.example", f"li@{'x' * 64}.example",
     f"l@{'x.' * 130}example"],
)  # fmt: skip
def test_what_is_no_address_is_refused_and_not_repeated(typed: str) -> None:
    with pytest.raises(BadAddress) as refused:
        normalise(typed)
    assert refused.value.facts == {}


# ── what an answer means ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("command", "answer", "kind"),
    [
        ("MAIL", "451 4.3.0 later", Unavailable),
        ("MAIL", "553 5.7.1 who are you", Unavailable),
        ("MAIL", "552 5.3.4 too large", Rejected),
        ("RCPT", "450 4.2.0 greylisted", PutOff),
        ("RCPT", "452 4.3.1 no room", Unavailable),
        ("RCPT", "421 4.3.2 going down", Unavailable),
        ("RCPT", "550 5.1.1 no such user", Gone),
        ("RCPT", "550 5.7.1 not for you", Rejected),
        ("DATA", "451 4.7.1 later", PutOff),
        ("DATA", "421 4.3.2 going down", Unavailable),
        ("DATA", "554 5.7.1 spam", Rejected),
        ("DATA", "close", InDoubt),
    ],
)
def test_each_answer_says_whether_a_mail_may_be_sent_again(
    server: MailServer, command: str, answer: str, kind: type[DeliveryError]
) -> None:
    server.answers[command] = answer
    with pytest.raises(kind) as error:
        sent(server, channel(server))
    assert type(error.value) is kind
    assert TO not in str(error.value)
    server.answers.clear()
    sent(server, channel(server))  # the line that is kept carries the next mail, or a new one does
    assert len(server.mails) == (2 if answer == "close" else 1)


def test_where_nobody_listens_or_lets_us_in_nothing_was_sent(tmp_path: Path) -> None:
    with mail_server(login=("fabu", "s3cret")) as server:
        for changes, code in (
            ({"port": 1}, "smtp.unreachable"),
            ({"username": "fabu", "password": "wrong"}, "smtp.login_refused"),
            ({"security": "starttls"}, "smtp.not_supported"),
            ({"password_file": str(tmp_path / "none")}, "mail.no_password_file"),
        ):
            with pytest.raises(Unavailable, match=code) as error:
                sent(server, channel(server, **changes))
            assert not isinstance(error.value, PutOff)
        (tmp_path / "password").write_text("s3cret\n")
        mail = channel(server, username="fabu", password_file=str(tmp_path / "password"))
        assert mail.check() == "ok" and server.mails == []
        sent(server, mail)
        assert "s3cret" not in repr(mail._server)


@pytest.mark.parametrize("security", ["tls", "starttls"])
def test_mails_go_encrypted_to_a_server_that_somebody_vouches_for(tmp_path: Path, security: str) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    how = {"implicit_tls": security == "tls", "starttls": security == "starttls"}
    with mail_server(authority=authority, **how) as server:
        with pytest.raises(Unavailable, match="unreachable"):
            sent(server, channel(server, security=security))
        for _ in range(3):
            sent(server, channel(server, security=security, ca_file=str(tmp_path / "ca.pem")))
        assert server.encrypted == [True] * 3
        smtp.close_all()


# ── lines ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_line_is_kept_from_mail_to_mail_also_after_a_no(server: MailServer) -> None:
    mail = channel(server)
    server.refused["no@mail.example"] = "550 5.1.1 no such user"
    for to in ("a@mail.example", "no@mail.example", "b@mail.example", "no@mail.example", "c@mail.example"):
        with suppress(Gone):
            sent(server, mail, call(to))
    assert server.recipients == ["a@mail.example", "b@mail.example", "c@mail.example"]
    assert server.connections == 1


def test_a_line_that_the_server_closed_meanwhile_costs_a_new_one_and_no_mail(server: MailServer) -> None:
    mail = channel(server)
    sent(server, mail)
    (kept,) = next(lines for lines in smtp._kept.values() if lines)
    assert kept._session is not None and kept._session.sock is not None
    kept._session.sock.shutdown(socket.SHUT_RDWR)
    sent(server, mail)
    assert (len(server.mails), server.connections) == (2, 2)


def test_a_line_that_was_idle_for_long_is_asked_first(server: MailServer, monkeypatch: pytest.MonkeyPatch) -> None:
    mail = channel(server)
    sent(server, mail)
    monkeypatch.setattr(smtp, "SURE_SECONDS", 0.0)
    asked = list[list[str]]()
    original = smtp.Line._begin
    monkeypatch.setattr(smtp.Line, "_begin", lambda line, commands: asked.append(commands) or original(line, commands))
    sent(server, mail)
    assert asked[0] == ["NOOP\r\n"] and server.connections == 1


def test_idle_lines_are_closed_with_a_word(server: MailServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtp, "KEPT_SECONDS", 0.05)
    monkeypatch.setattr(smtp, "_closing", None)
    sent(server, channel(server))
    until = time.monotonic() + 10
    while any(smtp._kept.values()) and time.monotonic() < until:
        time.sleep(0.02)
    assert not any(smtp._kept.values())


def test_sixteen_senders_have_a_line_each(server: MailServer) -> None:
    mail, gate = channel(server), threading.Barrier(16)

    def send(at: int) -> None:
        gate.wait(10)
        for turn in range(3):
            sent(server, mail, call(f"r{at}.{turn}@mail.example"))

    server.delay = 0.02
    threads = [threading.Thread(target=send, args=(at,)) for at in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(server.mails) == len(set(server.recipients)) == 48
    assert server.connections <= 16


def received(line: socket.socket) -> bytes:
    try:
        return line.recv(65536)
    except OSError:
        return b""


@contextmanager
def by_hand(answer: Callable[[socket.socket, bytes], None], *more: bytes) -> Iterator[int]:
    """A server that greets, says yes to everything but as `answer` does; `more`: what EHLO offers."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                line, _ = listener.accept()
            except OSError:
                return
            with line:
                line.sendall(b"220 by hand\r\n")
                rest, mail = b"", False
                while data := received(line):
                    rest += data
                    while b"\r\n" in rest:
                        if mail:
                            _, ended, left = (b"\r\n" + rest).partition(b"\r\n.\r\n")
                            if not ended:
                                break
                            rest, mail = left, False
                            answer(line, b".")
                            continue
                        command, _, rest = rest.partition(b"\r\n")
                        if command.startswith(b"ehlo"):
                            line.sendall(b"".join(b"250-%s\r\n" % one for one in (b"by hand", *more)) + b"250 ok\r\n")
                        else:
                            mail = command == b"DATA"
                            try:
                                answer(line, command)
                            except OSError:
                                return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        smtp.close_all()
        listener.close()


def yes(line: socket.socket, command: bytes) -> None:
    line.sendall(b"354 go on\r\n" if command == b"DATA" else b"250 2.0.0 ok\r\n")


@pytest.mark.parametrize("offers", [(), (b"PIPELINING", b"SIZE 10000000")])
def test_a_server_that_trickles_its_last_word_leaves_doubt_within_the_limit(offers: tuple[bytes, ...]) -> None:
    def trickles(line: socket.socket, command: bytes) -> None:
        if command != b".":
            yes(line, command)
            return
        with suppress(OSError):
            for _ in range(100):
                line.sendall(b"250-")
                time.sleep(0.05)

    with by_hand(trickles, *offers) as port:
        mail = Mail("127.0.0.1", "tongxun@gd.example", port=port, security="none", seconds=0.6)
        begun = time.monotonic()
        with pytest.raises(InDoubt):
            mail.deliver(mail.render(message(7)), call())
        assert time.monotonic() - begun < 1.5


@pytest.mark.parametrize("silent_at", [b"MAIL", b"RCPT", b"DATA"])
@pytest.mark.parametrize("offers", [(), (b"PIPELINING",)])
def test_a_server_that_falls_silent_before_the_text_was_sent_has_no_mail(
    silent_at: bytes, offers: tuple[bytes, ...]
) -> None:
    def silent(line: socket.socket, command: bytes) -> None:
        if command.startswith(silent_at):
            time.sleep(1)
            raise OSError
        yes(line, command)

    with by_hand(silent, *offers) as port:
        mail = Mail("127.0.0.1", "tongxun@gd.example", port=port, security="none", seconds=0.5)
        with pytest.raises(Unavailable, match="unreachable"):
            mail.deliver(mail.render(message(7)), call())


def test_a_refused_recipient_gets_no_empty_mail_where_commands_go_together() -> None:
    said = list[bytes]()

    def strange(line: socket.socket, command: bytes) -> None:
        said.append(command)
        if command.startswith(b"RCPT TO:<no@"):
            line.sendall(b"550 5.1.1 no such user\r\n")
        elif command == b"." and said[-3].startswith(b"RCPT TO:<no@"):
            line.sendall(b"554 no recipients\r\n")
        else:
            yes(line, command)

    with by_hand(strange, b"PIPELINING") as port:
        mail = Mail("127.0.0.1", "tongxun@gd.example", port=port, security="none", seconds=5)
        rendition = mail.render(message(7))
        with pytest.raises(Gone):
            mail.deliver(rendition, call("no@mail.example"))
        assert mail.deliver(rendition, call()).evidence == "250"
    names = [command.partition(b":")[0] for command in said]
    assert names[:9] == [b"MAIL FROM", b"RCPT TO", b"DATA", b".", b"RSET", b"MAIL FROM", b"RCPT TO", b"DATA", b"."]


def test_lines_that_begin_with_a_dot_arrive_as_they_were(server: MailServer) -> None:
    with smtp.line(smtp.Server("127.0.0.1", server.port, "none"), 5) as line:
        line.hand_over("a@gd.example", TO, b"Subject: x\r\n\r\n.first\r\n..second\r\n.\r\nlast")
    assert server.mails[-1].get_content().splitlines() == [".first", "..second", ".", "last"]


# ── reports, signatures, pace ────────────────────────────────────────────────────────────────────────────────────────


def test_a_report_is_read_as_what_came_back(server: MailServer) -> None:
    mail = channel(server)
    read = {kind: mail.read_report({"bounce": kind, "status": "5.1.1"}) for kind in ("hard", "soft", "delayed", "spam")}
    assert [report and report.outcome for report in read.values()] == [
        Outcome.FAILED, Outcome.FAILED, Outcome.PENDING, None,
    ]  # fmt: skip
    complaint = mail.read_report({"bounce": "complaint"})
    assert complaint is not None and complaint.outcome is Outcome.DELIVERED
    assert mail.read_report({"status": "delivered"}) is None


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """A private key on disk, and the DNS record of its public half."""
    made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    file = tmp_path_factory.mktemp("dkim") / "dkim.pem"
    kinds = (serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    file.write_bytes(made.private_bytes(*kinds))
    public = made.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )  # fmt: skip
    return file, b"v=DKIM1; k=rsa; p=" + b64encode(public)


def test_a_signature_holds_and_covers_the_way_to_leave(server: MailServer, key: tuple[Path, bytes]) -> None:
    mail = channel(server, dkim_key=str(key[0]), dkim_selector="fabu")
    signed = mail._signed(mail._composed(mail.render(message(7)), call(), "a@gd.example"))

    def record(name: bytes, timeout: int = 5) -> bytes:
        assert name == b"fabu._domainkey.gd.example."
        return key[1]

    assert dkim.verify(signed, dnsfunc=record)
    for header in (b"List-Unsubscribe: ", b"List-Unsubscribe-Post: ", b"To: "):
        at = signed.index(b"\n" + header) + len(header) + 2
        assert not dkim.verify(signed[:at] + b"x" + signed[at:], dnsfunc=record), header
    assert not dkim.verify(signed.replace(b"\r\n\r\n--a", b"\r\n\r\nx\r\n--a", 1), dnsfunc=record)


def test_without_its_key_nothing_is_sent_unsigned(server: MailServer, tmp_path: Path) -> None:
    (tmp_path / "broken.pem").write_text("no key")
    for file, code in (("none.pem", "no_dkim_key"), ("broken.pem", "bad_dkim_key")):
        mail = channel(server, dkim_key=str(tmp_path / file), dkim_selector="fabu")
        for act in (lambda mail=mail: sent(server, mail), mail.check):
            with pytest.raises(Unavailable, match=code):
                act()
    assert server.mails == []


class Time:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_domain_gets_no_more_than_its_minute_allows_and_others_do_not_wait_for_it() -> None:
    clock = Time()
    pace = Pace(60, clock)
    at_once = [pace.wait("qq.example") for _ in range(20)]
    assert at_once.count(0.0) == int(BURST_SECONDS) + 1
    later = [wait for wait in at_once if wait]
    assert later == sorted(later) and all(0.9 < b - a < 1.1 for a, b in pairwise(later))
    assert pace.wait("163.example") == 0.0
    for wait in later:  # each comes back at its own time, and goes
        clock.now = 1000.0 + wait
        assert pace.wait("qq.example") == 0.0
    assert all(Pace(0, clock).wait("qq.example") == 0.0 for _ in range(1000))


def test_a_domain_that_says_not_now_again_and_again_is_left_alone_for_longer_and_longer() -> None:
    clock = Time()
    pace = Pace(0, clock)
    for _ in range(STRIKES - 1):
        pace.put_off("qq.example")
    assert pace.wait("qq.example") == 0.0, "a full mailbox or two shut nobody out"
    shut = []
    for _ in range(10):
        pace.put_off("qq.example")
        pace.put_off("qq.example")  # was on its way already
        shut.append(pace.wait("qq.example"))
        assert pace.wait("163.example") == 0.0
        clock.now += shut[-1]
        assert pace.wait("qq.example") == 0.0
    assert (shut[0], shut[1], shut[-1]) == (SHORTEST, SHORTEST * 2, LONGEST)
    pace.taken("qq.example")
    for _ in range(STRIKES - 1):
        pace.put_off("qq.example")
    assert pace.wait("qq.example") == 0.0


def test_a_server_that_puts_a_domain_off_is_asked_less_for_that_domain_only(server: MailServer) -> None:
    mail = channel(server)
    for at in range(STRIKES):
        server.refused[f"r{at}@slow.example"] = "451 4.7.1 try later"
        with pytest.raises(Unavailable):
            sent(server, mail, call(f"r{at}@slow.example"))
    assert 0 < mail.wait("r9@slow.example") <= SHORTEST + 1
    assert mail.wait("r9@quick.example") == 0.0
