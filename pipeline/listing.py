"""What lists ask of an item, kept in its own row: fields of its latest text, how far it is, whether it ever went out. A
list then reads one narrow index in its order, however many items there are.

The session itself keeps it, in the commit of whatever changes it (a revision, a stage, a first slot): no decision can
forget it. `pipeline.runtime`, through which everything writes, registers this.
"""

from collections.abc import Collection

from sqlalchemy import bindparam, event, text
from sqlalchemy.orm import Session
from sqlalchemy.orm.unitofwork import UOWTransaction

from pipeline.models import Delivery, Revision, Submission

_CHANGED = "items whose lists changed"

# `unsubmitted`: nobody else has it, and its latest text was never decided.
_RENEW = text(
    """
UPDATE item SET
  latest_id = r.id, title = substr(r.title, 1, 200), item_type = r.item_type, author = r.author,
  formed_on = r.formed_on,
  phase = CASE
    WHEN EXISTS (SELECT 1 FROM submission s WHERE s.item_id = item.id AND s.stage = 'reviewing') THEN 'reviewing'
    WHEN EXISTS (SELECT 1 FROM submission s WHERE s.item_id = item.id AND s.stage = 'approved' AND s.revision_id = r.id)
      THEN 'approved'
    WHEN EXISTS (SELECT 1 FROM submission s WHERE s.item_id = item.id AND s.stage = 'approved') THEN 'correcting'
    ELSE coalesce((
      SELECT s.stage FROM submission s WHERE s.revision_id = r.id AND s.stage IN ('returned', 'refused', 'withdrawn')
        AND s.id = (SELECT max(l.id) FROM submission l WHERE l.item_id = item.id)
    ), 'draft') END,
  unsubmitted = NOT EXISTS (
    SELECT 1 FROM submission s WHERE s.id = (SELECT max(l.id) FROM submission l WHERE l.item_id = item.id)
      AND s.stage NOT IN ('returned', 'voided') AND (s.revision_id = r.id OR s.stage = 'reviewing')),
  sent = EXISTS (SELECT 1 FROM delivery d WHERE d.item_id = item.id)
FROM revision r
WHERE item.id IN :items AND r.item_id = item.id
  AND r.number = (SELECT max(n.number) FROM revision n WHERE n.item_id = item.id)
"""
).bindparams(bindparam("items", expanding=True))


def register() -> None:
    """Have every session of this process keep it."""
    event.listen(Session, "after_flush", _note)
    event.listen(Session, "before_commit", _keep)


def _note(db: Session, _: UOWTransaction) -> None:
    changed = {one.item_id for one in (*db.new, *db.dirty) if isinstance(one, (Revision, Submission))}
    changed |= {one.item_id for one in db.new if isinstance(one, Delivery)}
    db.info.setdefault(_CHANGED, set()).update(changed)


def _keep(db: Session) -> None:
    """Once a commit: a decision flushes several times, and each statement is a round trip under its locks."""
    db.flush()
    if changed := db.info.pop(_CHANGED, None):
        renew(db, sorted(changed))


def renew(db: Session, items: Collection[int]) -> None:
    """Bring what is kept of these items up to their revisions, submissions and slots."""
    db.connection().execute(_RENEW, {"items": list(items)})
