"""The staff: people, departments, deputies."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated

import typer

from pipeline import deputies, desk, staff
from workers import show
from workers.commands.common import DEFAULT_DATA, AsJson, Data, Open, Person, app, day, help_

people_app = typer.Typer(help=help_("people"), invoke_without_command=True)
departments_app = typer.Typer(help=help_("departments"), invoke_without_command=True)
deputies_app = typer.Typer(help=help_("deputies"), invoke_without_command=True)
app.add_typer(people_app, name="people")
app.add_typer(departments_app, name="departments")
app.add_typer(deputies_app, name="deputies")

PersonId = Annotated[str, typer.Argument(metavar="PERSON", help=help_("person_id"))]
NewPersonId = Annotated[str, typer.Argument(metavar="PERSON", help=help_("new_person_id"))]
DepartmentId = Annotated[str, typer.Argument(metavar="DEPARTMENT", help=help_("department"))]
DepartmentName = Annotated[str, typer.Argument(metavar="NAME", help=help_("department_name"))]
Department = Annotated[str | None, typer.Option("--department", help=help_("department"))]
Roles = Annotated[list[str] | None, typer.Option("--role", help=help_("role"))]
InCharge = Annotated[list[str] | None, typer.Option("--in-charge", help=help_("in_charge"))]
Email = Annotated[str | None, typer.Option("--email", help=help_("email"))]
NO_LIMIT = "none"


# ── people ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@people_app.callback()
def people(context: typer.Context, data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    if context.invoked_subcommand is None:
        _list_people(data, as_json)


@people_app.command("list", help=help_("people"))
def people_list(data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    _list_people(data, as_json)


def _list_people(data: Data, as_json: bool) -> None:
    with Open(data, as_json) as here:
        everybody = staff.everybody(here.rt)
        here.screen.json([{**one.model_dump(), "active": active} for one, active in everybody])
        if not as_json:
            show.people(here.screen, here.rt, everybody)


@people_app.command("add", help=help_("people_add"))
def people_add(
    id: NewPersonId,
    person: Person,
    name: Annotated[str, typer.Option("--name", help=help_("person_name"))],
    department: Department = None,
    role: Roles = None,
    in_charge: InCharge = None,
    email: Email = None,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    with Open(data, as_json) as here:
        change = staff.Change(name, department, role, _in_charge(in_charge), email)
        added = staff.add_person(here.rt, here.actor(person), id, change)
        here.screen.json(added.model_dump())
        here.screen.line("staff.added", person=added.name, id=id)


@people_app.command("change", help=help_("people_change"))
def people_change(
    id: PersonId,
    person: Person,
    name: Annotated[str | None, typer.Option("--name", help=help_("person_name"))] = None,
    department: Department = None,
    role: Roles = None,
    in_charge: InCharge = None,
    email: Email = None,
    active: Annotated[bool | None, typer.Option("--active/--not-active", help=help_("active"))] = None,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    change = staff.Change(name, department, role, _in_charge(in_charge), email, active)
    _change(id, person, change, "staff.changed", data, as_json)


@people_app.command("deactivate", help=help_("people_deactivate"))
def people_deactivate(id: PersonId, person: Person, data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    _change(id, person, staff.Change(active=False), "staff.deactivated", data, as_json)


def _change(id: str, person: str, change: staff.Change, done: str, data: Data, as_json: bool) -> None:
    """Change a person, and say what would now wait for nobody."""
    with Open(data, as_json) as here:
        before = next((one for one, active in staff.everybody(here.rt) if one.id == id and active), None)
        turns = {one.item for one in desk.desk(here.rt, before).reviews} if before is not None else set()
        changed = staff.change_person(here.rt, here.actor(person), id, change)
        if change.active is not False:
            turns -= {one.item for one in desk.desk(here.rt, changed).reviews}
        nobody = staff.uncovered(here.rt)
        here.screen.json({**changed.model_dump(), "open_turns": sorted(turns), "levels_without_person": nobody})
        here.screen.line(done, person=changed.name, id=id)
        if turns:
            items = "、".join(str(one) for one in sorted(turns))
            here.screen.line("staff.open_turns", person=changed.name, items=items)
        for role in nobody:
            here.screen.line("staff.nobody_left", role=here.screen.word("role", role))


def _in_charge(given: list[str] | None) -> list[str] | None:
    return [] if given == [NO_LIMIT] else given


# ── departments ──────────────────────────────────────────────────────────────────────────────────────────────────────


@departments_app.callback()
def departments(context: typer.Context, data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    if context.invoked_subcommand is None:
        _list_departments(data, as_json)


@departments_app.command("list", help=help_("departments"))
def departments_list(data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    _list_departments(data, as_json)


def _list_departments(data: Data, as_json: bool) -> None:
    with Open(data, as_json) as here:
        listed = staff.departments(here.rt)
        here.screen.json([one.model_dump() for one in listed])
        if not as_json:
            show.departments(here.screen, listed)


@departments_app.command("add", help=help_("departments_add"))
def departments_add(
    id: DepartmentId, name: DepartmentName, person: Person, data: Data = DEFAULT_DATA, as_json: AsJson = False
) -> None:
    with Open(data, as_json) as here:
        staff.add_department(here.rt, here.actor(person), id, name)
        here.screen.json({"id": id, "name": name})
        here.screen.line("staff.department_added", id=id, name=name)


@departments_app.command("rename", help=help_("departments_rename"))
def departments_rename(
    id: DepartmentId, name: DepartmentName, person: Person, data: Data = DEFAULT_DATA, as_json: AsJson = False
) -> None:
    with Open(data, as_json) as here:
        staff.rename_department(here.rt, here.actor(person), id, name)
        here.screen.json({"id": id, "name": name})
        here.screen.line("staff.department_renamed", id=id, name=name)


# ── deputies ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@deputies_app.callback()
def deputies_(context: typer.Context, data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    if context.invoked_subcommand is None:
        _list_deputies(data, as_json)


@deputies_app.command("list", help=help_("deputies"))
def deputies_list(data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    _list_deputies(data, as_json)


def _list_deputies(data: Data, as_json: bool) -> None:
    with Open(data, as_json) as here:
        listed = deputies.deputations(here.rt)
        here.screen.json([asdict(one) for one in listed])
        if not as_json:
            show.deputies(here.screen, here.rt, listed)


@deputies_app.command("set", help=help_("deputies_set"))
def deputies_set(
    deputy: Annotated[str, typer.Argument(metavar="DEPUTY", help=help_("deputy"))],
    for_: Annotated[str, typer.Option("--for", help=help_("deputy_for"))],
    to: Annotated[datetime, typer.Option("--to", formats=["%Y-%m-%d"], help=help_("deputy_to"))],
    person: Person,
    from_: Annotated[datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help=help_("deputy_from"))] = None,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    with Open(data, as_json) as here:
        begin, end = day(from_) or deputies.today(here.rt), to.date()
        id = deputies.name(here.rt, here.actor(person), deputy, for_, begin, end)
        names = staff.names(here.rt)
        here.screen.json({"id": id, "person": deputy, "for_person": for_, "from_on": begin, "to_on": end})
        told = {"person": names.person(deputy), "for_person": names.person(for_)}
        here.screen.line("deputy.named", **told, from_on=begin, to_on=end)


@deputies_app.command("end", help=help_("deputies_end"))
def deputies_end(
    id: Annotated[int, typer.Argument(metavar="NUMBER", help=help_("deputy_id"))],
    person: Person,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    with Open(data, as_json) as here:
        deputies.end(here.rt, here.actor(person), id)
        here.screen.json({"id": id, "ended": True})
        here.screen.line("deputy.ended")
