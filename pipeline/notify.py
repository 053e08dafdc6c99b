"""Mails to the staff: one digest a person of what waits for them, when it says something new, at most hourly.

A digest is claimed before it is sent: two beats or two workers never send it twice. Should a worker die in between,
that digest is missed, and the next new thing is told together with all that still waits. What the mail server surely
did not take is let go again and kept for the next time.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.errors import HeaderParseError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import CursorResult, select, update

from channels import smtp
from channels.contract import DeliveryError, InDoubt, Rejected, Unavailable
from config.locale import Language, say
from config.settings import MailSection, Person
from pipeline import staff, standing
from pipeline.database import insert_for
from pipeline.decisions import Refused
from pipeline.desk import Clock, Desk, Trouble, Unsubmitted, Waiting, desk
from pipeline.models import ChannelStatus, Mailed, StoredPerson
from pipeline.rows import channel_status
from pipeline.runtime import Runtime
from pipeline.states import State, backoff
from pipeline.words import problem

SERVER = "@mail"  # the mail server's line among the channels' conditions: no channel's name has an @ in front
SECONDS = 30.0  # for one mail, connecting included
NEAR = 3  # working days before a legal deadline
SETTLES = timedelta(minutes=10)  # what is in doubt is looked at by the machine first
TROUBLED = frozenset({"editor", "admin", "officer"})  # roles that are told of deliveries in trouble
TITLE_CHARACTERS = 40
MOBILE = re.compile(r"(?<!\d)(1[3-9]\d)\d{4}(\d{4})(?!\d)")


@dataclass(frozen=True)
class Digest:
    """What a person would be mailed. `keys` name what it says: a key that was not told before is news."""

    subject: str
    body: str
    keys: frozenset[str]


@dataclass(frozen=True)
class Done:
    """What became of one run: how many digests were sent, kept for the next time, refused or in doubt."""

    sent: int = 0
    kept: int = 0
    failed: int = 0


@dataclass(frozen=True)
class Status:
    """How mails to the staff go, for `fabu doctor`. `refused`: whose last mail went wrong, and why."""

    failures: int
    paused_until: datetime | None
    last_success_at: datetime | None
    error: dict[str, Any] | None
    refused: dict[str, dict[str, Any]]


def run(rt: Runtime) -> Done:
    """Mail everybody for whom there is something new. Safe to run at any time, by any number of workers."""
    section, sent, kept, failed = rt.settings.mail, 0, 0, 0
    if section is None or _paused(rt):
        return Done()
    for person in staff.people(rt):
        before = _told(rt, person.id)
        if not person.email or (before.at and rt.now() < before.at + timedelta(minutes=section.every_minutes)):
            continue
        found = digest(rt, person)
        if found is None or found.keys <= before.keys:
            continue
        claimed = False
        try:
            message = _message(rt, section, person, found.subject, found.body)
            with smtp.line(_server(section), SECONDS) as line:
                line.check(section.sender)
                claimed = _claim(rt, person.id, before, found.keys)
                if claimed:
                    _hand_over(line, section, person, message)
        except Unavailable as error:
            kept += 1
            if claimed:
                _let_go(rt, person.id, before, error)
                continue
            _note_failure(rt, error)
            break  # the server is not there: the others need not wait for it
        except DeliveryError as error:
            failed += 1
            _note_refusal(rt, person.id, before, found.keys, error)
            continue
        if claimed:
            sent += 1
            _note_success(rt)
    return Done(sent, kept, failed)


def send_test(rt: Runtime, person: Person) -> None:
    """A test mail. Raises Refused when mail is off or the person has no address; DeliveryError when it does not go."""
    section, language = rt.settings.mail, _language(rt)
    if section is None:
        raise Refused("notify.off")
    if not person.email:
        raise Refused("notify.no_address", person=person.name)
    body = "\n\n".join(
        [say(language, "notify.greeting", person=person.name), say(language, "notify.test"), _foot(rt, language)]
    )
    message = _message(rt, section, person, say(language, "notify.test_subject"), f"{body}\n")
    with smtp.line(_server(section), SECONDS) as line:
        _hand_over(line, section, person, message)
    _note_success(rt)


def status(rt: Runtime) -> Status:
    """How mails to the staff go."""
    with rt.reading() as db:
        kept = db.get(ChannelStatus, SERVER) or ChannelStatus(failures=0, last_error="")
        wrong = db.execute(
            select(StoredPerson.id, Mailed.error)
            .join(StoredPerson, StoredPerson.id == Mailed.person)
            .where(Mailed.error != "", StoredPerson.active)
        )
        refused = {person: json.loads(error) for person, error in wrong}
        error = json.loads(kept.last_error) if kept.last_error and kept.failures else None
        return Status(kept.failures, kept.open_until, kept.last_success_at, error, refused)


# ── what it says ─────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Part:
    """One kind of thing: its count for the subject and heading, a line for each, and their keys."""

    count: str
    lines: list[str]
    keys: list[str]


def digest(rt: Runtime, person: Person) -> Digest | None:
    """What waits for this person, as a mail; None when nothing does."""
    language, waiting = _language(rt), desk(rt, person)
    parts = [part for part in _parts(rt, language, person, waiting) if part.lines]
    if not parts:
        return None
    comma = say(language, "notify.comma")
    subject = say(language, "notify.subject", counts=comma.join(part.count for part in parts))
    blocks = [say(language, "notify.greeting", person=person.name)]
    blocks += ["\n".join([part.count, *(f"  • {line}" for line in part.lines)]) for part in parts]
    blocks.append(_foot(rt, language))
    body = MOBILE.sub(r"\1****\2", "\n\n".join(blocks))  # a title or an answer may hold what no mail should
    return Digest(subject, f"{body}\n", frozenset(key for part in parts for key in part.keys))


def _parts(rt: Runtime, language: Language, person: Person, waiting: Desk) -> Iterator[_Part]:
    names = staff.names(rt)

    def item(number: int, title: str, *more: str) -> str:
        short = title if len(title) <= TITLE_CHARACTERS else f"{title[: TITLE_CHARACTERS - 1]}…"
        told = [say(language, "notify.item", item=number, title=short), *(one for one in more if one)]
        return say(language, "notify.comma").join(told)

    def left(clock: Clock | None) -> str:
        if clock is None:
            return ""
        code = "notify.days_left" if clock.days_left >= 0 else "notify.overdue"
        provisional = say(language, "notify.provisional") if clock.provisional else ""
        return say(language, code, days=clock.days_left, day=clock.day.isoformat(), provisional=provisional)

    def stood_in_for(one: Waiting) -> str:
        named = names.person(one.on_behalf_of)
        return say(language, "notify.on_behalf_of", person=named) if one.on_behalf_of else ""

    for role in dict.fromkeys(one.role for one in waiting.reviews):
        mine = [one for one in waiting.reviews if one.role == role]
        yield _Part(
            say(language, _REVIEWS.get(role, "notify.reviews"), count=len(mine)),
            [
                item(one.item, one.title, names.department(one.department), left(one.clock), stood_in_for(one))
                for one in mine
            ],
            [f"review/{one.item}/{one.hash[:12]}/{one.role}/{one.on_behalf_of}" for one in mine],
        )

    running = [(one.item, one.title, one.clock) for one in waiting.drafts]
    running += [(one.item, one.title, one.clock) for one in (*waiting.reviews, *waiting.under_review)]
    near = [(number, title, clock) for number, title, clock in running if clock is not None and clock.days_left <= NEAR]
    yield _Part(
        say(language, "notify.deadlines", count=len(near)),
        [item(number, title, left(clock)) for number, title, clock in near],
        [f"deadline/{number}/{max(clock.days_left, -1)}" for number, _, clock in near],
    )

    back = [one for one in waiting.drafts if one.state is Unsubmitted.RETURNED]
    yield _Part(
        say(language, "notify.returned", count=len(back)),
        [
            item(one.item, one.title, say(language, "notify.returned_by", person=names.person(one.returned_by)))
            for one in back
        ],
        [f"returned/{one.submission}" for one in back],
    )
    fallen = [one for one in waiting.drafts if one.state is Unsubmitted.SOURCE_CHANGED]
    yield _Part(
        say(language, "notify.source_changed", count=len(fallen)),
        [item(one.item, one.title, "") for one in fallen],
        [f"source_changed/{one.submission}" for one in fallen],
    )

    troubles = [one for one in waiting.troubles if _stays(rt, one)] if person.roles & TROUBLED else []
    for state, code in _TROUBLES.items():
        mine_too = [one for one in troubles if one.state is state]
        channels = len({one.channel for one in mine_too})
        yield _Part(
            say(language, code, count=len(mine_too), channels=channels),
            [item(one.item, one.title, *_why(rt, language, one)) for one in mine_too],
            [f"{one.state}/{one.item}/{one.channel}/{one.reason}/{one.generation}/{one.attempt}" for one in mine_too],
        )

    stale = standing.troubles(rt) if person.roles & TROUBLED else []
    labels = {name: opened.section.label for name, opened in rt.channels.items()}
    yield _Part(
        say(language, "notify.standing", count=len(stale)),
        [
            say(language, "notify.comma").join(
                (labels[one.channel], *([one.name] if one.id != standing.WHOLE else []),
                 say(language, f"standing.{one.level}"))
            )
            for one in stale
        ],
        [f"standing/{one.channel}/{one.id}/{one.level}/{one.updated_at}" for one in stale],
    )  # fmt: skip

    for what, code in _NOTICES.items():
        notices = [one for one in waiting.notices if one.what == what]
        yield _Part(
            say(language, code, count=len(notices)),
            [item(one.item, one.title, one.place) for one in notices],
            [f"{one.what}/{one.delivery}/{one.generation}" for one in notices],
        )


_REVIEWS = {"officer": "notify.first_reviews", "leader": "notify.second_reviews"}
_TROUBLES = {
    State.FAILED: "notify.failed",
    State.IN_DOUBT: "notify.in_doubt",
    State.ON_HOLD: "notify.on_hold",
}
_NOTICES = {"post": "notify.to_post", "take_down": "notify.to_take_down"}


def _stays(rt: Runtime, one: Trouble) -> bool:
    """Will this stay until a person looks, as far as one can tell?"""
    return one.state is not State.IN_DOUBT or one.since is None or rt.now() >= one.since + SETTLES


def _why(rt: Runtime, language: Language, one: Trouble) -> list[str]:
    label = rt.channels[one.channel].section.label if one.channel in rt.channels else one.channel
    told = [label]
    if one.recipients:
        told.append(say(language, "notify.recipients", count=one.recipients))
    if one.reason:
        told.append(say(language, f"reason.{one.reason}"))
    elif one.error:
        told.append(problem(language, str(one.error["code"]), one.error["facts"]))
    return told


def _foot(rt: Runtime, language: Language) -> str:
    """Where to act, and what kind of mail this is. A loopback address leads nowhere from another machine."""
    address = rt.settings.console_url
    local = urlsplit(address).hostname in (None, "localhost", "127.0.0.1", "::1")
    where = say(language, "notify.here") if local else say(language, "notify.console", address=address)
    return f"{where}\n{say(language, 'notify.automatic', office=rt.settings.office.name)}"


def _language(rt: Runtime) -> Language:
    return "en" if rt.settings.locale == "en" else "zh"  # a service's own locale says nothing of its readers


# ── what was told ────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Told:
    """A person's line as it was read."""

    at: datetime | None
    keys: frozenset[str]


def _told(rt: Runtime, person_id: str) -> _Told:
    with rt.reading() as db:
        row = db.get(Mailed, person_id)
        return _Told(row.at, frozenset(json.loads(row.told))) if row is not None else _Told(None, frozenset())


def _claim(rt: Runtime, person_id: str, before: _Told, keys: Iterable[str]) -> bool:
    """Take the person's line, unless somebody else has meanwhile."""
    with rt.writing() as db:
        fresh = insert_for(db, Mailed).values(person=person_id, at=None, told="[]", error="")
        db.execute(fresh.on_conflict_do_nothing())
        unchanged = Mailed.at == before.at if before.at is not None else Mailed.at.is_(None)
        told = json.dumps(sorted(keys))
        mine = update(Mailed).where(Mailed.person == person_id, unchanged).values(at=rt.now(), told=told, error="")
        done = db.execute(mine.execution_options(synchronize_session=False))
        assert isinstance(done, CursorResult)
        return done.rowcount == 1


def _let_go(rt: Runtime, person_id: str, before: _Told, error: DeliveryError) -> None:
    """Nothing was sent: the digest is kept for the next time."""
    with rt.writing() as db:
        row = db.get_one(Mailed, person_id, with_for_update=True)
        row.at, row.told, row.error = before.at, json.dumps(sorted(before.keys)), _kept(error)


def _note_refusal(rt: Runtime, person_id: str, before: _Told, keys: Iterable[str], error: DeliveryError) -> None:
    """This person's mail was refused, or nobody knows: it is not sent again, and a person looks why."""
    with rt.writing() as db:
        fresh = insert_for(db, Mailed).values(person=person_id, at=before.at, told="[]", error="")
        db.execute(fresh.on_conflict_do_nothing())
        row = db.get_one(Mailed, person_id, with_for_update=True)
        row.at, row.told, row.error = rt.now(), json.dumps(sorted(keys)), _kept(error)


def _paused(rt: Runtime) -> bool:
    with rt.reading() as db:
        kept = db.get(ChannelStatus, SERVER)
        return kept is not None and kept.open_until is not None and rt.now() < kept.open_until


def _note_failure(rt: Runtime, error: DeliveryError) -> None:
    with rt.writing() as db:
        kept = channel_status(db, SERVER)
        kept.failures += 1
        kept.open_until = rt.now() + backoff(kept.failures)
        kept.last_failure_at, kept.last_error = rt.now(), _kept(error)


def _note_success(rt: Runtime) -> None:
    with rt.writing() as db:
        kept = channel_status(db, SERVER)
        kept.failures, kept.open_until, kept.last_success_at, kept.last_error = 0, None, rt.now(), ""


def _kept(error: DeliveryError) -> str:
    return json.dumps({"code": error.code, "facts": error.facts}, ensure_ascii=False)


# ── the mail itself ──────────────────────────────────────────────────────────────────────────────────────────────────


def _message(rt: Runtime, section: MailSection, person: Person, subject: str, body: str) -> EmailMessage:
    """A plain text mail that says it comes from a machine (RFC 3834), so that no auto-reply answers it."""
    message = EmailMessage(policy=SMTP)
    message["From"] = Address(rt.settings.office.short_name, addr_spec=section.sender)
    try:
        message["To"] = Address(person.name, addr_spec=person.email)
    except (HeaderParseError, ValueError, IndexError) as error:
        raise Rejected("notify.bad_address") from error
    message["Subject"] = subject
    message["Date"] = format_datetime(rt.now().astimezone(rt.settings.zone))
    message["Message-ID"] = make_msgid(domain=section.sender.rpartition("@")[2])
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(body, cte="base64")  # passes servers without 8BITMIME, and no line is too long
    return message


def _server(section: MailSection) -> smtp.Server:
    return smtp.Server(
        section.host, section.port, section.security, section.ca_file, section.username, section.password
    )


def _hand_over(line: smtp.Line, section: MailSection, person: Person, message: EmailMessage) -> None:
    """Raises DeliveryError. What is in doubt is not sent again."""
    try:
        line.hand_over(section.sender, person.email, message.as_bytes())
    except InDoubt as error:
        raise InDoubt("notify.line_broke", **error.facts) from None
