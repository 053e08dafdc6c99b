"""Renditions as they are stored: the bytes that were previewed, approved, and will be sent."""

import json
from collections.abc import Collection

from sqlalchemy import select
from sqlalchemy.orm import Session

from channels.contract import File, Rendition
from pipeline.models import Attempt, AttemptEnd, Blob, Delivery, StoredRendition
from pipeline.states import Result


def store_rendition(db: Session, submission_id: int, revision_id: int, channel: str, rendition: Rendition) -> None:
    """Keep a rendition of a submission, with what the channel made beside it: an issue's PDF, smaller pictures."""
    store_files(db, rendition.files)
    files = [[file.name, file.media_type, file.sha256] for file in rendition.files]
    db.add(
        StoredRendition(
            submission_id=submission_id,
            revision_id=revision_id,
            channel=channel,
            media_type=rendition.media_type,
            body=rendition.body,
            files=json.dumps(files, ensure_ascii=False),
            digest=rendition.digest,
        )
    )


def went_out(db: Session, item_id: int, before: int | None = None) -> bool:
    """Has a revision of this item gone out on any channel, one older than that with the id `before`?"""
    earlier = (
        select(Attempt.number)
        .join(Delivery, Delivery.id == Attempt.delivery_id)
        .join(StoredRendition, StoredRendition.id == Attempt.rendition_id)
        .join(AttemptEnd, (AttemptEnd.delivery_id == Attempt.delivery_id) & (AttemptEnd.number == Attempt.number))
        .where(Delivery.item_id == item_id, AttemptEnd.result == Result.ACCEPTED)
    )
    if before is not None:
        earlier = earlier.where(StoredRendition.revision_id < before)
    return bool(db.scalar(select(earlier.exists())))


def load_renditions(db: Session, ids: Collection[int]) -> dict[int, Rendition]:
    """These renditions by id, attachments and all; one query for them, one for all their attachments."""
    columns = (StoredRendition.id, StoredRendition.media_type, StoredRendition.body, StoredRendition.files)
    rows = db.execute(select(*columns).where(StoredRendition.id.in_(ids))).all()
    files = {row.id: json.loads(row.files) for row in rows}
    wanted = {sha256 for entries in files.values() for _, _, sha256 in entries}
    blobs = db.scalars(select(Blob).where(Blob.sha256.in_(wanted))) if wanted else ()
    contents = {blob.sha256: blob.content for blob in blobs}
    return {
        row.id: Rendition(
            row.media_type,
            row.body,
            tuple(File(name, media_type, contents[sha256]) for name, media_type, sha256 in files[row.id]),
        )
        for row in rows
    }


def load_files(db: Session, wanted: Collection[str]) -> dict[str, bytes]:
    """The bytes of those of these attachments that are kept, by SHA-256."""
    return {blob.sha256: blob.content for blob in db.scalars(select(Blob).where(Blob.sha256.in_(wanted)))}


def store_files(db: Session, files: Collection[File]) -> None:
    """Keep the bytes of attachments, once each."""
    contents = {file.sha256: file.content for file in files}
    if not contents:
        return
    there = set(db.scalars(select(Blob.sha256).where(Blob.sha256.in_(contents))))
    for sha256 in sorted(contents.keys() - there):
        db.add(Blob(sha256=sha256, content=contents[sha256]))
    db.flush()
