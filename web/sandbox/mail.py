"""The mail network of the sandbox: takes every mail, sends none on, and lets some come back.

How the address begins decides: `nobody` is refused, `later` put off once, `bounce` comes back for good, `full` for now,
and `spam` complains. What comes back is put as a file into a folder, as a mail server does with a mailbox.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email import message_from_bytes
from email.message import EmailMessage, Message
from email.policy import default
from html import escape
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session

from web.sandbox.store import Mail, Store

LARGEST = 30_000_000  # bytes of one mail
DOMAIN = "sandbox.invalid"  # RFC 2606: never a real one
BODIES = ("plain", "html")
BOUNDARY = "sandbox-returned-mail"


@dataclass(frozen=True)
class Opened:
    """A mail as a mail program shows it. `html`: with its pictures in it, to be shown in a sandboxed frame only."""

    subject: str
    sender: str
    date: str
    text: str
    html: str
    headers: tuple[tuple[str, str], ...]
    unsubscribe: str


class Exchange:
    """What aiosmtpd asks."""

    def __init__(self, store: Store, bounces: Path | None) -> None:
        self._store, self._bounces = store, bounces
        self._put_off = set[str]()

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address.startswith("nobody"):
            return "550 5.1.1 no such user"
        if address.startswith("later") and address not in self._put_off:
            self._put_off.add(address)
            return "450 4.2.1 try again later"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content = envelope.content if isinstance(envelope.content, bytes) else (envelope.content or "").encode()
        sender = envelope.mail_from or ""
        await asyncio.to_thread(self._take, sender, list(envelope.rcpt_tos), content)
        return "250 2.0.0 ok"

    def _take(self, sender: str, recipients: list[str], content: bytes) -> None:
        subject = str(message_from_bytes(content, policy=default).get("Subject", ""))
        for to in recipients:
            self._store.take_mail(sender, to, subject, content)
            if self._bounces is not None and sender and (back := _returned(sender, to, content)) is not None:
                self._bounces.mkdir(parents=True, exist_ok=True)
                name = f"{time.time_ns()}"
                (self._bounces / f".{name}").write_bytes(back)
                (self._bounces / f".{name}").rename(self._bounces / f"{name}.eml")


@asynccontextmanager
async def listening(store: Store, host: str, port: int, bounces: Path | None) -> AsyncIterator[None]:
    """Takes mails as long as it is open."""
    exchange, loop = Exchange(store, bounces), asyncio.get_running_loop()

    def protocol() -> SMTP:
        return SMTP(exchange, hostname=DOMAIN, data_size_limit=LARGEST, ident="sandbox", loop=loop)

    server = await loop.create_server(protocol, host, port)
    try:
        yield
    finally:
        server.close()


def opened(mail: Mail) -> Opened:
    """What a person would see of it."""
    message = message_from_bytes(mail.content, policy=default)
    text, html = (message.get_body((kind,)) if isinstance(message, EmailMessage) else None for kind in BODIES)
    return Opened(
        subject=str(message.get("Subject", "")),
        sender=str(message.get("From", "")),
        date=str(message.get("Date", "")),
        text=_content(text),
        html=_with_pictures(_content(html), message),
        headers=tuple((name, str(value)) for name, value in message.items()),
        unsubscribe=_unsubscribe(str(message.get("List-Unsubscribe", ""))),
    )


def _content(part: Message | None) -> str:
    try:
        return str(part.get_content()) if isinstance(part, EmailMessage) else ""
    except (LookupError, ValueError):
        return ""


def _with_pictures(html: str, message: Message) -> str:
    """`cid:` addresses as the data they mean: a frame without an origin fetches nothing."""
    for part in message.walk():
        name = str(part.get("Content-ID", "")).strip("<> ")
        if name and part.get_content_maintype() == "image":
            data = "".join(str(part.get_payload()).split())
            html = html.replace(f"cid:{escape(name)}", f"data:{part.get_content_type()};base64,{data}")
    return html


def _unsubscribe(header: str) -> str:
    found = re.search(r"<(https?://[^>]+)>", header)
    return found[1] if found else ""


def _returned(sender: str, to: str, content: bytes) -> bytes | None:
    """What a foreign server sends back (RFC 3464), or the complaint that a provider passes on (RFC 5965)."""
    if to.startswith("bounce"):
        status, words = "5.1.1", "550 5.1.1 no such user"
    elif to.startswith("full"):
        status, words = "5.2.2", "552 5.2.2 mailbox full"
    elif to.startswith("spam"):
        fields = f"Feedback-Type: abuse\nUser-Agent: sandbox\nVersion: 1\nOriginal-Rcpt-To: <{to}>\n"
        return _report(sender, "feedback-report", fields, "这封邮件被收件人举报为垃圾邮件。", content)
    else:
        return None
    fields = (
        f"Reporting-MTA: dns; {DOMAIN}\n\n"
        f"Final-Recipient: rfc822; {to}\nAction: failed\nStatus: {status}\nDiagnostic-Code: smtp; {words}\n"
    )
    return _report(sender, "delivery-status", fields, f"邮件没有投递到 {to}：{words}", content)


def _report(sender: str, kind: str, fields: str, words: str, content: bytes) -> bytes:
    subject = "Undelivered Mail Returned to Sender" if kind == "delivery-status" else "Abuse report"
    headers = content.replace(b"\r\n", b"\n").partition(b"\n\n")[0].decode("ascii", "replace")
    return (
        f"From: Mail Delivery System <MAILER-DAEMON@{DOMAIN}>\nTo: <{sender}>\nSubject: {subject}\n"
        "Auto-Submitted: auto-replied\nMIME-Version: 1.0\n"
        f'Content-Type: multipart/report; report-type={kind}; boundary="{BOUNDARY}"\n\n'
        f"--{BOUNDARY}\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n{words}\n\n"
        f"--{BOUNDARY}\nContent-Type: message/{kind}\n\n{fields}\n"
        f"--{BOUNDARY}\nContent-Type: text/rfc822-headers\n\n{headers}\n\n--{BOUNDARY}--\n"
    ).encode()
