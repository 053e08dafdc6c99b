"""Feeds of other websites → drafts: each entry once, and a word when its source changes it afterwards.

Nothing is published by it: a draft is reviewed like any other. What a person edited is never overwritten.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from pydantic import ValidationError
from sqlalchemy import func, not_, or_, select, update
from sqlalchemy.orm import Session

from channels.contract import Finding, Severity
from config.settings import FeedSection
from pipeline import feeds, review, staff
from pipeline.database import insert_for
from pipeline.decisions import Actor, Decision, Refused, audit, may, permit
from pipeline.desk import unanswered
from pipeline.drafts import Draft
from pipeline.feeds import Entry, FeedError
from pipeline.fetch import Fetched, FetchError, fetch
from pipeline.intake import type_of
from pipeline.models import Feed, FeedEntry, Item
from pipeline.runtime import Runtime

MOST_NEW = 200  # drafts that one visit makes; the rest comes with the next
MACHINE = "fabu.collect"  # what stands in the audit log for an account when nobody asked for the visit
_EARLIEST = date(1949, 10, 1)

log = logging.getLogger("fabu.collect")


@dataclass(frozen=True)
class Made:
    """An entry that became a draft, and what the clerk must look at."""

    title: str
    link: str
    item: int
    item_type: str
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Known:
    """An entry that became this item before."""

    title: str
    link: str
    item: int


@dataclass(frozen=True)
class Changed:
    """An entry that became this item before, and that its source has changed since. The item stays as it is."""

    title: str
    link: str
    item: int


@dataclass(frozen=True)
class NotRead:
    """An entry of which no draft was made, and why."""

    title: str
    link: str
    code: str
    facts: Mapping[str, str]


@dataclass(frozen=True)
class Visit:
    """What a visit found, oldest entry first. `unchanged`: the feed was as before (304) and not read again; `broken`:
    its XML is, so more may stand in it; `left`: new entries beyond what one visit takes."""

    url: str
    label: str
    entries: tuple[Made | Known | Changed | NotRead, ...] = ()
    unchanged: bool = False
    broken: bool = False
    left: int = 0


def collect(
    rt: Runtime,
    actor: Actor,
    url: str,
    *,
    author: str = "",
    item_type: str = "",
    department: str = "",
    allow_private: bool = False,
) -> Visit:
    """Visit a feed now. One of the settings is visited as they say; what is given here goes before. Otherwise its
    drafts are the actor's; only an administrator may name another `author`, or let the feed be in the own network.

    Raises Refused when it could not be read at all; then no draft was made.
    """
    url = url.strip()
    given = {"author": author, "item_type": item_type, "department": department, "allow_private": allow_private}
    wanted = {name: value for name, value in given.items() if value}
    known = next((feed for feed in rt.settings.feeds if feed.url == url), None)
    try:
        start = known.model_dump() if known is not None else {"url": url, "author": actor.person.id}
        section = FeedSection.model_validate({**start, **wanted})
    except ValidationError as error:
        raise Refused("fetch.bad_address", url=url[:200]) from error
    if "admin" not in actor.person.roles:
        permit(actor, Decision.CREATE)
        if allow_private or author not in ("", actor.person.id):
            raise Refused("decision.not_permitted", person=actor.person.name, decision=Decision.CREATE, roles="admin")
    if section.author == actor.person.id and not may(actor, Decision.CREATE):
        raise Refused("collect.needs_author", person=actor.person.name)
    _owner(rt, section, actor.os_user)
    with rt.writing() as db:
        _enter(db, url)
        db.execute(update(Feed).where(Feed.url == url).values(visited_at=rt.now()))
    return _visit(rt, section, actor)


def collect_due(rt: Runtime) -> None:
    """Visit the feeds of the settings whose time has come, one after another. Each is claimed first: two beats or two
    workers never visit it twice. How it went is kept with the feed."""
    for section in rt.settings.feeds:
        if not _claim(rt, section):
            continue
        try:
            _visit(rt, section)
        except Refused:
            pass  # kept with the feed
        except Exception as error:  # one feed never stops its neighbours
            log.exception("collecting broke off")
            _went_wrong(rt, section.url, "collect.failed", {"detail": type(error).__name__})


def _claim(rt: Runtime, section: FeedSection) -> bool:
    now = rt.now()
    due = or_(Feed.visited_at.is_(None), Feed.visited_at <= now - timedelta(minutes=section.every_minutes))
    with rt.reading() as db:  # most of the time there is nothing to do, and nothing is written
        if db.scalar(select(Feed.url).where(Feed.url == section.url, not_(due))) is not None:
            return False
    with rt.writing() as db:
        _enter(db, section.url)
        claimed = update(Feed).where(Feed.url == section.url, due).values(visited_at=now).returning(Feed.url)
        return db.scalar(claimed) is not None


def _enter(db: Session, url: str) -> None:
    row = {"url": url, "etag": "", "last_modified": "", "error": ""}
    db.execute(insert_for(db, Feed).values(**row).on_conflict_do_nothing())


def _owner(rt: Runtime, section: FeedSection, os_user: str) -> Actor:
    """The person whose drafts they become. Raises Refused unless they may write them."""
    owner = Actor(staff.person(rt, section.author), os_user)
    department = section.department or owner.person.department
    known = staff.departments(rt)
    if department not in {one.id for one in known}:
        names = "、".join(f"{one.id}（{one.name}）" for one in known)
        raise Refused("draft.unknown_department", given=department, known=names)
    if section.item_type and section.item_type not in rt.settings.item_types:
        raise Refused("draft.unknown_type", given=section.item_type, known="、".join(rt.settings.item_types))
    permit(owner, Decision.CREATE, department)
    return owner


# One visit


def _visit(rt: Runtime, section: FeedSection, asked_by: Actor | None = None) -> Visit:
    """Raises Refused, and keeps with the feed why."""
    try:
        owner = _owner(rt, section, asked_by.os_user if asked_by else MACHINE)
        return _collect(rt, section, owner, asked_by)
    except (FetchError, FeedError, Refused) as error:
        _went_wrong(rt, section.url, error.code, error.facts)
        raise Refused(error.code, **error.facts) from error


def _collect(rt: Runtime, section: FeedSection, owner: Actor, asked_by: Actor | None) -> Visit:
    url = section.url
    with rt.reading() as db:
        before = db.get_one(Feed, url)
        etag, modified = before.etag, before.last_modified
        keys = select(FeedEntry.key, FeedEntry.content_hash, FeedEntry.item_id).where(FeedEntry.feed_url == url)
        known = {key: (digest, item) for key, digest, item in db.execute(keys)}
    got = fetch(url, etag=etag, last_modified=modified, accept=feeds.ACCEPT, private=section.allow_private)
    if not isinstance(got, Fetched):
        _went_well(rt, url, {})
        return Visit(url, section.label, unchanged=True)
    found = feeds.read_apart(got.content, got.content_type, got.url, rt.settings.office.time_zone)
    entries = {_key(entry): entry for entry in reversed(found.entries)}  # one that stands twice is one
    label = section.label or found.title or url
    taker = _Taker(rt, section, label, owner, asked_by, known)
    results = [taker.take(key, entry) for key, entry in entries.items()]
    told = tuple(one for one in results if one is not None)
    left = len(results) - len(told)
    # What was not read to the end is asked for as a whole next time.
    asked_next = {} if left or found.broken else {"etag": got.etag, "last_modified": got.last_modified}
    _went_well(rt, url, {"etag": "", "last_modified": ""} | asked_next)
    return Visit(url, label, told, broken=found.broken, left=left)


def _went_well(rt: Runtime, url: str, values: Mapping[str, str]) -> None:
    with rt.writing() as db:
        db.execute(update(Feed).where(Feed.url == url).values(read_at=rt.now(), error="", **values))


def _went_wrong(rt: Runtime, url: str, code: str, facts: Mapping[str, str]) -> None:
    kept = json.dumps({"code": code, "facts": facts}, ensure_ascii=False)
    with rt.writing() as db:
        db.execute(update(Feed).where(Feed.url == url).values(error=kept))


class _TakenBefore(Exception):
    """Somebody else made a draft of this entry at the same moment."""


@dataclass
class _Taker:
    """Takes the entries of one feed, one by one, a commit for each."""

    rt: Runtime
    section: FeedSection
    label: str
    owner: Actor
    asked_by: Actor | None
    known: Mapping[str, tuple[str, int]]  # key → hash of what was taken or last seen, and item
    made: int = 0

    def take(self, key: str, entry: Entry) -> Made | Known | Changed | NotRead | None:
        """What became of it; None when this visit has made drafts enough."""
        digest = _digest(entry.title, "".join(entry.text.split()))
        if entry.wrong:
            return NotRead(entry.title, entry.link, entry.wrong, {})
        if key in self.known:
            before, item = self.known[key]
            changed = digest != before and self._note_change(key, before, digest)
            return (Changed if changed else Known)(entry.title, entry.link, item)
        if self.made >= MOST_NEW:
            return None
        try:
            return self._make(key, digest, entry)
        except Refused as error:
            return NotRead(entry.title, entry.link, error.code, error.facts)
        except _TakenBefore:
            with self.rt.reading() as db:
                mine = FeedEntry.feed_url == self.section.url, FeedEntry.key == key
                return Known(entry.title, entry.link, db.scalars(select(FeedEntry.item_id).where(*mine)).one())

    def _note_change(self, key: str, before: str, digest: str) -> bool:
        mine = FeedEntry.feed_url == self.section.url, FeedEntry.key == key, FeedEntry.content_hash == before
        noted = update(FeedEntry).where(*mine).values(content_hash=digest, changed_at=self.rt.now())
        with self.rt.writing() as db:
            return db.scalar(noted.returning(FeedEntry.id)) is not None

    def _make(self, key: str, digest: str, entry: Entry) -> Made:
        if not entry.title:
            raise Refused("collect.no_title")
        if not entry.text.strip():
            raise Refused("collect.no_text")
        rt, section = self.rt, self.section
        formed_on, findings = self._formed_on(entry)
        draft = Draft(
            title=entry.title,
            text=entry.text,
            item_type=section.item_type or type_of(rt, entry.title),
            department=section.department or self.owner.person.department,
            formed_on=formed_on,
            source=f"{self.label}（{entry.link}）" if entry.link else self.label,
        )

        def record(db: Session, item: int) -> None:
            row = {"feed_url": section.url, "key": key, "link": entry.link, "content_hash": digest, "item_id": item}
            kept = insert_for(db, FeedEntry).values(**row, collected_at=rt.now()).on_conflict_do_nothing()
            if db.scalar(kept.returning(FeedEntry.id)) is None:
                raise _TakenBefore
            if self.asked_by is not None and self.asked_by.person.id != self.owner.person.id:
                facts = {"feed": section.url, "author": self.owner.person.id}
                facts |= {"allow_private": "✓"} if section.allow_private else {}
                audit(rt, db, self.asked_by, Decision.CREATE, item, **facts)

        item = review.create(rt, self.owner, draft, record)
        self.made += 1
        return Made(entry.title, entry.link, item, draft.item_type, (*findings, *_findings(entry)))

    def _formed_on(self, entry: Entry) -> tuple[date, tuple[Finding, ...]]:
        """The date that the entry carries if it can be one, else today, and a word about it."""
        today = self.rt.now().astimezone(self.rt.settings.zone).date()
        if not entry.on:
            return today, (Finding("collect.no_date", Severity.WARN, "formed_on"),)
        if not _EARLIEST <= (given := date.fromisoformat(entry.on)) <= today:
            return today, (Finding("collect.date_unlikely", Severity.WARN, "formed_on", {"given": entry.on}),)
        return given, ()


def _findings(entry: Entry) -> list[Finding]:
    found = []
    if entry.pictures:
        found.append(Finding("collect.pictures", Severity.WARN, "text", {"count": str(entry.pictures)}))
    if entry.enclosures:
        found.append(Finding("collect.enclosures", Severity.WARN, "files", {"count": str(entry.enclosures)}))
    if entry.text.rstrip("])】） ").endswith(("…", "...")):
        found.append(Finding("collect.excerpt", Severity.WARN, "text"))
    return found


def _key(entry: Entry) -> str:
    """What an entry is known by: its GUID; without one its link and content."""
    return _digest("guid", entry.guid) if entry.guid else _digest("link", entry.link, entry.title, entry.text)


def _digest(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


# What screens show


@dataclass(frozen=True)
class SourceChange:
    """An entry that became an item was changed by its source afterwards, seen at `changed_at`."""

    feed: str
    link: str
    changed_at: datetime


def changes_of(rt: Runtime, item_id: int) -> list[SourceChange]:
    """What sources changed after an item was made of it, and nobody answered yet by an edit or by `compared`; empty for
    most items."""
    changed = select(FeedEntry).where(FeedEntry.item_id == item_id, unanswered())
    with rt.reading() as db:
        rows = db.scalars(changed.order_by(FeedEntry.id))
        return [SourceChange(row.feed_url, row.link, row.changed_at) for row in rows if row.changed_at]


def compared(rt: Runtime, actor: Actor, item_id: int) -> int:
    """The changed sources were compared with the item, which stays as it is. Returns how many. Raises Refused."""
    with rt.writing() as db:
        item = db.get(Item, item_id)
        if item is None:
            raise Refused("item.unknown", item=str(item_id))
        permit(actor, Decision.COMPARE, item.department)
        rows = db.scalars(select(FeedEntry).where(FeedEntry.item_id == item_id, unanswered()).with_for_update()).all()
        if not rows:
            raise Refused("collect.nothing_changed")
        for row in rows:
            row.changed_at = None
        audit(rt, db, actor, Decision.COMPARE, item_id, count=len(rows))
        return len(rows)


@dataclass(frozen=True)
class FeedLine:
    """A feed of the settings and how it went. `error`: code and facts of the last visit, None when it went well."""

    section: FeedSection
    visited_at: datetime | None
    read_at: datetime | None
    drafts: int
    error: Mapping[str, Any] | None


def configured(rt: Runtime) -> list[FeedLine]:
    """The feeds of the settings, as the settings list them."""
    counted = select(FeedEntry.feed_url, func.count()).group_by(FeedEntry.feed_url)
    with rt.reading() as db:
        rows = {row.url: row for row in db.scalars(select(Feed))}
        drafts = {url: count for url, count in db.execute(counted)}  # noqa: C416 (a Row is no tuple to mypy)
        return [_line(section, rows.get(section.url), drafts.get(section.url, 0)) for section in rt.settings.feeds]


def _line(section: FeedSection, row: Feed | None, drafts: int) -> FeedLine:
    if row is None:
        return FeedLine(section, None, None, drafts, None)
    return FeedLine(section, row.visited_at, row.read_at, drafts, json.loads(row.error) if row.error else None)
