"""Importing: drafts from the files that the office has already, one or a folder of them."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline import intake
from pipeline.decisions import Actor
from pipeline.intake import Filing, Imported, Known, NotImported, TitleFrom
from pipeline.runtime import Runtime
from workers.commands.common import (
    DEFAULT_DATA,
    AsJson,
    Data,
    DepartmentId,
    Formed,
    ItemType,
    Open,
    Person,
    app,
    day,
    help_,
)
from workers.show import Screen

_WHENCE = {
    TitleFrom.DOCUMENT: "import.title_of_document",
    TitleFrom.FILE_NAME: "import.title_of_file",
    TitleFrom.FOLDER_NAME: "import.title_of_folder",
}


@app.command("import", help=help_("import"))
def import_(
    paths: Annotated[list[Path], typer.Argument(metavar="FILE|FOLDER...", help=help_("import_paths"))],
    person: Person,
    item_type: ItemType = None,
    department: DepartmentId = None,
    formed: Formed = None,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    with Open(data, as_json) as here:
        filing = Filing(item_type or "", department or "", day(formed))
        done = []
        for one in _each(here.rt, here.actor(person), paths, filing):
            done.append(one)
            _show(here.screen, one)  # at once: a folder may take a while, and each is kept by now
        counts = {name: sum(isinstance(one, kind) for one in done) for name, kind in _KINDS.items()}
        here.screen.json([_json(here.screen, one) for one in done])
        here.screen.line("import.sum", total=len(done), **counts)
        if counts["refused"]:
            raise typer.Exit(1)


_KINDS = {"created": Imported, "known": Known, "refused": NotImported}


def _each(rt: Runtime, actor: Actor, paths: list[Path], filing: Filing) -> Iterator[Imported | Known | NotImported]:
    for path in paths:
        if path.is_dir():
            yield from intake.import_folder(rt, actor, path, filing)
        else:
            yield intake.import_path(rt, actor, path, filing)


def _show(screen: Screen, one: Imported | Known | NotImported) -> None:
    match one:
        case Imported():
            screen.line("import.created", file=one.file, item=one.item, title=one.title, item_type=one.item_type,
                        title_from=screen.say(_WHENCE[one.title_from]))  # fmt: skip
            if one.attached:
                screen.line("import.attached", names="、".join(one.attached))
            if not screen.as_json:
                screen.findings(one.findings)
        case Known():
            screen.line("import.known", file=one.file, item=one.item)
        case NotImported():
            screen.line("import.refused", file=one.file, why=screen.problem(one.code, one.facts))


def _json(screen: Screen, one: Imported | Known | NotImported) -> dict[str, Any]:
    became = next(name for name, kind in _KINDS.items() if isinstance(one, kind))
    said = {"message": screen.problem(one.code, one.facts)} if isinstance(one, NotImported) else {}
    return {"became": became, **asdict(one), **said}
