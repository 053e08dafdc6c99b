"""The staff: departments and people as the ledger knows them, and how an administrator changes them.

`fabu.toml` names the first ones; `take_over` brings them into the ledger when it holds nobody yet. From then on the
ledger is where they are changed, and `fabu.toml` is not asked again.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date
from email.errors import HeaderParseError
from email.headerregistry import Address
from typing import get_args

from sqlalchemy import Engine, delete, func, select
from sqlalchemy.orm import Session

from config.settings import Department, Person, Role, Settings
from pipeline.database import insert_for, writing
from pipeline.decisions import Actor, Decision, Refused, audit, permit, plain
from pipeline.models import Deputy, Mailed, StoredDepartment, StoredPerson
from pipeline.runtime import Runtime

ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")
LONGEST_NAME, LONGEST_EMAIL = 80, 200  # characters, as the tables hold them


def take_over(engine: Engine, settings: Settings) -> None:
    """Bring the departments and people of the settings into a ledger that holds none. Safe to run again."""
    with writing(engine) as db:
        if db.scalar(select(func.count()).select_from(StoredPerson)):
            return
        departments = [{"id": one.id, "name": one.name} for one in settings.departments]
        people = [
            {
                "id": one.id,
                "name": one.name,
                "department": one.department,
                "roles": " ".join(sorted(one.roles)),
                "in_charge": " ".join(sorted(one.in_charge)),
                "email": one.email,
                "active": True,
            }
            for one in settings.people
        ]
        db.execute(insert_for(db, StoredDepartment).on_conflict_do_nothing(), departments)
        db.execute(insert_for(db, StoredPerson).on_conflict_do_nothing(), people)


def read_person(row: StoredPerson) -> Person:
    """A person's row as the rest of the pipeline knows a person."""
    roles, in_charge = frozenset(row.roles.split()), frozenset(row.in_charge.split())
    return Person.model_validate(
        {
            "id": row.id,
            "name": row.name,
            "department": row.department,
            "roles": roles,
            "in_charge": in_charge,
            "email": row.email,
        }
    )


def people(rt: Runtime) -> list[Person]:
    """Everybody who may act now, in the order of their names."""
    with rt.reading() as db:
        rows = db.scalars(select(StoredPerson).where(StoredPerson.active).order_by(StoredPerson.id))
        return [read_person(row) for row in rows]


def person(rt: Runtime, id: str) -> Person:
    """The person of this id who may act now. Raises Refused, naming those there are."""
    everybody = people(rt)
    for one in everybody:
        if one.id == id:
            return one
    raise Refused("staff.unknown_person", person=id, known="、".join(f"{one.id}（{one.name}）" for one in everybody))


def everybody(rt: Runtime) -> list[tuple[Person, bool]]:
    """All there ever were, and whether they may act now."""
    with rt.reading() as db:
        return [(read_person(row), row.active) for row in db.scalars(select(StoredPerson).order_by(StoredPerson.id))]


def departments(rt: Runtime) -> list[Department]:
    with rt.reading() as db:
        return read_departments(db)


def read_departments(db: Session) -> list[Department]:
    rows = db.scalars(select(StoredDepartment).order_by(StoredDepartment.id))
    return [Department(id=row.id, name=row.name) for row in rows]


@dataclass(frozen=True)
class Names:
    """What people and departments are called, those who have left included."""

    people: dict[str, str]
    departments: dict[str, str]

    def person(self, id: str) -> str:
        return self.people.get(id, id)

    def department(self, id: str) -> str:
        return self.departments.get(id, id)


def names(rt: Runtime) -> Names:
    with rt.reading() as db:
        people = {row.id: row.name for row in db.execute(select(StoredPerson.id, StoredPerson.name))}
        return Names(people, {one.id: one.name for one in read_departments(db)})


def represented(db: Session, person_id: str, today: date) -> Sequence[StoredPerson]:
    """Whom this person stands in for today (代理: seed, leaders who are away)."""
    return db.scalars(
        select(StoredPerson)
        .join(Deputy, Deputy.for_person == StoredPerson.id)
        .where(Deputy.person == person_id, Deputy.from_on <= today, today <= Deputy.to_on, Deputy.ended_at.is_(None))
        .where(StoredPerson.active)
        .order_by(StoredPerson.id)
    ).all()


# ── what an administrator changes ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Change:
    """What is to be different about a person; None: as it was."""

    name: str | None = None
    department: str | None = None
    roles: Collection[str] | None = None
    in_charge: Collection[str] | None = None
    email: str | None = None
    active: bool | None = None


def add_person(rt: Runtime, actor: Actor, id: str, change: Change) -> Person:
    """Somebody new, who may act at once; a way into the console is given separately. Raises Refused."""
    permit(actor, Decision.STAFF)
    if not ID.fullmatch(id):
        raise Refused("staff.bad_id", id=id)
    if not change.department or not change.roles:
        raise Refused("staff.incomplete")
    with rt.writing() as db:
        if (known := db.get(StoredPerson, id)) is not None:
            raise Refused("staff.person_exists", id=id, person=known.name)
        row = StoredPerson(id=id, name="", department="", roles="", in_charge="", email="", active=True)
        _apply(db, row, Change(**{**vars(change), "name": change.name or ""}))
        db.add(row)
        db.flush()
        audit(rt, db, actor, Decision.STAFF, None, added=id, department=row.department, roles=row.roles)
        return read_person(row)


def change_person(rt: Runtime, actor: Actor, id: str, change: Change) -> Person:
    """Change a person, or let them act no more (`active` False: they stay in the ledger, for decisions name them).
    Raises Refused when nobody would be left who may administer."""
    permit(actor, Decision.STAFF)
    with rt.writing() as db:
        # All of them, locked in one order: two administrators cannot take the office from each other at once.
        rows = {row.id: row for row in db.scalars(select(StoredPerson).order_by(StoredPerson.id).with_for_update())}
        row = rows.get(id)
        if row is None:
            raise _unknown(id, rows.values())
        administrators = _count(rows.values(), "admin")
        _apply(db, row, change)
        if administrators and not _count(rows.values(), "admin"):
            raise Refused("staff.last_admin", person=row.name)
        told = {name: value for name, value in vars(change).items() if value is not None and name != "email"}
        lists = {name: sorted(value) for name, value in told.items() if name in ("roles", "in_charge")}
        audit(rt, db, actor, Decision.STAFF, None, changed=id, **{**told, **lists})
        return read_person(row)


def uncovered(rt: Runtime) -> list[Role]:
    """The levels of review that nobody can take any more."""
    held = {role for one in people(rt) for role in one.roles}
    return [role for role in rt.settings.review.levels if role not in held]


def add_department(rt: Runtime, actor: Actor, id: str, name: str) -> None:
    """A new department. Raises Refused."""
    permit(actor, Decision.STAFF)
    if not ID.fullmatch(id):
        raise Refused("staff.bad_id", id=id)
    with rt.writing() as db:
        if db.get(StoredDepartment, id) is not None:
            raise Refused("staff.department_exists", id=id)
        db.add(StoredDepartment(id=id, name=_department_name(db, id, name)))
        audit(rt, db, actor, Decision.STAFF, None, department=id, name=name.strip())


def rename_department(rt: Runtime, actor: Actor, id: str, name: str) -> None:
    """Another name for a department; its items stay with it. Raises Refused."""
    permit(actor, Decision.STAFF)
    with rt.writing() as db:
        row = _department(db, id)
        row.name = _department_name(db, id, name)
        audit(rt, db, actor, Decision.STAFF, None, department=id, name=row.name)


def checked_email(address: str) -> str:
    """The address, trimmed; empty: no mail. Raises Refused unless a mail could carry it (RFC 5322, addr-spec)."""
    address = address.strip()
    if not address:
        return ""
    try:
        parts = Address(addr_spec=address)
    except (HeaderParseError, ValueError, IndexError) as error:
        raise Refused("staff.bad_email", email=address) from error
    if not parts.username or "." not in parts.domain or not address.isascii() or len(address) > LONGEST_EMAIL:
        raise Refused("staff.bad_email", email=address)
    return address


def _apply(db: Session, row: StoredPerson, change: Change) -> None:
    if change.name is not None:
        row.name = _name(change.name)
    if change.department is not None:
        row.department = _department(db, change.department).id
    if change.roles is not None:
        if not change.roles or not set(change.roles) <= set(get_args(Role)):
            raise Refused("staff.unknown_role", given=", ".join(sorted(change.roles)), known=", ".join(get_args(Role)))
        row.roles = " ".join(sorted(set(change.roles)))
    if change.in_charge is not None:
        row.in_charge = " ".join(sorted({_department(db, id).id for id in change.in_charge}))
    if change.email is not None:
        row.email = checked_email(change.email)
        db.execute(delete(Mailed).where(Mailed.person == row.id))  # what the old address was told, the new one was not
    if change.active is not None:
        row.active = change.active


def _department(db: Session, id: str) -> StoredDepartment:
    row = db.get(StoredDepartment, id)
    if row is None:
        known = "、".join(f"{one.id}（{one.name}）" for one in read_departments(db))
        raise Refused("staff.unknown_department", given=id, known=known)
    return row


def _department_name(db: Session, id: str, name: str) -> str:
    name = _name(name)
    if db.scalar(select(StoredDepartment.id).where(StoredDepartment.name == name, StoredDepartment.id != id)):
        raise Refused("staff.department_name_taken", name=name)
    return name


def _name(given: str) -> str:
    name = re.sub(r"\s+", " ", plain(given, "name")).strip()
    if not name or len(name) > LONGEST_NAME:
        raise Refused("staff.bad_name", limit=str(LONGEST_NAME))
    return name


def _count(rows: Collection[StoredPerson], role: Role) -> int:
    return sum(row.active and role in row.roles.split() for row in rows)


def _unknown(id: str, rows: Collection[StoredPerson]) -> Refused:
    return Refused("staff.unknown_person", person=id, known="、".join(f"{one.id}（{one.name}）" for one in rows))
