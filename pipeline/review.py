"""All that a person decides about an item, each decision one audited function and one commit.

Every function takes the runtime, the actor and an item's id; it raises Refused and then has changed nothing. Channels
are never called here: a decision changes what the ledger wants, and wakes the workers after its commit.
"""

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Literal

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session, load_only

from channels.contract import Evidence, File, Finding, Rendition, Severity, Unrenderable
from config.settings import Person
from pipeline import audience, checks, deputies, reasons, referrals, rulings, scans, sources, staff
from pipeline.catalogue import issue_index_number
from pipeline.decisions import FARTHEST, Actor, Decision, Refused, audit, entitled, permit, require_reason, review_role
from pipeline.drafts import Draft, checked, compose, keep_issue, latest_revision, read_draft, store_revision
from pipeline.models import (
    Approval,
    Delivery,
    Item,
    Referral,
    Revision,
    StoredDepartment,
    StoredIssue,
    StoredPerson,
    StoredRendition,
    Submission,
)
from pipeline.renditions import store_files, store_rendition, went_out
from pipeline.runtime import Runtime
from pipeline.slots import want, want_nothing
from pipeline.states import Disclosure, Ground, Stage, State
from pipeline.submissions import close, locked_item, manifest, staged

Signed = Literal[Decision.APPROVE, Decision.RETURN, Decision.REFUSE]
SIGNED: Mapping[str, Signed] = {"approve": Decision.APPROVE, "return": Decision.RETURN, "refuse": Decision.REFUSE}
SHORTEST_HASH = 12  # hexadecimal characters of a hash that a person may name it by


@dataclass(frozen=True)
class Submitted:
    """A submission under review: the hash that approvals name, what the checks warn of, and the groups of subscribers
    that it goes to (None: nobody is sent it)."""

    item_id: int
    index_number: str
    hash: str
    warnings: tuple[Finding, ...]
    groups: tuple[str, ...] | None = None


def create(rt: Runtime, actor: Actor, draft: Draft, record: "Record | None" = None) -> int:
    """A new item with its first revision, as a draft. Returns its id. `record` keeps in the same commit where it came
    from; what it raises undoes the whole."""
    permit(actor, Decision.CREATE, draft.department)
    draft = checked(rt, draft)
    with rt.writing() as db:
        item = Item(department=draft.department, created_by=actor.person.id, created_at=rt.now())
        db.add(item)
        db.flush()
        revision = store_revision(rt, db, item, actor.person.id, draft)
        audit(rt, db, actor, Decision.CREATE, item.id, revision=revision.number, hash=revision.content_hash)
        if record is not None:
            record(db, item.id)
        return item.id


Record = Callable[[Session, int], None]


def edit(
    rt: Runtime, actor: Actor, item_id: int, draft: Draft, based_on: int | None = None, record: Record | None = None
) -> int:
    """A new revision of an item that was never approved, or was withdrawn; approvals given so far are void. Returns
    the revision's number. `based_on`: the number of the revision that it was written from, where that is known: refused
    when somebody saved a newer one meanwhile. `record`: as in `create`."""
    return _revise(rt, actor, item_id, draft, Decision.EDIT, based_on, record)


def correct(
    rt: Runtime, actor: Actor, item_id: int, draft: Draft, based_on: int | None = None, record: Record | None = None
) -> int:
    """A new revision of an item that is in force: the old one stays wanted until the new one is approved."""
    return _revise(rt, actor, item_id, draft, Decision.CORRECT, based_on, record)


def _revise(
    rt: Runtime, actor: Actor, item_id: int, draft: Draft, decision: Decision, based_on: int | None,
    record: Record | None,
) -> int:  # fmt: skip
    with rt.reading() as db:
        draft = keep_issue(db, item_id, draft)
    draft = checked(rt, draft)
    with rt.writing() as db:
        item = locked_item(db, item_id)
        permit(actor, decision, item.department)
        permit(actor, decision, draft.department)  # nobody moves an item where they could not write one
        in_force = staged(db, item_id, Stage.APPROVED)
        if decision is Decision.EDIT and in_force is not None:
            raise Refused("review.correct_instead")
        if decision is Decision.CORRECT and in_force is None:
            raise Refused("review.edit_instead")
        if based_on is not None and (number := latest_revision(db, item_id).number) != based_on:
            raise Refused("review.newer_revision", revision=str(number))
        reviewing = staged(db, item_id, Stage.REVIEWING)
        if reviewing is not None:
            close(rt, reviewing, Stage.VOIDED, "edited")
        revision = store_revision(rt, db, item, actor.person.id, draft)
        item.department = draft.department
        voided = reviewing.hash if reviewing is not None else ""
        audit(rt, db, actor, decision, item_id, revision=revision.number, hash=revision.content_hash, voided=voided)
        if record is not None:
            record(db, item_id)
        return revision.number


def submit(
    rt: Runtime,
    actor: Actor,
    item_id: int,
    channels: Collection[str] | None = None,
    publish_at: datetime | None = None,
    disclosure: Disclosure = Disclosure.PROACTIVE,
    ground: Ground | None = None,
    why: Mapping[str, str] = MappingProxyType({}),
    groups: Collection[str] | None = None,
) -> Submitted:
    """Put the latest revision up for review, with class, channels and time. `channels` None: those in force. `why`:
    reasons for what the checks question, by the finding's key or code (`reasons.answered`). `groups`: of subscribers,
    by id or name, where a channel has any; None: those of the item's type.

    Issues the index number, runs the checks, renders and stores what each channel will show, and hashes it all.
    """
    with rt.writing() as db:  # the number must stand in the renditions, and stays the item's whatever happens next
        item = locked_item(db, item_id)
        permit(actor, Decision.SUBMIT, item.department)
        revision, draft = _latest(db, item_id)
        if publish_at is None and staged(db, item_id, Stage.APPROVED) is None:
            publish_at = sources.send_at(db, item_id)  # an issue has its day
        chosen, time = _choose(rt, db, item_id, revision, channels, publish_at, disclosure, ground)
        if item.index_number is None:
            item.index_number = issue_index_number(rt, db)
        index_number = item.index_number
        corrected = went_out(db, item_id, before=revision.id)
    message = compose(rt, item, revision.number, draft, corrected)
    public = disclosure is Disclosure.PROACTIVE
    findings, renditions = list[Finding](checks.report(rt, draft, public)), dict[str, Rendition]()
    findings += sources.findings(rt, draft, chosen)
    if publish_at is not None and publish_at < rt.now():
        findings.append(Finding("check.time_past", Severity.WARN, "publish_at"))
    for name in chosen:
        try:
            renditions[name] = rt.channels[name].adapter.render(message)
        except Unrenderable as error:
            findings.extend(error.findings)
    if any(finding.severity is Severity.BLOCK for finding in findings):
        raise Refused("review.blocked", findings)
    found = reasons.answered(rt, actor, item_id, findings, why)
    told = None
    if audience.groups(rt.settings) and any(rt.channels[name].adapter.addressed for name in chosen):
        of_type = audience.of_type(rt.settings, draft.item_type)
        told = of_type if groups is None else audience.chosen(rt.settings, groups)
    stored = manifest(item, revision, disclosure, ground, time, renditions, told)
    digest = hashlib.sha256(stored).hexdigest()
    with rt.writing() as db:
        locked_item(db, item_id)
        if latest_revision(db, item_id).id != revision.id:
            raise Refused("review.edited_meanwhile")
        sources.require_current(db, item_id, draft)
        _choose(rt, db, item_id, revision, channels, publish_at, disclosure, ground)
        submission = Submission(
            item_id=item_id,
            revision_id=revision.id,
            submitted_by=actor.person.id,
            submitted_at=rt.now(),
            disclosure=disclosure,
            ground=ground,
            publish_at=time,
            groups=None if told is None else " ".join(told),
            manifest=stored,
            hash=digest,
            stage=Stage.REVIEWING,
        )
        db.add(submission)
        db.flush()
        for name, rendition in renditions.items():
            store_rendition(db, submission.id, revision.id, name, rendition)
        reasons.store(db, submission.id, found)
        audit(rt, db, actor, Decision.SUBMIT, item_id, hash=digest, channels=sorted(chosen), publish_at=time)
    return Submitted(item_id, index_number, digest, tuple(findings), told)


def approve(rt: Runtime, actor: Actor, item_id: int, hash: str) -> bool:
    """One level's yes to the submission with this hash. Returns True when it was the last one: what it holds is wanted
    from this commit on."""
    return _approve(rt, actor, item_id, hash)


@dataclass(frozen=True)
class Paper:
    """A review sheet that was signed: by whom, the hash printed on it, its scan, and what was ticked. A return needs a
    `reason`, a refusal its legal `ground`, too."""

    person: str
    hash: str
    scan: File
    decision: Signed = Decision.APPROVE
    reason: str = ""
    ground: Ground | None = None


def record_paper(rt: Runtime, actor: Actor, item_id: int, paper: Paper) -> bool:
    """Enter what was signed on the paper review sheet (代录), by somebody else than its signer: it counts as the
    signer's own. Returns True when it was the last yes. Raises Refused."""
    permit(actor, Decision.RECORD)
    decider = staff.person(rt, paper.person)
    if decider.id == actor.person.id:
        raise Refused("paper.own_decision", person=decider.name)
    scans.require(rt, paper.scan, "paper.no_scan", pdf=True)
    signer, recorded = Actor(decider, actor.os_user), _Recorded(actor, paper)
    match paper.decision:
        case Decision.APPROVE:
            return _approve(rt, signer, item_id, paper.hash, recorded)
        case Decision.RETURN:
            _end_review(rt, signer, item_id, Decision.RETURN, Stage.RETURNED, require_reason(paper.reason), recorded)
        case Decision.REFUSE:
            if paper.ground is None:
                raise Refused("paper.ground_missing")
            reason = f"{paper.ground}: {require_reason(paper.reason)}"
            _end_review(rt, signer, item_id, Decision.REFUSE, Stage.REFUSED, reason, recorded)
    return False


@dataclass(frozen=True)
class _Recorded:
    """A decision on paper, and who enters it."""

    by: Actor
    paper: Paper


def _approve(rt: Runtime, actor: Actor, item_id: int, hash: str, recorded: _Recorded | None = None) -> bool:
    def replacement(db: Session) -> Revision | None:
        coming = staged(db, item_id, Stage.REVIEWING) or staged(db, item_id, Stage.APPROVED)
        public = coming is not None and coming.disclosure is Disclosure.PROACTIVE
        return db.get_one(Revision, coming.revision_id) if public and coming is not None else None

    return rulings.followed(
        rt, item_id, replacement, lambda issue: _approve_with(rt, actor, item_id, hash, recorded, issue)
    )


def _approve_with(
    rt: Runtime, actor: Actor, item_id: int, hash: str, recorded: _Recorded | None, issue: rulings.Prepared | None
) -> bool:
    with rt.writing() as db:
        item = locked_item(db, item_id)
        turn = _turn(rt, db, actor, item, Decision.APPROVE)
        submission, given = turn.submission, turn.given
        _seen(db, submission, hash)
        if turn.asked:
            referrals.require_answered(db, submission.id)
        stood_in_for = _stood_in_for(actor, _apart(actor, turn))
        level = len(given)
        role = review_role(rt, level)
        approval = Approval(submission_id=submission.id, level=level, role=role, person=actor.person.id)
        approval.hash, approval.at, approval.on_behalf_of = submission.hash, rt.now(), stood_in_for
        if recorded is not None:
            store_files(db, [recorded.paper.scan])
            approval.recorded_by, approval.scan_sha256 = recorded.by.person.id, recorded.paper.scan.sha256
        db.add(approval)
        last = level + 1 >= len(rt.settings.review.levels)
        facts = {"hash": submission.hash, "level": role, "last": last, **_named(stood_in_for)}
        _audit_review(rt, db, actor, recorded, Decision.APPROVE, item_id, facts)
        channels: list[str] = []
        if last:
            planned = turn.planned
            if planned is not None:  # it is an issue of the newsletter
                sources.require_current(db, item_id, read_draft(db, db.get_one(Revision, submission.revision_id)))
            if turn.in_force is not None:
                close(rt, turn.in_force, Stage.SUPERSEDED)
                db.flush()
            close(rt, submission, Stage.APPROVED)
            chosen = select(StoredRendition).where(StoredRendition.submission_id == submission.id)
            stored = db.scalars(chosen.options(load_only(StoredRendition.channel, StoredRendition.digest)))
            renditions = {rendition.channel: rendition for rendition in stored}
            late = sources.approved_late(rt, planned, submission) if planned is not None else ()
            # What is not in force is in no issue.
            followers = rulings.follow(rt, db, actor, item_id, issue) if turn.in_force is not None else []
            want(rt, db, item_id, renditions, submission.publish_at, late, held_stays=planned is not None)
            channels = sorted({*renditions, *followers})
    rt.wake(*channels)
    return last


def return_(rt: Runtime, actor: Actor, item_id: int, reason: str) -> None:
    """Send the submission back to its author with a reason."""
    _end_review(rt, actor, item_id, Decision.RETURN, Stage.RETURNED, require_reason(reason))


def refuse(rt: Runtime, actor: Actor, item_id: int, ground: Ground, reason: str) -> None:
    """Decide that this is not to be public (不予公开), on a legal ground."""
    _end_review(rt, actor, item_id, Decision.REFUSE, Stage.REFUSED, f"{ground}: {require_reason(reason)}")


def _end_review(
    rt: Runtime, actor: Actor, item_id: int, decision: Decision, stage: Stage, reason: str,
    recorded: _Recorded | None = None,
) -> None:  # fmt: skip
    with rt.writing() as db:
        turn = _turn(rt, db, actor, locked_item(db, item_id), decision)
        submission = turn.submission
        if recorded is not None:
            _seen(db, submission, recorded.paper.hash)
            store_files(db, [recorded.paper.scan])
            submission.recorded_by, submission.scan_sha256 = recorded.by.person.id, recorded.paper.scan.sha256
        name = turn.names[0]
        if name.id != actor.person.id:  # a reviewer may send back even what they had a part in; a deputy had none
            name = _apart(actor, turn)
        close(rt, submission, stage, reason)
        submission.closed_by = actor.person.id
        facts = {"hash": submission.hash, "reason": reason, **_named(_stood_in_for(actor, name))}
        _audit_review(rt, db, actor, recorded, decision, item_id, facts)


def _audit_review(
    rt: Runtime, db: Session, actor: Actor, recorded: _Recorded | None, decision: Decision, item_id: int,
    facts: Mapping[str, object],
) -> None:  # fmt: skip
    """The line of a decision; of one on paper it names who entered it, and whose decision it was."""
    if recorded is None:
        audit(rt, db, actor, decision, item_id, **facts)
    else:
        audit(rt, db, recorded.by, Decision.RECORD, item_id, for_person=actor.person.id, signed=decision, **facts)


def withdraw(rt: Runtime, actor: Actor, item_id: int, reason: str) -> list[str]:
    """Take an item back everywhere, in one step, by the officer or a leader alone. A correction under review falls with
    it. Returns the channels concerned."""
    reason = require_reason(reason)
    return rulings.followed(
        rt, item_id, lambda _: None, lambda issue: _withdraw_with(rt, actor, item_id, reason, issue)
    )


def _withdraw_with(rt: Runtime, actor: Actor, item_id: int, reason: str, issue: rulings.Prepared | None) -> list[str]:
    with rt.writing() as db:
        stood_in_for = deputies.permit_withdrawal(rt, db, actor)
        locked_item(db, item_id)
        in_force = staged(db, item_id, Stage.APPROVED)
        if in_force is None or in_force.disclosure is not Disclosure.PROACTIVE:
            raise Refused("review.not_in_force")
        close(rt, in_force, Stage.WITHDRAWN, reason)
        reviewing = staged(db, item_id, Stage.REVIEWING)
        if reviewing is not None:
            close(rt, reviewing, Stage.VOIDED, "withdrawn")
        followers = rulings.follow(rt, db, actor, item_id, issue)
        channels = want_nothing(rt, db, item_id)
        facts = {"reason": reason, "channels": channels, **_named(stood_in_for)}
        audit(rt, db, actor, Decision.WITHDRAW, item_id, **facts)
    rt.wake(*sorted({*channels, *followers}))
    return channels


class Consequence(StrEnum):
    """What a withdrawal does on one channel."""

    RECALL = "recall"  # the page or entry is replaced by a tombstone
    PERSON = "person"  # a printed notice is to be taken down by somebody
    UNSENT = "unsent"  # nothing has gone out, and nothing will
    NO_RECALL = "no_recall"  # what went out stays out


@dataclass(frozen=True)
class Effect:
    """`sent`: how many recipients have it already or may have it; `unsent`: how many will not get it."""

    channel: str
    consequence: Consequence
    sent: int = 0
    unsent: int = 0


def consequences(rt: Runtime, item_id: int) -> list[Effect]:
    """What withdrawing this item would do on each channel, said before anybody confirms it."""
    out = (State.ACCEPTED, State.CONFIRMED, State.IN_DOUBT, State.SENDING)
    effects = []
    with rt.reading() as db:
        slots = db.scalars(select(Delivery).where(Delivery.item_id == item_id, Delivery.slot_id.is_(None))).all()
        for slot in slots:
            if slot.wanted_id is None:
                continue
            opened = rt.channels.get(slot.channel)
            below = select(Delivery.state, func.count()).where(Delivery.slot_id == slot.id).group_by(Delivery.state)
            counts = {row.state: row[1] for row in db.execute(below)} if slot.expanded_at else {slot.state: 1}
            sent = sum(count for state, count in counts.items() if state in out)
            unsent = sum(counts.values()) - sent - counts.get(State.SKIPPED, 0)
            if not sent and not slot.held_id and slot.held_known:
                consequence = Consequence.UNSENT
            elif opened is None or not opened.traits.recall:
                consequence = Consequence.NO_RECALL
            else:
                by_hand = opened.traits.evidence is Evidence.PERSON
                consequence = Consequence.PERSON if by_hand else Consequence.RECALL
            effects.append(Effect(slot.channel, consequence, sent, unsent))
    order = {name: place for place, name in enumerate(rt.channels)}
    return sorted(effects, key=lambda one: order.get(one.channel, len(order)))


@dataclass(frozen=True)
class _Turn:
    """A submission under review, what is in force meanwhile, the approvals given so far, in whose names it is the
    actor's turn (their own, or as a deputy), who wrote or submitted; whether somebody outside is `asked` and has not
    answered; `planned`: when it goes out by the newsletter's calendar, None: it is no issue."""

    submission: Submission
    in_force: Submission | None
    given: Sequence[Approval]
    names: Sequence[Person]
    authors: Collection[str]
    asked: bool
    planned: datetime | None


# ── parts of decisions ───────────────────────────────────────────────────────────────────────────────────────────────


def _latest(db: Session, item_id: int) -> tuple[Revision, Draft]:
    revision = latest_revision(db, item_id)
    return revision, read_draft(db, revision)


def _choose(
    rt: Runtime,
    db: Session,
    item_id: int,
    revision: Revision,
    channels: Collection[str] | None,
    publish_at: datetime | None,
    disclosure: Disclosure,
    ground: Ground | None,
) -> tuple[list[str], datetime | None]:
    """The channels and the time of a submission, or why there can be none."""
    if staged(db, item_id, Stage.REVIEWING) is not None:
        raise Refused("review.already_submitted")
    in_force = staged(db, item_id, Stage.APPROVED)
    stored = (
        set(db.scalars(select(StoredRendition.channel).where(StoredRendition.submission_id == in_force.id)))
        if in_force is not None
        else set()
    ) & rt.channels.keys()  # one that the office has given up cannot be asked for again
    chosen = sorted(stored if channels is None else set(channels))
    if unknown := [name for name in chosen if name not in rt.channels]:
        known = "、".join(f"{one.name}（{one.section.label}）" for one in rt.channels.values())
        raise Refused("review.unknown_channel", given=", ".join(unknown), known=known)
    if disclosure is not Disclosure.PROACTIVE:
        if chosen:
            raise Refused("review.not_for_channels")
        if in_force is not None and stored:
            raise Refused("review.withdraw_first")
        if ground is None and disclosure is Disclosure.NOT_PUBLIC:
            raise Refused("review.ground_missing", known=", ".join(Ground))
    elif not chosen:
        raise Refused("review.no_channel", known=", ".join(rt.channels))
    elif ground is not None:
        raise Refused("review.ground_not_wanted")
    if missing := stored - set(chosen):
        raise Refused("review.channel_dropped", channels=", ".join(sorted(missing)))
    for name in chosen:
        after = rt.channels[name].section.after
        if after and after not in chosen:
            raise Refused("review.needs_channel", channel=name, after=after)
    if publish_at is not None and publish_at.tzinfo is None:
        raise Refused("review.naive_time")
    if publish_at is not None and abs(publish_at - rt.now()) > FARTHEST:
        raise Refused("review.time_unlikely", publish_at=str(publish_at))
    time = publish_at
    if publish_at is None and in_force is not None:  # a correction goes out when the item does, postponed or not
        coming = select(func.max(Delivery.publish_at)).where(Delivery.item_id == item_id, Delivery.state == State.DUE)
        time = db.scalar(coming.where(Delivery.publish_at > rt.now())) or in_force.publish_at
    if in_force is not None and in_force.revision_id == revision.id:
        moved = publish_at is not None and publish_at != in_force.publish_at
        same = not moved and (set(chosen), disclosure) == (stored, in_force.disclosure)
        if same:
            raise Refused("review.nothing_new")
    return chosen, time


def _turn(rt: Runtime, db: Session, actor: Actor, item: Item, decision: Decision) -> _Turn:
    """The submission under review, if it is this actor's turn."""
    stages = (Stage.REVIEWING, Stage.APPROVED)
    authors = select(func.aggregate_strings(Revision.author, " ")).where(Revision.item_id == item.id).scalar_subquery()
    planned = select(StoredIssue.send_at).where(StoredIssue.item_id == item.id).scalar_subquery()
    asked = exists().where(Referral.submission_id == Submission.id, Referral.answered_at.is_(None))
    rows = db.execute(  # all in one: each question is a round trip while the item is locked
        select(Submission, Approval, asked.label("asked"), authors.label("authors"), planned.label("planned"))
        .outerjoin(Approval, Approval.submission_id == Submission.id)
        .where(Submission.item_id == item.id, Submission.stage.in_(stages))
        .order_by(Approval.level)
    ).all()
    found: dict[Stage, Submission] = {row.Submission.stage: row.Submission for row in rows}
    submission = found.get(Stage.REVIEWING)
    if submission is None:
        raise Refused("review.nothing_waiting")
    mine = [row for row in rows if row.Submission is submission]
    given = [row.Approval for row in mine if row.Approval is not None]
    role = review_role(rt, len(given))
    own = entitled(actor.person, role, item.department)  # then they need to stand in for nobody
    represents = [] if own else deputies.stands_in_for(rt, db, actor.person)
    if names := deputies.in_whose_name(actor.person, represents, role, item.department):
        wrote = {*mine[0].authors.split(), submission.submitted_by}
        return _Turn(submission, found.get(Stage.APPROVED), given, names, wrote, mine[0].asked, mine[0].planned)
    if not any(role in one.roles for one in (actor.person, *represents)):
        raise Refused("decision.not_permitted", person=actor.person.name, decision=decision, roles=role)
    everybody = [staff.read_person(row) for row in db.scalars(select(StoredPerson).where(StoredPerson.active))]
    leaders = "、".join(one.name for one in everybody if entitled(one, role, item.department))
    department = db.get(StoredDepartment, item.department)
    named = department.name if department is not None else item.department
    raise Refused("review.not_in_charge", person=actor.person.name, department=named, leaders=leaders or "—")


def _seen(db: Session, submission: Submission, hash: str) -> None:
    """The hash named must be that of the submission under review: what was seen is what is approved."""
    hash = hash.strip().lower()
    if len(hash) < SHORTEST_HASH:
        raise Refused("review.hash_short", least=str(SHORTEST_HASH))
    if submission.hash.startswith(hash):
        return
    earlier = db.scalars(select(Submission.hash).where(Submission.item_id == submission.item_id))
    if any(other.startswith(hash) for other in earlier):
        raise Refused("review.edited_since", item=str(submission.item_id))
    raise Refused("review.wrong_hash", item=str(submission.item_id))


def _apart(actor: Actor, turn: _Turn) -> Person:
    """Author of any revision, submitter, officer and leader are different persons (domain: review separation), and so
    are those in whose names they act. Returns in whose name the actor does."""
    reviewers = {name for approval in turn.given for name in (approval.person, approval.on_behalf_of)}
    if actor.person.id in turn.authors:
        raise Refused("review.own_item", person=actor.person.name)
    if actor.person.id in reviewers:
        raise Refused("review.same_person", person=actor.person.name)
    name = deputies.apart(turn.names, {*turn.authors, *reviewers})
    if name is None:
        represented = "、".join(one.name for one in turn.names)
        raise Refused("review.represented_involved", person=actor.person.name, represented=represented)
    return name


def _stood_in_for(actor: Actor, name: Person) -> str:
    return "" if name.id == actor.person.id else name.id


def _named(stood_in_for: str) -> dict[str, str]:
    """How the audit log says whom a deputy stood in for."""
    return {"on_behalf_of": stood_in_for} if stood_in_for else {}
