"""A real SMTP server on loopback that keeps what it is given, and fails as it is told.

As a process of its own (`separate`, `python -m tests.mail_server FOLDER`) it writes each mail down before it says yes;
there how an address begins decides: `nobody` and `policy` are refused for good, `later` put off twice, `slow` answered
after a while, and the line closed instead of an answer for `torn` (not taken) and `lost` (taken).
"""

import asyncio
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

import trustme
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session


@dataclass
class MailServer:
    """`answers`: by command (MAIL, RCPT, DATA), what to say instead of yes; "close" breaks the line."""

    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    answers: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)  # by address: what RCPT answers
    senders: list[str] = field(default_factory=list)  # of the envelope
    connections: int = 0
    delay: float = 0.0  # before the answer to a mail

    def section(self, **changes: Any) -> dict[str, Any]:
        """How an office would configure it."""
        plain = {"host": "127.0.0.1", "port": self.port, "security": "none", "sender": "fabu@gd.example"}
        return {**plain, **changes}

    def to(self, address: str) -> list[EmailMessage]:
        return [mail for mail, to in zip(self.mails, self.recipients, strict=True) if to == address]

    # ── what aiosmtpd asks ──

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if "MAIL" in self.answers:
            return self.answers["MAIL"]
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if (answer := self.refused.get(address) or self.answers.get("RCPT")) is not None:
            return answer
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        answer = self.answers.get("DATA", "250 OK")
        await asyncio.sleep(self.delay)
        if answer in ("250 OK", "close"):
            assert isinstance(envelope.content, bytes)
            self.senders.append(envelope.mail_from or "")
            mail = message_from_bytes(envelope.content, policy=default)
            assert isinstance(mail, EmailMessage)
            self.mails.append(mail)
            self.recipients.append(envelope.rcpt_tos[0])
            self.encrypted.append(session.ssl is not None or isinstance(server.transport, _TLS))
        if answer == "close":
            assert server.transport is not None
            server.transport.abort()
        return answer


_TLS = asyncio.sslproto._SSLProtocolTransport  # type: ignore[attr-defined]


@contextmanager
def mail_server(
    *,
    implicit_tls: bool = False,
    starttls: bool = False,
    authority: trustme.CA | None = None,
    login: tuple[str, str] | None = None,
) -> Iterator[MailServer]:
    """Runs in a thread of its own until the end of the block."""
    kept = MailServer()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if authority is not None:
        authority.issue_cert("127.0.0.1").configure_cert(context)

    def check(server: SMTP, session: Session, envelope: Envelope, mechanism: str, given: Any) -> AuthResult:
        known = isinstance(given, LoginPassword) and (given.login.decode(), given.password.decode()) == login
        return AuthResult(success=known, handled=known)

    def protocol() -> SMTP:
        kept.connections += 1
        return SMTP(
            kept,
            hostname="mail.gd.example",
            tls_context=context if starttls else None,
            authenticator=check if login else None,
            auth_required=login is not None,
            auth_require_tls=False,
            loop=loop,
        )

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)  # the caller's thread may have a loop of its own
    thread.start()
    starting = loop.create_server(protocol, "127.0.0.1", 0, ssl=context if implicit_tls else None)
    listening = asyncio.run_coroutine_threadsafe(starting, loop).result(10)
    kept.port = listening.sockets[0].getsockname()[1]
    try:
        yield kept
    finally:
        asyncio.run_coroutine_threadsafe(_close(listening), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _close(listening: asyncio.Server) -> None:
    listening.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


# ── as a process of its own ──────────────────────────────────────────────────────────────────────────────────────────

SLOW_SECONDS = 0.3


@dataclass(frozen=True)
class Mailed:
    """A mail that the server took: to whom, its Message-ID, and where it bounces to."""

    to: str
    name: str
    sender: str


class Separate:
    """A mail server that the test's faults do not touch."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True)
        self.start()

    @property
    def port(self) -> int:
        return int((self._folder / "port").read_text())

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.mail_server", str(self._folder)]
        self._process = subprocess.Popen(command, cwd=Path(__file__).parents[1])
        until = time.monotonic() + 60
        while not (self._folder / "up").exists():
            assert time.monotonic() < until and self._process.poll() is None
            time.sleep(0.02)

    def stop(self) -> None:
        assert self._process is not None
        (self._folder / "up").unlink(missing_ok=True)
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    @property
    def taken(self) -> list[Mailed]:
        log = self._folder / "taken"
        return [Mailed(*line.split("\t")) for line in log.read_text().splitlines()] if log.exists() else []

    def times(self) -> Counter[str]:
        """How many mails each address was sent."""
        return Counter(mail.to for mail in self.taken)


@contextmanager
def separate(folder: Path) -> Iterator[Separate]:
    server = Separate(folder)
    try:
        yield server
    finally:
        server.stop()


class _Written:
    def __init__(self, folder: Path) -> None:
        self._log = os.open(folder / "taken", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._put_off = Counter[str]()

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address.startswith("nobody"):
            return "550 5.1.1 no such user"
        if address.startswith("policy"):
            return "550 5.7.1 not for you"
        if address.startswith("later") and self._put_off[address] < 2:
            self._put_off[address] += 1
            return "450 4.2.1 try again later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        to = envelope.rcpt_tos[0]
        assert isinstance(envelope.content, bytes) and server.transport is not None
        if to.startswith("slow"):
            await asyncio.sleep(SLOW_SECONDS)
        if not to.startswith("torn"):
            name = envelope.content.partition(b"\nMessage-ID: <")[2].partition(b">")[0].decode()
            os.write(self._log, f"{to}\t{name}\t{envelope.mail_from}\n".encode())
        if to.startswith(("torn", "lost")):
            server.transport.abort()
        return "250 OK"


def main(folder: Path) -> None:
    async def serve() -> None:
        loop, kept = asyncio.get_running_loop(), folder / "port"
        written = _Written(folder)
        port = int(kept.read_text()) if kept.exists() else 0
        server = await loop.create_server(
            lambda: SMTP(written, hostname="mail.gd.example", loop=loop), "127.0.0.1", port, backlog=128
        )
        kept.write_text(str(server.sockets[0].getsockname()[1]))
        (folder / "up").touch()
        await server.serve_forever()

    asyncio.run(serve())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
