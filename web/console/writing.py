"""Writing: a new item, an edit, a correction, with nothing that is typed ever lost.

Every form carries all that is typed. What it asks for besides saving (one more attachment, a text from a file) is
answered with the form again; and when saving is refused, the form comes back as it was, with the sentence.
"""

import secrets
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from fastapi.routing import APIRoute
from starlette.datastructures import FormData, UploadFile

from channels.contract import File, Finding
from channels.document import BadText, Closing, Heading, Table, clean, parse
from config.settings import Department
from pipeline import (
    attachments,
    checks,
    differences,
    drafts,
    intake,
    items,
    previews,
    renditions,
    review,
    staff,
    working_copy,
)
from pipeline.decisions import Decision, Refused
from pipeline.items import History, Phase
from pipeline.suggestions import suggestions
from pipeline.working_copy import TEXTS, Copy, Kept, Place, Sheet
from web.console.page import FRAMED, Console, Posted, Signed

LARGEST_FIELD = 12_000_000  # bytes: more than a working copy takes, so that a text too long is refused in words
IN_FORCE = (Phase.APPROVED, Phase.CORRECTING)


class LongFields(APIRoute):
    """Reads forms whose fields are longer than the framework takes by itself (1 MB)."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def read_first(request: Request) -> Response:
            if request.method == "POST":
                await request.form(max_part_size=LARGEST_FIELD)  # kept by the request
            return await handle(request)

        return read_first


routes = APIRouter(route_class=LongFields)


async def _typed(request: Request) -> FormData:
    return await request.form()


Typed = Annotated[FormData, Depends(_typed)]


@dataclass(frozen=True)
class _Form:
    """A form as it stands on its page. `newer`: what somebody else saved meanwhile; `findings`: of a file read in."""

    decision: Decision
    place: Place
    sheet: Sheet
    history: History | None = None  # of an item that is there already
    newer: bool = False
    wrong: Refused | None = None
    findings: tuple[Finding, ...] = ()
    said: str = ""

    @property
    def path(self) -> str:
        return _path(self.place.item, self.decision)


def _path(item: int | None, decision: Decision) -> str:
    return "/items/new" if item is None else f"/items/{item}/{decision}"


# ── pages ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@routes.get("/items/new")
def new_page(
    console: Signed, corrects: Annotated[int | None, Query(ge=1)] = None,
    copy: Annotated[int | None, Query(ge=0)] = None,
) -> Response:  # fmt: skip
    """`copy`: go on with a working copy; 0: none of those that are there."""
    if not console.may(Decision.CREATE):
        raise Refused("writing.readers_only")
    begun = working_copy.begun(console.rt, console.person.id)
    chosen = next((one for one in begun if one.id == copy), None)
    if chosen is not None:
        return _show(console, _resumed(Decision.CREATE, chosen))
    if begun and copy is None and corrects is None:
        return console.page("writing-resume.html", copies=begun, item=None, path="/items/new", history=None, newer=None)
    place = Place(window=secrets.token_hex(8))
    return _show(console, _Form(Decision.CREATE, place, _blank(console, corrects)))


@routes.get("/items/{item:int}/edit")
def edit_page(console: Signed, item: int, copy: Annotated[int | None, Query(ge=0)] = None) -> Response:
    return _existing(console, item, copy, Decision.EDIT)


@routes.get("/items/{item:int}/correct")
def correct_page(console: Signed, item: int, copy: Annotated[int | None, Query(ge=0)] = None) -> Response:
    return _existing(console, item, copy, Decision.CORRECT)


def _existing(console: Console, item: int, copy: int | None, decision: Decision) -> Response:
    items.require_visible(console.rt, console.person, item)
    history = items.history(console.rt, item)
    if not console.may(decision, history.line.department):
        raise Refused("writing.readers_only")
    right = Decision.CORRECT if history.line.phase in IN_FORCE else Decision.EDIT
    if _in_force(history) != (decision is Decision.CORRECT):
        return RedirectResponse(console.link(_path(item, right)), 303)
    kept = working_copy.read(console.rt, console.person.id, item)
    if kept is not None and copy == kept.id:
        return _show(console, _resumed(decision, kept, history))
    if kept is not None:
        newer = history.versions[0] if kept.based_on < history.line.revision else None
        return console.page(
            "writing-resume.html", copies=[kept], item=item, path=_path(item, decision), history=history, newer=newer,
            names=staff.names(console.rt),
        )  # fmt: skip
    place = Place(item, None, history.line.revision, secrets.token_hex(8))
    return _show(console, _Form(decision, place, working_copy.sheet_of(history.draft), history))


def _in_force(history: History) -> bool:
    """Is a revision of it approved, even while a correction is under review?"""
    if history.line.phase is not Phase.REVIEWING:
        return history.line.phase in IN_FORCE
    return any(one.stage == "approved" for one in history.rounds)


def _resumed(decision: Decision, kept: Copy, history: History | None = None) -> _Form:
    place = Place(kept.item, kept.id, kept.based_on, secrets.token_hex(8), kept.mark)
    newer = history is not None and kept.based_on < history.line.revision
    if newer and history is not None:
        place = replace(place, based_on=history.line.revision)
    return _Form(decision, place, kept.sheet, history, newer)


def _blank(console: Console, corrects: int | None) -> Sheet:
    """A new form: filled as far as anybody can know."""
    departments = _departments(console)
    own = console.person.department
    department = own if own in {one.id for one in departments} else (departments[0].id if departments else "")
    sheet = Sheet(
        item_type=console.rt.settings.item_types[0], department=department, formed_on=console.today.isoformat()
    )
    if corrects is None:
        return sheet
    items.require_visible(console.rt, console.person, corrects)
    wrong = items.history(console.rt, corrects)
    facts = {"title": wrong.line.title, "index_number": wrong.line.index_number, "formed_on": wrong.line.formed_on}
    return replace(
        sheet,
        title=console.t("writing.notice_title", **facts),
        text=console.t("writing.notice_text", **facts),
        item_type=wrong.line.item_type,
        corrects=wrong.line.index_number or str(corrects),
    )


def _departments(console: Console) -> list[Department]:
    """Those that the person may write for."""
    return [one for one in staff.departments(console.rt) if console.may(Decision.CREATE, one.id)]


def _show(console: Console, form: _Form) -> Response:
    history, item = form.history, form.place.item
    mine = _draft(console, form.sheet) if form.newer else None
    return console.page(
        "writing-form.html", 409 if form.wrong else 200,
        form=form, sheet=form.sheet, place=form.place, history=history,
        types=console.rt.settings.item_types, departments=_departments(console),
        suggested=suggestions(console.rt, console.person), names=staff.names(console.rt),
        others=working_copy.others_at(console.rt, console.person.id, item) if item is not None else [],
        changes=differences.between(history.draft, mine) if history is not None and mine is not None else None,
        outline=_outline(form.sheet.text), validities=drafts.VALIDITIES, limits=console.rt.settings.limits,
        most_files=working_copy.MOST_FILES,
        wrong=console.problem(form.wrong.code, form.wrong.facts) if form.wrong else "",
        wrong_findings=form.wrong.findings if form.wrong else (),
    )  # fmt: skip


def _draft(console: Console, sheet: Sheet) -> drafts.Draft | None:
    try:
        return working_copy.draft_of(console.rt, sheet, with_files=False)
    except Refused:
        return None


# ── what a form says ─────────────────────────────────────────────────────────────────────────────────────────────────


def _place(data: FormData) -> Place:
    def number(name: str) -> int | None:
        value = str(data.get(name, ""))
        return int(value) if value.isascii() and value.isdigit() and len(value) < 18 else None

    return Place(
        number("item"), number("copy"), number("based_on") or 0, str(data.get("window", ""))[:32],
        str(data.get("known", ""))[:40],
    )  # fmt: skip


def _sheet(console: Console, data: FormData, place: Place) -> Sheet:
    """Raises Refused when an attachment is not known any more."""
    keys = [str(key) for key in data.getlist("file")]
    known = working_copy.known_files(console.rt, console.person.id, place) if keys else {}
    if gone := [key for key in keys if key not in known]:
        raise Refused("writing.file_gone", file=gone[0].partition(" ")[2][:80])
    return Sheet(**_texts(data), files=tuple(known[key] for key in dict.fromkeys(keys)))


def _texts(data: FormData) -> dict[str, Any]:
    """The fields that the form carries; one that it leaves out is as in a new form."""
    return {name: str(data[name]).replace("\r\n", "\n") for name in TEXTS if name in data}


def _files(console: Console, data: FormData, name: str) -> list[File]:
    """What was chosen in a file field, each read as far as one byte beyond the limit."""
    limit = console.rt.settings.limits.file_bytes
    chosen = [one for one in data.getlist(name) if isinstance(one, UploadFile) and one.filename]
    return [
        File(_base_name(one.filename or ""), one.content_type or "application/octet-stream", one.file.read(limit + 1))
        for one in chosen
    ]


def _base_name(name: str) -> str:
    """Some browsers send the whole path."""
    return name.replace("\\", "/").rpartition("/")[2]


# ── saving ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@routes.post("/items/new")
def new(console: Posted, data: Typed) -> Response:
    return _act(console, data, Decision.CREATE, None)


@routes.post("/items/{item:int}/edit")
def edit(console: Posted, item: int, data: Typed) -> Response:
    return _act(console, data, Decision.EDIT, item)


@routes.post("/items/{item:int}/correct")
def correct(console: Posted, item: int, data: Typed) -> Response:
    return _act(console, data, Decision.CORRECT, item)


def _act(console: Console, data: FormData, decision: Decision, item: int | None) -> Response:
    """The button that was pressed: save (then go on or submit), or change the form."""
    if item is not None:
        items.require_visible(console.rt, console.person, item)
    history = items.history(console.rt, item) if item is not None else None
    place = replace(_place(data), item=item)
    form = _Form(decision, place, Sheet(**_texts(data)), history)
    act, _, which = str(data.get("act", "")).partition(":")
    findings: tuple[Finding, ...] = ()
    try:
        form = replace(form, sheet=_sheet(console, data, place))
        sheet, findings = _changed(console, data, form.sheet, act, which)
        form = replace(form, sheet=sheet, findings=findings)
        if act in ("", "save", "submit"):
            return _save(console, form, act)
    except Refused as error:
        form = replace(form, wrong=error)
        if error.code == "review.newer_revision":
            history = items.history(console.rt, item or 0)
            newest = replace(place, based_on=history.line.revision)
            form = replace(form, history=history, newer=True, place=newest)
        elif error.code == "writing.copy_gone":
            form = replace(form, place=replace(place, copy=None))
    return _show(console, _keep(console, form))


def _changed(
    console: Console, data: FormData, sheet: Sheet, act: str, which: str
) -> tuple[Sheet, tuple[Finding, ...]]:  # fmt: skip
    """The sheet after a button of its own; files that were chosen are taken with any button."""
    sheet = working_copy.add_files(console.rt, sheet, _files(console, data, "new_files"))
    at = next((place for place, file in enumerate(sheet.files) if file.key == which), None)
    if act == "import":
        return _imported(console, data, sheet)
    if act == "remove" and at is not None:
        return replace(sheet, files=(*sheet.files[:at], *sheet.files[at + 1 :])), ()
    if act == "up" and at:
        files = list(sheet.files)
        files[at - 1], files[at] = files[at], files[at - 1]
        return replace(sheet, files=tuple(files)), ()
    return sheet, ()


def _imported(console: Console, data: FormData, sheet: Sheet) -> tuple[Sheet, tuple[Finding, ...]]:
    """The sheet with its text taken from a file; the file's title where there is none yet."""
    chosen = _files(console, data, "body_file")
    if not chosen:
        raise Refused("writing.no_file")
    body = intake.body_of(console.rt, chosen[0].name, chosen[0].content)
    title = sheet.title.strip() or body.title or intake.title_of(chosen[0].name.rpartition(".")[0])
    sheet = working_copy.add_files(console.rt, replace(sheet, text=body.text, title=title), body.pictures)
    return sheet, intake.findings_of(body, title)


def _keep(console: Console, form: _Form) -> _Form:
    """The form with its working copy, as far as it can be kept: what is shown is what was typed in any case."""
    try:
        kept = working_copy.save(console.rt, console.actor, form.place, form.sheet)
    except Refused as error:
        return form if form.wrong else replace(form, wrong=error)
    return replace(form, place=replace(form.place, copy=kept.id, known=kept.mark))


def _save(console: Console, form: _Form, act: str) -> Response:
    """A new revision, or none where nothing was changed. Raises Refused."""
    person, place = console.person.id, form.place
    draft = drafts.checked(console.rt, working_copy.draft_of(console.rt, form.sheet))
    said, number = "writing.saved", 1
    if place.item is None:
        record = working_copy.became_item(person, place.copy)
        item = review.create(console.rt, console.actor, draft, record)
    else:
        item = place.item
        if form.history is not None and form.history.draft == draft and form.history.line.revision == place.based_on:
            said, number = "writing.unchanged", place.based_on
        else:
            decide = review.correct if form.decision is Decision.CORRECT else review.edit
            number = decide(console.rt, console.actor, item, draft, place.based_on)
        kept = working_copy.read(console.rt, person, item)
        if kept is not None:
            working_copy.discard(console.rt, person, kept.id)
    decision = Decision.EDIT if form.decision is Decision.CREATE else form.decision
    to = f"/items/{item}/submit" if act == "submit" else _path(item, decision)
    return console.done(to, said, item=item, revision=number)


@routes.post("/writing/discard")
def discard(console: Posted, data: Typed) -> Response:
    place = _place(data)
    if place.copy is not None:
        working_copy.discard(console.rt, console.person.id, place.copy)
    to = "/" if place.item is None else f"/items/{place.item}"
    return console.done(to, "writing.discarded")


# ── for the page's module ────────────────────────────────────────────────────────────────────────────────────────────


@routes.post("/writing/keep")
def keep(console: Posted, data: Typed) -> Response:
    """What is typed becomes the working copy; answers where it stands, and who else writes at the item."""
    place = _place(data)
    if place.item is not None:
        items.require_visible(console.rt, console.person, place.item)
    try:
        kept = working_copy.save(console.rt, console.actor, place, _sheet(console, data, place))
    except Refused as error:
        return JSONResponse({"wrong": console.problem(error.code, error.facts)}, 409)
    return JSONResponse(_kept(console, kept))


def _kept(console: Console, kept: Copy) -> dict[str, object]:
    item = kept.item
    others = working_copy.others_at(console.rt, console.person.id, item) if item is not None else []
    return {
        "copy": kept.id,
        "known": kept.mark,
        "said": console.t("writing.kept", at=console.second(kept.saved_at)[11:]),
        "others": console.fragment("writing-others.html", others=others, names=staff.names(console.rt)),
    }


@routes.post("/writing/files")
def files(console: Posted, data: Typed) -> Response:
    """The same buttons of attachments and of a text from a file, without leaving the page."""
    place = _place(data)
    if place.item is not None:
        items.require_visible(console.rt, console.person, place.item)
    act, _, which = str(data.get("act", "")).partition(":")
    try:
        sheet, findings = _changed(console, data, _sheet(console, data, place), act, which)
        kept = working_copy.save(console.rt, console.actor, place, sheet)
    except Refused as error:
        return JSONResponse({"wrong": console.problem(error.code, error.facts)}, 409)
    shown = {
        "files": console.fragment("writing-files.html", sheet=sheet),
        "findings": console.fragment("writing-findings.html", findings=findings),
        "text": sheet.text,
        "title": sheet.title,
    }
    return JSONResponse({**_kept(console, kept), **shown})


@dataclass(frozen=True)
class Outline:
    """The structure that was found in a text."""

    headings: tuple[Heading, ...] = ()
    paragraphs: int = 0
    tables: int = 0
    closing: Closing | None = None
    characters: int = 0


def _outline(text: str) -> Outline:
    try:
        text = clean(text)
    except BadText:
        return Outline(characters=len(text))
    blocks = parse(text)
    headings = tuple(one for one in blocks if isinstance(one, Heading))
    tables = sum(isinstance(one, Table) for one in blocks)
    closing = next((one for one in reversed(blocks) if isinstance(one, Closing)), None)
    paragraphs = len(blocks) - len(headings) - tables - (closing is not None)
    return Outline(headings, paragraphs, tables, closing, len("".join(text.split())))


@routes.post("/writing/outline")
def outline(console: Posted, data: Typed) -> Response:
    text = str(data.get("text", ""))[: 2 * console.rt.settings.limits.text_characters]
    return HTMLResponse(console.fragment("writing-outline.html", outline=_outline(text)))


@routes.post("/writing/preview")
def preview(console: Posted, data: Typed, part: str = "") -> Response:
    """What is typed as each channel would show it: the adapters' own rendering, the number where none is issued yet
    that which it would get now. `part`: only the fragment."""
    place = _place(data)
    if place.item is not None:
        items.require_visible(console.rt, console.person, place.item)
    keys = [str(key) for key in data.getlist("file")]
    known = working_copy.known_files(console.rt, console.person.id, place) if keys else {}
    sheet = Sheet(**_texts(data), files=tuple(known[key] for key in dict.fromkeys(keys) if key in known))
    open_ = looked_at(console, data) if part else set(console.rt.channels)
    values = _previewed(console, place.item, sheet, open_)
    if part:
        return HTMLResponse(console.fragment("writing-previews.html", open=open_, **values))
    return console.page("writing-preview.html", title=sheet.title, back=None, open=open_, **values)


def looked_at(console: Console, data: FormData) -> set[str]:
    """The channels whose previews are open on the page; at first the first one."""
    given = [str(one) for one in data.getlist("look")]
    return set(given) if given else set(list(console.rt.channels)[:1])


LOOK_SECONDS = 1.5  # so long a preview waits for what its attachments hold


def _previewed(console: Console, item: int | None, sheet: Sheet, open_: set[str]) -> dict[str, Any]:
    """`waiting`: attachments that are still being looked into."""
    empty: dict[str, Any] = {"previews": [], "findings": (), "waiting": [], "wrong": "", "frames": ""}
    if not sheet.title.strip() or not sheet.text.strip():
        return empty
    try:
        draft = drafts.checked(console.rt, working_copy.draft_of(console.rt, sheet, with_files=False))
    except Refused as error:
        return {**empty, "wrong": console.problem(error.code, error.facts)}
    message = drafts.compose_unsubmitted(console.rt, item, draft)
    insides = attachments.look_within({one.sha256: partial(_bytes, console, one) for one in sheet.files}, LOOK_SECONDS)
    files = [(one.name, one.sha256) for one in sheet.files]
    return {
        "previews": previews.of_message(console.rt, message, console.rt.channels, open_),
        "findings": checks.report_typed(console.rt, draft, files, insides),
        "waiting": [name for name, sha256 in files if sha256 not in insides],
        "wrong": "",
        "frames": "",
    }


def _bytes(console: Console, file: Kept) -> bytes:
    with console.rt.reading() as db:
        return renditions.load_files(db, [file.sha256])[file.sha256]


@routes.get("/items/{item:int}/preview/{channel}")
def channel_page(console: Signed, item: int, channel: str) -> Response:
    """The latest revision as one channel would show it."""
    items.require_visible(console.rt, console.person, item)
    if channel not in console.rt.channels:
        raise Refused("review.unknown_channel", given=channel[:40], known="、".join(console.rt.channels))
    draft = items.history(console.rt, item).draft
    message = drafts.compose_unsubmitted(console.rt, item, draft)
    return console.page(
        "writing-preview.html", title=draft.title, back=f"/items/{item}",
        previews=previews.of_message(console.rt, message, [channel]), open={channel}, findings=(), waiting=[], wrong="",
        frames=f"/items/{item}/frame/",
    )  # fmt: skip


@routes.get("/items/{item:int}/frame/{channel}")
def frame(console: Signed, item: int, channel: str, hash: Annotated[str, Query(max_length=64)] = "") -> Response:
    """A channel's own page of an item, a mail, for a frame that can do nothing. `hash`: of a submission, whose very
    bytes are shown; without it the latest revision."""
    items.require_visible(console.rt, console.person, item)
    if hash:
        shown = previews.of_submission(console.rt, item, hash)
    else:
        message = drafts.compose_unsubmitted(console.rt, item, items.history(console.rt, item).draft)
        shown = previews.of_message(console.rt, message, [channel])
    view = next((one.view for one in shown if one.channel == channel), None)
    if view is None or not view.document:
        raise HTTPException(404)
    return HTMLResponse(view.document, headers={"Content-Security-Policy": FRAMED})
