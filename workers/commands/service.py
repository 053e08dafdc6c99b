"""Fabu as a service that starts with the machine."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from config.locale import language
from workers import service
from workers.commands.common import DEFAULT_DATA, AsJson, Data, app, help_, show_in

service_app = typer.Typer(help=help_("service"), no_args_is_help=True)
app.add_typer(service_app, name="service")

Name = Annotated[str, typer.Option("--name", help=help_("service_name"))]


@service_app.command("install", help=help_("service_install"))
def service_install(
    data: Data = DEFAULT_DATA,
    name: Name = service.NAME,
    writable: Annotated[list[Path] | None, typer.Option("--writable", help=help_("service_writable"))] = None,
    only_print: Annotated[bool, typer.Option("--print", help=help_("service_print"))] = False,
    as_json: AsJson = False,
) -> None:
    screen = show_in(language(), as_json)
    planned = service.plan(name, data, writable or ())
    if only_print:
        screen.json({"file": str(planned.file), "text": planned.text})
        if not as_json:
            typer.echo(planned.text, nl=False)
        return
    started = service.install(planned)
    system = bool(planned.account)
    screen.json({"name": name, "file": str(planned.file), "data": str(planned.data), "started": started})
    screen.line("service.written", file=planned.file)
    systemctl = "systemctl" if system else "systemctl --user"
    if started:
        screen.line("service.started", name=name, data=planned.data, status=_status_command(name))
    else:
        screen.line("service.to_start", commands=f"{systemctl} daemon-reload && {systemctl} enable --now {name}")
    if system:
        screen.line("service.account", account=planned.account, data=planned.data)
    else:
        screen.line("service.linger")


@service_app.command("status", help=help_("service_status"))
def service_status(name: Name = service.NAME, as_json: AsJson = False) -> None:
    screen = show_in(language(), as_json)
    found = service.status(name)
    screen.json(asdict(found))
    said = {"data": found.data, "file": found.file}
    if found.running:
        screen.line("service.is_running", name=name, **said)
    else:
        logs = found.data / "logs"
        screen.line("service.is_not_running", name=name, systemd=found.active or "–", logs=logs, **said)
    screen.line("service.at_boot" if found.at_boot else "service.not_at_boot", name=name)
    if not found.running:
        raise typer.Exit(1)


@service_app.command("uninstall", help=help_("service_uninstall"))
def service_uninstall(name: Name = service.NAME, as_json: AsJson = False) -> None:
    screen = show_in(language(), as_json)
    removed = service.uninstall(name)
    screen.json({"name": name, "file": str(removed.file), "data": str(removed.data)})
    screen.line("service.removed", file=removed.file, data=removed.data)


def _status_command(name: str) -> str:
    return "fabu service status" + (f" --name {name}" if name != service.NAME else "")
