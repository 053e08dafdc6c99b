"""What every decision shares: who decides, whether they may, the line in the audit log, and the refusal."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import get_args

from sqlalchemy.orm import Session

from channels.contract import Finding
from channels.document import BadText, clean
from config.settings import Person, Role
from pipeline.models import AuditLine
from pipeline.runtime import Runtime

FARTHEST = timedelta(days=3653)  # a time further off is a slip of the pen


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
    REFER = "refer"
    ANSWER = "answer"
    RECORD = "record"
    WITHDRAW = "withdraw"
    RETRY = "retry"
    SETTLE = "settle"
    POST = "post"
    UNPOST = "unpost"
    POSTPONE = "postpone"
    COMPARE = "compare"
    PAUSE = "pause"
    RESUME = "resume"
    RESTORE = "restore"
    SUBSCRIBE = "subscribe"
    UNSUBSCRIBE = "unsubscribe"
    SUPPRESS = "suppress"
    UNSUPPRESS = "unsuppress"
    STAFF = "staff"
    DEPUTIZE = "deputize"
    READ_LOG = "read_log"
    READ_SUBSCRIBERS = "read_subscribers"
    SEE_SUBSCRIBERS = "see_subscribers"
    ACCOUNT = "account"
    PASSWORD = "password"
    TOKEN = "token"
    WORDS = "words"
    BUILD = "build"
    ARRANGE = "arrange"
    TRY = "try"
    SKIP = "skip"
    FOLLOW = "follow"


_WRITERS = frozenset({"author", "editor"})
_EVERYBODY = frozenset(get_args(Role))
_DESK = frozenset({"editor", "officer", "leader", "admin"})

# Who may decide what. Approving, returning and refusing belong to the role whose turn it is (settings: review.levels).
PERMITS: dict[Decision, frozenset[str]] = {
    Decision.CREATE: _WRITERS,
    Decision.EDIT: _WRITERS,
    Decision.SUBMIT: _WRITERS,
    Decision.CORRECT: _WRITERS,
    Decision.REFER: frozenset({"officer", "leader"}),
    Decision.ANSWER: frozenset({"editor", "officer", "leader"}),
    Decision.RECORD: frozenset({"editor", "officer", "admin"}),
    Decision.WITHDRAW: frozenset({"officer", "leader"}),
    Decision.RETRY: _DESK,
    Decision.SETTLE: _DESK,
    Decision.POST: _WRITERS,
    Decision.UNPOST: _WRITERS,
    Decision.POSTPONE: frozenset({"editor", "officer", "leader"}),
    Decision.COMPARE: _WRITERS,
    Decision.PAUSE: _DESK,
    Decision.RESUME: _DESK,
    Decision.RESTORE: frozenset({"admin"}),
    Decision.SUBSCRIBE: frozenset({"editor", "admin"}),
    Decision.UNSUBSCRIBE: frozenset({"editor", "admin"}),
    Decision.SUPPRESS: frozenset({"editor", "admin"}),
    Decision.UNSUPPRESS: frozenset({"editor", "admin"}),
    Decision.STAFF: frozenset({"admin"}),
    Decision.DEPUTIZE: _EVERYBODY,  # an administrator for anybody, everybody else for themselves: `pipeline.deputies`
    Decision.READ_LOG: frozenset({"auditor", "admin"}),
    Decision.READ_SUBSCRIBERS: frozenset({"editor", "admin"}),
    Decision.SEE_SUBSCRIBERS: frozenset({"editor", "auditor", "admin"}),  # masked (个人信息保护法, art. 6)
    Decision.ACCOUNT: frozenset({"admin"}),
    Decision.PASSWORD: _EVERYBODY,
    Decision.TOKEN: _EVERYBODY,
    Decision.WORDS: frozenset({"editor", "officer", "admin"}),
    Decision.BUILD: frozenset({"editor"}),
    Decision.ARRANGE: frozenset({"editor"}),
    Decision.TRY: frozenset({"editor", "officer", "leader"}),
    Decision.SKIP: frozenset({"editor", "leader"}),
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


def may(actor: Actor, decision: Decision, department: str | None = None) -> bool:
    """Would `permit` let it pass? For screens that show only what their reader may do."""
    try:
        permit(actor, decision, department)
    except Refused:
        return False
    return True


def entitled(person: Person, role: Role, department: str) -> bool:
    """May this person review as `role` an item of this department? A leader in charge of none is in charge of all."""
    in_charge = role != "leader" or not person.in_charge or department in person.in_charge
    return role in person.roles and in_charge


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
