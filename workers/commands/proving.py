"""Proof of what was published."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline import proof
from pipeline.decisions import Refused
from workers.commands.common import DEFAULT_DATA, AsJson, Data, ItemName, Open, app, help_


@app.command("proof", help=help_("proof"))
def proof_(
    name: ItemName,
    file: Annotated[Path, typer.Argument(help=help_("proof_file"))],
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    with Open(data, as_json) as here:
        item = here.item(name)
        packed = proof.of(here.rt, item, here.screen.language)
        try:
            with open(file, "xb") as new:
                new.write(packed)
        except OSError as error:
            raise Refused("proof.cannot_write", file=str(file), detail=error.strerror or "") from error
        here.screen.json({"item": item, "file": str(file), "bytes": len(packed)})
        here.screen.line("proof.written", item=item, file=file)
