"""What reached whom, and what a person decides about it."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from pipeline import confirm, desk, intake, operate, reach
from workers import show
from workers.commands.common import DEFAULT_DATA, MOMENT, AsJson, Data, ItemName, Open, Person, Reason, app, help_


@app.command("reach", help=help_("reach"))
def reach_(
    name: Annotated[str | None, typer.Argument(metavar="[ITEM]", help=help_("item"))] = None,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    from workers.supervise import is_running

    with Open(data, as_json) as here:
        if name is not None:
            found = reach.item_reach(here.rt, here.item(name))
            here.screen.json(show.item_json(found))
            if not as_json:
                show.item(here.screen, here.rt, found)
        else:
            cells = reach.matrix(here.rt)
            here.screen.json([show.cell_json(cell) for cell in cells])
            if not as_json:
                show.matrix(here.screen, here.rt, cells)
        if not as_json:
            show.paused(here.screen, here.rt, desk.channels(here.rt))
        if not is_running(data) and (data / "ports.json").exists():
            here.screen.line("reach.not_running", command=show.command("up", data))


@app.command(help=help_("retry"))
def retry(
    name: ItemName,
    person: Person,
    channel: Annotated[str | None, typer.Option("--channel", help=help_("channel"))] = None,
    hurry: Annotated[bool, typer.Option("--hurry", help=help_("hurry"))] = False,
    reason: Reason = "",
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    with Open(data, as_json) as here:
        item = here.item(name)
        rows = operate.retry(
            here.rt, here.actor(person), item, here.channel(channel) if channel else None, hurry, reason
        )
        here.screen.json({"item": item, "due": rows})
        here.screen.line("retry.done", item=item, rows=rows)


@app.command(help=help_("settle"))
def settle(
    name: ItemName,
    person: Person,
    channel: Annotated[str, typer.Option("--channel", help=help_("channel"))],
    sent: Annotated[bool, typer.Option("--sent/--not-sent", help=help_("sent"))],
    reason: Reason,
    recipient: Annotated[str | None, typer.Option("--recipient", help=help_("recipient"))] = None,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    with Open(data, as_json) as here:
        item = here.item(name)
        rows = operate.settle(here.rt, here.actor(person), item, here.channel(channel), sent, reason, recipient)
        here.screen.json({"item": item, "settled": rows})
        here.screen.line("settle.done", item=item, rows=rows)


@app.command(help=help_("verify"))
def verify(
    name: Annotated[str | None, typer.Argument(metavar="[ITEM]", help=help_("item"))] = None,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    with Open(data, as_json) as here:
        items = [here.item(name)] if name is not None else None
        confirm.verify(here.rt, items[0] if items else None)
        cells = reach.matrix(here.rt, items)
        here.screen.json([show.cell_json(cell) for cell in cells])
        if not as_json:
            show.matrix(here.screen, here.rt, cells)
        unseen = [cell for cell in cells if cell.unseen]
        for channel in dict.fromkeys(cell.channel for cell in unseen):
            count = sum(cell.channel == channel for cell in unseen)
            here.screen.line("verify.unseen", channel=here.rt.channels[channel].section.label, count=count)
        if unseen:
            raise typer.Exit(1)
        here.screen.line("verify.seen")


@app.command(help=help_("post"))
def post(
    name: ItemName,
    person: Person,
    place: Annotated[str, typer.Option("--place", help=help_("place"))],
    at: Annotated[datetime | None, typer.Option("--at", formats=MOMENT, help=help_("posted_at"))] = None,
    photo: Annotated[Path | None, typer.Option("--photo", help=help_("photo"))] = None,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    with Open(data, as_json) as here:
        item = here.item(name)
        taken = intake.read_attachment(photo) if photo is not None else None
        posting = operate.post(here.rt, here.actor(person), item, place, here.moment(at), taken)
        here.screen.json({"item": item, "posting": posting})
        here.screen.line("post.done", item=item, place=place)


@app.command(help=help_("unpost"))
def unpost(
    name: ItemName,
    person: Person,
    at: Annotated[datetime | None, typer.Option("--at", formats=MOMENT, help=help_("posted_at"))] = None,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    with Open(data, as_json) as here:
        item = here.item(name)
        closed = operate.unpost(here.rt, here.actor(person), item, here.moment(at))
        here.screen.json({"item": item, "removed": closed})
        here.screen.line("unpost.done", item=item)
