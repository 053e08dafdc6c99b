"""Collecting: drafts from the feeds of other websites."""

from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from pipeline import collect as collecting
from pipeline import staff
from pipeline.collect import Changed, FeedLine, Known, Made, NotRead
from pipeline.runtime import Runtime
from workers.commands.common import DEFAULT_DATA, AsJson, Data, DepartmentId, ItemType, Open, Person, app, help_
from workers.show import Screen, local

_KINDS = {"made": Made, "known": Known, "changed": Changed, "refused": NotRead}


@app.command("collect", help=help_("collect"))
def collect(
    url: Annotated[str, typer.Argument(metavar="URL", help=help_("collect_url"))],
    person: Person,
    author: Annotated[str, typer.Option("--author", help=help_("collect_author"))] = "",
    item_type: ItemType = None,
    department: DepartmentId = None,
    allow_private: Annotated[bool, typer.Option("--allow-private", help=help_("allow_private"))] = False,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    with Open(data, as_json) as here:
        given = {"author": author, "item_type": item_type or "", "department": department or ""}
        visit = collecting.collect(here.rt, here.actor(person), url, allow_private=allow_private, **given)
        counts = {name: sum(isinstance(one, kind) for one in visit.entries) for name, kind in _KINDS.items()}
        facts = {name: getattr(visit, name) for name in ("url", "label", "unchanged", "broken", "left")}
        here.screen.json({**facts, "entries": [_json(here.screen, one) for one in visit.entries]})
        for one in visit.entries:
            _show(here.screen, one)
        if visit.unchanged:
            here.screen.line("collect.unchanged")
        else:
            here.screen.line("collect.sum", label=visit.label, total=len(visit.entries), **counts)
        if visit.broken:
            here.screen.line("collect.broken")
        if visit.left:
            here.screen.line("collect.left", count=visit.left)
        if counts["refused"]:
            raise typer.Exit(1)


def _show(screen: Screen, one: Made | Known | Changed | NotRead) -> None:
    title = one.title or one.link or "—"
    match one:
        case Made():
            screen.line("collect.made", title=title, item=one.item, item_type=one.item_type)
            if not screen.as_json:
                screen.findings(one.findings)
        case Known():
            screen.line("collect.known", title=title, item=one.item)
        case Changed():
            screen.line("collect.changed", title=title, item=one.item, link=one.link or "—")
        case NotRead():
            screen.line("collect.refused", title=title, why=screen.problem(one.code, one.facts))


def _json(screen: Screen, one: Made | Known | Changed | NotRead) -> dict[str, Any]:
    became = next(name for name, kind in _KINDS.items() if isinstance(one, kind))
    said = {"message": screen.problem(one.code, one.facts)} if isinstance(one, NotRead) else {}
    return {"became": became, **asdict(one), **said}


@app.command("feeds", help=help_("feeds"))
def feeds(data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    with Open(data, as_json) as here:
        lines = collecting.configured(here.rt)
        here.screen.json([_line_json(here.screen, one) for one in lines])
        if not lines:
            here.screen.line("collect.no_feeds")
        elif not as_json:
            _table(here.screen, here.rt, lines)


def _table(screen: Screen, rt: Runtime, lines: list[FeedLine]) -> None:
    names = staff.names(rt)
    table = Table(header_style="bold")
    for name in ("feed", "author", "every_minutes", "last_visit", "last_success", "collected", "problem"):
        table.add_column(screen.say(f"word.{name}"), overflow="fold")
    for one in lines:
        section = one.section
        table.add_row(
            Text(f"{section.label}\n{section.url}".strip()),
            names.person(section.author),
            str(section.every_minutes),
            local(rt, one.visited_at),
            local(rt, one.read_at),
            str(one.drafts),
            Text(_problem(screen, one)),
        )
    screen.console.print(table)


def _problem(screen: Screen, one: FeedLine) -> str:
    return screen.problem(one.error["code"], one.error["facts"]) if one.error else ""


def _line_json(screen: Screen, one: FeedLine) -> dict[str, Any]:
    went = {name: getattr(one, name) for name in ("visited_at", "read_at", "drafts", "error")}
    return {**one.section.model_dump(), **went, "message": _problem(screen, one)}
