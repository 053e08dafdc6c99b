"""Mails that came back (RFC 3464, RFC 5965, and what older servers write): the delivery failed, and who cannot or does
not want to be reached goes on the suppression list.

A mail is known by its bytes: it is read, kept together with what follows from it in one commit, and only then taken out
of its mailbox. A crash in between means that it is read twice, and counted once. What does not name one of our mails in
a way that only we can write suppresses nobody: anybody can send a mail to that mailbox.
"""

import hashlib
import imaplib
import json
import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from email import message_from_bytes
from email.message import Message as Mail
from pathlib import Path
from typing import Any, Protocol

from flufl.bounce import all_failures
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from channels.contract import ChannelError, DeliveryError, Rejected, Unavailable
from config.settings import BouncesSection
from pipeline import reports
from pipeline.database import insert_for
from pipeline.decisions import Refused
from pipeline.models import Attempt, Bounce, BounceKind, ChannelStatus, Delivery, Suppression
from pipeline.reports import Tried
from pipeline.rows import channel_status
from pipeline.runtime import Runtime
from pipeline.states import backoff
from pipeline.words import masked

PLACE = "@bounces"  # the mailbox's line among the channels' conditions: no channel's name has an @ in front
SECONDS = 30.0  # for each answer of the mailbox
AT_ONCE = 500  # mails a run
LARGEST = 1_000_000  # bytes of a mail that are read
MOST_NAMES = 5  # of ours, and addresses, that one mail is believed to speak of
REASONS = {BounceKind.HARD: "退信：对方没有这个收件人", BounceKind.COMPLAINT: "收件人投诉为垃圾邮件"}
TOO_OFTEN = "多次退信"

_TOKEN = re.compile(r"(?<![\w.])(\d{1,19}\.\d{1,6}\.\d{10,20}\.[a-z2-7]{16})(?![\w.])", re.IGNORECASE)
_EFFECT = re.compile(r"<(\d{1,19})\.(\d{1,9})\.([a-z2-7]{16})@", re.IGNORECASE)
_STATUS = re.compile(r"\b([245]\.\d{1,3}\.\d{1,3})\b")
# RFC 3463: an address that is none, a mailbox that is disabled. Not 5.7: then our server or our text was refused.
_NOBODY = re.compile(r"5\.1\.(?:[012346]|10)$|5\.2\.1$")
_VAGUE = re.compile(r"5\.(?:0|5)\.\d+$|$")  # then the words of the other server decide
_NOBODY_SAID = re.compile(
    r"user unknown|unknown user|no such (?:user|recipient|mailbox|address)|(?:mailbox|user|recipient|address|account)"
    r"(?: \S+)? (?:not found|does(?: not|n't) exist|unknown|disabled|is disabled|unavailable)|invalid recipient|"
    r"收件人不存在|用户不存在|邮箱不存在|账号不存在",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Heard:
    """What a mail that came back says: of which address (as it names it), why, and by which names of ours (the token of
    an attempt, the names of effects)."""

    kind: BounceKind
    status: str
    addresses: tuple[str, ...]
    tokens: tuple[str, ...]
    effects: tuple[tuple[int, int, str], ...]


@dataclass(frozen=True)
class Done:
    """What one run read: mails by kind, of them those that name no mail of ours, how many addresses went on the
    suppression list, and what was none of these and left alone."""

    kinds: Mapping[str, int]
    orphans: int = 0
    suppressed: int = 0
    others: int = 0


@dataclass(frozen=True)
class Line:
    """A mail that came back, its address masked."""

    at: datetime
    channel: str
    kind: BounceKind
    status: str
    address: str
    orphan: bool


@dataclass(frozen=True)
class Status:
    """How reading goes, for `fabu doctor`."""

    failures: int
    paused_until: datetime | None
    last_success_at: datetime | None
    error: dict[str, Any] | None


def run(rt: Runtime, at_once: bool = False) -> Done:
    """Read what came back. Safe to run at any time, by any number of workers. `at_once`: a person asks, so not only
    when the mailbox may be asked again. Raises Refused when there is none, Unavailable when it cannot be read."""
    section = rt.settings.bounces
    if section is None:
        raise Refused("bounces.off")
    if not at_once and (until := status(rt).paused_until) is not None and rt.now() < until:
        return Done({})
    kinds, orphans, suppressed, others = dict.fromkeys((kind.value for kind in BounceKind), 0), 0, 0, 0
    try:
        with _opened(section) as place:
            for name, content in place.waiting():
                heard = hear(content)
                if heard is None:
                    others += 1
                    place.leave(name)
                    continue
                kept = _keep(rt, section, hashlib.sha256(content).hexdigest(), heard)
                if kept is not None:
                    kinds[heard.kind.value] += 1
                    orphans += kept.orphan
                    suppressed += kept.suppressed
                place.done(name)
    except DeliveryError as error:
        _note_failure(rt, error)
        raise
    _note_success(rt)
    return Done(kinds, orphans, suppressed, others)


def latest(rt: Runtime, most: int = 50) -> list[Line]:
    """What came back last, the newest first."""
    with rt.reading() as db:
        rows = db.scalars(select(Bounce).order_by(Bounce.read_at.desc(), Bounce.sha256).limit(most))
        return [
            Line(row.read_at, row.channel, row.kind, row.status, masked(row.address), row.delivery_id is None)
            for row in rows
        ]


def status(rt: Runtime) -> Status:
    with rt.reading() as db:
        kept = db.get(ChannelStatus, PLACE) or ChannelStatus(failures=0, last_error="")
        error = json.loads(kept.last_error) if kept.last_error and kept.failures else None
        return Status(kept.failures, kept.open_until, kept.last_success_at, error)


# ── what a mail says ─────────────────────────────────────────────────────────────────────────────────────────────────


def hear(content: bytes) -> Heard | None:
    """What a mail says; None when it is no mail that came back: an answer of a person, a holiday greeting. Never
    raises: it may hold anything."""
    try:
        mail = message_from_bytes(content)
        said = _complaint(mail) or _delivery_status(mail) or _guessed(mail, content)
    except Exception:  # the parsers of the standard library raise nearly anything on broken mails
        return None
    if said is None:
        return None
    kind, code, addresses = said
    text = content.decode("ascii", "replace")
    effects = {(int(item), int(generation), name.lower()) for item, generation, name in _EFFECT.findall(text)}
    tokens = {token.lower() for token in _TOKEN.findall(text)}
    return Heard(
        kind, code[:20], tuple(addresses[:MOST_NAMES]), tuple(sorted(tokens)[:MOST_NAMES]),
        tuple(sorted(effects)[:MOST_NAMES]),
    )  # fmt: skip


_Said = tuple[BounceKind, str, list[str]]


def _complaint(mail: Mail) -> _Said | None:
    """A reader pressed "spam", and their server tells us (ARF, RFC 5965)."""
    for part in mail.walk():
        if part.get_content_type() != "message/feedback-report":
            continue
        fields = _fields(part)[0]
        if str(fields.get("Feedback-Type", "")).strip().lower() == "not-spam":
            return None
        return BounceKind.COMPLAINT, "", [_address(one) for one in fields.get_all("Original-Rcpt-To", [])]
    return None


def _delivery_status(mail: Mail) -> _Said | None:
    """A delivery status notification (RFC 3464). Of several recipients the first that failed: our mails have one."""
    for part in mail.walk():
        if part.get_content_type() != "message/delivery-status":
            continue
        told = [fields for fields in _fields(part) if fields.get("Action")]
        for action in ("failed", "delayed"):
            for fields in told:
                if str(fields["Action"]).split(";")[0].strip().lower() != action:
                    continue
                code, words = _STATUS.search(str(fields.get("Status", ""))), str(fields.get("Diagnostic-Code", ""))
                given = code[1] if code else ""
                if _VAGUE.match(given) and (better := _STATUS.search(words)):
                    given = better[1]
                addresses = [_address(str(fields[name])) for name in ("Original-Recipient", "Final-Recipient")
                             if fields.get(name)]  # fmt: skip
                return BounceKind.DELAYED if action == "delayed" else _kind(given, words), given, addresses
    return None


def _guessed(mail: Mail, content: bytes) -> _Said | None:
    """What servers write that follow no standard."""
    temporary, permanent = all_failures(mail)
    addresses = [one.decode("ascii", "replace") for one in sorted(permanent or temporary)]
    if not addresses:
        return None
    text = content.decode("ascii", "replace")
    code = next((one for one in _STATUS.findall(text) if one[0] in "45"), "")
    if not permanent:
        return BounceKind.DELAYED, code, addresses
    return (_kind(code, text) if code else BounceKind.HARD), code, addresses


def _kind(status: str, words: str) -> BounceKind:
    """Is nobody there, or only not this time?"""
    if _VAGUE.match(status):
        return BounceKind.HARD if _NOBODY_SAID.search(words) else BounceKind.SOFT
    return BounceKind.HARD if _NOBODY.match(status) else BounceKind.SOFT


def _fields(part: Mail) -> list[Mail]:
    """The groups of fields of a report's machine-readable part."""
    inner = part.get_payload()
    if isinstance(inner, list):
        return [one for one in inner if isinstance(one, Mail)]
    raw = part.get_payload(decode=True)
    blocks = raw.replace(b"\r\n", b"\n").split(b"\n\n") if isinstance(raw, bytes) else []
    return [message_from_bytes(block) for block in blocks if block.strip()] or [Mail()]


def _address(field: str) -> str:
    """`rfc822; <li@gd.example>` and its like."""
    return field.rpartition(";")[2].strip().strip("<>").strip()


# ── what follows ─────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Kept:
    orphan: bool
    suppressed: bool


def _keep(rt: Runtime, section: BouncesSection, sha256: str, heard: Heard) -> _Kept | None:
    """Keep it with all that follows, once; None when it was kept before."""
    with rt.writing() as db:
        tried, address = _match(rt, db, section.channel, heard)
        line = {
            "sha256": sha256, "channel": section.channel, "kind": heard.kind, "status": heard.status,
            "address": address or _foreign(rt, section.channel, heard),
            "delivery_id": tried.delivery_id if tried else None, "read_at": rt.now(),
        }  # fmt: skip
        fresh = insert_for(db, Bounce).values(line).on_conflict_do_nothing().returning(Bounce.sha256)
        if db.scalar(fresh) is None:
            return None
        if tried is not None:
            reports.store(rt, db, section.channel, tried, {"bounce": heard.kind.value, "status": heard.status})
        reason = _why_suppress(rt, db, section, heard, address)
        barred = bool(reason) and _suppress(rt, db, section.channel, address, reason)
    if tried is not None:
        with rt.writing() as db:
            reports.settle(rt, db, [tried.delivery_id])
    return _Kept(tried is None, barred)


def _match(rt: Runtime, db: Session, channel: str, heard: Heard) -> tuple[Tried | None, str]:
    """The attempt that it speaks of, and the recipient's address: by the token in the address it came to, else by the
    Message-ID. Both are signed, so nobody else can name them."""
    for token in heard.tokens:
        if (tried := reports.read(rt, channel, token)) is not None:
            row = db.get(Delivery, tried.delivery_id)
            known = row is not None and row.channel == channel
            return tried, row.recipient if row is not None and known else ""
    for item_id, generation, name in heard.effects:
        wanted = f"{item_id}.{generation}.{name}"
        for delivery_id, recipient in _candidates(rt, db, channel, item_id, heard):
            if reports.effect(rt, channel, item_id, generation, recipient) != wanted:
                continue
            its = (Attempt.delivery_id == delivery_id, Attempt.generation == generation)
            last = db.scalars(select(Attempt).where(*its).order_by(Attempt.number.desc()).limit(1)).first()
            if last is not None:
                return Tried(delivery_id, last.number, last.started_at), recipient
    return None, ""


def _candidates(rt: Runtime, db: Session, channel: str, item_id: int, heard: Heard) -> Iterator[tuple[int, str]]:
    """The recipients of an item that a bounce may speak of: those it names, else all."""
    mine = select(Delivery.id, Delivery.recipient).where(Delivery.item_id == item_id, Delivery.channel == channel)
    if named := [one for one in (_normalised(rt, channel, given) for given in heard.addresses) if one]:
        yield from db.execute(mine.where(Delivery.recipient.in_(named)))
    yield from db.execute(mine.where(Delivery.recipient != "").execution_options(yield_per=1000))


def _normalised(rt: Runtime, channel: str, address: str) -> str:
    try:
        return rt.channels[channel].adapter.normalise(address)
    except ChannelError:
        return ""


def _foreign(rt: Runtime, channel: str, heard: Heard) -> str:
    """The address that an orphan names, for a person to look at."""
    return next(filter(None, (_normalised(rt, channel, one) for one in heard.addresses)), "")[:200]


def _why_suppress(rt: Runtime, db: Session, section: BouncesSection, heard: Heard, address: str) -> str:
    """A hard bounce or a complaint at once, soft ones when they are too many (domain: E-mail)."""
    if not address:
        return ""
    if heard.kind is not BounceKind.SOFT:
        return REASONS.get(heard.kind, "")
    since = rt.now() - timedelta(days=section.soft_days)
    its = (Bounce.channel == section.channel, Bounce.address == address, Bounce.kind == BounceKind.SOFT)
    mails = select(func.count(Bounce.delivery_id.distinct())).where(*its, Bounce.read_at > since)
    return TOO_OFTEN if (db.scalar(mails) or 0) >= section.soft_limit else ""


def _suppress(rt: Runtime, db: Session, channel: str, address: str, reason: str) -> bool:
    line = insert_for(db, Suppression).values(channel=channel, address=address, reason=reason, at=rt.now())
    return db.scalar(line.on_conflict_do_nothing().returning(Suppression.address)) is not None


def _note_failure(rt: Runtime, error: DeliveryError) -> None:
    with rt.writing() as db:
        kept = channel_status(db, PLACE)
        kept.failures += 1
        kept.open_until, kept.last_failure_at = rt.now() + backoff(kept.failures), rt.now()
        kept.last_error = json.dumps({"code": error.code, "facts": error.facts}, ensure_ascii=False)


def _note_success(rt: Runtime) -> None:
    with rt.writing() as db:
        kept = channel_status(db, PLACE)
        kept.failures, kept.open_until, kept.last_success_at, kept.last_error = 0, None, rt.now(), ""


# ── where they are ───────────────────────────────────────────────────────────────────────────────────────────────────


class _Place(Protocol):
    def waiting(self) -> Iterator[tuple[str, bytes]]:
        """Names and contents of what was not read yet."""

    def done(self, name: str) -> None:
        """It was kept: out of the mailbox."""

    def leave(self, name: str) -> None:
        """It concerns us not: left for a person, and not read again."""


@contextmanager
def _opened(section: BouncesSection) -> Iterator[_Place]:
    if section.folder:
        yield _Folder(Path(section.folder))
        return
    with _imap(section) as place:
        yield place


class _Folder:
    """A Maildir, or a folder of .eml files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        if not folder.is_dir():
            raise Unavailable("bounces.no_folder", folder=str(folder))

    def waiting(self) -> Iterator[tuple[str, bytes]]:
        new = self._folder / "new"
        files = [*(new.iterdir() if new.is_dir() else ()), *self._folder.glob("*.eml")]
        try:
            for file in sorted(one for one in files if one.is_file())[:AT_ONCE]:
                with suppress(FileNotFoundError), file.open("rb") as opened:  # another worker was faster
                    yield str(file), opened.read(LARGEST)
        except OSError as error:
            raise Unavailable("bounces.no_folder", folder=error.filename or str(self._folder)) from None

    def done(self, name: str) -> None:
        Path(name).unlink(missing_ok=True)

    def leave(self, name: str) -> None:
        file = Path(name)
        place = self._folder / ("cur" if file.parent.name == "new" else "other")
        place.mkdir(exist_ok=True)
        with suppress(FileNotFoundError):
            file.rename(place / (f"{file.name}:2,S" if place.name == "cur" else file.name))


class _Imap:
    """A mailbox over IMAP (RFC 3501). What is left alone is marked as seen."""

    def __init__(self, server: imaplib.IMAP4) -> None:
        self._server = server

    def waiting(self) -> Iterator[tuple[str, bytes]]:
        _, found = self._ask("SEARCH", "UNSEEN", "UNDELETED")
        for uid in (found[0] or b"").split()[:AT_ONCE]:
            _, told = self._ask("FETCH", uid.decode(), f"(BODY.PEEK[]<0.{LARGEST}>)")
            for one in told:
                if isinstance(one, tuple):
                    yield uid.decode(), one[1]

    def done(self, name: str) -> None:
        self._ask("STORE", name, "+FLAGS.SILENT", r"(\Deleted)")

    def leave(self, name: str) -> None:
        self._ask("STORE", name, "+FLAGS.SILENT", r"(\Seen)")

    def _ask(self, command: str, *arguments: str) -> tuple[str, list[Any]]:
        try:
            answer, told = self._server.uid(command, *arguments)
        except (OSError, imaplib.IMAP4.error) as error:
            raise Unavailable("bounces.unreachable", detail=type(error).__name__) from None
        if answer != "OK":
            raise Unavailable("bounces.unreachable", detail=answer)
        return answer, told


@contextmanager
def _imap(section: BouncesSection) -> Iterator[_Imap]:
    context = ssl.create_default_context()
    if section.ca_file:
        context.load_verify_locations(section.ca_file)
    try:
        if section.security == "tls":
            server: imaplib.IMAP4 = imaplib.IMAP4_SSL(
                section.host, section.port or 993, ssl_context=context, timeout=SECONDS
            )
        else:
            server = imaplib.IMAP4(section.host, section.port or 143, timeout=SECONDS)
    except (OSError, imaplib.IMAP4.error) as error:
        raise Unavailable("bounces.unreachable", detail=type(error).__name__) from None
    try:
        try:
            if section.security == "starttls":
                server.starttls(context)
            server.login(section.username, section.password)
        except imaplib.IMAP4.abort as error:
            raise Unavailable("bounces.unreachable", detail=type(error).__name__) from None
        except imaplib.IMAP4.error:
            raise Rejected("bounces.login_refused", username=section.username) from None
        except OSError as error:
            raise Unavailable("bounces.unreachable", detail=type(error).__name__) from None
        answer, _ = server.select(_quoted(section.mailbox))
        if answer != "OK":
            raise Rejected("bounces.no_mailbox", mailbox=section.mailbox)
        yield _Imap(server)
        with suppress(OSError, imaplib.IMAP4.error):
            server.expunge()
    finally:
        with suppress(OSError, imaplib.IMAP4.error):
            server.logout()


def _quoted(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
