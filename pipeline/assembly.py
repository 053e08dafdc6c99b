"""Assembling an issue of the newsletter: from what became public since the last one, and by its editor's hand.

`build` makes or renews the draft at the cut-off; the editor moves, drops, shortens, writes an editorial and puts
pictures in. Each change is a revision like any other and names the one that it was made from (`based_on`), so that two
editors never overwrite each other. What follows is the ordinary way: submission, both reviews, deliveries.
"""

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, time
from types import MappingProxyType

from sqlalchemy import ColumnElement, exists, func, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from channels.contract import File
from config.settings import NewsletterColumn, NewsletterSection
from pipeline import counting, issues, review, sources, staff
from pipeline.arrangement import (
    INTERNAL_MARK,
    MERGED_LABEL,
    NUMBER_LABEL,
    PRINTED_LABEL,
    Arrangement,
    Piece,
    Section,
    in_words,
    numbers,
)
from pipeline.decisions import Actor, Decision, Refused, audit, permit, plain
from pipeline.drafts import Draft, latest_revision, read_draft, rearranged
from pipeline.models import Delivery, IssueEntry, Publication, SkippedIssue, StoredIssue, Submission
from pipeline.newsletter_days import before, dates
from pipeline.review import Submitted
from pipeline.rulings import piece_of
from pipeline.runtime import Runtime
from pipeline.sources import Change, Source
from pipeline.states import Stage
from pipeline.submissions import staged

log = logging.getLogger("fabu.newsletter")
MACHINE = "newsletter"  # the account that an automatic build is noted with; the person is the configured editor
PICTURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")


@dataclass(frozen=True)
class Built:
    """What a build did: the issue's item and its latest revision; items that came in, that were taken out because they
    were withdrawn, and whose text was renewed because they were corrected."""

    item: int
    revision: int
    added: tuple[int, ...] = ()
    withdrawn: tuple[int, ...] = ()
    corrected: tuple[int, ...] = ()

    @property
    def changed(self) -> bool:
        return bool(self.added or self.withdrawn or self.corrected)


# ── building ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def build(rt: Runtime, actor: Actor, issue_id: int) -> Built:
    """Make the draft of an issue, or bring it up to what is public now: what came since goes to the end of its column,
    what was withdrawn is out, what was corrected has its new text in full. The editor's order and the rest stay. Raises
    Refused: left out, under review or in force, or there is nothing to be put in."""
    permit(actor, Decision.BUILD)
    newsletter = issues.configured(rt)
    counting.refresh(rt)  # what was seen in public a moment ago
    with rt.reading() as db:
        issue = issues.stored(db, issue_id)
        if db.get(SkippedIssue, issue.nominal) is not None:
            raise Refused("issue.left_out_already", day=issue.nominal.isoformat())
        draft, revision = _latest(db, issue)
        if draft is not None and issue.item_id is not None:
            if staged(db, issue.item_id, Stage.REVIEWING) is not None:
                raise Refused("issue.under_review", item=str(issue.item_id))
            if staged(db, issue.item_id, Stage.APPROVED) is not None:
                raise Refused("issue.in_force", item=str(issue.item_id))
        before = draft.issue if draft is not None else None
        offered = _offered(rt, db, newsletter, issue)
        head = _head(rt, db, newsletter, issue)
        changes = sources.changes(db, before) if before is not None else {}
        renewed = sources.in_force(db, [item for item, change in changes.items() if change is Change.CORRECTED])
        texts = {one.item: read_draft(db, one.revision) for one in (*renewed.values(), *(one for one, _ in offered))}
    after = replace(head, sections=before.sections, editorial=before.editorial,
                    editorial_picture=before.editorial_picture) if before is not None else head  # fmt: skip
    for item, change in changes.items():
        if change is Change.WITHDRAWN:
            after = after.without(item)
        else:
            after = after.replaced(piece_of(rt, renewed[item].revision, texts[item], after.pieces[item]))
    after, placed = _placed(rt, newsletter, after, offered, texts)
    if not after.pieces and not after.editorial:
        raise Refused("issue.nothing", issue=numbers(issue.year, issue.number, issue.running))
    record = _recording(rt, actor, issue, placed, _of(changes, Change.WITHDRAWN))
    item_id = issue.item_id
    try:
        if draft is None or item_id is None:
            item_id, number = review.create(rt, actor, _new(rt, actor, newsletter, after), record), 1
        elif after != before:
            today = rt.now().astimezone(rt.settings.zone).date()  # the clock may have been ahead when it was made
            draft = replace(rearranged(draft, after), formed_on=min(draft.formed_on, today))
            number = review.edit(rt, actor, item_id, draft, revision, record)
        else:
            with rt.writing() as db:
                record(db, item_id)
            number = revision
    except IntegrityError as error:  # another process took these items, or made this draft, at the same moment
        raise Refused("issue.built_meanwhile") from error
    added = tuple(item for item, column in placed.items() if column)
    return Built(item_id, number, added, _of(changes, Change.WITHDRAWN), _of(changes, Change.CORRECTED))


def build_due(rt: Runtime) -> list[int]:
    """Build every issue whose cut-off has passed since it was last built, or that was never tried; in the name of the
    editor that the office configured, in the order of their days. One for which there is nothing is not tried again.
    Returns the items."""
    newsletter = rt.settings.newsletter
    if newsletter is None:
        return []
    with rt.reading() as db:
        skipped = select(SkippedIssue.nominal)
        stages = (Stage.REVIEWING, Stage.APPROVED, Stage.WITHDRAWN)
        begun = select(Submission.item_id).where(Submission.stage.in_(stages))
        due = db.scalars(
            select(StoredIssue)
            .where(StoredIssue.cut_off_at <= rt.now(), StoredIssue.nominal.not_in(skipped))
            .where(_untried(rt.now()), or_(StoredIssue.item_id.is_(None), StoredIssue.item_id.not_in(begun)))
            .order_by(StoredIssue.nominal)
        ).all()
    built = []
    for issue in due:
        try:
            actor = Actor(staff.person(rt, newsletter.editor), MACHINE)
            built.append(build(rt, actor, issue.id).item)
        except Refused as refused:
            if refused.code == "issue.nothing":
                with rt.writing() as db:
                    db.get_one(StoredIssue, issue.id).built_at = rt.now()
            log.info("an issue was not built", extra={"event": "assembly.refused", "facts": {"why": refused.code}})
        except Exception:  # one issue never stops those after it
            log.exception("an issue could not be built", extra={"event": "assembly.failed", "facts": {"id": issue.id}})
    return built


def _untried(now: datetime) -> ColumnElement[bool]:
    """Is an issue to be built at its cut-off still? What a clock that ran ahead did does not count."""
    tried = StoredIssue.built_at
    return or_(tried.is_(None), tried < StoredIssue.cut_off_at, tried > now)


def _of(changes: Mapping[int, Change], kind: Change) -> tuple[int, ...]:
    return tuple(item for item, change in changes.items() if change is kind)


Offered = list[tuple[Source, datetime]]


def _offered(rt: Runtime, db: Session, newsletter: NewsletterSection, issue: StoredIssue) -> Offered:
    """What became public before the cut-off and was offered to no issue yet, with the moment it was first seen, in that
    order. What an earlier issue that is still to be built would take is left to that; nothing else is too old: what an
    outage kept from one issue is in the next."""
    earlier = (
        select(func.max(StoredIssue.cut_off_at))
        .where(StoredIssue.nominal < issue.nominal, StoredIssue.item_id.is_(None), _untried(rt.now()))
        .where(StoredIssue.nominal.not_in(select(SkippedIssue.nominal)))
    )
    after = db.scalar(earlier) or _beginning(rt, db, newsletter)
    zone = rt.settings.zone
    found = db.scalars(
        select(Publication.item_id).where(
            Publication.day >= after.astimezone(zone).date(),
            Publication.day <= issue.cut_off_at.astimezone(zone).date(),
            ~exists().where(IssueEntry.item_id == Publication.item_id),
            ~exists().where(StoredIssue.item_id == Publication.item_id),
        )
    ).all()
    seen = {row.id: row[1] for row in db.execute(counting.first_seen(rt, found))} if found else {}
    there = sources.in_force(db, [item for item, at in seen.items() if after <= at < issue.cut_off_at])
    return sorted(((one, seen[item]) for item, one in there.items()), key=lambda pair: (pair[1], pair[0].item))


def _beginning(rt: Runtime, db: Session, newsletter: NewsletterSection) -> datetime:
    """Where the first issue begins: at what would have been the cut-off of the one before."""
    first = db.scalar(select(func.min(StoredIssue.nominal)))
    if first is None:
        return datetime.combine(rt.now().date(), time.min, rt.settings.zone)
    return dates(rt.settings, newsletter, before(newsletter.days, first)).cut_off_at


def _head(rt: Runtime, db: Session, newsletter: NewsletterSection, issue: StoredIssue) -> Arrangement:
    """An issue with nothing in it: its numbers, its columns, its imprint."""
    imprint = dict(newsletter.imprint)
    own = numbers(issue.year, issue.number, issue.running)
    if newsletter.internal:
        imprint = {**dict([INTERNAL_MARK]), **imprint, NUMBER_LABEL: own, PRINTED_LABEL: in_words(issue.out_on)}
    merged = db.scalars(
        select(StoredIssue)
        .join(SkippedIssue, SkippedIssue.nominal == StoredIssue.nominal)
        .where(SkippedIssue.into == issue.nominal)
        .order_by(StoredIssue.nominal)
    ).all()
    if merged:
        imprint[MERGED_LABEL] = f"与{'、'.join(numbers(one.year, one.number, one.running) for one in merged)}合刊"
    return Arrangement(
        name=newsletter.name,
        year=issue.year,
        number=issue.number,
        running=issue.running,
        day=issue.out_on,
        sections=tuple(Section(column.name) for column in newsletter.columns),
        internal=newsletter.internal,
        imprint=tuple(imprint.items()),
    )


def _placed(
    rt: Runtime, newsletter: NewsletterSection, after: Arrangement, offered: Offered, texts: Mapping[int, Draft]
) -> tuple[Arrangement, dict[int, str]]:
    """The offered items in their columns; and which column took each ("": none did)."""
    placed, ordered = dict[int, str](), list[tuple[tuple[int, ...], str, Piece]]()
    for source, at in offered:
        draft = texts[source.item]
        column, order = _column(newsletter, draft)
        placed[source.item] = column
        piece = piece_from(rt, source, draft, at)
        if column:
            ordered.append((order, column, piece))
    for _, column, piece in sorted(ordered, key=lambda one: one[0]):  # in a column as its rule says; else as seen
        after = after.put(piece, column)
    return after, placed


def _column(newsletter: NewsletterSection, draft: Draft) -> tuple[str, tuple[int, ...]]:
    """The first column that takes an item, and its order there; "": none does."""
    for column in newsletter.columns:
        order = _order(column, draft)
        if order is not None:
            return column.name, order
    return "", ()


def _order(column: NewsletterColumn, draft: Draft) -> tuple[int, ...] | None:
    rules = ((column.item_types, draft.item_type), (column.departments, draft.department), (column.themes, draft.theme))
    if any(named and value not in named for named, value in rules):
        return None
    return tuple(named.index(value) if named else 0 for named, value in rules)


def piece_from(rt: Runtime, source: Source, draft: Draft, at: datetime) -> Piece:
    blank = Piece(source.item, 0, "", "", "", at.astimezone(rt.settings.zone).date())
    return piece_of(rt, source.revision, draft, blank)


def _recording(
    rt: Runtime, actor: Actor, issue: StoredIssue, placed: Mapping[int, str], withdrawn: Collection[int]
) -> Callable[[Session, int], None]:
    """What a build writes beside the revision, in its commit."""

    def record(db: Session, item_id: int) -> None:
        row = db.get_one(StoredIssue, issue.id, with_for_update=True, populate_existing=True)
        if row.item_id not in (None, item_id) or db.get(SkippedIssue, row.nominal) is not None:
            raise Refused("issue.built_meanwhile")
        done = row.built_at is not None and row.cut_off_at <= row.built_at <= rt.now()
        if done and actor.os_user == MACHINE and not placed and not withdrawn:
            return  # another process was faster by a moment: it is noted once
        row.item_id, row.built_at = item_id, rt.now()
        for item, column in placed.items():
            db.add(IssueEntry(item_id=item, issue_id=row.id, place=column, dropped=not column, offered_at=rt.now()))
        for item in withdrawn:
            db.get_one(IssueEntry, item).dropped = True
        db.flush()
        facts = {"issue": numbers(row.year, row.number, row.running), "added": len(placed), "withdrawn": len(withdrawn)}
        audit(rt, db, actor, Decision.BUILD, item_id, **facts)

    return record


def _new(rt: Runtime, actor: Actor, newsletter: NewsletterSection, arranged: Arrangement) -> Draft:
    return Draft(
        title=arranged.title,
        text=arranged.text,
        item_type=newsletter.item_type,
        department=actor.person.department,
        formed_on=rt.now().astimezone(rt.settings.zone).date(),
        summary=arranged.summary,
        issue=arranged,
    )


# ── the editor's hand ────────────────────────────────────────────────────────────────────────────────────────────────


def move(
    rt: Runtime, actor: Actor, issue_id: int, based_on: int, item: int, column: str, place: int | None = None
) -> int:
    """Move an item within its column or to another, to a place counted from 0 (None: its end). Returns the number of
    the new revision, as all of these do. Raises Refused."""

    def change(draft: Draft, arranged: Arrangement) -> Draft:
        if column not in {section.name for section in arranged.sections}:
            known = "、".join(section.name for section in arranged.sections)
            raise Refused("issue.unknown_column", column=column, known=known)
        return rearranged(draft, arranged.put(_piece(arranged, item), column, place))

    return _change(rt, actor, issue_id, based_on, change, what="move", about=item, column=column, place=place)


def drop(rt: Runtime, actor: Actor, issue_id: int, based_on: int, item: int) -> int:
    """Leave an item out. It is in no other issue; `put_back` undoes it."""

    def change(draft: Draft, arranged: Arrangement) -> Draft:
        _piece(arranged, item)
        return rearranged(draft, arranged.without(item))

    return _change(rt, actor, issue_id, based_on, change, dropped={item: True}, what="drop", about=item)


def put_back(
    rt: Runtime, actor: Actor, issue_id: int, based_on: int, item: int, column: str = "", place: int | None = None
) -> int:
    """Take in what was left out: into a column, or (``""``) the one that its rule names, at a place (None: its end)."""
    newsletter = issues.configured(rt)
    with rt.reading() as db:
        entry = db.get(IssueEntry, item)
        source = sources.in_force(db, [item]).get(item)
        if entry is None or entry.issue_id != issue_id or source is None:
            raise Refused("issue.not_offered", item=str(item))
        text = read_draft(db, source.revision)
        published = db.get_one(Publication, item).day
        into = column or entry.place or newsletter.columns[-1].name

    def change(draft: Draft, arranged: Arrangement) -> Draft:
        piece = piece_of(rt, source.revision, text, Piece(item, 0, "", "", "", published))
        return rearranged(draft, arranged.put(piece, into, place))

    return _change(
        rt, actor, issue_id, based_on, change, dropped={item: False}, what="put_back", about=item, column=into
    )


def shorten(rt: Runtime, actor: Actor, issue_id: int, based_on: int, item: int, text: str) -> int:
    """Let an item stand there with the editor's own shorter text, marked 节选; "": with its own text again, in full."""
    text = plain(text, "text").strip()
    with rt.reading() as db:
        source = sources.in_force(db, [item]).get(item)
        full = read_draft(db, source.revision) if source is not None else None

    def change(draft: Draft, arranged: Arrangement) -> Draft:
        piece = _piece(arranged, item)
        if source is None or full is None:
            raise Refused("issue.entry_withdrawn", item=str(item))
        if not text:
            return rearranged(draft, arranged.replaced(piece_of(rt, source.revision, full, piece)))
        return rearranged(draft, arranged.replaced(replace(piece, text=text, excerpt=True)))

    return _change(rt, actor, issue_id, based_on, change, what="shorten", about=item, characters=len(text))


def write_editorial(rt: Runtime, actor: Actor, issue_id: int, based_on: int, text: str) -> int:
    """The editorial (卷首语), in official style; "": none."""
    text = plain(text, "text").strip()

    def change(draft: Draft, arranged: Arrangement) -> Draft:
        return rearranged(draft, replace(arranged, editorial=text))

    return _change(rt, actor, issue_id, based_on, change, what="editorial", characters=len(text))


def set_picture(rt: Runtime, actor: Actor, issue_id: int, based_on: int, item: int | None, picture: File | None) -> int:
    """Put a picture (PNG or JPEG) to an item, or to the editorial (`item` None); `picture` None takes it away."""
    if picture is not None and not picture.content.startswith(PICTURES):
        raise Refused("issue.no_picture", file=picture.name)

    def change(draft: Draft, arranged: Arrangement) -> Draft:
        name = picture.name if picture is not None else ""
        if item is None:
            after = replace(arranged, editorial_picture=name)
        else:
            after = arranged.replaced(replace(_piece(arranged, item), picture=name))
        shown = {piece.picture for piece in after.pieces.values()} | {after.editorial_picture}
        before = {piece.picture for piece in arranged.pieces.values()} | {arranged.editorial_picture}
        files = [file for file in draft.files if file.name != name and (file.name in shown or file.name not in before)]
        return rearranged(replace(draft, files=(*files, *([picture] if picture is not None else []))), after)

    return _change(rt, actor, issue_id, based_on, change, what="picture", about=item)


def submit(
    rt: Runtime,
    actor: Actor,
    issue_id: int,
    why: Mapping[str, str] = MappingProxyType({}),
    at: datetime | None = None,
) -> Submitted:
    """Put an issue up for review, for the newsletter's channels and for its time, or another that a person chose
    (`at`); a correction for those in force. What is approved after that time waits for a person (`issues.release`)
    where a channel's late policy says so."""
    newsletter = issues.configured(rt)
    with rt.reading() as db:
        issue = issues.stored(db, issue_id)
        if issue.item_id is None:
            raise Refused("issue.not_built", issue=numbers(issue.year, issue.number, issue.running))
        in_force = staged(db, issue.item_id, Stage.APPROVED)
        # Also those on which a change of an item could not be followed: only a review brings it back there.
        slots = select(Delivery.channel).where(Delivery.item_id == issue.item_id, Delivery.recipient == "")
        channels = [name for name in db.scalars(slots) if name in rt.channels]
    if in_force is not None:
        return review.submit(rt, actor, issue.item_id, channels, why=why)
    return review.submit(rt, actor, issue.item_id, newsletter.channels, at or issue.send_at, why=why)


def _change(
    rt: Runtime,
    actor: Actor,
    issue_id: int,
    based_on: int,
    change: Callable[[Draft, Arrangement], Draft],
    dropped: Mapping[int, bool] = MappingProxyType({}),
    **facts: object,
) -> int:
    """One change of the editor's, as a revision; what was done stands in the audit log beside it."""
    permit(actor, Decision.ARRANGE)
    with rt.reading() as db:
        issue = issues.stored(db, issue_id)
        draft, number = _latest(db, issue)
        if issue.item_id is None or draft is None or draft.issue is None:
            raise Refused("issue.not_built", issue=numbers(issue.year, issue.number, issue.running))
        in_force = staged(db, issue.item_id, Stage.APPROVED) is not None
    if number != based_on:
        raise Refused("review.newer_revision", revision=str(number))

    def record(db: Session, item_id: int) -> None:
        for item, out in dropped.items():
            db.get_one(IssueEntry, item).dropped = out
        audit(rt, db, actor, Decision.ARRANGE, item_id, **facts)

    decide = review.correct if in_force else review.edit
    return decide(rt, actor, issue.item_id, change(draft, draft.issue), based_on, record)


# ── parts ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _latest(db: Session, issue: StoredIssue) -> tuple[Draft | None, int]:
    if issue.item_id is None:
        return None, 0
    revision = latest_revision(db, issue.item_id)
    return read_draft(db, revision), revision.number


def _piece(arranged: Arrangement, item: int) -> Piece:
    piece = arranged.pieces.get(item)
    if piece is None:
        raise Refused("issue.not_in_it", item=str(item))
    return piece
