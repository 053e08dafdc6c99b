"""The staff: departments and people as the ledger knows them.

`fabu.toml` names the first ones; `take_over` brings them into the ledger when it holds nobody yet. From then on the
ledger is where they are changed, and `fabu.toml` is not asked again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from config.settings import Department, Person, Settings
from pipeline.database import insert_for, writing
from pipeline.decisions import Refused
from pipeline.models import Deputy, StoredDepartment, StoredPerson
from pipeline.runtime import Runtime


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
        .order_by(StoredPerson.id)
    ).all()
