"""Backup and restore."""

import getpass
from pathlib import Path
from typing import Annotated

import typer

from config.locale import language
from pipeline.decisions import Refused
from pipeline.rescue import backup, compare, restore
from workers import show
from workers.commands.common import DEFAULT_DATA, AsJson, Data, Open, app, help_, show_in


@app.command("backup", help=help_("backup"))
def backup_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help=help_("backup_file"))],
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    with Open(data, as_json) as here:
        path = file.resolve()
        taken = backup.take(here.rt, path)
        rows, items = sum(table.rows for table in taken.tables.values()), taken.tables["item"].rows
        size = path.stat().st_size
        here.screen.json({"file": str(path), "bytes": size, "items": items, "rows": rows, "files": sorted(taken.files)})
        here.screen.line("backup.done", file=path, items=items, rows=rows, megabytes=f"{size / 1e6:.1f}")
        here.screen.line("backup.secrets")
        if "secrets.json" not in taken.files:
            here.screen.line("backup.no_secrets")
        if "portal/portal.db" not in taken.files:
            here.screen.line("backup.no_portal")


@app.command("restore", help=help_("restore"))
def restore_(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help=help_("restore_file"))] = None,
    person: Annotated[str, typer.Option("--as", help=help_("as"))] = "",
    replace: Annotated[bool, typer.Option("--replace", help=help_("restore_replace"))] = False,
    resume: Annotated[bool, typer.Option("--resume", help=help_("restore_resume"))] = False,
    give_up: Annotated[bool, typer.Option("--give-up", help=help_("restore_give_up"))] = False,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    from workers.supervise import is_running

    screen = show_in(language(), as_json)
    if resume:
        _compare(data, as_json)
        return
    if give_up:
        if not restore.give_up(data):
            raise Refused("restore.nothing_begun", data=str(data))
        screen.json({"given_up": True})
        screen.line("restore.given_up", data=data)
        return
    if file is None or not person:
        raise Refused("restore.what")
    if is_running(data):
        raise Refused("restore.running", data=str(data))
    done = restore.restore(file, data, person, getpass.getuser(), replace)
    with Open(data, as_json) as here:
        screen = here.screen
        screen.json(
            {
                "restored": show.local(here.rt, done.taken_at), "kept": done.aside, "waiting": done.waiting,
                "left_out": done.spare, "portal": done.portal,
            }
        )  # fmt: skip
        screen.line("restore.done", taken=show.local(here.rt, done.taken_at))
        if done.aside:
            screen.line("restore.kept", place=done.aside)
        if done.waiting:
            screen.line("restore.waiting", count=done.waiting)
        if done.portal:
            screen.line("restore.portal")
        screen.line("restore.numbers", count=done.spare)
        screen.line("restore.again")
        if here.rt.engine.dialect.name == "sqlite":
            screen.line("restore.next", up=show.command("up", data), resume=show.command("restore", data, "--resume"))
        else:
            screen.line("restore.next_services")


def _compare(data: Path, as_json: bool) -> None:
    """Compare now, or say what the last comparison found."""
    with Open(data, as_json) as here:
        found = compare.resume(here.rt) or compare.last_found(here.rt)
        if found is None:
            raise Refused("restore.never")
        strangers = [
            {"item": one.number, "index_number": one.index_number, "title": one.title, "channels": list(one.channels)}
            for one in found.strangers
        ]
        here.screen.json({"on_hold": found.overtaken, "unknown": strangers})
        here.screen.line("restore.compared")
        if found.overtaken:
            here.screen.line("restore.overtaken", count=found.overtaken)
        for one in found.strangers:
            labels = "、".join(
                here.rt.channels[name].section.label for name in one.channels if name in here.rt.channels
            )
            here.screen.line(
                "restore.stranger", item=one.number, title=one.title, index=one.index_number, channels=labels
            )
        if found.strangers:
            here.screen.line("restore.strangers")
