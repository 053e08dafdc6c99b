"""Reach (发布情况): what is where, read from the ledger. Items × channels, and one item with every attempt."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session, aliased, defer

from channels.contract import Evidence
from pipeline.arrangement import numbers
from pipeline.models import (
    Attempt,
    AttemptEnd,
    Delivery,
    IssueEntry,
    Item,
    Posting,
    Revision,
    Ruling,
    Sighting,
    StoredIssue,
    StoredRendition,
)
from pipeline.runtime import Runtime
from pipeline.states import State, rollup


@dataclass(frozen=True)
class Cell:
    """One item on one channel. `wanted` and `held` are revision numbers; None: nothing; `held_known` False: unknown.
    `counts`: recipients by state, where there are recipients."""

    item: int
    index_number: str | None
    title: str
    revision: int  # the item's latest
    channel: str
    state: State
    reason: str
    wanted: int | None
    held: int | None
    held_known: bool
    generation: int
    attempts: int
    counts: Mapping[str, int]
    reference: str
    confirmed_at: datetime | None
    error: Mapping[str, Any] | None
    publish_at: datetime
    evidence: Evidence
    rehearsal: bool
    unseen: bool  # the last look from outside failed: what is said stands from an earlier one

    @property
    def sent(self) -> int:
        """How many recipients were sent something, or may have been."""
        return sum(self.counts.get(state, 0) for state in (State.ACCEPTED, State.CONFIRMED, State.IN_DOUBT))

    @property
    def arrived(self) -> int:
        """How many recipients have it, as far as this channel can tell: where only failures are reported, who was sent
        it and did not fail."""
        ends = (State.CONFIRMED, State.ACCEPTED) if self.evidence is Evidence.BOUNCE else (State.CONFIRMED,)
        return sum(self.counts.get(state, 0) for state in ends)


def matrix(rt: Runtime, items: Collection[int] | None = None, most: int = 500) -> list[Cell]:
    """The cells of these items, or of the newest `most` items, by item and by the order of the channels."""
    with rt.reading() as db:
        return _cells(rt, db, items, most)


def _cells(rt: Runtime, db: Session, items: Collection[int] | None, most: int) -> list[Cell]:
    if items is None:
        items = db.scalars(select(Item.id).where(Item.sent).order_by(Item.id.desc()).limit(most)).all()
    wanted, held = aliased(StoredRendition), aliased(StoredRendition)
    wanted_revision, held_revision = aliased(Revision), aliased(Revision)
    rows = db.execute(
        select(Delivery, Item, Revision, wanted_revision.number, held_revision.number)
        .join(Item, Item.id == Delivery.item_id)
        .join(Revision, Revision.id == Item.latest_id)
        .outerjoin(wanted, wanted.id == Delivery.wanted_id)
        .outerjoin(wanted_revision, wanted_revision.id == wanted.revision_id)
        .outerjoin(held, held.id == Delivery.held_id)
        .outerjoin(held_revision, held_revision.id == held.revision_id)
        .where(Delivery.item_id.in_(items), Delivery.recipient == "")
        .order_by(Delivery.item_id)
        .options(defer(Revision.content))
    ).all()
    plans = _counts(db, [row[0].id for row in rows if row[0].expanded_at is not None])
    order = {name: place for place, name in enumerate(rt.channels)}
    cells = []
    for row, item, revision, wanted_number, held_number in rows:
        opened = rt.channels.get(row.channel)
        plan = plans.get(row.id)
        if plan is None:
            own = (wanted_number, held_number, row.held_known, row.attempts, row.confirmed_at, row.error)
            plan = _Recipients({}, *own)
        elif not plan.live:
            plan = replace(plan, wanted=wanted_number)
        state = rollup(plan.counts) if plan.counts else row.state
        cells.append(
            Cell(
                item=row.item_id,
                index_number=item.index_number,
                title=revision.title,
                revision=revision.number,
                channel=row.channel,
                state=state,
                reason=row.reason,
                wanted=plan.wanted,
                held=plan.held if plan.held_known else None,
                held_known=plan.held_known,
                generation=row.generation,
                attempts=plan.attempts,
                counts={one.value: number for one, number in plan.counts.items()},
                reference=row.reference,
                confirmed_at=plan.confirmed_at if state is State.CONFIRMED else None,
                error=read_error(plan.error),
                publish_at=row.publish_at,
                evidence=opened.traits.evidence if opened else Evidence.READBACK,
                rehearsal=opened.section.rehearsal if opened else False,
                unseen=row.state is State.CONFIRMED and row.looks > 0,
            )
        )
    return sorted(cells, key=lambda cell: (cell.item, order.get(cell.channel, len(order)), cell.channel))


@dataclass(frozen=True)
class _Recipients:
    """The recipients below one slot, together. What was sent keeps what it wants: the plan's own `wanted` may be newer,
    or nothing. `wanted`: the newest revision among them; `held`: the oldest that one of them holds."""

    counts: Mapping[State, int]
    wanted: int | None = None
    held: int | None = None
    held_known: bool = True
    attempts: int = 0
    confirmed_at: datetime | None = None
    error: str = ""

    @property
    def live(self) -> int:
        """How many are not skipped."""
        return sum(number for state, number in self.counts.items() if state is not State.SKIPPED)


def _counts(db: Session, slots: Collection[int]) -> dict[int, _Recipients]:
    """What the recipients of each expanded slot come to."""
    found: dict[int, _Recipients] = {}
    wanted, held = aliased(StoredRendition), aliased(StoredRendition)
    wanted_revision, held_revision = aliased(Revision), aliased(Revision)
    rows = db.execute(
        select(
            Delivery.slot_id,
            Delivery.state,
            func.count(),
            func.max(wanted_revision.number),
            func.min(held_revision.number),
            func.sum(case((Delivery.held_known, 0), else_=1)),
            func.sum(Delivery.attempts),
            func.max(Delivery.confirmed_at),
            func.max(Delivery.error),
        )
        .outerjoin(wanted, wanted.id == Delivery.wanted_id)
        .outerjoin(wanted_revision, wanted_revision.id == wanted.revision_id)
        .outerjoin(held, held.id == Delivery.held_id)
        .outerjoin(held_revision, held_revision.id == held.revision_id)
        .where(Delivery.slot_id.in_(slots))
        .group_by(Delivery.slot_id, Delivery.state)
    ).all()
    for slot_id, state, number, wanted_number, held_number, unknown, attempts, confirmed_at, error in rows:
        before = found.get(slot_id, _Recipients({}))
        skipped = state is State.SKIPPED
        found[slot_id] = _Recipients(
            counts={**before.counts, state: number},
            wanted=before.wanted if skipped else max(filter(None, (before.wanted, wanted_number)), default=None),
            held=before.held if skipped else min(filter(None, (before.held, held_number)), default=None),
            held_known=before.held_known and (skipped or not unknown),
            attempts=before.attempts + int(attempts),
            confirmed_at=max(filter(None, (before.confirmed_at, confirmed_at)), default=None),
            error=before.error or error,
        )
    return found


def read_error(stored: str) -> Mapping[str, Any] | None:
    return dict(json.loads(stored)) if stored else None


@dataclass(frozen=True)
class AttemptLine:
    """One attempt as it is shown. `ends`: (when, result, reference, evidence, error); none: still open, or lost."""

    channel: str
    recipient: str
    number: int
    generation: int
    revision: int | None  # None: a withdrawal
    started_at: datetime
    ends: tuple[tuple[datetime, str, str, str, Mapping[str, Any] | None], ...] = ()


@dataclass(frozen=True)
class SightingLine:
    channel: str
    recipient: str
    at: datetime
    evidence: str
    seen: str
    state: State
    note: str


@dataclass(frozen=True)
class PostingLine:
    """`photo`: its SHA-256, "": none."""

    place: str
    posted_by: str
    posted_at: datetime
    down_due: date | None
    removed_by: str | None
    removed_at: datetime | None
    photo: str = ""


@dataclass(frozen=True)
class Carrier:
    """The number of the newsletter that an item was put into. `item`: that number as an item; `dropped`: it is not in
    its latest text."""

    issue: int
    item: int
    numbers: str
    out_on: date
    dropped: bool


@dataclass(frozen=True)
class ItemReach:
    """One item: its cells, every attempt, everything seen from outside, every posting, the issue that carried it."""

    cells: list[Cell]
    attempts: list[AttemptLine] = field(default_factory=list)
    sightings: list[SightingLine] = field(default_factory=list)
    postings: list[PostingLine] = field(default_factory=list)
    issue: Carrier | None = None


MOST_LINES = 1000


def item_reach(rt: Runtime, item_id: int, most: int = MOST_LINES) -> ItemReach:
    """What the ledger knows of one item; of each channel the latest `most` attempts and the latest `most` sightings, so
    that an item with a hundred thousand recipients can be looked at, too."""
    with rt.reading() as db:
        channels = db.scalars(
            select(Delivery.channel).where(Delivery.item_id == item_id, Delivery.recipient == "").order_by(Delivery.id)
        ).all()
        attempts = [line for channel in channels for line in _attempts(db, item_id, channel, most)]
        sightings = [line for channel in channels for line in _sightings(db, item_id, channel, most)]
        postings = [
            PostingLine(
                one.place, one.posted_by, one.posted_at, one.down_due, one.removed_by, one.removed_at, one.photo_sha256
            )
            for one in db.scalars(
                select(Posting)
                .join(Delivery, Delivery.id == Posting.delivery_id)
                .where(Delivery.item_id == item_id)
                .order_by(Posting.id)
            )
        ]
        cells = _cells(rt, db, [item_id], 1)
        return ItemReach(cells, sorted(attempts, key=_when), sightings, postings, carrier(db, item_id))


def carrier(db: Session, item_id: int) -> Carrier | None:
    """The issue that carries an item, or carried it; None: none, or it was left out before it went to review."""
    found = db.execute(
        select(StoredIssue, IssueEntry.dropped)
        .join(IssueEntry, IssueEntry.issue_id == StoredIssue.id)
        .where(IssueEntry.item_id == item_id)
    ).one_or_none()
    if found is None:
        return None
    issue, dropped = found
    if issue.item_id is None:
        return None
    ruled = select(Ruling.submission_id).where(Ruling.item_id == item_id, Ruling.change == "dropped").limit(1)
    if dropped and db.scalar(ruled) is None:
        return None
    return Carrier(issue.id, issue.item_id, numbers(issue.year, issue.number, issue.running), issue.out_on, dropped)


def _when(line: AttemptLine) -> tuple[datetime, str, str]:
    return line.started_at, line.channel, line.recipient


def _attempts(db: Session, item_id: int, channel: str, most: int) -> list[AttemptLine]:
    made = db.execute(
        select(Attempt, Delivery.recipient, Revision.number)
        .join(Delivery, Delivery.id == Attempt.delivery_id)
        .outerjoin(StoredRendition, StoredRendition.id == Attempt.rendition_id)
        .outerjoin(Revision, Revision.id == StoredRendition.revision_id)
        .where(Delivery.item_id == item_id, Delivery.channel == channel)
        .order_by(Attempt.started_at.desc(), Attempt.delivery_id.desc())
        .limit(most)
    ).all()
    ends: dict[tuple[int, int], list[AttemptEnd]] = {}
    concerned = {attempt.delivery_id for attempt, _, _ in made}
    for end in db.scalars(select(AttemptEnd).where(AttemptEnd.delivery_id.in_(concerned)).order_by(AttemptEnd.id)):
        ends.setdefault((end.delivery_id, end.number), []).append(end)
    return [
        AttemptLine(
            channel=channel,
            recipient=recipient,
            number=attempt.number,
            generation=attempt.generation,
            revision=revision,
            started_at=attempt.started_at,
            ends=tuple(
                (end.at, end.result.value, end.reference, end.evidence, json.loads(end.error) if end.error else None)
                for end in ends.get((attempt.delivery_id, attempt.number), ())
            ),
        )
        for attempt, recipient, revision in made
    ]


def _sightings(db: Session, item_id: int, channel: str, most: int) -> list[SightingLine]:
    seen = db.execute(
        select(Sighting, Delivery.recipient)
        .join(Delivery, Delivery.id == Sighting.delivery_id)
        .where(Delivery.item_id == item_id, Delivery.channel == channel)
        .order_by(Sighting.id.desc())
        .limit(most)
    ).all()
    return [
        SightingLine(channel, recipient, one.at, one.evidence, one.seen, one.state, one.note)
        for one, recipient in reversed(seen)
    ]
