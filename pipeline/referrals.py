"""Asking outside before deciding: the competent or the secrecy department (条例 2019, art. 17), or a third party (32).

A submission that is referred is not approved until the answer has come in; returning or refusing it stays possible. An
edit voids the submission, and the question with it.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from pipeline.decisions import Actor, Decision, Refused, audit, permit, plain, require_reason
from pipeline.models import Item, Referral, ReferralKind, Submission
from pipeline.runtime import Runtime
from pipeline.states import Stage

LONGEST_NAME = 120


@dataclass(frozen=True)
class Asked:
    """One question to somebody outside. `answered_at` None: they have not answered yet."""

    id: int
    kind: ReferralKind
    to_whom: str
    question: str
    asked_by: str
    asked_at: datetime
    answer: str
    answered_by: str
    answered_at: datetime | None


def refer(rt: Runtime, actor: Actor, item_id: int, kind: ReferralKind, to_whom: str, question: str) -> int:
    """Ask somebody outside about the submission under review. Returns the referral's id. Raises Refused."""
    permit(actor, Decision.REFER)
    question = require_reason(question)
    to_whom = " ".join(plain(to_whom, "to_whom").split())
    if not to_whom or len(to_whom) > LONGEST_NAME:
        raise Refused("referral.to_whom", limit=str(LONGEST_NAME))
    with rt.writing() as db:
        submission = _reviewing(db, item_id)
        row = Referral(submission_id=submission.id, kind=kind, to_whom=to_whom, question=question)
        row.asked_by, row.asked_at = actor.person.id, rt.now()
        db.add(row)
        db.flush()
        audit(rt, db, actor, Decision.REFER, item_id, hash=submission.hash, kind=kind, to_whom=to_whom)
        return row.id


def answer(rt: Runtime, actor: Actor, item_id: int, id: int, text: str) -> None:
    """Keep what they answered: the submission may be decided now. Raises Refused."""
    permit(actor, Decision.ANSWER)
    text = require_reason(text)
    with rt.writing() as db:
        submission = _reviewing(db, item_id)
        row = db.get(Referral, id, with_for_update=True)
        if row is None or row.submission_id != submission.id or row.answered_at is not None:
            raise Refused("referral.unknown")
        row.answer, row.answered_by, row.answered_at = text, actor.person.id, rt.now()
        audit(rt, db, actor, Decision.ANSWER, item_id, hash=submission.hash, referral=id)


def asked(rt: Runtime, item_id: int) -> list[Asked]:
    """The questions about the submission under review, oldest first."""
    with rt.reading() as db:
        mine = select(Referral).join(Submission, Submission.id == Referral.submission_id)
        rows = db.scalars(mine.where(Submission.item_id == item_id, Submission.stage == Stage.REVIEWING))
        return [
            Asked(
                row.id, row.kind, row.to_whom, row.question, row.asked_by, row.asked_at, row.answer,
                row.answered_by or "", row.answered_at,
            )
            for row in sorted(rows, key=lambda one: one.id)
        ]  # fmt: skip


def require_answered(db: Session, submission_id: int) -> None:
    """Raise Refused while somebody outside has not answered."""
    open_ = select(Referral.to_whom).where(Referral.submission_id == submission_id, Referral.answered_at.is_(None))
    if waiting := db.scalars(open_.order_by(Referral.id)).all():
        raise Refused("referral.open", to_whom="、".join(waiting))


def _reviewing(db: Session, item_id: int) -> Submission:
    if db.get(Item, item_id, with_for_update={"key_share": True}) is None:  # decisions on an item one after another
        raise Refused("item.unknown", item=str(item_id))
    found = db.scalars(
        select(Submission).where(Submission.item_id == item_id, Submission.stage == Stage.REVIEWING)
    ).one_or_none()
    if found is None:
        raise Refused("review.nothing_waiting")
    return found
