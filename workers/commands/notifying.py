"""Mails to the staff: try one, and see what one would say."""

from dataclasses import asdict
from typing import Annotated

import typer

from pipeline import notify, staff
from workers.commands.common import DEFAULT_DATA, AsJson, Data, Open, app, help_

notify_app = typer.Typer(help=help_("notify"), no_args_is_help=True)
app.add_typer(notify_app, name="notify")


@notify_app.command("test", help=help_("notify_test"))
def send_test(
    to: Annotated[str, typer.Option("--to", help=help_("notify_to"))],
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    with Open(data, as_json) as here:
        person = staff.person(here.rt, to)
        notify.send_test(here.rt, person)
        here.screen.json({"person": to, "sent": True})
        here.screen.line("notify.tested", person=person.name)


@notify_app.command("preview", help=help_("notify_preview"))
def preview(
    for_: Annotated[str, typer.Option("--for", help=help_("notify_for"))],
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    with Open(data, as_json) as here:
        person = staff.person(here.rt, for_)
        found = notify.digest(here.rt, person)
        here.screen.json({"person": for_, "email": person.email, "digest": asdict(found) if found else None})
        if found is None:
            here.screen.line("notify.nothing", person=person.name)
            return
        email = person.email or here.screen.say("notify.no_email")
        here.screen.line("notify.preview", person=person.name, email=email, subject=found.subject)
        if not as_json:
            typer.echo(f"\n{found.body}", nl=False)
