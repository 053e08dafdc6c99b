"""Watching over Fabu: is all well, is each process alive, figures for a monitoring system, holidays."""

import socket
import urllib.request
from collections import Counter
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from config import holidays as notices
from config.locale import language
from config.settings import load, local_addresses
from pipeline import health, metrics, workdays
from workers.commands.common import DEFAULT_DATA, AsJson, Data, Open, app, help_, show_in
from workers.show import local

holidays_app = typer.Typer(help=help_("holidays"), invoke_without_command=True)
app.add_typer(holidays_app, name="holidays")

_MARKS = {"broken": ("✗", "red"), "unsafe": ("!", "yellow"), "well": ("✓", "green")}
_DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # the office's proxy knows nothing of us


class Part(StrEnum):
    """What runs by itself, and can be asked whether it works."""

    WORKER = "worker"
    BEAT = "beat"
    PORTAL = "portal"
    INBOUND = "inbound"
    CONSOLE = "console"


@app.command(help=help_("doctor"))
def doctor(data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    """Ends with 1 when something is broken; what is only unsafe does not."""
    from workers import doctor as examination

    with Open(data, as_json) as here:
        screen = here.screen
        found = examination.examine(here.rt)
        said = [
            screen.problem(one.code, {**one.facts, "detail": screen.problem(*one.cause)} if one.cause else one.facts)
            for one in found
        ]
        screen.json([{**asdict(one), "message": words} for one, words in zip(found, said, strict=True)])
        for one, words in zip(found, said, strict=True) if not as_json else ():
            mark, style = _MARKS[one.level]
            screen.console.print(Text(f"{mark} ", style).append(words, "default"), soft_wrap=True)
        counts = Counter(one.level for one in found)
        screen.line("doctor.sum", **{level.value: counts[level] for level in examination.Level})
    if counts[examination.Level.BROKEN]:
        raise typer.Exit(1)


@app.command("metrics", help=help_("metrics"))
def metrics_(
    token: Annotated[bool, typer.Option("--token", help=help_("metrics_token"))] = False,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """The text has a form of its own, so --json only wraps it."""
    with Open(data, as_json) as here:
        given = metrics.token(here.rt) if token else metrics.Figures(here.rt, all_attempts=True).text().decode()
        here.screen.json({"token": given} if token else {"metrics": given})
        if not as_json:
            typer.echo(given, nl=token)


@app.command("health", help=help_("health"))
def health_(
    part: Annotated[Part, typer.Argument(help=help_("health_part"))],
    at: Annotated[str, typer.Option("--at", help=help_("health_at"))] = "",
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """For whoever restarts processes: it asks about those of this host, and ends with 1 when the part does not work."""
    if part in (Part.WORKER, Part.BEAT):
        with Open(data, as_json) as here:
            seen_at = health.last_seen(here.rt, health.Kind(part), socket.gethostname())
            alive = health.is_alive(here.rt, seen_at)
            here.screen.json({"part": part, "alive": alive, "seen_at": seen_at})
            here.screen.line("alive.seen" if alive else "alive.gone", part=part, at=local(here.rt, seen_at) or "–")
    else:
        screen = show_in(language(), as_json)
        address = (at or local_addresses(data.resolve())[part]).rstrip("/")
        alive = _answers(address + ("/api/health" if part is Part.PORTAL else "/health"))
        screen.json({"part": part, "alive": alive, "address": address})
        screen.line("alive.answers" if alive else "alive.silent", part=part, address=address)
    if not alive:
        raise typer.Exit(1)


def _answers(address: str) -> bool:
    try:
        with _DIRECTLY.open(address, timeout=health.ANSWER_SECONDS + 1) as answer:
            return bool(answer.status == 200)
    except (OSError, ValueError):
        return False


@holidays_app.callback()
def holidays(context: typer.Context, data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    if context.invoked_subcommand is not None:
        return
    with Open(data, as_json) as here:
        settings = here.rt.settings
        known = workdays.known_through(settings, here.rt.now().astimezone(settings.zone).date())
        here.screen.json({"known_through": known.isoformat(), "imported": sorted(settings.holidays)})
        here.screen.line("holidays.known", day=known)
        here.screen.line("holidays.how")


@holidays_app.command("import", help=help_("holidays_import"))
def holidays_import(
    file: Annotated[Path, typer.Argument(help=help_("holidays_file"))],
    only_print: Annotated[bool, typer.Option("--print", help=help_("holidays_print"))] = False,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    screen = show_in(language(), as_json)
    settings = load(data)
    screen = show_in(language(settings.locale), as_json)
    years = notices.read_notice(file)
    counts = [{"year": number, "off": len(year.off), "work": len(year.work)} for number, year in years.items()]
    if only_print:
        screen.json({"imported": [], "toml": notices.as_toml(years)})
        if not as_json:
            typer.echo(notices.as_toml(years), nl=False)
        return
    kept = notices.keep(settings.data, years)
    screen.json({"imported": counts, "file": str(kept)})
    for one in counts:
        screen.line("holidays.imported", **one, file=kept)
    screen.line("holidays.restart")
