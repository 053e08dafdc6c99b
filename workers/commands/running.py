"""Running Fabu: the stack, the ledger's schema, the demonstration."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from config import settings as config
from config.locale import language
from pipeline import accounts, staff
from pipeline.migrate import set_up
from pipeline.runtime import open_runtime
from workers import show
from workers.commands.common import DEFAULT_DATA, AsJson, Data, Open, app, help_, show_in


@app.command(help=help_("up"))
def up(data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    from workers import embedded
    from workers.supervise import SuperviseError

    show_in(language(), as_json)
    settings = embedded.prepare(data)
    screen = show_in(language(settings.locale), as_json)
    screen.line("up.starting", data=data)
    with embedded.running(settings) as supervisor:
        feed = f"{settings.public_url}/feed.json"
        sandbox = config.local_addresses(settings.data)["sandbox"] if embedded.rehearses(settings) else None
        console = settings.console_url
        addresses = {"console": console, "portal": settings.public_url, "feed": feed, "sandbox": sandbox}
        screen.json({"data": str(settings.data), **addresses})
        screen.line("up.running", console=console, portal=settings.public_url, feed=feed)
        _let_the_first_in(settings, screen, data)
        if sandbox is not None:
            screen.line("up.sandbox", sandbox=sandbox)
        screen.line("up.stop")
        if supervisor.wait() is None:
            raise SuperviseError("supervise.ended", log=str(settings.data / "logs" / "supervisord.log"))
        screen.line("up.stopping")


def _let_the_first_in(settings: config.Settings, screen: show.Screen, data: Path) -> None:
    """While nobody has a password: the administrator's first one, to a terminal; a log only learns how to get it."""
    rt = open_runtime(settings)
    try:
        administrator = next((one for one in staff.people(rt) if "admin" in one.roles), None)
        if administrator is None or not accounts.without_account(rt):
            return
        if sys.stdout.isatty():
            given = accounts.first_password(rt, administrator.id)
            screen.line("up.first_password", person=administrator.id, password=given)
        else:
            screen.line("up.no_password", command=show.command("password", data, administrator.id))
    finally:
        rt.engine.dispose()


@app.command("password", help=help_("password"))
def password(
    person: Annotated[str, typer.Argument(metavar="PERSON", help=help_("as"))],
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Who has the data directory in hand may let anybody in: the machine's account is in the audit log."""
    with Open(data, as_json) as here:
        given = accounts.reset_password(here.rt, here.actor(person))
        here.screen.json({"person": person, "password": given})
        here.screen.line("password.given", person=person, password=given)


@app.command(help=help_("migrate"))
def migrate(data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    with Open(data, as_json) as here:
        set_up(here.rt.settings)
        here.screen.json({"migrated": True})
        here.screen.line("migrate.done")


@app.command(help=help_("demo"))
def demo(data: Data = Path("var/demo"), as_json: AsJson = False) -> None:
    from workers.demo import run

    raise typer.Exit(run(data, show_in(language(), as_json)))
