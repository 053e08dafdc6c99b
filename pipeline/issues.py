"""The newsletter's issues: which there are, what each is numbered, how far it is, and what a person decides about it.

The calendar is the truth: every nominal day has one issue, whether it was made in time, late, or is left out. `ensure`
makes the missing ones, up to the first whose cut-off is still to come; any number of processes may run it at once.

Where the numbers come from: in one transaction that locks all others out, the issue of the next nominal day gets the
numbers of the one before plus one, and within the year 1 on the first nominal day of a year. So no issue is made before
the one that precedes it, numbers grow with the days whatever the clock and the order of the processes, and none is ever
given twice. An issue that a person leaves out or merges keeps its numbers: that is the only gap. What a restored ledger
has lost is numbered as before, since the days are the same.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from itertools import takewhile

from sqlalchemy import ColumnElement, exists, func, select
from sqlalchemy.orm import Session

from config.settings import NewsletterSection
from pipeline import models, operate
from pipeline.arrangement import numbers
from pipeline.database import insert_for
from pipeline.decisions import Actor, Decision, Refused, audit, permit, require_reason
from pipeline.drafts import latest_revision, read_draft, rearranged, store_revision
from pipeline.models import (
    Delivery,
    IssueEntry,
    Item,
    SkippedIssue,
    StoredIssue,
    Submission,
)
from pipeline.newsletter_days import Dates, dates, nominal_days
from pipeline.rows import few
from pipeline.runtime import Runtime
from pipeline.slots import OUTDATED
from pipeline.states import Stage, State


class Phase(StrEnum):
    """How far an issue is."""

    PLANNED = "planned"  # nothing was assembled yet
    LEFT_OUT = "left_out"  # a person decided so; or merged into a later one
    DRAFT = "draft"  # assembled, not under review
    REVIEWING = "reviewing"
    APPROVED = "approved"  # waits for its time
    HELD = "held"  # approved, but too late: a person lets it go
    OUTDATED = "outdated"  # approved, but what it says was withdrawn or corrected: it waits for another text
    SENDING = "sending"
    SENT = "sent"  # nothing is left to be sent; what failed is in its progress
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True)
class Line:
    """One issue. `id` 0: it is not made yet, its numbers are those that it will get. `item` 0: nothing was assembled.
    `late`: its time has passed and it is not sent. `reason`, `into`: of one that is left out or merged."""

    id: int
    nominal: date
    out_on: date
    cut_off_at: datetime
    send_at: datetime
    provisional: bool
    year: int
    number: int
    running: int
    item: int
    phase: Phase
    late: bool
    reason: str = ""
    into: date | None = None

    @property
    def numbers(self) -> str:
        return numbers(self.year, self.number, self.running)


# ── making ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def ensure(rt: Runtime) -> list[int]:
    """Make the issues that are missing, up to the first whose cut-off is to come. Of those that nobody assembled yet,
    and whose time is to come, the day follows a later holiday notice. Returns the ids of the new ones."""
    newsletter = rt.settings.newsletter
    if newsletter is None:
        return []
    with rt.reading() as db:
        last = _last(db)
        if last is not None and last.cut_off_at > rt.now() and not _moved(rt, newsletter, _waiting(rt, db)):
            return []
    with rt.writing() as db:
        _lock(db)
        for issue, moved in _moved(rt, newsletter, _waiting(rt, db)):
            issue.out_on, issue.cut_off_at, issue.send_at = moved.out_on, moved.cut_off_at, moved.send_at
        made = [_made(rt, when, given) for when, given in _missing(rt, newsletter, _last(db))]
        db.add_all(made)
        db.flush()
        return [issue.id for issue in made]


def _lock(db: Session) -> None:
    """Until the commit, others who would make issues wait: for a row that counts nothing."""
    row = insert_for(db, models.Counter).values(name="issue", value=0)
    db.execute(row.on_conflict_do_update(index_elements=["name"], set_={"value": 0}))


def _last(db: Session) -> StoredIssue | None:
    return db.scalars(select(StoredIssue).order_by(StoredIssue.nominal.desc()).limit(1)).one_or_none()


def _waiting(rt: Runtime, db: Session) -> Sequence[StoredIssue]:
    """Those that nobody assembled yet, with their time to come."""
    return db.scalars(select(StoredIssue).where(StoredIssue.item_id.is_(None), StoredIssue.send_at > rt.now())).all()


def _moved(
    rt: Runtime, newsletter: NewsletterSection, issues: Sequence[StoredIssue]
) -> list[tuple[StoredIssue, Dates]]:
    found = [(issue, dates(rt.settings, newsletter, issue.nominal)) for issue in issues]
    return [(one, now) for one, now in found if (one.cut_off_at, one.send_at) != (now.cut_off_at, now.send_at)]


Given = tuple[int, int, int]  # year, number within it, running total


def _missing(
    rt: Runtime, newsletter: NewsletterSection, last: StoredIssue | None, upto: datetime | None = None
) -> Iterator[tuple[Dates, Given]]:
    """The issues to be made after the last one, in order, up to the first that is closed after `upto` (None: now)."""
    upto = upto or rt.now()
    if last is not None and last.cut_off_at > upto:
        return
    given = (last.year, last.number, last.running) if last is not None else None
    for nominal in nominal_days(newsletter.days, _begin(rt, newsletter, last)):
        when = dates(rt.settings, newsletter, nominal)
        given = _next(given, nominal) if given is not None else _first(newsletter, nominal)
        yield when, given
        if when.cut_off_at > upto:
            return


def _begin(rt: Runtime, newsletter: NewsletterSection, last: StoredIssue | None) -> date:
    if last is not None:
        return last.nominal + timedelta(days=1)
    if newsletter.first is not None:
        return newsletter.first
    today = rt.now().astimezone(rt.settings.zone).date()
    to_come = nominal_days(newsletter.days, today)
    return next(day for day in to_come if dates(rt.settings, newsletter, day).cut_off_at > rt.now())


def _next(before: Given, nominal: date) -> Given:
    year, number, running = before
    return nominal.year, number + 1 if nominal.year == year else 1, running + 1


def _first(newsletter: NewsletterSection, nominal: date) -> Given:
    in_year = takewhile(lambda day: day <= nominal, nominal_days(newsletter.days, date(nominal.year, 1, 1)))
    return nominal.year, newsletter.first_number or sum(1 for _ in in_year), newsletter.first_running


def _made(rt: Runtime, when: Dates, given: Given) -> StoredIssue:
    year, number, running = given
    return StoredIssue(
        nominal=when.nominal,
        year=year,
        number=number,
        running=running,
        out_on=when.out_on,
        cut_off_at=when.cut_off_at,
        send_at=when.send_at,
        made_at=rt.now(),
    )


# ── deciding ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def skip(rt: Runtime, actor: Actor, nominal: date, reason: str, into: date | None = None) -> None:
    """Decide that no issue comes out for this nominal day; `into`: it is merged into the issue of a later one (合刊),
    which must still take something in. What was assembled for it goes to the next issue. Its numbers are not given
    again. Raises Refused."""
    permit(actor, Decision.SKIP)
    reason = require_reason(reason)
    newsletter = configured(rt)
    with rt.writing() as db:
        _lock(db)
        _require_day(newsletter, nominal)
        if into is not None:
            _require_day(newsletter, into)
            if into <= nominal:
                raise Refused("issue.merge_backwards", day=nominal.isoformat(), into=into.isoformat())
            if db.get(SkippedIssue, into) is not None:
                raise Refused("issue.left_out_already", day=into.isoformat())
            if not takes_more(rt, _planned(rt, db, newsletter, into)):
                raise Refused("issue.merge_too_late", day=nominal.isoformat(), into=into.isoformat())
        if db.get(SkippedIssue, nominal) is not None:
            raise Refused("issue.left_out_already", day=nominal.isoformat())
        if db.scalar(select(SkippedIssue.nominal).where(SkippedIssue.into == nominal)) is not None:
            raise Refused("issue.merged_into", day=nominal.isoformat())
        issue = db.scalars(select(StoredIssue).where(StoredIssue.nominal == nominal)).one_or_none()
        if issue is not None:
            if issue.item_id is None:  # it may be just being assembled
                db.refresh(issue, with_for_update=True)
            _free(rt, db, issue)
        row = SkippedIssue(nominal=nominal, into=into, reason=reason)
        row.set_by, row.set_at = actor.person.id, rt.now()
        db.add(row)
        facts = {"day": nominal, "into": into, "reason": reason}
        audit(rt, db, actor, Decision.SKIP, issue.item_id if issue is not None else None, **facts)


def takes_more(rt: Runtime, line: Line) -> bool:
    """May an earlier issue still be merged into this one? Not after its cut-off, nor once it was submitted."""
    return line.phase in (Phase.PLANNED, Phase.DRAFT) and line.cut_off_at > rt.now()


def _planned(rt: Runtime, db: Session, newsletter: NewsletterSection, nominal: date) -> Line:
    """The issue of a nominal day, made or not: then without numbers."""
    issue = db.scalars(select(StoredIssue).where(StoredIssue.nominal == nominal)).one_or_none()
    if issue is not None:
        return _lines(rt, db, [issue])[0]
    return _unmade(dates(rt.settings, newsletter, nominal), (nominal.year, 0, 0), None)


def take_back(rt: Runtime, actor: Actor, nominal: date, reason: str) -> None:
    """Let the issue of this nominal day come out after all. Raises Refused."""
    permit(actor, Decision.SKIP)
    reason = require_reason(reason)
    with rt.writing() as db:
        _lock(db)
        row = db.get(SkippedIssue, nominal)
        if row is None:
            raise Refused("issue.not_left_out", day=nominal.isoformat())
        db.delete(row)
        audit(rt, db, actor, Decision.SKIP, None, day=nominal, taken_back=True, reason=reason)


def _free(rt: Runtime, db: Session, issue: StoredIssue) -> None:
    """What was offered to an issue that is left out may go into the next one. One in force is withdrawn first."""
    if issue.item_id is None:
        return
    item = db.get_one(Item, issue.item_id, with_for_update={"key_share": True})
    staged = {
        one.stage: one
        for one in db.scalars(
            select(Submission).where(
                Submission.item_id == issue.item_id, Submission.stage.in_((Stage.APPROVED, Stage.REVIEWING))
            )
        )
    }
    if Stage.APPROVED in staged:
        raise Refused("issue.in_force", item=str(issue.item_id))
    if (reviewing := staged.get(Stage.REVIEWING)) is not None:
        reviewing.stage, reviewing.reason, reviewing.closed_at = Stage.VOIDED, "left_out", rt.now()
    for entry in db.scalars(select(IssueEntry).where(IssueEntry.issue_id == issue.id)):
        db.delete(entry)
    # Should it come out after all, it is assembled anew: from what no other issue took meanwhile.
    issue.built_at = None
    latest = latest_revision(db, item.id)
    draft = read_draft(db, latest)
    if draft.issue is not None:
        pictures = {piece.picture for piece in draft.issue.pieces.values()} - {draft.issue.editorial_picture}
        files = tuple(file for file in draft.files if file.name not in pictures)
        store_revision(rt, db, item, latest.author, rearranged(replace(draft, files=files), draft.issue.bare))


def release(rt: Runtime, actor: Actor, issue_id: int) -> int:
    """Let go an issue that was approved or could be sent only after its time, and waits for a person. Returns how many
    deliveries are due now. Raises Refused when none waits, or when it waits for another text."""
    with rt.reading() as db:
        issue = stored(db, issue_id)
        held = select(func.count()).where(Delivery.item_id == issue.item_id, Delivery.state == State.ON_HOLD)
        if issue.item_id is None or not db.scalar(held):
            raise Refused("issue.nothing_held", issue=numbers(issue.year, issue.number, issue.running))
    return operate.retry(rt, actor, issue.item_id)


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def plan(rt: Runtime, count: int = 24) -> list[Line]:
    """What is overdue, and then the next `count` issues by the calendar, made or not. Nothing is made by reading."""
    newsletter = configured(rt)
    with rt.reading() as db:
        made = list(db.scalars(select(StoredIssue).order_by(StoredIssue.nominal)))
        skipped = {one.nominal: one for one in db.scalars(select(SkippedIssue))}
        lines = _lines(rt, db, [one for one in made if _is_open(rt, one)])
        lines = [one for one in lines if one.send_at > rt.now() or one.late]
        ahead = sum(one.send_at > rt.now() for one in lines)
        last = made[-1] if made else None
    for when, given in _coming(rt, newsletter, last):
        if ahead >= count:
            break
        row = skipped.get(when.nominal)
        lines.append(_unmade(when, given, row))
        ahead += when.send_at > rt.now()
    return lines


def _is_open(rt: Runtime, issue: StoredIssue) -> bool:
    """Older ones are history, sent or not."""
    return issue.send_at > rt.now() - timedelta(days=400)


def _coming(rt: Runtime, newsletter: NewsletterSection, last: StoredIssue | None) -> Iterator[tuple[Dates, Given]]:
    """The issues after the last one that was made, without end."""
    given = (last.year, last.number, last.running) if last is not None else None
    for nominal in nominal_days(newsletter.days, _begin(rt, newsletter, last)):
        given = _next(given, nominal) if given is not None else _first(newsletter, nominal)
        yield dates(rt.settings, newsletter, nominal), given


def _unmade(when: Dates, given: Given, skipped: SkippedIssue | None) -> Line:
    year, number, running = given
    return Line(
        id=0,
        nominal=when.nominal,
        out_on=when.out_on,
        cut_off_at=when.cut_off_at,
        send_at=when.send_at,
        provisional=when.provisional,
        year=year,
        number=number,
        running=running,
        item=0,
        phase=Phase.LEFT_OUT if skipped is not None else Phase.PLANNED,
        late=False,
        reason=skipped.reason if skipped is not None else "",
        into=skipped.into if skipped is not None else None,
    )


def _lines(rt: Runtime, db: Session, issues: Collection[StoredIssue]) -> list[Line]:
    newsletter, phases = configured(rt), _phases(db, issues)
    skips = {one.nominal: one for one in db.scalars(select(SkippedIssue))}
    return [_line(rt, newsletter, one, phases[one.item_id], skips.get(one.nominal)) for one in issues]


def _line(
    rt: Runtime, newsletter: NewsletterSection, issue: StoredIssue, phase: Phase, skipped: SkippedIssue | None
) -> Line:
    phase = Phase.LEFT_OUT if skipped is not None else phase
    unsent = phase in (Phase.PLANNED, Phase.DRAFT, Phase.REVIEWING, Phase.HELD, Phase.OUTDATED)
    return Line(
        id=issue.id,
        nominal=issue.nominal,
        out_on=issue.out_on,
        cut_off_at=issue.cut_off_at,
        send_at=issue.send_at,
        provisional=dates(rt.settings, newsletter, issue.nominal).provisional,
        year=issue.year,
        number=issue.number,
        running=issue.running,
        item=issue.item_id or 0,
        phase=phase,
        late=unsent and issue.send_at < rt.now(),
        reason=skipped.reason if skipped is not None else "",
        into=skipped.into if skipped is not None else None,
    )


def _phases(db: Session, issues: Iterable[StoredIssue]) -> dict[int | None, Phase]:
    """How far issues are, by their items: by the submissions and by what became of them where they go. That is asked
    of all at once, and no delivery is counted: years of issues may have had 100,000 readers each."""
    items = [one.item_id for one in issues if one.item_id is not None]
    stages: dict[int, list[Stage]] = {item: [] for item in items}
    submitted = select(Submission.item_id, Submission.stage).where(Submission.item_id.in_(items))
    for item, stage in db.execute(submitted.order_by(Submission.id)):
        stages[item].append(stage)
    approved = [item for item in items if Stage.APPROVED in stages[item]]

    def having(state: State, *more: ColumnElement[bool]) -> set[int]:
        leaves = (Delivery.item_id.in_(approved), Delivery.expanded_at.is_(None))
        return set(db.scalars(select(Delivery.item_id).distinct().where(*leaves, Delivery.state == state, *more)))

    held = having(State.ON_HOLD, few(State.ON_HOLD))
    textless = having(State.ON_HOLD, few(State.ON_HOLD), Delivery.reason == OUTDATED) if held else set()
    sending = having(State.SENDING, few(State.SENDING))
    waiting = having(State.DUE, few(State.DUE)) | sending

    def phase(item: int) -> Phase:
        if Stage.APPROVED in stages[item]:
            if item in held:
                return Phase.OUTDATED if item in textless else Phase.HELD
            if item in waiting:
                return Phase.SENDING if item in sending or _has_begun(db, item) else Phase.APPROVED
            return Phase.SENT
        if Stage.REVIEWING in stages[item]:
            return Phase.REVIEWING
        return Phase.WITHDRAWN if stages[item] and stages[item][-1] is Stage.WITHDRAWN else Phase.DRAFT

    return {None: Phase.PLANNED, **{item: phase(item) for item in items}}


def _has_begun(db: Session, item_id: int) -> bool:
    out = Delivery.state.in_((State.ACCEPTED, State.CONFIRMED, State.IN_DOUBT))
    return bool(db.scalar(select(exists().where(Delivery.item_id == item_id, Delivery.expanded_at.is_(None), out))))


def line(rt: Runtime, issue_id: int) -> Line:
    """One issue. Raises Refused when there is none."""
    with rt.reading() as db:
        return _lines(rt, db, [stored(db, issue_id)])[0]


def find(rt: Runtime, name: str) -> int:
    """The id of the issue that a person names: by its nominal day, its running total, or as 2026-22 (year and number
    within it); "": the one that is worked at, the first that is not sent or left out. Raises Refused."""
    with rt.reading() as db:
        chosen = select(StoredIssue).order_by(StoredIssue.nominal)
        if not name:
            left = chosen.where(StoredIssue.nominal.not_in(select(SkippedIssue.nominal)))
            open_ = [one for one in db.scalars(left) if _is_open(rt, one)]
            phases = _phases(db, open_)
            unsent = [one for one in open_ if phases[one.item_id] not in (Phase.SENT, Phase.WITHDRAWN)]
            # A late one for which there is nothing waits for a decision only.
            worked_at = [one for one in unsent if one.item_id is not None or one.send_at > rt.now()] or unsent
            if worked_at:
                return worked_at[0].id
            raise Refused("issue.none_open")
        first, _, second = name.partition("-")
        if name.isascii() and name.isdigit() and len(name) < 9:
            chosen = chosen.where(StoredIssue.running == int(name))
        elif first.isdigit() and second.isdigit() and len(name) < 12:
            chosen = chosen.where(StoredIssue.year == int(first), StoredIssue.number == int(second))
        else:
            try:
                chosen = chosen.where(StoredIssue.nominal == date.fromisoformat(name))
            except ValueError:
                raise Refused("issue.unknown", issue=name[:40]) from None
        issue = db.scalars(chosen).one_or_none()
        if issue is None:
            raise Refused("issue.unknown", issue=name)
        return issue.id


def of_item(rt: Runtime, item_id: int) -> int | None:
    """The id of the issue that this item is; None: it is none."""
    with rt.reading() as db:
        return db.scalar(select(StoredIssue.id).where(StoredIssue.item_id == item_id))


def archive(rt: Runtime, count: int = 48) -> list[Line]:
    """The issues that were made, the newest first."""
    with rt.reading() as db:
        return _lines(rt, db, db.scalars(select(StoredIssue).order_by(StoredIssue.nominal.desc()).limit(count)).all())


# ── parts ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def configured(rt: Runtime) -> NewsletterSection:
    """The newsletter's settings. Raises Refused where the office has none."""
    if rt.settings.newsletter is None:
        raise Refused("issue.no_newsletter")
    return rt.settings.newsletter


def stored(db: Session, issue_id: int) -> StoredIssue:
    """The issue with this id. Raises Refused."""
    issue = db.get(StoredIssue, issue_id)
    if issue is None:
        raise Refused("issue.unknown", issue=str(issue_id))
    return issue


def _require_day(newsletter: NewsletterSection, nominal: date) -> None:
    if nominal.day not in newsletter.days:
        days = "、".join(str(day) for day in newsletter.days)
        raise Refused("issue.no_such_day", day=nominal.isoformat(), days=days)
