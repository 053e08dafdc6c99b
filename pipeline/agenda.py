"""The calendar: what is to happen on which day, read from the ledger and the law."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from enum import StrEnum

from sqlalchemy import exists, func, select, text

from config.settings import Person
from pipeline import items, workdays
from pipeline.models import Delivery, Item, Posting, Revision, SkippedIssue, StoredIssue, Submission
from pipeline.newsletter_days import FARTHEST, issue_days
from pipeline.rows import few
from pipeline.runtime import Runtime
from pipeline.states import Disclosure, Stage, State


class Kind(StrEnum):
    SCHEDULED = "scheduled"  # approved, goes out at its time
    PLANNED = "planned"  # under review with a time
    DEADLINE = "deadline"  # the last day to make it public
    TAKE_DOWN = "take_down"  # a printed notice whose period is over
    NEWSLETTER = "newsletter"


@dataclass(frozen=True)
class Entry:
    """Something on a day. `at`: its time, where it has one; `item` 0: none; `note`: a place, or a nominal day."""

    day: date
    kind: Kind
    item: int = 0
    title: str = ""
    at: datetime | None = None
    note: str = ""
    provisional: bool = False


@dataclass(frozen=True)
class Day:
    """A day of the calendar. `off`: not a working day; `moved`: a holiday in the week, or a weekend that is worked."""

    day: date
    off: bool
    moved: bool
    entries: tuple[Entry, ...]


def days(rt: Runtime, person: Person, begin: date, end: date) -> list[Day]:
    """Every day between two, both included, with what is on it for this person."""
    found = sorted(
        _entries(rt, person, begin, end), key=lambda one: (one.at is not None, str(one.at), one.kind, one.item)
    )
    out = []
    for n in range((end - begin).days + 1):
        day = begin + timedelta(days=n)
        off = not workdays.is_workday(rt.settings, day)
        out.append(Day(day, off, off != (day.weekday() >= 5), tuple(one for one in found if one.day == day)))
    return out


def _entries(rt: Runtime, person: Person, begin: date, end: date) -> Iterator[Entry]:
    zone = rt.settings.zone
    first = datetime.combine(begin, time.min, zone)
    after = datetime.combine(end + timedelta(days=1), time.min, zone)
    seen = items.visible(rt, person)
    mine = [] if seen is None else [seen]
    title = (
        select(Revision.title)
        .where(Revision.item_id == Item.id)
        .order_by(Revision.number.desc())
        .limit(1)
        .scalar_subquery()
    )
    with rt.reading() as db:
        scheduled = (
            select(Item.id, title, func.min(Delivery.publish_at))
            .join(Delivery, Delivery.item_id == Item.id)
            .where(few(State.DUE), Delivery.recipient == "", Delivery.publish_at > rt.now())
            .where(Delivery.publish_at >= first, Delivery.publish_at < after, *mine)
            .group_by(Item.id)
        )
        for item, heading, at in db.execute(scheduled):
            yield Entry(at.astimezone(zone).date(), Kind.SCHEDULED, item, heading, at)
        planned = (
            select(Item.id, title, Submission.publish_at)
            .join(Submission, Submission.item_id == Item.id)
            .where(
                text("submission.stage = 'reviewing'"),  # as the index says it
                Submission.publish_at >= first,
                Submission.publish_at < after,
                *mine,
            )
        )
        for item, heading, at in db.execute(planned):
            if at is not None:
                yield Entry(at.astimezone(zone).date(), Kind.PLANNED, item, heading, at)
        down = (
            select(Item.id, title, Posting.down_due, Posting.place)
            .join(Delivery, Delivery.item_id == Item.id)
            .join(Posting, Posting.delivery_id == Delivery.id)
            .where(Posting.removed_at.is_(None), Posting.down_due >= begin, Posting.down_due <= end, *mine)
        )
        for item, heading, due, place in db.execute(down):
            if due is not None:
                yield Entry(due, Kind.TAKE_DOWN, item, heading, note=place)
        # 20 working days are at most some 60 days, the longest holidays between them included.
        ended = (Stage.APPROVED, Stage.REFUSED, Stage.WITHDRAWN)
        decided = exists().where(Submission.item_id == Item.id, Submission.stage.in_(ended))
        other = exists().where(
            Submission.item_id == Item.id,
            Submission.stage == Stage.REVIEWING,
            Submission.disclosure != Disclosure.PROACTIVE,
        )
        formed = (
            select(Item.id, title, Item.formed_on)
            .where(text("item.phase IN ('draft', 'returned', 'reviewing')"))  # as the index says it
            .where(Item.formed_on >= begin - timedelta(days=60), Item.formed_on <= end, ~decided, ~other, *mine)
        )
        for item, heading, formed_on in db.execute(formed):
            deadline = workdays.disclosure_deadline(rt.settings, formed_on)
            if begin <= deadline.day <= end:
                yield Entry(deadline.day, Kind.DEADLINE, item, heading, provisional=deadline.provisional)
        skipped = set(db.scalars(select(SkippedIssue.nominal)))
        near = StoredIssue.nominal.between(begin - 2 * FARTHEST, end + 2 * FARTHEST)
        made = {one.nominal: one for one in db.scalars(select(StoredIssue).where(near))}
        shown = select(Item.id, title).where(Item.id.in_([one.item_id for one in made.values()]), *mine)
        titles = {item: heading for item, heading in db.execute(shown)}  # noqa: C416  (a Row is no pair)
    for nominal, out in issue_days(rt.settings, begin - FARTHEST, end + FARTHEST) if rt.settings.newsletter else ():
        issue = made.get(nominal)
        day = issue.out_on if issue is not None else out.day  # one that was assembled keeps its day
        if nominal not in skipped and begin <= day <= end:
            item = (issue.item_id if issue is not None and issue.item_id in titles else None) or 0
            yield Entry(day, Kind.NEWSLETTER, item, titles.get(item, ""), None, nominal.isoformat(), out.provisional)
