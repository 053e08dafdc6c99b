"""Why something is submitted although the checks question it: given by who submits it, seen by who reviews it.

A reason is given for one finding in its surroundings (`Found.key`) and holds for later submissions of the item, too, as
long as these stay as they were.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from channels.contract import Finding, Severity
from pipeline.checks import Found
from pipeline.decisions import Actor, Refused, require_reason
from pipeline.models import StoredFinding, Submission
from pipeline.runtime import Runtime


@dataclass(frozen=True)
class Answer:
    """A reason, who gave it and when."""

    reason: str
    person: str
    at: datetime


@dataclass(frozen=True)
class Reasoned:
    """A finding as it was submitted. `answer` None: it needed no reason."""

    found: Found
    answer: Answer | None


def given(rt: Runtime, item_id: int) -> dict[str, Answer]:
    """The reasons that were given for this item so far, by the finding's key: the latest of each."""
    chosen = select(StoredFinding).join(Submission, Submission.id == StoredFinding.submission_id)
    with rt.reading() as db:
        rows = db.scalars(
            chosen.where(Submission.item_id == item_id, StoredFinding.reason != "").order_by(StoredFinding.id)
        ).all()
    return {row.key: Answer(row.reason, row.reason_by, row.reason_at) for row in rows if row.reason_at is not None}


def answered(
    rt: Runtime, actor: Actor, item_id: int, findings: Sequence[Finding], reasons: Mapping[str, str]
) -> list[Reasoned]:
    """The findings with their reasons: one of `reasons` (by key or code; a blank one is none), else the one that was
    given before. Raises Refused with the findings that lack one."""
    before, lacking, done = given(rt, item_id), list[Found](), list[Reasoned]()
    for finding in findings:
        found = finding if isinstance(finding, Found) else Found(**vars(finding))
        new = next((reasons[name] for name in (found.key, found.code) if reasons.get(name, "").strip()), "")
        answer = before.get(found.key) if found.needs_reason else None
        if found.needs_reason and new:
            answer = Answer(require_reason(new), actor.person.id, rt.now())
        if found.needs_reason and answer is None:
            lacking.append(found)
        done.append(Reasoned(found, answer))
    if lacking:
        raise Refused("review.reason_lacking", lacking, codes="、".join(dict.fromkeys(one.code for one in lacking)))
    return done


def store(db: Session, submission_id: int, findings: Sequence[Reasoned]) -> None:
    """Keep what was found in a submission, in the transaction of the submission."""
    for one in findings:
        row = StoredFinding(submission_id=submission_id, code=one.found.code, key=one.found.key)
        row.found = json.dumps({**asdict(one.found), "facts": dict(one.found.facts)}, ensure_ascii=False)
        row.reason, row.reason_by, row.reason_at = "", "", None
        if one.answer is not None:
            row.reason, row.reason_by, row.reason_at = one.answer.reason, one.answer.person, one.answer.at
        db.add(row)


def of_submission(db: Session, submission_id: int) -> tuple[Reasoned, ...]:
    """What was found in a submission, as its reviewers must see it."""
    rows = db.scalars(
        select(StoredFinding).where(StoredFinding.submission_id == submission_id).order_by(StoredFinding.id)
    )
    return tuple(
        Reasoned(
            Found(**{**(kept := json.loads(row.found)), "severity": Severity(kept["severity"])}),
            Answer(row.reason, row.reason_by, row.reason_at) if row.reason_at is not None else None,
        )
        for row in rows
    )
