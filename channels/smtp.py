"""One way to speak to a mail server (SMTP, RFC 5321): kept connections, one limit for a whole call, and what each of
its answers means for a mail.

A mail is surely not taken until the server has answered its final dot; a line that breaks while that answer is awaited
leaves doubt, and is the only thing that does. One line carries one mail at a time.
"""

import atexit
import io
import os
import re
import select
import smtplib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from channels.contract import DeliveryError, Gone, InDoubt, PutOff, Rejected, Unavailable

Security = Literal["none", "starttls", "tls"]
PORTS: dict[Security, int] = {"none": 25, "starttls": 587, "tls": 465}  # RFC 5321, 6409, 8314
CONNECT_SECONDS = 5.0
KEPT_SECONDS = 30.0  # an idle line is closed after this: servers wait five minutes (RFC 5321, 4.5.3.2.7)
SURE_SECONDS = 5.0  # a line that was idle for longer is asked whether it still stands

_NO_SUCH_ADDRESS = re.compile(r"5\.1\.(?:[1236]|10)\b")  # RFC 3463, 3.2; RFC 7505: a domain that takes no mail
_ENHANCED = re.compile(rb"[245]\.\d{1,3}\.\d{1,3}\b")
_QUEUED = re.compile(rb"\bqueued as ([\w.-]{1,40})", re.IGNORECASE)


@dataclass(frozen=True)
class Server:
    """A mail server. `port` None: the usual one of `security`. `ca_file`: certificates to trust beside the machine's
    own: an office's own authority."""

    host: str
    port: int | None = None
    security: Security = "tls"
    ca_file: str = ""
    username: str = ""
    password: str = field(default="", repr=False)


class Line:
    """One session with a mail server, for one thread at a time: `line` gives it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.until = 0.0  # of the call that uses it now
        self.idle_since = 0.0
        self._session: _Session | None = None
        self._carried = 0
        self._unfinished = False  # a mail was begun and not sent: RSET before the next

    @property
    def stands(self) -> bool:
        return self._session is not None

    def hand_over(self, sender: str, recipient: str, message: bytes) -> str:
        """Hand over one mail (ASCII, lines ending in CRLF); what the server answered, short. `sender`: where bounces
        go. Raises Unavailable (surely not taken: later), Rejected (this address or mail, for good), InDoubt (the line
        broke after the final dot)."""
        envelope = f"MAIL FROM:<{sender}> SIZE={len(message)}" if self._offers("size") else f"MAIL FROM:<{sender}>"
        commands = [f"{envelope}\r\n", f"RCPT TO:<{recipient}>\r\n", "DATA\r\n"]
        try:
            answers = self._begin(commands)
        except _Lost as lost:
            if not self._carried:  # else the server closed what it had kept open: nothing of this mail was sent
                raise Unavailable("smtp.unreachable", detail=lost.detail) from None
            self._connect()
            try:
                answers = self._begin(commands)
            except _Lost as again:
                raise Unavailable("smtp.unreachable", detail=again.detail) from None
        self._carried += 1
        for stage, answer in zip(("mail", "rcpt", "data"), answers, strict=False):
            if not answer.yes:
                self._decline(answers, answer)
                raise _refusal(stage, answer, sender)
        return self._body(message)

    def check(self, sender: str) -> None:
        """Would the server take a mail from this sender? Raises Unavailable."""
        try:
            (answer,) = self._begin([f"MAIL FROM:<{sender}>\r\n"])
        except _Lost as lost:
            raise Unavailable("smtp.unreachable", detail=lost.detail) from None
        self._unfinished = True
        if not answer.yes:
            self._decline([answer], answer)
            raise _refusal("mail", answer, sender)

    def make_ready(self) -> None:
        """Connected and let in. Raises Unavailable."""
        if self._session is not None:
            self._session.until = self.until
            if not _has_news(self._session.sock) and self._still_stands():
                return
        self._connect()

    def close(self, politely: bool = False) -> None:
        session, self._session = self._session, None
        if session is None:
            return
        if politely:
            session.until = time.monotonic() + 1.0
            with suppress(OSError):
                session.send("QUIT\r\n")
        session.close()

    def _still_stands(self) -> bool:
        if time.monotonic() - self.idle_since < SURE_SECONDS:
            return True
        try:
            return self._begin(["NOOP\r\n"])[0].yes
        except _Lost:
            return False

    def _connect(self) -> None:
        self.close()
        self._carried, self._unfinished = 0, False
        server = self.server
        try:
            context = _context(server.ca_file) if server.security != "none" else None
            session = _Session(server, self.until, context)
        except smtplib.SMTPResponseException as error:
            raise Unavailable("smtp.server_busy", status=str(error.smtp_code)) from None
        except OSError as error:  # smtplib's own are among these
            raise Unavailable("smtp.unreachable", detail=_named(error)) from None
        try:
            session.ehlo_or_helo_if_needed()
            if server.security == "starttls":
                session.starttls(context=context)
                session.ehlo_or_helo_if_needed()
            if server.username:
                session.login(server.username, server.password)
        except smtplib.SMTPAuthenticationError as error:
            session.close()
            raise Unavailable("smtp.login_refused", status=str(error.smtp_code)) from None
        except smtplib.SMTPNotSupportedError as error:
            session.close()
            raise Unavailable("smtp.not_supported", detail=str(error)) from None
        except smtplib.SMTPResponseException as error:
            session.close()
            raise Unavailable("smtp.server_busy", status=str(error.smtp_code)) from None
        except OSError as error:
            session.close()
            raise Unavailable("smtp.unreachable", detail=_named(error)) from None
        self._session = session

    def _offers(self, feature: str) -> bool:
        return self._session is not None and self._session.has_extn(feature)

    def _begin(self, commands: list[str]) -> "list[_Answer]":
        """Say these, after an RSET where one is owed, and give what is answered to each: together where the server
        takes that (PIPELINING, RFC 2920), else up to the first no. Raises _Lost: nothing of a mail was sent."""
        session = self._session
        if session is None:
            raise _Lost("closed")
        before = ["RSET\r\n"] if self._unfinished else []
        asked = [*before, *commands]
        try:
            if session.has_extn("pipelining"):
                session.send("".join(asked))
                answers = [_Answer(*session.getreply()) for _ in asked]
            else:
                answers = []
                for command in asked:
                    session.send(command)
                    answers.append(_Answer(*session.getreply()))
                    if not answers[-1].yes:
                        break
        except OSError as error:
            self.close()
            raise _Lost(_named(error)) from None
        if any(answer.code == 421 for answer in answers):  # it says so and closes (RFC 5321, 3.8)
            self.close()
        self._unfinished = False
        if before and not answers[0].yes:
            self.close()
            raise _Lost(str(answers[0].code))
        return answers[len(before) :]

    def _decline(self, answers: "list[_Answer]", refused: "_Answer") -> None:
        """Leave a mail that was refused before its text. Asked together, the server may wait for that all the same."""
        self._unfinished = True
        if self._session is not None and answers[-1] is not refused and answers[-1].code == 354:
            try:
                self._session.send(".\r\n")
                self._session.getreply()
            except OSError:
                self.close()

    def _body(self, message: bytes) -> str:
        session = self._session
        assert session is not None
        message = _stuffed(message)
        try:
            session.send(message + (b".\r\n" if message.endswith(b"\r\n") else b"\r\n.\r\n"))
        except OSError as error:  # the final dot comes last, so it has not left
            self.close()
            raise Unavailable("smtp.unreachable", detail=_named(error)) from None
        try:
            answer = _Answer(*session.getreply())
        except OSError as error:
            self.close()
            raise InDoubt("smtp.line_broke", detail=_named(error)) from None
        if answer.code == 421:
            self.close()
        if not answer.yes:
            raise _refusal("dot", answer, "")
        return answer.short


@contextmanager
def line(server: Server, seconds: float) -> Iterator[Line]:
    """A line to this server that is ready to carry a mail, for `seconds` in all: one that was kept, or a new one. It is
    kept afterwards. Raises Unavailable when there is none to be had."""
    taken = _take(server)
    taken.until = time.monotonic() + seconds
    try:
        taken.make_ready()
        yield taken
    except DeliveryError:
        raise  # an answer: the line stands, or was closed where it does not
    except BaseException:
        taken.close()
        raise
    finally:
        _keep(taken)


def close_all() -> None:
    """Close every line that is kept."""
    with _guard:
        kept = [one for lines in _kept.values() for one in lines]
        _kept.clear()
    for one in kept:
        one.close(politely=True)


# ── what an answer means ─────────────────────────────────────────────────────────────────────────────────────────────


class _Lost(Exception):
    """The line broke before anything of a mail was sent."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the server said: its code (RFC 5321, 4.2) and text."""

    code: int
    text: bytes

    @property
    def yes(self) -> bool:
        return 200 <= self.code < 400

    @property
    def status(self) -> str:
        """The enhanced status code (RFC 3463) where one is given, else the code."""
        found = _ENHANCED.match(self.text)
        return found[0].decode() if found else str(self.code)

    @property
    def short(self) -> str:
        """Without anything that may name a person."""
        queued = _QUEUED.search(self.text)
        return f"{self.code} queued as {queued[1].decode()}" if queued else str(self.code)


def _refusal(stage: str, answer: _Answer, sender: str) -> DeliveryError:
    """RFC 5321, 4.2.1: 4yz is a no for now, 5yz a no for good. Up to the sender it concerns us, then this mail."""
    status = answer.status
    if answer.code == 421:
        return Unavailable("smtp.server_busy", status=status)
    if stage == "mail" and answer.code != 552:  # 552: a mail of this size
        if answer.code >= 500:
            return Unavailable("smtp.sender_refused", sender=sender, status=status)
        return Unavailable("smtp.server_busy", status=status)
    if answer.code < 500:
        whole = status.startswith("4.3")  # the server itself, not this address (RFC 3463, 3.4)
        return Unavailable("smtp.server_busy", status=status) if whole else PutOff("smtp.not_now", status=status)
    if stage == "rcpt":
        kind = Gone if _NO_SUCH_ADDRESS.match(status) else Rejected
        return kind("smtp.address_refused", status=status)
    return Rejected("smtp.mail_refused", status=status)


def _stuffed(mail: bytes) -> bytes:
    """With a second dot where a line begins with one (RFC 5321, 4.5.2). Base64 has no dots: this is soon done."""
    at = mail.find(b".")
    while at >= 0:
        if at == 0 or mail[at - 1 : at] == b"\n":
            return re.sub(rb"(?m)^\.", b"..", mail)
        at = mail.find(b".", at + 1)
    return mail


def _named(error: OSError) -> str:
    """What went wrong, without a word that may name a person."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    return type(error).__name__ if error.strerror is None or error.errno is None else str(error.strerror)


# ── sessions ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Session(smtplib.SMTP):
    """A session all of whose sending and reading ends at `until`, however slowly the other side trickles."""

    def __init__(self, server: Server, until: float, context: ssl.SSLContext | None) -> None:
        self.until = until
        self._wrap = context if server.security == "tls" else None
        port = server.port or PORTS[server.security]
        super().__init__(server.host, port, local_hostname=_own_name(), timeout=CONNECT_SECONDS)

    def left(self) -> float:
        left = self.until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the mail server took too long")
        return left

    def send(self, s: Any) -> None:
        if self.sock is not None:
            self.sock.settimeout(self.left())
        super().send(s)

    def getreply(self) -> tuple[int, bytes]:
        if self.file is None and self.sock is not None:
            self.file = io.BufferedReader(_Reader(self))
        return super().getreply()

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        connected = socket.create_connection((host, port), min(timeout, self.left()))
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._wrap.wrap_socket(connected, server_hostname=host) if self._wrap else connected


class _Reader(io.RawIOBase):
    """Reads a session's socket until its deadline: smtplib gives each single read the full timeout."""

    def __init__(self, session: _Session) -> None:
        assert session.sock is not None
        self._session, self._sock = session, session.sock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        self._sock.settimeout(self._session.left())
        return self._sock.recv_into(buffer)


@cache
def _own_name() -> str:
    """Asked for once: it may take a look into the DNS."""
    return socket.getfqdn()


@cache
def _context(ca_file: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_file:
        context.load_verify_locations(ca_file)
    return context


def _has_news(sock: socket.socket | None) -> bool:
    """Did the server say something unasked, or close? An idle line has nothing to read."""
    if sock is None:
        return True
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


# ── lines that are kept ──────────────────────────────────────────────────────────────────────────────────────────────

_guard = threading.Lock()
_kept: dict[Server, list[Line]] = {}  # idle, the last used at the end
_closing: threading.Timer | None = None


def _take(server: Server) -> Line:
    with _guard:
        kept = _kept.get(server)
        return kept.pop() if kept else Line(server)


def _keep(used: Line) -> None:
    if not used.stands:
        return
    used.idle_since = time.monotonic()
    with _guard:
        _kept.setdefault(used.server, []).append(used)
        _close_later()


def _close_later() -> None:
    global _closing
    if _closing is None:
        _closing = threading.Timer(KEPT_SECONDS, _close_idle)
        _closing.daemon = True
        _closing.start()


def _close_idle() -> None:
    global _closing
    limit = time.monotonic() - KEPT_SECONDS
    with _guard:
        old = [one for lines in _kept.values() for one in lines if one.idle_since <= limit]
        for server, lines in list(_kept.items()):
            _kept[server] = [one for one in lines if one.idle_since > limit]
        _closing = None
        if any(_kept.values()):
            _close_later()
    for one in old:
        one.close(politely=True)


def _forget() -> None:
    """A forked child must not speak on its parent's lines."""
    global _closing, _guard
    _guard, _closing = threading.Lock(), None
    _kept.clear()


os.register_at_fork(after_in_child=_forget)
atexit.register(close_all)
