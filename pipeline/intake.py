"""Files → drafts: what the clerk already has, without retyping. Nothing is half-imported."""

import hashlib
import mimetypes
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from channels.contract import File, Finding, Severity
from channels.document import BadText, decode
from pipeline import docx, review
from pipeline.database import insert_for
from pipeline.decisions import Actor, Decision, Refused, permit
from pipeline.docx import Body
from pipeline.drafts import Draft
from pipeline.models import ImportedFile
from pipeline.runtime import Runtime

BODIES = frozenset({".docx", ".txt"})  # what a text is taken from; the rest can be attached
# Texts, too, but not read: a person saves them as .docx and sees what comes of it.
_TO_BE_SAVED = frozenset({".doc", ".dot", ".docm", ".dotm", ".wps", ".wpt", ".rtf", ".odt", ".ofd", ".pdf", ".ceb",
                          ".htm", ".html", ".mht"})  # fmt: skip
_OLD_OFFICE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"  # the container of .doc and .wps, and of whatever has a password
_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")
_ZIP = b"PK\x03\x04"
_BEGINNINGS = (_OLD_OFFICE, b"%PDF", b"{\\rtf")


# One file


def read_text(path: Path) -> str:
    """The text of a plain text file. Raises Refused when it is not there or not text."""
    try:
        return decode(_bytes(path))
    except BadText as error:
        raise _refused(error, path.name) from error


def read_attachment(path: Path, limit: int | None = None) -> File:
    """A file as an attachment, under its own name, read as far as one byte beyond the limit."""
    media_type, _ = mimetypes.guess_type(path.name)
    return File(path.name, media_type or "application/octet-stream", _bytes(path, limit))


def read_body(rt: Runtime, path: Path) -> Body:
    """The text of a file of any kind that a text is taken from, with its proposed title and its pictures."""
    return body_of(rt, path.name, _bytes(path, rt.settings.limits.file_bytes))


def body_of(rt: Runtime, name: str, content: bytes) -> Body:
    """The text in the bytes of a .docx or of plain text. Raises Refused when they are neither, and says what to do."""
    limit = rt.settings.limits.file_bytes
    if re.search("[/\\\\\0\ud800-\udfff]", name) or name in ("", ".", ".."):
        raise Refused("intake.file_name", file=_shown(name))
    if len(content) > limit:
        raise Refused("intake.too_large", file=name, limit=str(limit // 1_000_000))
    if not content:
        raise Refused("document.empty", file=name)
    suffix = Path(name).suffix.lower()
    if content.startswith(_OLD_OFFICE) and _ENCRYPTED in content:
        raise Refused("intake.password", file=name)
    if suffix in (".docm", ".dotm"):
        raise Refused("docx.macros", file=name)
    if suffix not in BODIES | {""} or content.startswith(_BEGINNINGS):
        raise Refused("intake.save_as_docx", file=name)
    try:
        if content.startswith(_ZIP):
            return docx.read(content)
        if suffix == ".docx":
            raise BadText("docx.damaged")
        return Body(decode(content))
    except BadText as error:
        raise _refused(error, name) from error


def _shown(name: str) -> str:
    """A file's name as it can be printed; bytes that are no UTF-8 come from Windows, by way of a zip file."""
    return os.fsencode(name).decode("gb18030", "replace") if re.search("[\ud800-\udfff]", name) else name


def _refused(error: BadText, name: str) -> Refused:
    return Refused(error.code, **{**error.facts, "file": name})


def _bytes(path: Path, limit: int | None = None) -> bytes:
    """What is in a file, as far as one byte beyond the limit."""
    try:
        with path.open("rb") as file:
            return file.read(-1 if limit is None else limit + 1)
    except OSError as error:
        raise Refused("intake.cannot_read", file=str(path), detail=error.strerror or "") from error


# Into the ledger


class TitleFrom(StrEnum):
    """Where the title of an imported item was taken from."""

    DOCUMENT = "document"
    FILE_NAME = "file_name"
    FOLDER_NAME = "folder_name"


@dataclass(frozen=True)
class Filing:
    """What a person says of the items to be made. Without a type it is the one that the title ends with, else the first
    of the settings; the department is the person's own; the date formed is today."""

    item_type: str = ""
    department: str = ""
    formed_on: date | None = None


@dataclass(frozen=True)
class Imported:
    """A file that became a draft, and what the clerk must look at."""

    file: str
    item: int
    title: str
    title_from: TitleFrom
    item_type: str
    attached: tuple[str, ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Known:
    """A file whose bytes had become an item before: no second one was made."""

    file: str
    item: int


@dataclass(frozen=True)
class NotImported:
    """A file of which nothing was taken, and why."""

    file: str
    code: str
    facts: Mapping[str, str]


class _AlreadyImported(Exception):
    """The same bytes became an item before."""


def import_file(
    rt: Runtime,
    actor: Actor,
    name: str,
    content: bytes,
    attachments: Sequence[File] = (),
    filing: Filing | None = None,
    folder: str = "",
) -> Imported | Known:
    """Make a draft of one file, or say which item it became before. Raises Refused; then nothing was changed.

    The title is the document's own, else the name of the `folder` that the item has for itself, else the file's.
    """
    filing = filing or Filing()
    permit(actor, Decision.CREATE)
    sha256 = hashlib.sha256(content).hexdigest()
    if before := _imported_as(rt, sha256):
        return Known(_shown(name), before)
    body = body_of(rt, name, content)
    title, title_from = body.title, TitleFrom.DOCUMENT
    if not title and folder:
        title, title_from = title_of(folder), TitleFrom.FOLDER_NAME
    elif not title:
        title, title_from = title_of(Path(name).stem), TitleFrom.FILE_NAME
    draft = Draft(
        title=title,
        text=body.text,
        item_type=filing.item_type or type_of(rt, title),
        department=filing.department or actor.person.department,
        formed_on=filing.formed_on or rt.now().astimezone(rt.settings.zone).date(),
        files=(*body.pictures, *attachments),
    )

    def record(db: Session, item: int) -> None:
        if not _remember(rt, db, sha256, item):
            raise _AlreadyImported

    try:
        item = review.create(rt, actor, draft, record)
    except _AlreadyImported:  # by somebody else at the same moment
        return Known(name, _imported_as(rt, sha256))
    attached = tuple(file.name for file in draft.files)
    return Imported(name, item, title, title_from, draft.item_type, attached, body.findings)


def remember(rt: Runtime, path: Path) -> Callable[[Session, int], None]:
    """For `review.create`: that this file became an item, unless it did before."""
    sha256 = hashlib.sha256(_bytes(path)).hexdigest()

    def record(db: Session, item: int) -> None:
        _remember(rt, db, sha256, item)

    return record


def _remember(rt: Runtime, db: Session, sha256: str, item: int) -> bool:
    kept = insert_for(db, ImportedFile).values(sha256=sha256, item_id=item, at=rt.now())
    return db.scalar(kept.on_conflict_do_nothing().returning(ImportedFile.item_id)) is not None


def _imported_as(rt: Runtime, sha256: str) -> int:
    """The item that a file with this hash became, or 0."""
    with rt.reading() as db:
        return db.scalar(select(ImportedFile.item_id).where(ImportedFile.sha256 == sha256)) or 0


def with_pictures(path: Path, body: Body, others: Sequence[File]) -> tuple[File, ...]:
    """The attachments of an item whose text is read from this file: its pictures instead of those of a .docx before."""
    if path.suffix.lower() == ".docx":
        others = [file for file in others if not docx.PICTURE_NAME.fullmatch(file.name)]
    return (*body.pictures, *others)


def findings_of(body: Body, title: str) -> tuple[Finding, ...]:
    """What the clerk must look at: also that the document's own title stands nowhere when the item has another."""
    if body.title in ("", title):
        return body.findings
    return (*body.findings, Finding("intake.title_replaced", Severity.WARN, "title", {"title": body.title}))


def title_of(stem: str) -> str:
    """The title that a name gives: without a number or a date before it, and the marks of a copy behind."""
    bare = re.sub(r"^(?:(?:\d{1,8}[-_.、．\s]+|[（(]\d{1,3}[）)][-_.、．\s]*))+", "", stem.strip())
    return re.sub(r"\s*(?:[（(]\d{1,2}[）)]|[-－—]\s*副本)$", "", bare).strip() or stem


def type_of(rt: Runtime, title: str) -> str:
    """The type (体裁) that a title ends with, else the first of the settings."""
    bare = re.sub(r"（[^（）]*）$", "", title.strip())
    types = rt.settings.item_types
    return next((one for one in types if bare.endswith(one)), types[0])


# A folder

_ATTACHED = re.compile(r"[\s_－—-]*附件(?=$|[\d一二三四五六七八九十\s_.：:（(－—-])")
_NOT_OURS = re.compile(r"\.|~|thumbs\.db$|desktop\.ini$", re.I)  # of Word, Windows and macOS


@dataclass(frozen=True)
class Planned:
    """A text and what is attached to it. `folder`: its own, if it has one."""

    body: Path
    attachments: tuple[Path, ...] = ()
    folder: str = ""

    @property
    def name(self) -> str:
        """As the person sees it in the folder that is imported."""
        return _shown(f"{self.folder}/{self.body.name}" if self.folder else self.body.name)


def import_folder(
    rt: Runtime, actor: Actor, folder: Path, filing: Filing | None = None
) -> Iterator[Imported | Known | NotImported]:
    """Make a draft of every text in a folder, and say of each what became of it; a commit for each."""
    permit(actor, Decision.CREATE)
    for one in plan(folder):
        yield one if isinstance(one, NotImported) else _import(rt, actor, one, filing)


def import_path(rt: Runtime, actor: Actor, path: Path, filing: Filing | None = None) -> Imported | Known | NotImported:
    """Make a draft of one file on this machine, and say what became of it."""
    permit(actor, Decision.CREATE)
    return _import(rt, actor, Planned(path), filing)


def _import(rt: Runtime, actor: Actor, one: Planned, filing: Filing | None) -> Imported | Known | NotImported:
    limit = rt.settings.limits.file_bytes
    try:
        files = [read_attachment(path, limit) for path in one.attachments]
        done = import_file(rt, actor, one.body.name, _bytes(one.body, limit), files, filing, one.folder)
    except Refused as error:
        return NotImported(one.name, error.code, error.facts)
    return replace(done, file=one.name)


def plan(folder: Path) -> list[Planned | NotImported]:
    """Which files of a folder are texts and what is attached to them, in the order of their names; docs/importing.md
    has the rules. Raises Refused when it cannot be read."""
    planned: list[Planned | NotImported] = []
    entries = _entries(folder)
    files = [path for path in entries if not path.is_dir()]
    texts = [path for path in files if _may_be_text(path, BODIES | _TO_BE_SAVED)]
    for path in entries:
        if path.is_dir():
            planned.append(_plan_own_folder(path))
        elif path in texts and _owner(path, texts) is None:
            planned.append(Planned(path, tuple(one for one in files if _owner(one, texts) == path)))
        elif _owner(path, texts) is None:
            planned.append(_not(path.name, "intake.whose_attachment"))
    return planned


def _plan_own_folder(folder: Path) -> Planned | NotImported:
    """A folder in the folder is one item: its text, and everything else in it attached."""
    entries = _entries(folder)
    if any(path.is_dir() for path in entries):
        return _not(folder.name, "intake.folder_in_folder")
    texts = [path for path in entries if _may_be_text(path, BODIES)]
    texts = texts or [path for path in entries if _may_be_text(path, _TO_BE_SAVED)]
    texts = [path for path in texts if _owner(path, texts) is None]
    texts = [path for path in texts if path.stem == folder.name] or texts
    if len(texts) != 1:
        return _not(folder.name, "intake.several_texts" if texts else "intake.no_text")
    return Planned(texts[0], tuple(path for path in entries if path != texts[0]), folder.name)


def _not(name: str, code: str) -> NotImported:
    return NotImported(_shown(name), code, {"file": _shown(name)})


def _entries(folder: Path) -> list[Path]:
    """What a person put into a folder, 2 before 10."""
    try:
        entries = [path for path in folder.iterdir() if not _NOT_OURS.match(path.name)]
    except OSError as error:
        raise Refused("intake.cannot_read", file=_shown(str(folder)), detail=error.strerror or "") from error

    def order(path: Path) -> list[str]:
        return [one.zfill(20) if one.isdecimal() else one for one in re.split(r"(\d+)", path.name)]

    return sorted(entries, key=order)


def _may_be_text(path: Path, suffixes: Set[str]) -> bool:
    return path.suffix.lower() in suffixes and not _ATTACHED.match(path.stem)


def _owner(path: Path, texts: Sequence[Path]) -> Path | None:
    """The text that a file names as the one it is attached to: 通知-附件1.xlsx belongs to 通知.docx."""
    named = (text for text in texts if path.stem.startswith(text.stem) and path != text)
    return next((text for text in named if _ATTACHED.match(path.stem, len(text.stem))), None)


# The samples


@dataclass(frozen=True)
class Sample:
    """A draft of the samples, who writes it, and where it goes."""

    draft: Draft
    author: str
    channels: tuple[str, ...]


def read_samples(folder: Path) -> list[Sample]:
    """The items that `samples.toml` in this folder describes."""
    samples = []
    for entry in tomllib.loads((folder / "samples.toml").read_text("utf-8"))["sample"]:
        period = entry.pop("period", None)
        file, author, channels = entry.pop("file"), entry.pop("author"), entry.pop("channels")
        files = tuple(read_attachment(folder / "attachments" / name) for name in entry.pop("attachments", ()))
        draft = Draft(
            **{
                **entry,
                "text": read_text(folder / file),
                "formed_on": _date(entry["formed_on"]),
                "keywords": tuple(entry.get("keywords", ())),
                "period": (_date(period[0]), _date(period[1])) if period else None,
                "files": files,
            }
        )
        samples.append(Sample(draft, author, tuple(channels)))
    return samples


def _date(value: date | str) -> date:
    return value if isinstance(value, date) else date.fromisoformat(value)
