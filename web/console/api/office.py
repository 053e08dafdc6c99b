"""The caller, their desk, the calendar, the staff, the log."""

from dataclasses import asdict
from datetime import date, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel

from config.settings import Person
from pipeline import accounts, agenda, deputies, desk, logbook, staff
from pipeline.decisions import Refused
from web.console.api.caller import Called
from web.console.api.shapes import Day, ItemNumber, Shape, Short

routes = APIRouter(tags=["office"])
LONGEST = timedelta(days=400)


class PersonOut(BaseModel):
    id: str
    name: str
    department: str
    roles: list[str]
    in_charge: list[str]
    active: bool = True


class DepartmentOut(BaseModel):
    id: str
    name: str


class DeskOut(BaseModel):
    """How much waits for the caller."""

    reviews: list[int]
    drafts: list[int]
    under_review: list[int]
    troubles: list[int]
    notices: list[int]
    sources: list[int]


class EntryOut(BaseModel):
    day: date
    kind: str
    item: int
    title: str
    at: datetime | None
    note: str
    provisional: bool


class DeputationOut(BaseModel):
    id: int
    person: str
    for_person: str
    from_on: date
    to_on: date
    in_force: bool


class DeputationIn(Shape):
    person: Short
    for_person: Short
    from_on: Day
    to_on: Day


class Made(BaseModel):
    id: int


class LogOut(BaseModel):
    """`facts`: what the decision was about, by name."""

    at: datetime
    person: str
    decision: str
    item: int | None
    facts: dict[str, Any]


@routes.get("/me", operation_id="readMe")
def read_me(called: Called) -> PersonOut:
    """The person whose token this is."""
    return _person(called.person)


@routes.get("/desk", operation_id="readDesk")
def read_desk(called: Called) -> DeskOut:
    """The items on the caller's desk."""
    found = desk.desk(called.rt, called.person)
    return DeskOut(**{name: [one.item for one in getattr(found, name)] for name in DeskOut.model_fields})


@routes.get("/calendar", operation_id="readCalendar")
def read_calendar(called: Called, begin: date, end: date) -> list[EntryOut]:
    """What is on each day between two, both included; at most 400 days."""
    if not (date(2000, 1, 1) <= begin <= end <= date(2100, 1, 1)) or end - begin > LONGEST:
        raise Refused("api.bad_days", days=str(LONGEST.days))
    days = agenda.days(called.rt, called.person, begin, end)
    return [EntryOut(**asdict(one)) for day in days for one in day.entries]


@routes.get("/people", operation_id="listPeople")
def list_people(called: Called) -> list[PersonOut]:
    return [_person(one, active) for one, active in staff.everybody(called.rt)]


@routes.get("/departments", operation_id="listDepartments")
def list_departments(called: Called) -> list[DepartmentOut]:
    return [DepartmentOut(id=one.id, name=one.name) for one in staff.departments(called.rt)]


@routes.get("/deputies", operation_id="listDeputies")
def list_deputies(called: Called) -> list[DeputationOut]:
    return [
        DeputationOut(**{name: getattr(one, name) for name in DeputationOut.model_fields})
        for one in deputies.deputations(called.rt)
    ]


@routes.post("/deputies", operation_id="nameDeputy", status_code=201)
def name_deputy(called: Called, given: DeputationIn) -> Made:
    """Somebody stands in for a leader who is away."""
    rt, actor = called.rt, called.actor
    return Made(id=deputies.name(rt, actor, given.person, given.for_person, given.from_on, given.to_on))


@routes.post("/deputies/{id}/end", operation_id="endDeputy")
def end_deputy(called: Called, id: ItemNumber) -> Made:
    """End it before its last day."""
    deputies.end(called.rt, called.actor, id)
    return Made(id=id)


@routes.get("/log", operation_id="readLog")
def read_log(
    called: Called,
    item: Annotated[int | None, Query(ge=1, le=2**53 - 1)] = None,
    person: Annotated[str | None, Query(max_length=40)] = None,
    most: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[LogOut]:
    """The audit log, newest first; for auditors and administrators."""
    found = logbook.lines(called.rt, called.actor, item=item, person=person, most=most)
    return [LogOut(**{name: getattr(one, name) for name in LogOut.model_fields}) for one in found]


@routes.delete("/token", operation_id="revokeToken", status_code=204)
def revoke_token(called: Called) -> Response:
    """End all tokens of the caller, this one included."""
    for one in accounts.tokens(called.rt, called.person.id):
        accounts.revoke_token(called.rt, called.actor, one.id)
    return Response(status_code=204)


def _person(one: Person, active: bool = True) -> PersonOut:
    return PersonOut(
        id=one.id, name=one.name, department=one.department, roles=sorted(one.roles), in_charge=sorted(one.in_charge),
        active=active,
    )  # fmt: skip
