"""What all commands share: the application, the options, and opening the ledger."""

import getpass
from collections.abc import Mapping
from contextlib import suppress
from datetime import date, datetime
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.exc import DBAPIError

from config import settings as config
from config.locale import Language, language, say
from pipeline import catalogue, staff
from pipeline.decisions import Actor, Refused
from pipeline.runtime import Runtime, open_runtime
from workers.show import Screen

_language = language()
screen = Screen(_language)  # of the command that runs; `main` speaks there when something goes wrong


def help_(name: str) -> str:
    return say(_language, f"help.{name}")


app = typer.Typer(
    name="fabu", help=help_("fabu"), no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False
)


def _tell_version(asked: bool) -> None:
    if asked:
        typer.echo(f"fabu {metadata.version('fabu')}")
        raise typer.Exit


@app.callback()
def _fabu(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_tell_version, help=help_("version"))
    ] = False,
) -> None:
    """What may be said before any command."""


Data = Annotated[Path, typer.Option("--data", envvar=config.DATA, help=help_("data"), show_default=True)]
AsJson = Annotated[bool, typer.Option("--json", help=help_("json"))]
Person = Annotated[str, typer.Option("--as", help=help_("as"))]
ItemName = Annotated[str, typer.Argument(metavar="ITEM", help=help_("item"))]
Reason = Annotated[str, typer.Option("--reason", help=help_("reason"))]
Title = Annotated[str | None, typer.Option("--title", help=help_("title"))]
ItemType = Annotated[str | None, typer.Option("--type", help=help_("type"))]
DepartmentId = Annotated[str | None, typer.Option("--department", help=help_("department"))]
Formed = Annotated[datetime | None, typer.Option("--formed", formats=["%Y-%m-%d"], help=help_("formed"))]
Summary = Annotated[str | None, typer.Option("--summary", help=help_("summary"))]
Number = Annotated[str | None, typer.Option("--number", help=help_("number"))]
Keywords = Annotated[list[str] | None, typer.Option("--keyword", help=help_("keyword"))]
Theme = Annotated[str | None, typer.Option("--theme", help=help_("theme"))]
Source = Annotated[str | None, typer.Option("--source", help=help_("source"))]
ShortTitle = Annotated[str | None, typer.Option("--short-title", help=help_("short_title"))]
SmsText = Annotated[str | None, typer.Option("--sms", help=help_("sms"))]
PeriodFrom = Annotated[datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help=help_("period_from"))]
PeriodTo = Annotated[datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help=help_("period_to"))]
Contact = Annotated[str | None, typer.Option("--contact", help=help_("contact"))]
Corrects = Annotated[str | None, typer.Option("--corrects", help=help_("corrects"))]
Validity = Annotated[str | None, typer.Option("--validity", help=help_("validity"))]
Attach = Annotated[list[Path] | None, typer.Option("--attach", help=help_("attach"))]
MOMENT = ["%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%d"]
DEFAULT_DATA = Path("var/fabu")


def show_in(chosen: Language, as_json: bool, who_may: Mapping[str, str] | None = None) -> Screen:
    """Where this command speaks, and `main` for it when something goes wrong."""
    global screen
    screen = Screen(chosen, as_json, who_may or {})
    return screen


class Open:
    """One command's runtime."""

    def __init__(self, data: Path, as_json: bool) -> None:
        show_in(language(), as_json)  # for what goes wrong before there are settings
        settings = config.load(data)
        self.screen = show_in(language(settings.locale), as_json)
        self.rt: Runtime = open_runtime(settings)

    def __enter__(self) -> "Open":
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if isinstance(error, Refused) and "roles" in error.facts:
            show_in(self.screen.language, self.screen.as_json, self._who_may(error.facts["roles"]))
        self.rt.engine.dispose()

    def _who_may(self, roles: str) -> dict[str, str]:
        """The names of those who have these roles, so that a refusal says whom to ask."""
        with suppress(DBAPIError):
            staff_now = staff.people(self.rt)
            return {role: "、".join(one.name for one in staff_now if role in one.roles) for role in roles.split(", ")}
        return {}

    def actor(self, person: str) -> Actor:
        return Actor(staff.person(self.rt, person), getpass.getuser())

    def item(self, name: str) -> int:
        with self.rt.reading() as db:
            return catalogue.find_item(db, name)

    def channel(self, given: str) -> str:
        """The id of a channel that may be given by its label; an unknown one is left to be refused."""
        return next((one.name for one in self.rt.channels.values() if one.section.label == given), given)

    def moment(self, given: datetime | None) -> datetime | None:
        return given.replace(tzinfo=self.rt.settings.zone) if given else None


def day(given: datetime | None) -> date | None:
    return given.date() if given else None


def period(begin: datetime | None, end: datetime | None) -> tuple[date, date] | None:
    if (begin is None) != (end is None):
        raise Refused("draft.period_half")
    return (begin.date(), end.date()) if begin and end else None
