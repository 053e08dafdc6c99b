"""Submissions as rows: which one an item has in a stage, closing it, and the manifest that approvals bind to."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from channels.contract import Rendition
from pipeline.decisions import Refused
from pipeline.models import Item, Revision, Submission
from pipeline.runtime import Runtime
from pipeline.states import Disclosure, Ground, Stage

SOURCE_CHANGED = "source_changed"  # why the review of an issue is void: pipeline.rulings


def locked_item(db: Session, item_id: int) -> Item:
    """The item, locked: decisions on one item come one after another. Raises Refused when there is none."""
    item = db.get(Item, item_id, with_for_update={"key_share": True})  # a foreign key's check need not wait
    if item is None:
        raise Refused("item.unknown", item=str(item_id))
    return item


def staged(db: Session, item_id: int, stage: Stage) -> Submission | None:
    """The item's submission that is under review, or that is in force: there is one at most."""
    return db.scalars(select(Submission).where(Submission.item_id == item_id, Submission.stage == stage)).one_or_none()


def close(rt: Runtime, submission: Submission, stage: Stage, reason: str = "") -> None:
    """End a submission's review, or its being in force."""
    submission.stage, submission.reason, submission.closed_at = stage, reason, rt.now()


def manifest(
    item: Item,
    revision: Revision,
    disclosure: Disclosure,
    ground: Ground | None,
    publish_at: datetime | None,
    renditions: Mapping[str, Rendition],
    groups: Sequence[str] | None = None,
) -> bytes:
    """What an approval binds to (design: "Hash"), as bytes. The revision's hash covers the attachments' hashes."""
    document = {
        "item": item.id,
        "index_number": item.index_number,
        "revision": revision.number,
        "content": revision.content_hash,
        "disclosure": disclosure,
        "ground": ground,
        "publish_at": publish_at.isoformat() if publish_at else None,
        "renditions": {name: rendition.digest for name, rendition in renditions.items()},
        **({"groups": list(groups)} if groups is not None else {}),
    }
    return json.dumps(document, ensure_ascii=False, sort_keys=True, indent=1).encode()
