"""Mail to subscribers, through the office's own mail server (docs/mail.md).

A mail cannot be taken back, and nobody can look into a mailbox: what the server took is *accepted*, and stays so unless
a bounce says that it did not arrive. One-click unsubscribe by RFC 8058; the link is a fact of sending, so it stands in
no rendition: `{{unsubscribe}}` keeps its place.
"""

import base64
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from functools import cached_property, lru_cache
from html import escape
from pathlib import Path
from typing import ClassVar

from channels import newsletter, smtp
from channels.contract import (
    Call,
    ChannelError,
    Evidence,
    Kept,
    Message,
    Office,
    Outcome,
    PutOff,
    Receipt,
    Rejected,
    Rendition,
    Report,
    Seen,
    Unavailable,
    View,
)
from channels.contract import File as Picture
from channels.pace import Pace

MEDIA_TYPE = "application/vnd.fabu.mail+json"  # subject, html, text; the pictures are its files, named by Content-ID
SLOT = "{{unsubscribe}}"
LONGEST_LOCAL, LONGEST_ADDRESS = 64, 254  # RFC 5321, 4.5.3.1 and the erratum 1690 to RFC 3696
TOKEN_ROOM = 50  # characters that the token of a bounce address takes at most

_REPORTS = {
    "hard": Outcome.FAILED,
    "soft": Outcome.FAILED,
    "delayed": Outcome.PENDING,
    "delivered": Outcome.DELIVERED,
    "complaint": Outcome.DELIVERED,  # nobody complains of what did not arrive
}
# Without quoted and non-ASCII local parts: few servers take them, and a subscriber has another address.
_LOCAL = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
_SIGNED = (b"From", b"To", b"Subject", b"Date", b"Message-ID", b"MIME-Version", b"Content-Type", b"List-Id",
           b"List-Unsubscribe", b"List-Unsubscribe-Post")  # fmt: skip


class BadAddress(ChannelError, ValueError):
    """Not a mail address. Holds the code, never the address."""


def normalise(address: str) -> str:
    """One way to write a mail address: full-width characters as ASCII, the domain as DNS has it (IDNA, lower case), the
    local part as it is, since case may matter there (RFC 5321, 2.4). Raises BadAddress."""
    local, at, domain = unicodedata.normalize("NFKC", address).strip().rpartition("@")
    try:
        domain = domain.rstrip(".").encode("idna").decode().lower()
    except UnicodeError:
        raise BadAddress("mail.bad_address") from None
    labels = domain.split(".")
    if (
        not at
        or not _LOCAL.fullmatch(local)
        or len(local) > LONGEST_LOCAL
        or len(labels) < 2
        or not all(map(_LABEL.fullmatch, labels))
        or labels[-1].isdigit()
        or len(local) + 1 + len(domain) > LONGEST_ADDRESS
    ):
        raise BadAddress("mail.bad_address")
    return f"{local}@{domain}"


@dataclass(frozen=True)
class Mail:
    """`sender`, `sender_name`: whom the mail comes from. `bounces`: where bounces go, with a `*` where each mail's own
    token stands (`bounces+*@gd.example`); left out: to the sender. `dkim_key`: a PEM file, `dkim_selector` its name in
    the DNS; left out: the mail server signs. `per_minute`: mails to one recipient domain, 0 without limit."""

    recall: ClassVar[bool] = False
    evidence: ClassVar[Evidence] = Evidence.BOUNCE
    addressed: ClassVar[bool] = True
    fenced: ClassVar[bool] = False

    host: str
    sender: str
    sender_name: str = ""
    bounces: str = ""
    port: int | None = None
    security: smtp.Security = "tls"
    ca_file: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    password_file: str = ""
    dkim_key: str = ""
    dkim_selector: str = ""
    per_minute: float = 600.0
    seconds: float = 30.0

    def __post_init__(self) -> None:
        for given in filter(None, (self.sender, self.bounces.replace("*", "x"))):
            with suppress(BadAddress):
                if normalise(given) == given:
                    continue
            raise BadAddress("mail.bad_sender", given=given)
        if "*" in self.bounces and len(self.bounces.partition("@")[0]) - 1 + TOKEN_ROOM > LONGEST_LOCAL:
            raise BadAddress("mail.bounces_too_long", given=self.bounces, most=str(LONGEST_LOCAL - TOKEN_ROOM))

    def render(self, message: Message) -> Rendition:
        parts = newsletter.mail_parts(message)
        return _rendition(parts.subject, parts.html, parts.text, parts.pictures)

    def view(self, rendition: Rendition) -> View:
        kept = json.loads(rendition.body)
        shown = "".join(
            f"<p>{escape(line)}</p>" for line in kept["text"].replace(SLOT, "…").split("\n") if line.strip()
        )
        alone = newsletter.alone(kept["html"], rendition.files)
        text = kept["text"].replace(SLOT, "…")
        return View(title=kept["subject"], html=shown, messages=(text,), document=alone)

    def deliver(self, rendition: Rendition, call: Call) -> Receipt:
        """One mail to `call.recipient`, an address as `normalise` returns it. Raises DeliveryError."""
        domain, name = call.recipient.rpartition("@")[2], self._message_id(call)
        mail = self._signed(self._composed(rendition, call, name))
        try:
            with smtp.line(self._server, self.seconds) as line:
                answer = line.hand_over(self._return_path(call), call.recipient, mail)
        except PutOff:
            self._pace.put_off(domain)
            raise
        self._pace.taken(domain)
        return Receipt(name, answer)

    def wait(self, recipient: str) -> float:
        return self._pace.wait(recipient.rpartition("@")[2])

    def verify(self, wanted: Sequence[tuple[Rendition | None, Call]]) -> list[Seen]:
        return [Seen.UNKNOWN for _ in wanted]

    def withdraw(self, call: Call) -> Receipt:
        raise Rejected("mail.no_recall")

    def read_report(self, query: Mapping[str, str]) -> Report | None:
        """What `pipeline.bounces` made of a bounce: its kind and status code (RFC 3463)."""
        kind = query.get("bounce", "")
        outcome = _REPORTS.get(kind)
        return Report(outcome, " ".join(filter(None, (kind, query.get("status", ""))))) if outcome else None

    def kept(self) -> Mapping[int, Kept]:
        return {}

    def normalise(self, address: str) -> str:
        """See `normalise`."""
        return normalise(address)

    def invitation(self, office: Office, link: str, code: str) -> Rendition:
        """A link to a page with a button; who does nothing is never written to again."""
        text = (
            f"您好！\n\n有人用这个邮箱申请订阅{office.name}的邮件。如果是您本人，请打开下面的网页，按“确认订阅”：\n\n{link}\n\n"
            f"如果不是您，请不用理会，我们不会再发邮件给您。\n\n{office.name}\n"
        )
        shown = "".join(
            f'<p style="font-size:17px;line-height:1.8">{paragraph}</p>'
            for paragraph in escape(text.strip()).replace(escape(link), _link(link)).split("\n\n")
        )
        page = f'<!doctype html><html lang="zh-CN"><meta charset="utf-8"><body>{shown}</body></html>'
        return _rendition(f"请确认订阅{office.name}的邮件", page, text, ())

    def standing(self) -> None:
        return None

    def check(self) -> str:
        """Connect, log in and name the sender; no mail goes out. The signing key is tried, too."""
        self._signed(b"From: <" + self.sender.encode() + b">\r\n\r\n")
        with smtp.line(self._server, self.seconds) as line:
            line.check(self.sender)
        return "ok"

    @cached_property
    def _server(self) -> smtp.Server:
        try:
            password = Path(self.password_file).read_text("utf-8").strip() if self.password_file else self.password
        except (OSError, UnicodeDecodeError):
            raise Unavailable("mail.no_password_file", file=self.password_file) from None
        return smtp.Server(self.host, self.port, self.security, self.ca_file, self.username, password)

    @cached_property
    def _pace(self) -> Pace:
        return Pace(self.per_minute)

    @cached_property
    def _domain(self) -> str:
        return self.sender.rpartition("@")[2]

    @cached_property
    def _key(self) -> bytes:
        try:
            return Path(self.dkim_key).read_bytes()
        except OSError:
            raise Unavailable("mail.no_dkim_key", file=self.dkim_key) from None

    def _message_id(self, call: Call) -> str:
        """The same on every retry of the same effect: a server that compares them drops the second."""
        return f"{call.facts.get('effect') or call.key}@{self._domain}"

    def _return_path(self, call: Call) -> str:
        """Where bounces of this attempt go: its token is that of the address on which the outside reports."""
        if "*" not in self.bounces:
            return self.bounces or self.sender
        return self.bounces.replace("*", call.report_to.rpartition("/")[2] or "0")

    def _composed(self, rendition: Rendition, call: Call, name: str) -> bytes:
        ready = _ready(rendition, self.sender, self.sender_name)
        link = call.facts.get("unsubscribe", "")
        date = format_datetime(datetime.now(UTC))
        head = [ready.head, f"To: <{call.recipient}>\r\nDate: {date}\r\nMessage-ID: <{name}>\r\n".encode()]
        if link:
            listed = f"List-Id: <{call.slot.rpartition('/')[0]}.{self._domain}>\r\nPrecedence: bulk\r\n"
            one_click = f"List-Unsubscribe: <{link}>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
            head.append((listed + one_click).encode())
        return b"".join([*head, b"\r\n", *ready.fill(link)])

    def _signed(self, mail: bytes) -> bytes:
        """With a DKIM signature (RFC 6376) over body and headers, the unsubscribing ones included (RFC 8058, 4)."""
        if not self.dkim_key:
            return mail
        import dkim  # with its DNS resolver some 100 ms, for those who sign only

        names = b"\n" + mail[: mail.index(b"\r\n\r\n")].lower()
        there = [name for name in _SIGNED if b"\n" + name.lower() + b":" in names]
        how = {"canonicalize": (b"relaxed", b"relaxed"), "include_headers": there}
        try:
            signature: bytes = dkim.sign(mail, self.dkim_selector.encode(), self._domain.encode(), self._key, **how)
        except dkim.DKIMException:
            raise Unavailable("mail.bad_dkim_key", file=self.dkim_key) from None
        return signature + mail


def _rendition(subject: str, html: str, text: str, pictures: Sequence[Picture]) -> Rendition:
    body = {"subject": " ".join(subject.split()), "html": html, "text": text}
    return Rendition(MEDIA_TYPE, json.dumps(body, ensure_ascii=False, sort_keys=True).encode(), tuple(pictures))


def _link(address: str) -> str:
    return f'<a href="{escape(address)}">{escape(address)}</a>'


# ── a mail made once for all its recipients ──────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Ready:
    """A rendition as MIME, encoded once. `head`: the headers that are alike for all; `pieces`: the body in order, a
    text with slots still to be filled."""

    head: bytes
    pieces: "tuple[bytes | _Slotted, ...]"

    def fill(self, link: str) -> Iterator[bytes]:
        for piece in self.pieces:
            if isinstance(piece, bytes):
                yield piece
            else:
                yield from piece.fill(link.encode())


class _Slotted:
    """A text in base64 whose slot, the last one in it, is filled without encoding all of it again: three bytes are four
    characters, so what follows the slot is encoded beforehand in each of its three possible alignments."""

    def __init__(self, text: str) -> None:
        lines = text.replace("\r\n", "\n").replace("\n", "\r\n").encode()
        before, self._slot, after = lines.rpartition(SLOT.encode())
        whole = len(before) - len(before) % 3
        self._before, self._rest = _base64(before[:whole]), before[whole:]
        self._after = tuple((after[:skip], _base64(after[skip:])) for skip in range(3))

    def fill(self, link: bytes) -> Iterator[bytes]:
        middle = self._rest + link if self._slot else b""
        start, after = self._after[-len(middle) % 3]
        yield self._before
        yield _base64(middle + start)
        yield after


def _base64(piece: bytes) -> bytes:
    """In lines of 76 characters (RFC 2045, 6.8)."""
    return base64.encodebytes(piece).replace(b"\n", b"\r\n")


@lru_cache(maxsize=4)
def _ready(rendition: Rendition, sender: str, sender_name: str) -> _Ready:
    kept = json.loads(rendition.body)
    headers = EmailMessage(policy=SMTP)
    headers["From"] = Address(sender_name, addr_spec=sender)
    headers["Subject"] = kept["subject"]
    headers["MIME-Version"] = "1.0"
    headers["Auto-Submitted"] = "auto-generated"  # RFC 3834
    outer, inner = (f"{letter}-{rendition.digest[:24]}" for letter in "ab")
    content_type = f'Content-Type: multipart/alternative; boundary="{outer}"\r\n'.encode()
    html: list[bytes | _Slotted] = [_part("text/html; charset=utf-8"), _Slotted(kept["html"])]
    if rendition.files:
        related = f'Content-Type: multipart/related; type="text/html"; boundary="{inner}"\r\n\r\n'
        html = [related.encode(), _between(inner), *html]
        for picture in rendition.files:
            shown = f"Content-ID: <{picture.name}>\r\nContent-Disposition: inline\r\n"
            html += [_between(inner), _part(picture.media_type, shown), _base64(picture.content)]
        html.append(f"\r\n--{inner}--\r\n".encode())
    text: list[bytes | _Slotted] = [_part("text/plain; charset=utf-8"), _Slotted(kept["text"])]
    ends = f"\r\n--{outer}--\r\n".encode()
    return _Ready(
        bytes(headers).removesuffix(b"\r\n") + content_type, (_between(outer), *text, _between(outer), *html, ends)
    )


def _between(boundary: str) -> bytes:
    return f"\r\n--{boundary}\r\n".encode()


def _part(media_type: str, more: str = "") -> bytes:
    return f"Content-Type: {media_type}\r\nContent-Transfer-Encoding: base64\r\n{more}\r\n".encode()
