"""The word table: what is often mistaken for what."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated

import typer

from pipeline import phrases
from workers import show
from workers.commands.common import DEFAULT_DATA, AsJson, Data, Open, Person, app, day, help_

words_app = typer.Typer(help=help_("words"), invoke_without_command=True)
app.add_typer(words_app, name="words")


@words_app.callback()
def words(context: typer.Context, data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    if context.invoked_subcommand is None:
        _list(data, as_json)


@words_app.command("list", help=help_("words"))
def words_list(data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    _list(data, as_json)


def _list(data: Data, as_json: bool) -> None:
    with Open(data, as_json) as here:
        listed = phrases.lines(here.rt)
        here.screen.json([asdict(one) for one in listed])
        if not as_json:
            show.words(here.screen, here.rt, listed)


@words_app.command("add", help=help_("words_add"))
def words_add(
    correct: Annotated[str, typer.Argument(metavar="CORRECT", help=help_("words_correct"))],
    wrong: Annotated[list[str], typer.Argument(metavar="WRONG", help=help_("words_wrong"))],
    person: Person,
    from_: Annotated[datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help=help_("words_from"))] = None,
    to: Annotated[datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help=help_("words_to"))] = None,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    with Open(data, as_json) as here:
        added = phrases.add(here.rt, here.actor(person), correct, wrong, day(from_), day(to))
        here.screen.json([asdict(one) for one in added])
        for one in added:
            here.screen.line("words.added", correct=one.correct, wrong=one.wrong)


@words_app.command("end", help=help_("words_end"))
def words_end(
    id: Annotated[int, typer.Argument(metavar="NUMBER", help=help_("words_number"))],
    person: Person,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    with Open(data, as_json) as here:
        ended = phrases.end(here.rt, here.actor(person), id)
        here.screen.json(asdict(ended))
        here.screen.line("words.ended", wrong=ended.wrong)
