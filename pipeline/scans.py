"""Photos and scans that people upload as evidence: a posted notice, a signed review sheet. What one is, its first bytes
say, never its name."""

from sqlalchemy import select

from channels.contract import File
from pipeline.decisions import Refused
from pipeline.models import Approval, Blob, Delivery, Posting, Submission
from pipeline.runtime import Runtime

KINDS = {b"%PDF-": "application/pdf", b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg"}
ENDINGS = {"application/pdf": ".pdf", "image/png": ".png", "image/jpeg": ".jpg"}


def media_type(content: bytes) -> str:
    """`application/pdf`, `image/png`, `image/jpeg`, or "" for anything else."""
    return next((kind for start, kind in KINDS.items() if content.startswith(start)), "")


def require(rt: Runtime, file: File, code: str, *, pdf: bool) -> None:
    """Raise Refused (`code` when it is neither a picture nor, where `pdf`, a PDF) on what cannot be evidence."""
    kind = media_type(file.content)
    if not kind.startswith("image/") and not (pdf and kind):
        raise Refused(code, file=file.name[:80])
    limit = rt.settings.limits.file_bytes
    if len(file.content) > limit:
        raise Refused("draft.file_too_large", file=file.name[:80], limit=str(limit // 1_000_000))


def read(rt: Runtime, item_id: int, sha256: str) -> File | None:
    """The photo of a posting of this item, or the scan of a decision on it; None when it has none of this hash."""
    submitted = select(Submission.id).where(Submission.item_id == item_id)
    postings = select(Posting.id).join(Delivery, Delivery.id == Posting.delivery_id)
    kept = (
        postings.where(Delivery.item_id == item_id, Posting.photo_sha256 == sha256),
        select(Approval.level).where(Approval.submission_id.in_(submitted), Approval.scan_sha256 == sha256),
        submitted.where(Submission.scan_sha256 == sha256),
    )
    with rt.reading() as db:
        if not sha256 or all(db.scalar(one.limit(1)) is None for one in kept):
            return None
        content = db.get_one(Blob, sha256).content
    kind = media_type(content)
    return File(f"{sha256[:12]}{ENDINGS[kind]}", kind, content)
