"""Proof of one item (发布证明): who approved what when, the exact bytes of each channel, every trace of its arrival.

A ZIP that can be checked without Fabu: `manifest.json` names the SHA-256 of every file in it, `SHA256SUMS` is the same
for `sha256sum -c`. Recipients are masked, and told apart by a hash that is salted anew for each proof.
"""

import hashlib
import io
import json
import mimetypes
import secrets
import zipfile
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from config.locale import Language, say
from pipeline import scans, staff
from pipeline.items import require_item
from pipeline.models import (
    Approval,
    Attempt,
    AttemptEnd,
    AuditLine,
    Delivery,
    Item,
    Posting,
    Revision,
    Ruling,
    Sighting,
    StoredRendition,
    StoredReport,
    Submission,
)
from pipeline.renditions import load_files, load_renditions
from pipeline.runtime import Runtime
from pipeline.words import masked

EPOCH = (1980, 1, 1, 0, 0, 0)  # the same facts make the same file, but for the salt
SUMMARY = {"zh": "发布证明.txt", "en": "proof.txt"}


def of(rt: Runtime, item_id: int, language: Language) -> bytes:
    """The proof of an item as a ZIP. Raises Refused when there is no such item."""
    require_item(rt, item_id)
    salt = secrets.token_bytes(16)
    with rt.reading() as db:
        files = {**_texts(db, item_id), **_renditions(db, item_id)}
        record = _record(rt, db, item_id, salt)
        files |= _evidence(db, record)
    files["record.json"] = _json(record)
    files[SUMMARY[language]] = _summary(rt, language, record).encode()
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}
    files["SHA256SUMS"] = "".join(f"{sum}  {name}\n" for name, sum in sums.items()).encode()
    made = {"item": item_id, "made_at": rt.now(), "index_number": record["index_number"], "files": sums}
    files["manifest.json"] = _json(made)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(name, EPOCH), content, zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def _texts(db: Session, item_id: int) -> dict[str, bytes]:
    """Every revision and every submission's manifest, byte for byte as they were hashed."""
    files = {}
    for revision in db.scalars(select(Revision).where(Revision.item_id == item_id)):
        files[f"revisions/{revision.number}.json"] = revision.content
    for submission in db.scalars(select(Submission).where(Submission.item_id == item_id)):
        files[f"submissions/{submission.hash}.json"] = submission.manifest
    return files


def _renditions(db: Session, item_id: int) -> dict[str, bytes]:
    """What each channel was given, with its attachments."""
    files = {}
    rows = db.execute(
        select(StoredRendition.id, StoredRendition.channel, Submission.hash)
        .join(Submission, Submission.id == StoredRendition.submission_id)
        .where(Submission.item_id == item_id)
    ).all()
    loaded = load_renditions(db, {row.id for row in rows})
    for row in rows:
        rendition, place = loaded[row.id], f"renditions/{row.hash[:12]}/{row.channel}"
        kind = rendition.media_type.partition(";")[0]
        ending = ".json" if kind.endswith("json") else mimetypes.guess_extension(kind) or ".bin"
        files[place + ending] = rendition.body
        for file in rendition.files:
            files[f"{place}/{file.sha256[:12]}-{file.name}"] = file.content
    return files


def _evidence(db: Session, record: dict[str, Any]) -> dict[str, bytes]:
    """The photos of postings and the scans of signed sheets, by their SHA-256."""
    folders = {one["photo"]: "photos" for one in record["postings"]}
    folders |= {one["scan"]: "scans" for one in record["submissions"] + record["approvals"]}
    kept = load_files(db, folders.keys())
    return {
        f"{folders[sha256]}/{sha256}{scans.ENDINGS.get(scans.media_type(content), '')}": content
        for sha256, content in kept.items()
    }


def _record(rt: Runtime, db: Session, item_id: int, salt: bytes) -> dict[str, Any]:
    """All that was decided, done and seen, oldest first."""

    def who(recipient: str) -> str:
        if not recipient:
            return ""
        return f"{masked(recipient)} #{hashlib.sha256(salt + recipient.encode()).hexdigest()[:8]}"

    item = db.get_one(Item, item_id)
    revisions = db.scalars(select(Revision).where(Revision.item_id == item_id).order_by(Revision.number)).all()
    submissions = db.scalars(select(Submission).where(Submission.item_id == item_id).order_by(Submission.id)).all()
    numbers = {one.id: one.number for one in revisions}
    rows = {row.id: row for row in db.scalars(select(Delivery).where(Delivery.item_id == item_id))}

    def mine(table: Any) -> Any:
        below = select(Delivery.id).where(Delivery.item_id == item_id)
        return select(table).where(table.delivery_id.in_(below))

    def place(delivery_id: int) -> dict[str, Any]:
        return {"channel": rows[delivery_id].channel, "recipient": who(rows[delivery_id].recipient)}

    approvals = select(Approval).where(Approval.submission_id.in_([one.id for one in submissions]))
    hashes = {one.id: one.hash for one in submissions}
    ruled = {
        one.submission_id: {"by_rule": one.change, "about_item": one.item_id, "follows": hashes[one.from_submission]}
        for one in db.scalars(select(Ruling).where(Ruling.submission_id.in_(hashes)))
    }
    return {
        "item": item_id,
        "index_number": item.index_number or "",
        "title": revisions[-1].title,
        "department": item.department,
        "revisions": [
            {"number": one.number, "author": one.author, "at": one.created_at, "sha256": one.content_hash}
            for one in revisions
        ],
        "submissions": [
            {
                "hash": one.hash, "revision": numbers[one.revision_id], "by": one.submitted_by, "at": one.submitted_at,
                "stage": one.stage, "class": one.disclosure, "ground": one.ground or "", "reason": one.reason,
                "closed_by": one.closed_by, "recorded_by": one.recorded_by, "scan": one.scan_sha256,
                **ruled.get(one.id, {}),
            }
            for one in submissions
        ],
        "approvals": [
            {
                "hash": hashes[one.submission_id], "role": one.role, "person": one.person, "at": one.at,
                "on_behalf_of": one.on_behalf_of, "recorded_by": one.recorded_by, "scan": one.scan_sha256,
            }
            for one in db.scalars(approvals.order_by(Approval.at))
        ],
        "attempts": [
            {**place(one.delivery_id), "number": one.number, "generation": one.generation, "at": one.started_at,
             "withdrawal": one.rendition_id is None}
            for one in db.scalars(mine(Attempt).order_by(Attempt.started_at))
        ],
        "receipts": [
            {**place(one.delivery_id), "number": one.number, "at": one.at, "result": one.result,
             "reference": one.reference, "evidence": one.evidence}
            for one in db.scalars(mine(AttemptEnd).order_by(AttemptEnd.id))
        ],
        "reports": [
            {**place(one.delivery_id), "number": one.number, "at": one.received_at}
            for one in db.scalars(mine(StoredReport).order_by(StoredReport.id))
        ],
        "sightings": [
            {**place(one.delivery_id), "at": one.at, "evidence": one.evidence, "seen": one.seen, "state": one.state}
            for one in db.scalars(mine(Sighting).order_by(Sighting.id))
        ],
        "postings": [
            {"place": one.place, "posted_by": one.posted_by, "posted_at": one.posted_at,
             "removed_by": one.removed_by or "", "removed_at": one.removed_at, "photo": one.photo_sha256}
            for one in db.scalars(mine(Posting).order_by(Posting.id))
        ],
        "decisions": [
            {"at": one.at, "person": one.person, "account": one.os_user, "decision": one.decision}
            for one in db.scalars(select(AuditLine).where(AuditLine.item_id == item_id).order_by(AuditLine.id))
        ],
    }  # fmt: skip


def _summary(rt: Runtime, language: Language, record: dict[str, Any]) -> str:
    """The same for people, a page of text."""
    names, labels = staff.names(rt), {name: opened.section.label for name, opened in rt.channels.items()}

    def t(code: str, **facts: object) -> str:
        return say(language, code, **facts)

    def at(moment: datetime | None) -> str:
        return moment.astimezone(rt.settings.zone).strftime("%Y-%m-%d %H:%M:%S") if moment else ""

    lines = [
        t("proof.title"), "", rt.settings.office.name, record["title"],
        t("proof.index", number=record["index_number"]), t("proof.made", at=at(rt.now())), "", t("proof.reviews"),
    ]  # fmt: skip
    for one in record["submissions"]:
        by = names.person(one["by"])
        lines.append(
            "  " + t("proof.submitted", revision=one["revision"], person=by, at=at(one["at"]), hash=one["hash"])
        )
        for given in (each for each in record["approvals"] if each["hash"] == one["hash"]):
            instead = given["on_behalf_of"]
            role = t(f"role.{given['role']}")
            if instead:
                role += t("proof.instead", person=names.person(instead))
            if given["recorded_by"]:
                role += t("proof.recorded", person=names.person(given["recorded_by"]))
            lines.append(
                "    " + t("proof.approved", role=role, person=names.person(given["person"]), at=at(given["at"]))
            )
        if one.get("by_rule"):
            lines.append("    " + t("proof.by_rule", item=one["about_item"], hash=one["follows"][:12]))
        if one["closed_by"]:
            by = names.person(one["closed_by"])
            recorded = t("proof.recorded", person=names.person(one["recorded_by"])) if one["recorded_by"] else ""
            lines.append("    " + t("proof.closed", stage=t(f"stage.{one['stage']}"), person=by) + recorded)
        if why := one["reason"]:
            lines.append("    " + t("proof.reason", reason=why))
    lines += ["", t("proof.arrivals")]
    counted: dict[tuple[str, str], list[datetime]] = {}
    for one in record["sightings"]:
        counted.setdefault((one["channel"], f"state.{one['state']}"), []).append(one["at"])
    for (channel, state), moments in counted.items():
        facts = {"channel": labels.get(channel, channel), "state": t(state), "count": len(moments)}
        lines.append("  " + t("proof.seen", first=at(min(moments)), last=at(max(moments)), **facts))
    for one in record["postings"]:
        by = names.person(one["posted_by"])
        photo = t("proof.photo", file=one["photo"][:12]) if one["photo"] else ""
        lines.append("  " + t("proof.posted", place=one["place"], person=by, at=at(one["posted_at"])) + photo)
    return "\n".join([*lines, "", t("proof.check"), ""])


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=1, default=_plain).encode()


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else str(value)
