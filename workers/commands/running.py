"""Running Fabu: the stack, the ledger's schema, the demonstration."""

from pathlib import Path

import typer

from config import settings as config
from config.locale import language
from pipeline.migrate import set_up
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
        addresses = config.local_addresses(settings.data)
        feed = f"{settings.public_url}/feed.json"
        sandbox = addresses["sandbox"] if embedded.rehearses(settings) else None
        screen.json({"data": str(settings.data), "portal": settings.public_url, "feed": feed, "sandbox": sandbox})
        screen.line("up.running", portal=settings.public_url, feed=feed)
        if sandbox is not None:
            screen.line("up.sandbox", sandbox=sandbox)
        screen.line("up.stop")
        if supervisor.wait() is None:
            raise SuperviseError("supervise.ended", log=str(settings.data / "logs" / "supervisord.log"))
        screen.line("up.stopping")


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
