"""What somebody types before they save it as a revision: it survives a closed browser, a power cut, a session's end.

A working copy is its writer's alone; others see only that there is one (`others_at`). There is one for each person and
item, and for new items one for each that was begun. It decides nothing, so it leaves no line in the audit log.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from channels.contract import File
from pipeline.database import insert_for
from pipeline.decisions import Actor, Decision, Refused, permit
from pipeline.drafts import VALIDITIES, Draft, latest_revision
from pipeline.models import Blob, WorkingCopy
from pipeline.renditions import store_files
from pipeline.runtime import Runtime

MOST_NEW = 20  # new items that one person may have begun
MOST_FILES = 30
LARGEST = 4_000_000  # characters of one copy, as JSON
LATELY = timedelta(hours=12)  # whoever wrote within this may still be writing


@dataclass(frozen=True)
class Kept:
    """An attachment whose bytes are stored already; `size` in bytes."""

    name: str
    media_type: str
    sha256: str
    size: int

    @property
    def key(self) -> str:
        """Names it in a form."""
        return f"{self.sha256} {self.name}"


@dataclass(frozen=True)
class Sheet:
    """The form of an item as it is typed: nothing is checked, days may be half a day's text."""

    title: str = ""
    text: str = ""
    item_type: str = ""
    department: str = ""
    formed_on: str = ""
    summary: str = ""
    document_number: str = ""
    keywords: str = ""
    theme: str = ""
    source: str = ""
    short_title: str = ""
    sms_text: str = ""
    period_from: str = ""
    period_to: str = ""
    objection_contact: str = ""
    corrects: str = ""
    validity: str = VALIDITIES[0]
    files: tuple[Kept, ...] = ()


TEXTS = tuple(field.name for field in fields(Sheet) if field.name != "files")


@dataclass(frozen=True)
class Place:
    """Where a form stands. `item` None: a new one; `copy`: its working copy, None: none yet; `based_on`: the number of
    the revision it began from, 0: none; `window`: names the browser window; `known`: the mark of the copy that this
    window opened with."""

    item: int | None = None
    copy: int | None = None
    based_on: int = 0
    window: str = ""
    known: str = ""


@dataclass(frozen=True)
class Copy:
    id: int
    item: int | None
    based_on: int
    sheet: Sheet
    saved_at: datetime

    @property
    def mark(self) -> str:
        """Changes with every saving."""
        return self.saved_at.isoformat()


@dataclass(frozen=True)
class Other:
    """Somebody else who writes at the same item, and when they last did."""

    person: str
    at: datetime


def save(rt: Runtime, actor: Actor, place: Place, sheet: Sheet) -> Copy:
    """Keep what is typed. Raises Refused when another window of the same person kept something since, or when the copy
    of a new item is no more: it was saved or discarded elsewhere."""
    permit(actor, Decision.CREATE)
    content = json.dumps({"window": place.window, "sheet": asdict(sheet)}, ensure_ascii=False)
    if len(content) > LARGEST:
        raise Refused("draft.text_too_long", length=str(len(sheet.text)), limit=str(rt.settings.limits.text_characters))
    with rt.writing() as db:
        row = _locked(rt, db, actor, place)
        before = json.loads(row.content)["window"]
        if before not in ("", place.window) and row.saved_at.isoformat() != place.known:
            raise Refused("writing.other_window")
        row.content, row.based_on, row.saved_at = content, place.based_on, rt.now()
        db.flush()
        return _read(row)


def _locked(rt: Runtime, db: Session, actor: Actor, place: Place) -> WorkingCopy:
    """The copy's row, made when there is none yet."""
    empty = json.dumps({"window": "", "sheet": asdict(Sheet())})
    blank = {"person": actor.person.id, "item_id": place.item, "based_on": 0, "content": empty, "saved_at": rt.now()}
    mine = select(WorkingCopy).where(WorkingCopy.person == actor.person.id).with_for_update()
    if place.item is not None:
        db.execute(insert_for(db, WorkingCopy).values(**blank).on_conflict_do_nothing())
        return db.scalars(mine.where(WorkingCopy.item_id == place.item)).one()
    if place.copy is None:
        begun = select(func.count()).where(WorkingCopy.person == actor.person.id, WorkingCopy.item_id.is_(None))
        if (db.scalar(begun) or 0) >= MOST_NEW:
            raise Refused("writing.too_many", limit=str(MOST_NEW))
        row = WorkingCopy(**blank)
        db.add(row)
        db.flush()
        return row
    kept = db.scalars(mine.where(WorkingCopy.id == place.copy, WorkingCopy.item_id.is_(None))).one_or_none()
    if kept is None:
        raise Refused("writing.copy_gone")
    return kept


def read(rt: Runtime, person: str, item: int) -> Copy | None:
    """What this person had typed at an item."""
    with rt.reading() as db:
        mine = select(WorkingCopy).where(WorkingCopy.person == person, WorkingCopy.item_id == item)
        row = db.scalars(mine).one_or_none()
        return _read(row) if row is not None else None


def begun(rt: Runtime, person: str) -> list[Copy]:
    """The new items that this person began and did not save, the last first."""
    with rt.reading() as db:
        mine = select(WorkingCopy).where(WorkingCopy.person == person, WorkingCopy.item_id.is_(None))
        return [_read(row) for row in db.scalars(mine.order_by(WorkingCopy.saved_at.desc(), WorkingCopy.id.desc()))]


def all_of(rt: Runtime, person: str) -> list[Copy]:
    """Everything that this person typed and did not save, new items and edits, the last first."""
    with rt.reading() as db:
        mine = select(WorkingCopy).where(WorkingCopy.person == person).limit(MOST_NEW)
        return [_read(row) for row in db.scalars(mine.order_by(WorkingCopy.saved_at.desc(), WorkingCopy.id.desc()))]


def discard(rt: Runtime, person: str, copy: int) -> None:
    """Forget what was typed. Safe to repeat; nobody else's is touched."""
    with rt.writing() as db:
        db.execute(delete(WorkingCopy).where(WorkingCopy.id == copy, WorkingCopy.person == person))


def became_item(person: str, copy: int | None) -> Callable[[Session, int], None]:
    """For `review.create`: the copy ends in the commit that makes the item, so that a form sent twice makes one item.
    Raises Refused when it is no more."""

    def record(db: Session, item: int) -> None:
        if copy is None:
            return
        gone = delete(WorkingCopy).where(WorkingCopy.id == copy, WorkingCopy.person == person)
        if db.scalar(gone.returning(WorkingCopy.id)) is None:
            raise Refused("writing.copy_gone")

    return record


def others_at(rt: Runtime, person: str, item: int) -> list[Other]:
    """Who else was writing at this item lately, the last first."""
    with rt.reading() as db:
        lately = select(WorkingCopy.person, WorkingCopy.saved_at).where(
            WorkingCopy.item_id == item, WorkingCopy.person != person, WorkingCopy.saved_at > rt.now() - LATELY
        )
        return [Other(row.person, row.saved_at) for row in db.execute(lately.order_by(WorkingCopy.saved_at.desc()))]


def _read(row: WorkingCopy) -> Copy:
    sheet = json.loads(row.content)["sheet"]
    kept = tuple(Kept(**file) for file in sheet.pop("files"))
    return Copy(row.id, row.item_id, row.based_on, Sheet(**sheet, files=kept), row.saved_at)


# ── attachments ──────────────────────────────────────────────────────────────────────────────────────────────────────


def add_files(rt: Runtime, sheet: Sheet, files: Sequence[File]) -> Sheet:
    """The sheet with more attachments, their bytes stored; one of a name that is there already takes its place. Raises
    Refused on one that is empty or too large, or when there are too many."""
    limit = rt.settings.limits.file_bytes
    for file in files:
        if not file.content:
            raise Refused("draft.file_empty", file=file.name)
        if len(file.content) > limit:
            raise Refused("draft.file_too_large", file=file.name, limit=str(limit // 1_000_000))
    new = {file.name: Kept(file.name, file.media_type, file.sha256, len(file.content)) for file in files}
    there = [new.pop(file.name, file) for file in sheet.files]
    if len(there) + len(new) > MOST_FILES:
        raise Refused("writing.too_many_files", limit=str(MOST_FILES))
    with rt.writing() as db:
        store_files(db, files)
    return replace(sheet, files=(*there, *new.values()))


def known_files(rt: Runtime, person: str, place: Place) -> dict[str, Kept]:
    """The attachments that a form may name, by key: those of the person's copy and of the item's latest revision."""
    with rt.reading() as db:
        mine = select(WorkingCopy).where(WorkingCopy.person == person)
        if place.item is None:
            mine = mine.where(WorkingCopy.id == place.copy)
        row = db.scalars(mine.where(WorkingCopy.item_id == place.item)).one_or_none()
        known = list(_read(row).sheet.files) if row is not None else []
        if place.item is not None:
            entries = json.loads(latest_revision(db, place.item).content)["files"]
            sizes = select(Blob.sha256, func.length(Blob.content)).where(Blob.sha256.in_([one[2] for one in entries]))
            size = {row.sha256: row[1] for row in db.execute(sizes)}
            known += [Kept(name, media_type, sha256, size[sha256]) for name, media_type, sha256 in entries]
    return {file.key: file for file in known}


# ── sheet and draft ──────────────────────────────────────────────────────────────────────────────────────────────────


def sheet_of(draft: Draft) -> Sheet:
    """A draft as its form shows it."""
    texts: dict[str, Any] = {name: getattr(draft, name) for name in TEXTS if not name.startswith("period_")}
    period = draft.period or ("", "")
    return Sheet(
        **{
            **texts,
            "formed_on": draft.formed_on.isoformat(),
            "keywords": " ".join(draft.keywords),
            "period_from": str(period[0]),
            "period_to": str(period[1]),
        },
        files=tuple(Kept(one.name, one.media_type, one.sha256, len(one.content)) for one in draft.files),
    )


def draft_of(rt: Runtime, sheet: Sheet, *, with_files: bool = True) -> Draft:
    """The draft that a form says; `with_files` False leaves the bytes of the attachments out. Raises Refused on what is
    no day or half a period."""
    if bool(sheet.period_from) != bool(sheet.period_to):
        raise Refused("draft.period_half")
    period = (_day(sheet.period_from, "period"), _day(sheet.period_to, "period")) if sheet.period_from else None
    texts = {name: getattr(sheet, name) for name in TEXTS if not name.startswith("period_")}
    formed = _day(sheet.formed_on, "formed_on") if sheet.formed_on else rt.now().astimezone(rt.settings.zone).date()
    return Draft(
        **{
            **texts,
            "formed_on": formed,
            "keywords": split_keywords(sheet.keywords),
            "period": period,
            "files": _contents(rt, sheet.files) if with_files else tuple(_empty(file) for file in sheet.files),
        }
    )


def split_keywords(text: str) -> tuple[str, ...]:
    """Keywords as people separate them."""
    for mark in "，,、；;　":
        text = text.replace(mark, " ")
    return tuple(dict.fromkeys(text.split()))


def _day(text: str, field: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise Refused("draft.bad_day", field=field, given=text[:20]) from error


def _contents(rt: Runtime, kept: Sequence[Kept]) -> tuple[File, ...]:
    with rt.reading() as db:
        blobs = db.scalars(select(Blob).where(Blob.sha256.in_([file.sha256 for file in kept]))) if kept else ()
        contents = {blob.sha256: blob.content for blob in blobs}
    return tuple(File(file.name, file.media_type, contents[file.sha256]) for file in kept)


def _empty(file: Kept) -> File:
    return File(file.name, file.media_type, b"\0")
