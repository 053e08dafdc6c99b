"""All that a person decides about an item, each decision one audited function and one commit.

Every function takes the runtime, the actor and an item's id; it raises Refused and then has changed nothing. Channels
are never called here: a decision changes what the ledger wants, and wakes the workers after its commit.
"""

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from channels.contract import Finding, Rendition, Severity, Unrenderable
from pipeline import checks
from pipeline.catalogue import issue_index_number
from pipeline.decisions import Actor, Decision, Refused, audit, permit, require_reason, review_role
from pipeline.drafts import Draft, checked, compose, latest_revision, read_draft, store_revision
from pipeline.models import Approval, Item, Revision, StoredRendition, Submission
from pipeline.renditions import store_rendition
from pipeline.runtime import Runtime
from pipeline.slots import want, want_nothing
from pipeline.states import Disclosure, Ground, Stage

FARTHEST = timedelta(days=3653)  # a time further off is a slip of the pen
SHORTEST_HASH = 12  # hexadecimal characters of a hash that a person may name it by


@dataclass(frozen=True)
class Submitted:
    """A submission under review: the hash that approvals name, and what the checks warn of."""

    item_id: int
    index_number: str
    hash: str
    warnings: tuple[Finding, ...]


def create(rt: Runtime, actor: Actor, draft: Draft) -> int:
    """A new item with its first revision, as a draft. Returns its id."""
    permit(actor, Decision.CREATE, draft.department)
    draft = checked(rt, draft)
    with rt.writing() as db:
        item = Item(department=draft.department, created_by=actor.person.id, created_at=rt.now())
        db.add(item)
        db.flush()
        revision = store_revision(rt, db, item, actor.person.id, draft)
        audit(rt, db, actor, Decision.CREATE, item.id, revision=revision.number, hash=revision.content_hash)
        return item.id


def edit(rt: Runtime, actor: Actor, item_id: int, draft: Draft) -> int:
    """A new revision of an item that was never approved, or was withdrawn; approvals given so far are void. Returns
    the revision's number."""
    return _revise(rt, actor, item_id, draft, Decision.EDIT)


def correct(rt: Runtime, actor: Actor, item_id: int, draft: Draft) -> int:
    """A new revision of an item that is in force: the old one stays wanted until the new one is approved."""
    return _revise(rt, actor, item_id, draft, Decision.CORRECT)


def _revise(rt: Runtime, actor: Actor, item_id: int, draft: Draft, decision: Decision) -> int:
    draft = checked(rt, draft)
    with rt.writing() as db:
        item = _item(db, item_id)
        permit(actor, decision, item.department)
        permit(actor, decision, draft.department)  # nobody moves an item where they could not write one
        in_force = _submission(db, item_id, Stage.APPROVED)
        if decision is Decision.EDIT and in_force is not None:
            raise Refused("review.correct_instead")
        if decision is Decision.CORRECT and in_force is None:
            raise Refused("review.edit_instead")
        reviewing = _submission(db, item_id, Stage.REVIEWING)
        if reviewing is not None:
            _close(rt, reviewing, Stage.VOIDED, "edited")
        revision = store_revision(rt, db, item, actor.person.id, draft)
        item.department = draft.department
        voided = reviewing.hash if reviewing is not None else ""
        audit(rt, db, actor, decision, item_id, revision=revision.number, hash=revision.content_hash, voided=voided)
        return revision.number


def submit(
    rt: Runtime,
    actor: Actor,
    item_id: int,
    channels: Collection[str] | None = None,
    publish_at: datetime | None = None,
    disclosure: Disclosure = Disclosure.PROACTIVE,
    ground: Ground | None = None,
) -> Submitted:
    """Put the latest revision up for review, with class, channels and time. `channels` None: those in force.

    Issues the index number, runs the checks, renders and stores what each channel will show, and hashes it all.
    """
    with rt.writing() as db:  # the number must stand in the renditions, and stays the item's whatever happens next
        item = _item(db, item_id)
        permit(actor, Decision.SUBMIT, item.department)
        revision, draft = _latest(db, item_id)
        chosen, time = _choose(rt, db, item_id, revision, channels, publish_at, disclosure, ground)
        if item.index_number is None:
            item.index_number = issue_index_number(rt, db)
        index_number = item.index_number
    message = compose(rt, item, revision.number, draft)
    findings, renditions = checks.find(message), dict[str, Rendition]()
    if publish_at is not None and publish_at < rt.now():
        findings.append(Finding("check.time_past", Severity.WARN, "publish_at"))
    for name in chosen:
        try:
            renditions[name] = rt.channels[name].adapter.render(message)
        except Unrenderable as error:
            findings.extend(error.findings)
    if any(finding.severity is Severity.BLOCK for finding in findings):
        raise Refused("review.blocked", findings)
    manifest = _manifest(item, revision, disclosure, ground, time, renditions)
    digest = hashlib.sha256(manifest).hexdigest()
    with rt.writing() as db:
        _item(db, item_id)
        if latest_revision(db, item_id).id != revision.id:
            raise Refused("review.edited_meanwhile")
        _choose(rt, db, item_id, revision, channels, publish_at, disclosure, ground)
        submission = Submission(
            item_id=item_id,
            revision_id=revision.id,
            submitted_by=actor.person.id,
            submitted_at=rt.now(),
            disclosure=disclosure,
            ground=ground,
            publish_at=time,
            manifest=manifest,
            hash=digest,
            stage=Stage.REVIEWING,
        )
        db.add(submission)
        db.flush()
        for name, rendition in renditions.items():
            store_rendition(db, submission.id, revision.id, name, rendition)
        audit(rt, db, actor, Decision.SUBMIT, item_id, hash=digest, channels=sorted(chosen), publish_at=time)
    return Submitted(item_id, index_number, digest, tuple(findings))


def approve(rt: Runtime, actor: Actor, item_id: int, hash: str) -> bool:
    """One level's yes to the submission with this hash. Returns True when it was the last one: what it holds is wanted
    from this commit on."""
    with rt.writing() as db:
        item = _item(db, item_id)
        submission = _waiting(rt, db, actor, item, Decision.APPROVE)
        _seen(db, submission, hash)
        given = _approvals(db, submission)
        _apart(db, actor, submission, given)
        level = len(given)
        role = review_role(rt, level)
        approval = Approval(submission_id=submission.id, level=level, role=role, person=actor.person.id)
        approval.hash, approval.at = submission.hash, rt.now()
        db.add(approval)
        last = level + 1 >= len(rt.settings.review.levels)
        audit(rt, db, actor, Decision.APPROVE, item_id, hash=submission.hash, level=role, last=last)
        channels: list[str] = []
        if last:
            before = _submission(db, item_id, Stage.APPROVED)
            if before is not None:
                _close(rt, before, Stage.SUPERSEDED)
                db.flush()
            _close(rt, submission, Stage.APPROVED)
            stored = db.scalars(select(StoredRendition).where(StoredRendition.submission_id == submission.id))
            renditions = {rendition.channel: rendition for rendition in stored}
            want(rt, db, item_id, renditions, submission.publish_at)
            channels = sorted(renditions)
    rt.wake(*channels)
    return last


def return_(rt: Runtime, actor: Actor, item_id: int, reason: str) -> None:
    """Send the submission back to its author with a reason."""
    _end_review(rt, actor, item_id, Decision.RETURN, Stage.RETURNED, require_reason(reason))


def refuse(rt: Runtime, actor: Actor, item_id: int, ground: Ground, reason: str) -> None:
    """Decide that this is not to be public (不予公开), on a legal ground."""
    _end_review(rt, actor, item_id, Decision.REFUSE, Stage.REFUSED, f"{ground}: {require_reason(reason)}")


def _end_review(rt: Runtime, actor: Actor, item_id: int, decision: Decision, stage: Stage, reason: str) -> None:
    with rt.writing() as db:
        submission = _waiting(rt, db, actor, _item(db, item_id), decision)
        _close(rt, submission, stage, reason)
        audit(rt, db, actor, decision, item_id, hash=submission.hash, reason=reason)


def withdraw(rt: Runtime, actor: Actor, item_id: int, reason: str) -> list[str]:
    """Take an item back everywhere, in one step, by the officer or a leader alone. A correction under review falls with
    it. Returns the channels concerned."""
    reason = require_reason(reason)
    permit(actor, Decision.WITHDRAW)
    with rt.writing() as db:
        _item(db, item_id)
        in_force = _submission(db, item_id, Stage.APPROVED)
        if in_force is None or in_force.disclosure is not Disclosure.PROACTIVE:
            raise Refused("review.not_in_force")
        _close(rt, in_force, Stage.WITHDRAWN, reason)
        reviewing = _submission(db, item_id, Stage.REVIEWING)
        if reviewing is not None:
            _close(rt, reviewing, Stage.VOIDED, "withdrawn")
        channels = want_nothing(rt, db, item_id)
        audit(rt, db, actor, Decision.WITHDRAW, item_id, reason=reason, channels=channels)
    rt.wake(*channels)
    return channels


# ── parts of decisions ───────────────────────────────────────────────────────────────────────────────────────────────


def _item(db: Session, item_id: int) -> Item:
    """The item, locked: decisions on one item come one after another."""
    item = db.get(Item, item_id, with_for_update={"key_share": True})  # a foreign key's check need not wait
    if item is None:
        raise Refused("item.unknown", item=str(item_id))
    return item


def _latest(db: Session, item_id: int) -> tuple[Revision, Draft]:
    revision = latest_revision(db, item_id)
    return revision, read_draft(db, revision)


def _submission(db: Session, item_id: int, stage: Stage) -> Submission | None:
    return db.scalars(select(Submission).where(Submission.item_id == item_id, Submission.stage == stage)).one_or_none()


def _close(rt: Runtime, submission: Submission, stage: Stage, reason: str = "") -> None:
    submission.stage, submission.reason, submission.closed_at = stage, reason, rt.now()


def _approvals(db: Session, submission: Submission) -> Sequence[Approval]:
    return db.scalars(select(Approval).where(Approval.submission_id == submission.id).order_by(Approval.level)).all()


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
    if _submission(db, item_id, Stage.REVIEWING) is not None:
        raise Refused("review.already_submitted")
    in_force = _submission(db, item_id, Stage.APPROVED)
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
    time = publish_at if publish_at is not None or in_force is None else in_force.publish_at
    if in_force is not None and in_force.revision_id == revision.id:
        same = (set(chosen), time, disclosure) == (stored, in_force.publish_at, in_force.disclosure)
        if same:
            raise Refused("review.nothing_new")
    return chosen, time


def _manifest(
    item: Item,
    revision: Revision,
    disclosure: Disclosure,
    ground: Ground | None,
    publish_at: datetime | None,
    renditions: dict[str, Rendition],
) -> bytes:
    """What an approval binds to (design: "Hash"), as bytes. The revision's hash covers the attachments' hashes."""
    document = {
        "item": item.id,
        "index_number": item.index_number,
        "revision": revision.number,
        "content": revision.content_hash,
        "disclosure": disclosure,
        "ground": ground,
        "publish_at": publish_at.isoformat() if publish_at else None,
        "renditions": {name: rendition.digest for name, rendition in renditions.items()},
    }
    return json.dumps(document, ensure_ascii=False, sort_keys=True, indent=1).encode()


def _waiting(rt: Runtime, db: Session, actor: Actor, item: Item, decision: Decision) -> Submission:
    """The submission under review, if it is this actor's turn."""
    submission = _submission(db, item.id, Stage.REVIEWING)
    if submission is None:
        raise Refused("review.nothing_waiting")
    role = review_role(rt, len(_approvals(db, submission)))
    if role not in actor.person.roles:
        raise Refused("decision.not_permitted", person=actor.person.name, decision=decision, roles=role)
    if role == "leader" and actor.person.in_charge and item.department not in actor.person.in_charge:
        raise Refused("review.not_in_charge", person=actor.person.name, department=item.department)
    return submission


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


def _apart(db: Session, actor: Actor, submission: Submission, given: Sequence[Approval]) -> None:
    """Author of any revision, submitter, officer and leader are different persons (domain: review separation)."""
    authors = set(db.scalars(select(Revision.author).where(Revision.item_id == submission.item_id)))
    if actor.person.id in authors | {submission.submitted_by}:
        raise Refused("review.own_item", person=actor.person.name)
    if actor.person.id in {approval.person for approval in given}:
        raise Refused("review.same_person", person=actor.person.name)
