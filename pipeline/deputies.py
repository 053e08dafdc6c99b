"""Deputies (代理): who stands in for whom, named for a period, so that reviews go on while a leader is away.

A deputy may take the turn of the one who is away: approve, return, refuse, withdraw, and nothing else. Separation stays
whole: whoever wrote, submitted or reviewed an item may neither be the deputy for its review nor be stood in for
(domain: 保密审查). A deputy has no deputies.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from config.settings import Person, Role
from pipeline import staff
from pipeline.decisions import PERMITS, Actor, Decision, Refused, audit, entitled, permit
from pipeline.models import Deputy
from pipeline.runtime import Runtime

LONGEST = timedelta(days=366)  # a deputy is named for a period, not for good


@dataclass(frozen=True)
class Deputation:
    """`person` stands in for `for_person`, both days included. `in_force`: today, both still on the staff."""

    id: int
    person: str
    for_person: str
    from_on: date
    to_on: date
    set_by: str
    ended_at: datetime | None
    in_force: bool


def deputations(rt: Runtime) -> list[Deputation]:
    """Every deputation there was, newest first."""
    day = today(rt)
    active = {one.id for one in staff.people(rt)}
    with rt.reading() as db:
        return [
            Deputation(
                id=row.id,
                person=row.person,
                for_person=row.for_person,
                from_on=row.from_on,
                to_on=row.to_on,
                set_by=row.set_by,
                ended_at=row.ended_at,
                in_force=row.from_on <= day <= row.to_on
                and row.ended_at is None
                and {row.person, row.for_person} <= active,
            )
            for row in db.scalars(select(Deputy).order_by(Deputy.id.desc()))
        ]


def name(rt: Runtime, actor: Actor, person: str, for_person: str, from_on: date, to_on: date) -> int:
    """Name a deputy, both days included; by an administrator or by the one who will be away. Returns the deputation's
    id. Raises Refused."""
    deputy, away = staff.person(rt, person), staff.person(rt, for_person)
    _permit(actor, away.id)
    if deputy.id == away.id:
        raise Refused("deputy.same_person", person=deputy.name)
    if "auditor" in deputy.roles:
        raise Refused("deputy.auditor", person=deputy.name)
    if not away.roles & {*rt.settings.review.levels, *PERMITS[Decision.WITHDRAW]}:
        raise Refused("deputy.no_turns", person=away.name)
    if from_on > to_on:
        raise Refused("deputy.backwards")
    if to_on < today(rt):
        raise Refused("deputy.over", to_on=to_on.isoformat())
    if to_on - from_on > LONGEST:
        raise Refused("deputy.too_long", days=str(LONGEST.days))
    with rt.writing() as db:
        overlapping = (Deputy.from_on <= to_on, Deputy.to_on >= from_on, Deputy.ended_at.is_(None))
        if db.scalar(select(Deputy.id).where(Deputy.person == person, Deputy.for_person == for_person, *overlapping)):
            raise Refused("deputy.already", person=deputy.name, for_person=away.name)
        row = Deputy(person=person, for_person=for_person, from_on=from_on, to_on=to_on)
        row.set_by, row.set_at = actor.person.id, rt.now()
        db.add(row)
        db.flush()
        period = {"from_on": from_on, "to_on": to_on}
        audit(rt, db, actor, Decision.DEPUTIZE, None, deputy=person, on_behalf_of=for_person, **period)
        return row.id


def end(rt: Runtime, actor: Actor, id: int) -> None:
    """End a deputation now, before its last day. Raises Refused."""
    with rt.writing() as db:
        row = db.get(Deputy, id, with_for_update=True)
        if row is None or row.ended_at is not None:
            raise Refused("deputy.unknown", id=str(id))
        _permit(actor, row.for_person)
        row.ended_at = rt.now()
        audit(rt, db, actor, Decision.DEPUTIZE, None, deputy=row.person, on_behalf_of=row.for_person, ended=id)


def stands_in_for(rt: Runtime, db: Session, person: Person) -> list[Person]:
    """Whom this person stands in for today."""
    return [staff.read_person(row) for row in staff.represented(db, person.id, today(rt))]


def in_whose_name(person: Person, represents: Sequence[Person], role: Role, department: str) -> list[Person]:
    """In whose names this person may take this role's turn: their own first, if they have the role, then each they
    stand in for."""
    return [one for one in (person, *represents) if entitled(one, role, department)]


def apart(names: Sequence[Person], involved: Collection[str]) -> Person | None:
    """The first of these who has had no part in the item so far."""
    return next((one for one in names if one.id not in involved), None)


def permit_withdrawal(rt: Runtime, db: Session, actor: Actor) -> str:
    """Raise Refused unless the actor may withdraw; the id of whom they stand in for, empty when they may themselves."""
    if not actor.person.roles & PERMITS[Decision.WITHDRAW]:
        for one in stands_in_for(rt, db, actor.person):
            if one.roles & PERMITS[Decision.WITHDRAW]:
                return one.id
    permit(actor, Decision.WITHDRAW)
    return ""


def may_withdraw(rt: Runtime, actor: Actor) -> bool:
    """Would `permit_withdrawal` let it pass? For screens that show only what their reader may do."""
    with rt.reading() as db:
        try:
            permit_withdrawal(rt, db, actor)
        except Refused:
            return False
    return True


def today(rt: Runtime) -> date:
    return rt.now().astimezone(rt.settings.zone).date()


def _permit(actor: Actor, for_person: str) -> None:
    permit(actor, Decision.DEPUTIZE)
    if "admin" not in actor.person.roles and actor.person.id != for_person:
        raise Refused("deputy.not_yours", person=actor.person.name)
