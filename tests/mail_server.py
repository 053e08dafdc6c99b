"""A real SMTP server on loopback that keeps what it is given, and fails as it is told."""

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
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
        if answer in ("250 OK", "close"):
            assert isinstance(envelope.content, bytes)
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
