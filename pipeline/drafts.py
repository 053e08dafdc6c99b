"""What a person writes, how it is kept as an immutable revision, and the message that channels render from it."""

import hashlib
import json
import re
from dataclasses import asdict, dataclass, fields, replace
from datetime import date
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from channels.contract import File, Message, Office
from channels.document import parse
from pipeline import staff
from pipeline.arrangement import Arrangement
from pipeline.catalogue import expected_index_number
from pipeline.decisions import Refused, plain
from pipeline.models import Blob, Item, Revision
from pipeline.renditions import store_files, went_out
from pipeline.runtime import Runtime

VALIDITIES = ("有效", "失效", "废止")  # domain: Catalogue
FILE_NAME_CHARACTERS = 80  # in Chinese 240 bytes: file systems take 255


@dataclass(frozen=True)
class Draft:
    """One item as it is written: text in official style and the fields of its catalogue entry (domain: Catalogue).
    `issue`: what a number of the newsletter is made of; `text` then is the same as a plain text."""

    title: str
    text: str
    item_type: str
    department: str
    formed_on: date
    summary: str = ""
    document_number: str = ""
    keywords: tuple[str, ...] = ()
    theme: str = ""
    source: str = ""
    short_title: str = ""
    sms_text: str = ""
    period: tuple[date, date] | None = None
    objection_contact: str = ""
    corrects: str = ""
    validity: str = VALIDITIES[0]
    files: tuple[File, ...] = ()
    issue: Arrangement | None = None


def rearranged(draft: Draft, arranged: Arrangement) -> Draft:
    """The draft with another arrangement; a title, a summary and an SMS text of the editor's own stay, unless they name
    a piece by a title that the issue does not have any more."""
    before = draft.issue
    changed = replace(draft, issue=arranged, text=arranged.text)
    if before is None:
        return changed
    if draft.title == before.title:
        changed = replace(changed, title=arranged.title)
    gone = {one.title for one in before.pieces.values()} - {one.title for one in arranged.pieces.values()}
    if draft.summary == before.summary or any(title in draft.summary for title in gone):
        changed = replace(changed, summary=arranged.summary)
    if any(title in draft.sms_text for title in gone):
        changed = replace(changed, sms_text="")  # the channel makes one of title and address
    return changed


def checked(rt: Runtime, draft: Draft) -> Draft:
    """The draft as it may be kept: every text cleaned. Raises Refused on what cannot be read, shown or filed."""
    limits = rt.settings.limits
    texts = [field.name for field in fields(Draft) if isinstance(getattr(draft, field.name), str)]
    kept: dict[str, Any] = {}
    if draft.issue is not None:
        draft = replace(draft, text=draft.issue.text)
    for name in texts:
        value = plain(getattr(draft, name), name)
        kept[name] = value if name == "text" else _one_line(value)
    first, _, rest = kept["text"].lstrip().partition("\n")
    if kept["title"] and _one_line(first) == kept["title"] and rest.strip():
        kept["text"] = rest.lstrip("\n")  # the title stands above the text on every channel: not twice
    keywords = [_one_line(plain(keyword, "keywords")) for keyword in draft.keywords]
    kept["keywords"] = tuple(keyword for keyword in keywords if keyword)
    if not kept["title"]:
        raise Refused("draft.title_missing")
    if not kept["text"].strip():
        raise Refused("document.empty")
    if len(kept["title"]) > limits.title_characters:
        raise Refused("draft.title_too_long", length=str(len(kept["title"])), limit=str(limits.title_characters))
    # An issue is as long as its items, each of which is within the limit: after an outage it may hold many.
    if draft.issue is None and len(kept["text"]) > limits.text_characters:
        raise Refused("draft.text_too_long", length=str(len(kept["text"])), limit=str(limits.text_characters))
    if draft.item_type not in rt.settings.item_types:
        raise Refused("draft.unknown_type", given=draft.item_type, known="、".join(rt.settings.item_types))
    departments = staff.departments(rt)
    if draft.department not in {department.id for department in departments}:
        known = "、".join(f"{one.id}（{one.name}）" for one in departments)
        raise Refused("draft.unknown_department", given=draft.department, known=known)
    if draft.formed_on > rt.now().astimezone(rt.settings.zone).date():
        raise Refused("draft.formed_in_future", formed_on=draft.formed_on.isoformat())
    if draft.formed_on.year < 1949:
        raise Refused("draft.formed_long_ago", formed_on=draft.formed_on.isoformat())
    if draft.validity not in VALIDITIES:
        raise Refused("draft.unknown_validity", given=draft.validity, known="、".join(VALIDITIES))
    if draft.period is not None and draft.period[0] > draft.period[1]:
        raise Refused("draft.period_backwards")
    names = [file.name for file in draft.files]
    for file in draft.files:
        name = _one_line(plain(file.name, "files"))
        if name != file.name or re.search(r"[/\\]", name) or name in ("", ".", "..") or names.count(name) > 1:
            raise Refused("draft.file_name", file=file.name)
        if len(name) > FILE_NAME_CHARACTERS:
            raise Refused("draft.file_name_long", file=name[:40], limit=str(FILE_NAME_CHARACTERS))
        if not file.content:
            raise Refused("draft.file_empty", file=name)
        if len(file.content) > limits.file_bytes:
            raise Refused("draft.file_too_large", file=name, limit=str(limits.file_bytes // 1_000_000))
    return replace(draft, **kept)


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def store_revision(rt: Runtime, db: Session, item: Item, author: str, draft: Draft) -> Revision:
    """Keep a checked draft as the item's next revision. `content_hash` is over the very bytes that are stored."""
    store_files(db, draft.files)
    document = asdict(replace(draft, files=()))
    if document.pop("issue") is not None and draft.issue is not None:
        document["issue"] = draft.issue.data()
    document["files"] = [[file.name, file.media_type, file.sha256] for file in draft.files]
    content = json.dumps(document, ensure_ascii=False, sort_keys=True, default=date.isoformat).encode()
    number = (db.scalar(select(func.max(Revision.number)).where(Revision.item_id == item.id)) or 0) + 1
    revision = Revision(
        item_id=item.id,
        number=number,
        author=author,
        created_at=rt.now(),
        title=draft.title,
        item_type=draft.item_type,
        department=draft.department,
        formed_on=draft.formed_on,
        content=content,
        content_hash=hashlib.sha256(content).hexdigest(),
    )
    db.add(revision)
    db.flush()
    return revision


def latest_revision(db: Session, item_id: int) -> Revision:
    return db.scalars(
        select(Revision).where(Revision.item_id == item_id).order_by(Revision.number.desc()).limit(1)
    ).one()


def read_draft(db: Session, revision: Revision) -> Draft:
    """The draft that a revision keeps, attachments and all."""
    document = json.loads(revision.content)
    entries = document.pop("files")
    blobs = db.scalars(select(Blob).where(Blob.sha256.in_([sha256 for _, _, sha256 in entries])))
    contents = {blob.sha256: blob.content for blob in blobs}
    period, issue = document.pop("period"), document.pop("issue", None)
    return Draft(
        **{
            **document,
            "formed_on": date.fromisoformat(document["formed_on"]),
            "keywords": tuple(document["keywords"]),
            "period": (date.fromisoformat(period[0]), date.fromisoformat(period[1])) if period else None,
            "files": tuple(File(name, media_type, contents[sha256]) for name, media_type, sha256 in entries),
            "issue": Arrangement.read(issue) if issue is not None else None,
        }
    )


def read_issue(revision: Revision) -> Arrangement | None:
    """What this number of the newsletter is made of; None: it is none. Attachments are not read."""
    issue = json.loads(revision.content).get("issue")
    return Arrangement.read(issue) if issue is not None else None


def keep_issue(db: Session, item_id: int, draft: Draft) -> Draft:
    """A draft from an ordinary form, which knows no arrangement, with that of the item's latest revision where it is a
    number of the newsletter. Raises Refused when its text was changed: that is made of its entries."""
    latest = db.scalars(
        select(Revision).where(Revision.item_id == item_id).order_by(Revision.number.desc()).limit(1)
    ).one_or_none()
    if draft.issue is not None or latest is None or (issue := read_issue(latest)) is None:
        return draft
    if draft.text.split() != issue.text.split():
        raise Refused("issue.edit_entries")
    return replace(draft, issue=issue)


def compose(rt: Runtime, item: Item, revision_number: int, draft: Draft, corrected: bool = False) -> Message:
    """What channels render: the draft with its index number, its permanent address, and who publishes it. `corrected`:
    an earlier revision has gone out."""
    return replace(_message(rt, item.id, item.index_number or "", revision_number, draft), corrected=corrected)


def compose_unsubmitted(rt: Runtime, item_id: int | None, draft: Draft) -> Message:
    """The same for a text that is still being written; a number that it does not have yet is the one it would get now.
    `item_id` None: it is not saved yet."""
    with rt.reading() as db:
        item = db.get(Item, item_id) if item_id is not None else None
        number = item.id if item is not None else (db.scalar(select(func.max(Item.id))) or 0) + 1
        index_number = (item.index_number if item is not None else None) or expected_index_number(rt, db)
        corrected = item is not None and went_out(db, item.id)
    return replace(_message(rt, number, index_number, 1, draft), corrected=corrected)


def _message(rt: Runtime, number: int, index_number: str, revision_number: int, draft: Draft) -> Message:
    office = rt.settings.office
    return Message(
        number=number,
        index_number=index_number,
        title=draft.title,
        blocks=draft.issue.blocks if draft.issue is not None else parse(draft.text),
        item_type=draft.item_type,
        department=staff.names(rt).department(draft.department),
        office=Office(office.name, office.code, office.phone, office.address, office.short_name),
        address=f"{rt.settings.public_url}/i/{number}",
        formed_on=draft.formed_on,
        revision=revision_number,
        document_number=draft.document_number,
        summary=draft.summary,
        keywords=draft.keywords,
        theme=draft.theme,
        source=draft.source,
        short_title=draft.short_title,
        sms_text=draft.sms_text,
        period=draft.period,
        objection_contact=draft.objection_contact,
        corrects=draft.corrects,
        validity=draft.validity,
        files=draft.files,
        issue=draft.issue.issue(lambda item: f"{rt.settings.public_url}/i/{item}") if draft.issue is not None else None,
    )
