"""Working copies: what is typed and not saved yet, kept for the caller alone (autosave)."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from pipeline import collect, working_copy
from pipeline.working_copy import TEXTS, Copy, Kept, Place, Sheet
from web.console.api.caller import Called, Caller
from web.console.api.shapes import LARGEST, FileRef, ItemNumber, Shape, Short

routes = APIRouter(tags=["items"])
WINDOW = "api"  # all programs of one person are one window: the last one that kept something is right
Typed = Annotated[str, Field(max_length=1_000_000)]


class SheetIn(Shape):
    """A form as it is typed: nothing is checked, a day may be half a day's text."""

    title: Typed = ""
    text: Typed = ""
    item_type: Short = ""
    department: Short = ""
    formed_on: Short = ""
    summary: Typed = ""
    document_number: Short = ""
    keywords: Typed = ""
    theme: Short = ""
    source: Short = ""
    short_title: Short = ""
    sms_text: Typed = ""
    period_from: Short = ""
    period_to: Short = ""
    objection_contact: Short = ""
    corrects: Short = ""
    validity: Short = "有效"
    files: Annotated[list[FileRef], Field(max_length=50, default_factory=list)]


class CopyIn(Shape):
    """`item` left out: a new one. `copy`: an earlier copy of a new item, to go on with. `based_on`: the number of the
    revision that the text began from. `known`: the mark that was answered the last time."""

    item: Annotated[int, Field(ge=1, le=LARGEST)] | None = None
    copy_id: Annotated[int, Field(ge=1, le=LARGEST)] | None = None
    based_on: Annotated[int, Field(ge=0, le=LARGEST)] = 0
    known: Annotated[str, Field(max_length=40)] = ""
    sheet: SheetIn


class CopyOut(BaseModel):
    copy_id: int
    item: int | None
    based_on: int
    known: str
    saved_at: datetime
    sheet: SheetIn


@routes.get("/copies", operation_id="listCopies")
def list_copies(called: Called) -> list[CopyOut]:
    """Everything that the caller typed and did not save, the last first."""
    return [_out(one) for one in working_copy.all_of(called.rt, called.person.id)]


@routes.put("/copies", operation_id="keepCopy")
def keep_copy(called: Called, given: CopyIn) -> CopyOut:
    """Keep what is typed; saving an item (`createItem`, `editItem`) is another thing."""
    if given.item is not None:
        called.see(given.item)
    place = Place(given.item, given.copy_id, given.based_on, WINDOW, given.known)
    texts = {name: getattr(given.sheet, name) for name in TEXTS}
    return _out(working_copy.save(called.rt, called.actor, place, Sheet(**texts, files=_kept(called, given.sheet))))


@routes.delete("/copies/{id}", operation_id="discardCopy", status_code=204)
def discard_copy(called: Called, id: ItemNumber) -> Response:
    """Forget what was typed; nobody else's is touched."""
    working_copy.discard(called.rt, called.person.id, id)
    return Response(status_code=204)


@routes.post("/items/{item}/comparison", operation_id="compareSource")
def compare_source(called: Called, item: ItemNumber) -> int:
    """The source that the item was collected from was changed, and the item stays as it is."""
    called.see(item)
    return collect.compared(called.rt, called.actor, item)


def _kept(called: Caller, sheet: SheetIn) -> tuple[Kept, ...]:
    contents = called.uploaded(*(one.sha256 for one in sheet.files))
    return tuple(Kept(one.name, one.media_type, one.sha256, len(contents[one.sha256])) for one in sheet.files)


def _out(copy: Copy) -> CopyOut:
    files = [
        FileRef(name=one.name, media_type=one.media_type or "application/octet-stream", sha256=one.sha256)
        for one in copy.sheet.files
    ]
    sheet = SheetIn(**{name: getattr(copy.sheet, name) for name in TEXTS}, files=files)
    return CopyOut(
        copy_id=copy.id, item=copy.item, based_on=copy.based_on, known=copy.mark, saved_at=copy.saved_at, sheet=sheet
    )
