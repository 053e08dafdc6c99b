"""Administration of the staff: people with their roles and passwords, departments, deputies; one's own tokens."""

from typing import Annotated, get_args

from fastapi import APIRouter, Form, Response

from config.settings import Role
from pipeline import accounts, deputies, staff
from pipeline.decisions import Refused
from web.console.page import Console, Posted, Signed

routes = APIRouter()
Many = Annotated[list[str], Form()]
One = Annotated[str, Form()]


@routes.get("/admin/people")
def people_page(console: Signed) -> Response:
    return _people(console)


def _people(console: Console, given: tuple[str, str] | None = None) -> Response:
    """`given`: whose first password is shown, this once."""
    return console.page(
        "admin-people.html", everybody=staff.everybody(console.rt), accounts=accounts.accounts(console.rt),
        names=staff.names(console.rt), uncovered=staff.uncovered(console.rt), given=given, now=console.rt.now(),
    )  # fmt: skip


@routes.get("/admin/people/new")
def new_person_page(console: Signed) -> Response:
    return _person(console, None, {})


@routes.get("/admin/people/{id}")
def person_page(console: Signed, id: str) -> Response:
    return _person(console, id, {})


def _person(console: Console, id: str | None, typed: dict[str, object], wrong: Refused | None = None) -> Response:
    known = {one.id: (one, active) for one, active in staff.everybody(console.rt)}
    if id is not None and id not in known:
        staff.person(console.rt, id)  # says who there is
    one, active = known[id] if id is not None else (None, True)
    return console.page(
        "admin-person.html", 409 if wrong else 200, one=one, active=active, typed=typed, roles=get_args(Role),
        departments=staff.departments(console.rt), wrong=console.problem(wrong.code, wrong.facts) if wrong else "",
    )  # fmt: skip


@routes.post("/admin/people/new")
def add_person(
    console: Posted, id: One = "", name: One = "", department: One = "", email: One = "",
    roles: Many = [], in_charge: Many = [],  # noqa: B006  (FastAPI copies it)
) -> Response:  # fmt: skip
    change = staff.Change(name=name, department=department, roles=roles, in_charge=in_charge, email=email)
    try:
        added = staff.add_person(console.rt, console.actor, id.strip(), change)
    except Refused as error:
        return _person(console, None, {"id": id, **vars(change)}, error)
    return console.done("/admin/people", "people.added", person=added.name)


@routes.post("/admin/people/{id}")
def change_person(
    console: Posted, id: str, name: One = "", department: One = "", email: One = "",
    roles: Many = [], in_charge: Many = [], active: One = "",  # noqa: B006
) -> Response:  # fmt: skip
    change = staff.Change(name, department, roles, in_charge, email, bool(active))
    try:
        changed = staff.change_person(console.rt, console.actor, id, change)
    except Refused as error:
        return _person(console, id, vars(change), error)
    return console.done("/admin/people", "people.changed", person=changed.name)


@routes.post("/admin/people/{id}/password")
def give_password(console: Posted, id: str) -> Response:
    password = accounts.give_password(console.rt, console.actor, id)
    return _people(console, (staff.names(console.rt).person(id), password))


@routes.get("/admin/departments")
def departments_page(console: Signed) -> Response:
    return console.page("admin-departments.html", departments=staff.departments(console.rt))


@routes.post("/admin/departments")
def add_department(console: Posted, id: One = "", name: One = "") -> Response:
    staff.add_department(console.rt, console.actor, id.strip(), name)
    return console.done("/admin/departments", "people.department_added", name=name)


@routes.post("/admin/departments/{id}")
def rename_department(console: Posted, id: str, name: One = "") -> Response:
    staff.rename_department(console.rt, console.actor, id, name)
    return console.done("/admin/departments", "people.department_renamed", name=name)


@routes.get("/admin/deputies")
def deputies_page(console: Signed) -> Response:
    return console.page(
        "admin-deputies.html", deputations=deputies.deputations(console.rt), people=staff.people(console.rt),
        names=staff.names(console.rt), levels=console.rt.settings.review.levels,
    )  # fmt: skip


@routes.post("/admin/deputies")
def name_deputy(
    console: Posted, person: One = "", for_person: One = "", from_on: One = "", to_on: One = ""
) -> Response:  # fmt: skip
    begin, end = console.day(from_on), console.day(to_on)
    deputies.name(console.rt, console.actor, person, for_person or console.person.id, begin, end)
    return console.done("/admin/deputies", "people.deputy_named", person=staff.names(console.rt).person(person))


@routes.post("/admin/deputies/{id:int}/end")
def end_deputation(console: Posted, id: int) -> Response:
    deputies.end(console.rt, console.actor, id)
    return console.done("/admin/deputies", "people.deputy_ended")


@routes.get("/tokens")
def tokens_page(console: Signed) -> Response:
    return _tokens(console)


def _tokens(console: Console, made: str = "") -> Response:
    return console.page("tokens.html", tokens=accounts.tokens(console.rt, console.person.id), made=made)


@routes.post("/tokens")
def make_token(console: Posted, label: One = "") -> Response:
    return _tokens(console, accounts.make_token(console.rt, console.actor, label))


@routes.post("/tokens/{id:int}/revoke")
def revoke_token(console: Posted, id: int) -> Response:
    accounts.revoke_token(console.rt, console.actor, id)
    return console.done("/tokens", "people.token_revoked")
