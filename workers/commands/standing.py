"""How our public sides stand: fresh columns, dead links."""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from pipeline import links as walks
from pipeline import standing as standings
from workers.commands.common import DEFAULT_DATA, AsJson, Data, Open, app, help_
from workers.show import local

_STYLES = {"fresh": "green", "near": "yellow", "over": "red", "empty": "yellow"}
Now = Annotated[bool, typer.Option("--now", help=help_("now"))]


@app.command(help=help_("standing"))
def standing(now: Now = False, data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    """Ends with 1 when a column is over its limit."""
    with Open(data, as_json) as here:
        screen, labels = here.screen, {name: one.section.label for name, one in here.rt.channels.items()}
        silent = standings.read_all(here.rt) if now else {}
        found = standings.lines(here.rt)
        screen.json([asdict(one) for one in found])
        for name, error in silent.items():
            screen.line("standing.silent", channel=labels[name], why=screen.problem(error.code, error.facts))
        if not found:
            screen.line("standing.nothing")
        elif not as_json:
            table = Table(header_style="bold")
            for name in ("channel", "column", "standing", "items", "updated_at", "days_old", "limit_days"):
                table.add_column(screen.say(f"word.{name}"), overflow="fold")
            for one in found:
                whole = one.id == standings.WHOLE
                table.add_row(
                    Text(labels[one.channel]), Text(screen.say("standing.whole") if whole else one.name),
                    Text(screen.say(f"standing.{one.level}"), _STYLES[one.level]), str(one.items),
                    local(here.rt, one.updated_at), _number(one.days), _number(one.limit_days),
                )  # fmt: skip
            screen.console.print(table)
    if any(one.level is standings.Level.OVER for one in found):
        raise typer.Exit(1)


@app.command(help=help_("links"))
def links(now: Now = False, data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    """Ends with 1 when a link leads nowhere."""
    with Open(data, as_json) as here:
        screen = here.screen
        found = walks.walk(here.rt) if now else walks.report(here.rt)
        screen.json(asdict(found) if found is not None else None)
        if found is None:
            screen.line("links.never")
            return
        facts = {"pages": found.pages, "links": found.links, "dead": len(found.dead)}
        screen.line("links.walked", at=local(here.rt, found.at), **facts)
        if not found.complete:
            screen.line("links.cut_short")
        if found.dead and not as_json:
            table = Table(header_style="bold")
            for name in ("link", "problem", "on_page", "since"):
                table.add_column(screen.say(f"word.{name}"), overflow="fold")
            for one in found.dead:
                why = screen.problem(str(one.error["code"]), one.error["facts"])
                table.add_row(Text(one.url), Text(why), Text(one.page), local(here.rt, one.since)[:10])
            screen.console.print(table)
    if found.dead:
        raise typer.Exit(1)


def _number(given: int | None) -> str:
    return "–" if given is None else str(given)
