"""What every decision shares: who decides, whether they may, the line in the audit log, and the refusal."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy.orm import Session

from channels.contract import Finding
from channels.document import BadText, clean
from config.settings import Person, Role
from pipeline.models import AuditLine
from pipeline.runtime import Runtime


class Refused(Exception):
    """A decision that cannot be taken. Nothing was changed. `code` and `facts` are put in words at the edge."""

    def __init__(self, code: str, findings: Sequence[Finding] = (), /, **facts: str) -> None:
        super().__init__(code, facts)
        self.code = code
        self.facts = facts
        self.findings = tuple(findings)


class Decision(StrEnum):
    CREATE = "create"
    EDIT = "edit"
    SUBMIT = "submit"
    APPROVE = "approve"
    RETURN = "return"
    REFUSE = "refuse"
    CORRECT = "correct"
    WITHDRAW = "withdraw"
    RETRY = "retry"
    SETTLE = "settle"
    POST = "post"
    UNPOST = "unpost"
    PAUSE = "pause"
    RESUME = "resume"
    SUBSCRIBE = "subscribe"


_WRITERS = frozenset({"author", "editor"})
_DESK = frozenset({"editor", "officer", "leader", "admin"})

# Who may decide what. Approving, returning and refusing belong to the role whose turn it is (settings: review.levels).
PERMITS: dict[Decision, frozenset[str]] = {
    Decision.CREATE: _WRITERS,
    Decision.EDIT: _WRITERS,
    Decision.SUBMIT: _WRITERS,
    Decision.CORRECT: _WRITERS,
    Decision.WITHDRAW: frozenset({"officer", "leader"}),
    Decision.RETRY: _DESK,
    Decision.SETTLE: _DESK,
    Decision.POST: _WRITERS,
    Decision.UNPOST: _WRITERS,
    Decision.PAUSE: _DESK,
    Decision.RESUME: _DESK,
    Decision.SUBSCRIBE: frozenset({"editor", "admin"}),
}


@dataclass(frozen=True)
class Actor:
    """The person who decides, and the account of the machine that it was done from."""

    person: Person
    os_user: str


def permit(actor: Actor, decision: Decision, department: str | None = None) -> None:
    """Raise Refused unless the actor may take this decision; an author only on their own department's items."""
    roles = actor.person.roles & PERMITS[decision]
    if not roles:
        needed = ", ".join(sorted(PERMITS[decision]))
        raise Refused("decision.not_permitted", person=actor.person.name, decision=decision, roles=needed)
    if department is not None and roles == {"author"} and department != actor.person.department:
        raise Refused("decision.other_department", person=actor.person.name)


def review_role(rt: Runtime, given: int) -> Role:
    """Whose turn it is after so many approvals. Should the office have dropped a level since, it is the last one's."""
    levels = rt.settings.review.levels
    return levels[min(given, len(levels) - 1)]


def require_reason(reason: str) -> str:
    """The reason, trimmed. Raises Refused when there is none."""
    reason = plain(reason, "reason").strip()
    if not reason:
        raise Refused("decision.reason_missing")
    return reason


def plain(text: str, field: str) -> str:
    """What a person typed, without invisible characters. Raises Refused on what cannot be kept or deceives."""
    try:
        return clean(text)
    except BadText as error:
        if error.code == "document.empty":
            return ""
        raise Refused(error.code, **{**error.facts, "field": field}) from error


def audit(rt: Runtime, db: Session, actor: Actor, decision: Decision, item_id: int | None, **facts: object) -> None:
    """One line in the audit log, in the decision's own transaction."""
    db.add(
        AuditLine(
            at=rt.now(),
            person=actor.person.id,
            os_user=actor.os_user,
            decision=decision.value,
            item_id=item_id,
            facts=json.dumps(facts, ensure_ascii=False, default=str),
        )
    )
