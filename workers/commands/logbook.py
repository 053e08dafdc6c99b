"""The audit log."""

from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from pipeline import logbook
from pipeline.decisions import Decision, Refused
from workers import show
from workers.commands.common import DEFAULT_DATA, AsJson, Data, Open, Person, app, help_

MOST = 200


@app.command("log", help=help_("log"))
def log(
    person: Person,
    item: Annotated[str | None, typer.Option("--item", help=help_("log_item"))] = None,
    by: Annotated[str | None, typer.Option("--person", help=help_("log_person"))] = None,
    since: Annotated[datetime | None, typer.Option("--since", formats=["%Y-%m-%d"], help=help_("log_since"))] = None,
    decision: Annotated[Decision | None, typer.Option("--decision", help=help_("log_decision"))] = None,
    file: Annotated[Path | None, typer.Option("--csv", help=help_("log_csv"))] = None,
    most: Annotated[int, typer.Option("--most", min=1, help=help_("log_most"))] = MOST,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    with Open(data, as_json) as here:
        chosen = logbook.Chosen(
            item=here.item(item) if item is not None else None, person=by, since=here.moment(since), decision=decision
        )
        if file is not None:
            found = list(logbook.every(here.rt, here.actor(person), **chosen))
            try:
                # With the mark that spreadsheets look for.
                file.write_text("".join(logbook.as_csv(here.rt, found)), "utf-8-sig")
            except OSError as error:
                raise Refused("logbook.cannot_write", file=str(file), detail=error.strerror or "") from error
            here.screen.json({"file": str(file), "lines": len(found)})
            here.screen.line("logbook.saved", count=len(found), file=file)
            return
        found = logbook.lines(here.rt, here.actor(person), most=most, **chosen)
        here.screen.json([asdict(one) for one in found])
        if not as_json:
            show.log(here.screen, here.rt, found)
            if len(found) == most:
                here.screen.line("logbook.more")
