"""Some years of an office, written set by set: what its console has to find its way in."""

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Date,
    DateTime,
    FromClause,
    Integer,
    Interval,
    LargeBinary,
    Text,
    and_,
    case,
    cast,
    column,
    func,
    insert,
    literal,
    or_,
    select,
    text,
    type_coerce,
    values,
)
from sqlalchemy.orm import Session

from config.settings import HERE
from pipeline import counting, intake, listing
from pipeline.database import Base
from pipeline.models import (
    Approval,
    Attempt,
    AttemptEnd,
    AuditLine,
    ColumnStanding,
    Delivery,
    Feed,
    FeedEntry,
    Item,
    Posting,
    Revision,
    Sighting,
    StoredRendition,
    Submission,
    Subscriber,
    SubscriberGroup,
    Suppression,
)
from pipeline.newsletter_days import dates
from pipeline.runtime import Runtime
from pipeline.states import Disclosure, Ground, Result, Stage, State
from tests.bench import ledger

YEARS = 8
AT_ONCE = 25_000  # items a transaction
DRAFTS, REVIEWS = 300, 60  # of the newest items
PLACES = ("portal", "app_feed", "bulletin", "sms", "sms")  # of one item; the last is a recipient below the one before
STAFF = ("wang", "zhao", "qian", "sun")  # who writes
LETTERS = "f" * 56
SENTENCE = "根据工作安排，现将有关事项通知如下。"


def fill(rt: Runtime, items: int, readers: int) -> None:
    """So many items of `YEARS` years up to now, five deliveries each; nearly all approved and confirmed, as an office
    leaves them: hundreds of drafts and returns, dozens under review, of corrections, of what failed, is in doubt, on
    hold, to be posted, scheduled; four lines of the audit log each. And so many readers on each list."""
    for first in range(1, items + 1, AT_ONCE):
        with rt.writing() as db:
            if db.get_bind().dialect.name == "postgresql":
                db.execute(text("SET LOCAL session_replication_role = replica"))  # the rows fit: no check for each
            _Years(rt, db, items).fill(first, min(first + AT_ONCE - 1, items))
    with rt.writing() as db:
        _lists(rt, db, items, readers)
        if db.get_bind().dialect.name == "postgresql":
            counted = (Item, Revision, Submission, StoredRendition, Delivery, AttemptEnd, Sighting, Posting, AuditLine)
            for table in counted:
                name = table.__tablename__
                db.execute(text(f"SELECT setval(pg_get_serial_sequence('{name}', 'id'), (SELECT max(id) FROM {name}))"))
    ledger.settle_down(rt.engine)
    counting.refresh(rt)


def past_issues(rt: Runtime) -> list[date]:
    """The nominal days of the newsletter's issues in these years."""
    newsletter = rt.settings.newsletter
    assert newsletter is not None
    today = rt.now().date()
    months = [date(today.year - YEARS + n // 12, n % 12 + 1, 1) for n in range(12 * YEARS + today.month)]
    days = [one.replace(day=day) for one in months for day in newsletter.days]
    return [one for one in days if dates(rt.settings, newsletter, one).send_at < rt.now()]


class _Years:
    """One transaction's rows. `i` is an item's number, whatever else a row says follows from it."""

    def __init__(self, rt: Runtime, db: Session, items: int) -> None:
        self.rt, self.db, self.items, self.now = rt, db, items, datetime.now(UTC).replace(microsecond=0)
        self.lite = db.get_bind().dialect.name == "sqlite"

    def fill(self, first: int, last: int) -> None:
        start = select(literal(first).label("i")).cte("numbers", recursive=True)
        numbers = start.union_all(select(start.c.i + 1).where(start.c.i < last))
        i: ColumnElement[int] = numbers.c.i
        department = case(*((i % 5 == n, one.id) for n, one in enumerate(self.rt.settings.departments)))
        who = case(*((i % len(STAFF) == n, name) for n, name in enumerate(STAFF)))
        issued = or_(i <= self.items - DRAFTS, i % 3 != 0)
        number = literal("370303/") + func.substr(cast(i + 100_000_000, Text), 2, 8)
        self.add(Item, numbers, None, id=i, department=department, created_by=who, created_at=self.moment(i),
                 index_number=case((issued, number)))  # fmt: skip
        mine = Item.id.between(first, last)
        self._written(mine)
        self._reviewed(mine)
        self._delivered(mine)
        for n, decision in enumerate(("create", "submit", "approve", "approve")):
            facts = literal('{"hash": "') + self.hash(Item.id) + literal('", "level": "officer"}' if n > 1 else '"}')
            decider = Item.created_by if n < 2 else literal("li" if n == 2 else "chen")
            self.add(AuditLine, Item, and_(mine, self.out) if n else mine, id=Item.id * 4 + n, at=Item.created_at,
                     person=decider, os_user="console", decision=decision, item_id=Item.id, facts=facts)  # fmt: skip

        self.db.execute(text("ANALYZE"))  # what follows joins what was written just now
        listing.renew(self.db, range(first, last + 1))

    # ── where an item stands ──

    @property
    def open(self) -> ColumnElement[bool]:
        """Nobody has decided it."""
        return Item.id > self.items - DRAFTS - REVIEWS

    @property
    def out(self) -> ColumnElement[bool]:
        """It has been public."""
        return and_(Item.id <= self.items - DRAFTS - REVIEWS, Item.id % 500 != 25)

    @property
    def withdrawn(self) -> ColumnElement[bool]:
        return Item.id % 100 == 50

    def late(self, every: int, rest: int) -> ColumnElement[bool]:
        """One in so many of the latest items that are out."""
        return and_(Item.id > self.items * 24 // 25, Item.id % every == rest)

    # ── what is written ──

    def _written(self, mine: ColumnElement[bool]) -> None:
        samples = intake.read_samples(HERE / "samples")
        rows = []
        for n, sample in enumerate(samples):
            draft = sample.draft
            document = {
                "title": f"{draft.title}（第@号）", "text": draft.text[:900], "item_type": draft.item_type,
                "department": draft.department, "formed_on": "2026-01-05", "summary": draft.summary,
                "document_number": draft.document_number, "keywords": list(draft.keywords), "theme": draft.theme,
                "source": draft.source, "short_title": draft.short_title, "sms_text": "", "period": None,
                "objection_contact": "", "corrects": "", "validity": "有效", "files": [],
            }  # fmt: skip
            rows.append((n, draft.title, draft.item_type, json.dumps(document, ensure_ascii=False, sort_keys=True)))
        shapes: list[Any] = [column("n", Integer), column("title", Text), column("kind", Text), column("content", Text)]
        texts = values(*shapes, name="texts").data(rows).cte("sample")
        joined = _plain(Item).join(texts, texts.c.n == Item.id % len(samples))
        written = func.replace(texts.c.content, "@", cast(Item.id, Text))
        content = cast(written, LargeBinary) if self.lite else func.convert_to(written, "UTF8")
        formed = self.day(Item.created_at, 3)
        for n in (1, 2):
            self.add(Revision, joined, and_(mine, Item.id % 10 == 0) if n == 2 else mine,
                     id=Item.id * 2 + n - 1, item_id=Item.id, number=n, author=Item.created_by,
                     created_at=Item.created_at,
                     title=texts.c.title + literal("（第") + cast(Item.id, Text) + "号）",
                     item_type=texts.c.kind, department=Item.department, formed_on=formed, content=content,
                     content_hash=self.hash(Item.id))  # fmt: skip

    def _reviewed(self, mine: ColumnElement[bool]) -> None:
        twice, correcting = Item.id % 10 == 0, Item.id % 2000 == 10
        drafts = Item.id > self.items - DRAFTS
        stage = case(
            (and_(drafts, Item.id % 3 == 1), Stage.RETURNED.value), (drafts, Stage.VOIDED.value),
            (self.open, Stage.REVIEWING.value), (Item.id % 500 == 25, Stage.REFUSED.value),
            (self.withdrawn, Stage.WITHDRAWN.value), else_=Stage.APPROVED.value,
        )  # fmt: skip
        reason = case((and_(drafts, Item.id % 3 == 1), "附件请按规定处理后再提交。"), else_="")
        common: dict[str, Any] = {
            "item_id": Item.id, "submitted_by": Item.created_by, "submitted_at": Item.created_at,
            "disclosure": Disclosure.PROACTIVE, "manifest": b"{" + b" " * 600 + b"}", "hash": self.hash(Item.id),
            "closed_by": "",
        }  # fmt: skip
        last = case((and_(twice, ~correcting), 1), else_=0)
        was = or_(~drafts, Item.id % 3 != 0)
        self.add(Submission, Item, and_(mine, was), id=Item.id * 2 + last, revision_id=Item.id * 2 + last, stage=stage,
                 reason=reason, closed_at=case((or_(~self.open, drafts), Item.created_at)),
                 ground=case((Item.id % 500 == 25, Ground.INTERNAL_AFFAIRS.value)), **common)  # fmt: skip
        self.add(Submission, Item, and_(mine, self.out, twice, ~correcting), id=Item.id * 2, revision_id=Item.id * 2,
                 stage=Stage.SUPERSEDED, reason="", closed_at=Item.created_at, ground=None, **common)  # fmt: skip
        for level, (role, person) in enumerate((("officer", "li"), ("leader", "chen"))):
            given = self.out if level else or_(self.out, and_(self.open, ~drafts, Item.id % 2 == 0))
            self.add(Approval, Item, and_(mine, given), submission_id=Item.id * 2 + last, level=level, role=role,
                     person=person, hash=self.hash(Item.id), at=Item.created_at)  # fmt: skip

    def _delivered(self, mine: ColumnElement[bool]) -> None:
        correcting = Item.id % 2000 == 10
        last = case((and_(Item.id % 10 == 0, ~correcting), 1), else_=0)
        out, at = and_(mine, self.out), Item.created_at
        for place, channel in enumerate(PLACES[:4]):
            self.add(StoredRendition, Item, out, id=Item.id * 4 + place, submission_id=Item.id * 2 + last,
                     revision_id=Item.id * 2 + last, channel=channel, media_type="text/plain; charset=utf-8",
                     body=SENTENCE.encode() * 8, files="[]", digest=self.hash(Item.id))  # fmt: skip
        for place, channel in enumerate(PLACES):
            id, rendition = Item.id * 8 + place, Item.id * 4 + min(place, 3)
            withdrawn = and_(self.withdrawn, literal(place < 3))
            scheduled = self.late(200, 5)
            troubles: list[tuple[ColumnElement[bool], str]] = [(scheduled, State.DUE.value)]
            if place == 1:
                troubles += [(self.late(10, 3), State.FAILED.value), (self.late(100, 7), State.IN_DOUBT.value)]
            if place == 2:
                troubles += [(self.late(50, 9), State.ACCEPTED.value)]  # to be posted
            if place == 4:
                troubles += [(self.late(100, 11), State.ON_HOLD.value)]
            state = case(*troubles, else_=State.CONFIRMED.value) if place != 3 else literal(State.ACCEPTED.value)
            bad = or_(*(one for one, _ in troubles))
            slot, recipient = place == 3, place == 4
            self.add(
                Delivery, Item, out, id=id, item_id=Item.id, channel=channel,
                recipient=literal("139") + func.substr(cast(Item.id + 100_000_000, Text), 2, 8) if recipient else "",
                slot_id=id - 1 if recipient else None,
                wanted_id=case((withdrawn, None), else_=rendition), wanted_at=at,
                generation=case((withdrawn, 2), else_=1),
                held_id=case((or_(bad, withdrawn), None), else_=rendition) if not slot else None, held_known=True,
                state=state, reason=case((self.late(100, 11), "late"), else_="") if recipient else "",
                error=case((self.late(10, 3), '{"code": "channel.rejected", "facts": {"status": "400"}}'), else_="")
                if place == 1 else "",
                publish_at=case((scheduled, literal(self.now + timedelta(days=2), Delivery.publish_at.type)), else_=at),
                hurry=False, call_open=False, attempts=0 if slot else case((scheduled, 0), else_=1), failures=0,
                tries=0, looks=0, reference="",
                look_after=case((bad, None), else_=literal(self.now + timedelta(days=1), Delivery.look_after.type))
                if place < 2 else None,
                confirmed_at=case((bad, None), else_=at) if not slot else None,
                first_tried_at=None if slot else at, last_tried_at=None if slot else at,
                expanded_at=at if slot else None,
            )  # fmt: skip
            if slot:
                continue
            tried = and_(out, ~scheduled)
            self.add(Attempt, Item, tried, delivery_id=id, number=1, generation=1, rendition_id=rendition,
                     started_at=at, worker="celery@office:4711")  # fmt: skip
            result = Result.ACCEPTED.value if place != 1 else case(
                (self.late(10, 3), Result.REJECTED.value), (self.late(100, 7), Result.IN_DOUBT.value),
                else_=Result.ACCEPTED.value,
            )  # fmt: skip
            self.add(AttemptEnd, Item, tried, id=id, delivery_id=id, number=1, at=at, result=result,
                     reference="http://127.0.0.1/i/1", evidence="200", error="")  # fmt: skip
            self.add(Sighting, Item, and_(tried, ~bad), id=id, delivery_id=id, generation=1, at=at,
                     evidence="report" if recipient else "person" if place == 2 else "readback", seen="same",
                     state=State.CONFIRMED, note="")  # fmt: skip
            if place == 2:
                hangs = or_(and_(Item.id % 9 == 1, self.late(20, 1)), and_(Item.id % 9 != 1, Item.id % 20 == 0))
                hangs = and_(hangs, ~self.withdrawn)
                self.add(Posting, Item, and_(tried, ~bad), id=Item.id, delivery_id=id, generation=1,
                         rendition_id=rendition, place="一楼公开栏", posted_by="wang", posted_at=at,
                         down_due=case((Item.id % 9 == 1, self.day(at, -7))),
                         removed_by=case((~hangs, "wang")), removed_at=case((~hangs, at)))  # fmt: skip

    # ── by which words ──

    def add(
        self, table: type[Base], source: FromClause | type[Base], where: ColumnElement[bool] | None, **columns: Any
    ) -> None:
        chosen = {
            name: value if isinstance(value, ColumnElement) or hasattr(value, "__clause_element__")
            else literal(value, table.__table__.c[name].type)
            for name, value in columns.items()
        }  # fmt: skip
        rows = select(*chosen.values()).select_from(source)
        rows = rows if where is None else rows.where(where)
        self.db.execute(insert(table).from_select(list(chosen), rows, include_defaults=False))

    def hash(self, i: Any) -> ColumnElement[str]:
        return literal(LETTERS) + func.substr(cast(i + 100_000_000, Text), 2, 8)

    def moment(self, i: ColumnElement[int]) -> ColumnElement[datetime]:
        """When an item was written: they are spread evenly over the years."""
        apart = YEARS * 365 * 24 * 60 / self.items
        begin = self.now - timedelta(days=YEARS * 365)
        if not self.lite:
            return literal(begin, Item.created_at.type) + i * literal(timedelta(minutes=apart), Interval)
        shift = literal("+") + cast(cast(i * literal(apart), Integer), Text) + literal(" minutes")
        return func.strftime("%Y-%m-%d %H:%M:%f000", begin.replace(tzinfo=None).isoformat(" "), shift)

    def day(self, at: Any, before: int) -> ColumnElement[date]:
        if self.lite:
            return func.date(at, f"{-before} days")
        return cast(type_coerce(at, DateTime) - literal(timedelta(days=before), Interval), Date)


def _plain(table: type[Base]) -> FromClause:
    return table.__table__


def _lists(rt: Runtime, db: Session, items: int, readers: int) -> None:
    """Readers, who left, a feed and what it changed, and the columns of the public sides."""
    now = rt.now()
    addresses = {"sms": "139{:08d}", "mail": "reader{}@qq.example"}
    rows = [
        {"id": at * 2 + n, "channel": channel, "address": address.format(at), "name": "王小明",
         "consent_source": "登记表", "consent_on": now.date(), "added_at": now}
        for n, (channel, address) in enumerate(addresses.items()) for at in range(1, readers + 1)
    ]  # fmt: skip
    db.execute(insert(Subscriber), rows)
    joined: Sequence[dict[str, Any]] = [{"subscriber_id": one["id"], "group_id": "policy"} for one in rows[::3]]
    db.execute(insert(SubscriberGroup), joined)
    gone = [
        {"channel": "sms", "address": f"138{at:08d}", "reason": "回复退订", "at": now} for at in range(readers // 10)
    ]
    db.execute(insert(Suppression), gone)
    feed = Feed(url="http://feed.example/rss", visited_at=now, read_at=now)
    db.add(feed)
    db.flush()
    entries = [
        {"feed_url": feed.url, "key": f"{at:064d}", "link": "http://feed.example/1", "content_hash": "0" * 64,
         "item_id": at, "collected_at": now, "changed_at": now if at % 500 == 1 else None}
        for at in range(1, items, 50)
    ]  # fmt: skip
    db.execute(insert(FeedEntry), entries)
    standing = [
        {"channel": "portal", "id": f"column{at}", "place": at, "name": f"栏目{at}", "items": 10, "updated_at": now,
         "limit_days": 14, "read_at": now}
        for at in range(20)
    ]  # fmt: skip
    db.execute(insert(ColumnStanding), standing)
