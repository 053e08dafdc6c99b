"""bounces, replies, and what lists ask for"""

import sqlalchemy as sa
from alembic import op

from pipeline.database import UTCTime

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    words = ("hard", "soft", "delayed", "complaint")
    kinds = sa.Enum(*words, name="bouncekind", native_enum=False, create_constraint=True, length=32)
    op.create_table(
        "bounce",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("channel", sa.String(length=40), nullable=False),
        sa.Column("kind", kinds, nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("address", sa.String(length=200), nullable=False),
        sa.Column("delivery_id", sa.BigInteger(), nullable=True),
        sa.Column("read_at", UTCTime(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_bounce")),
    )
    op.create_index("ix_bounce_address", "bounce", ["channel", "address"])
    op.create_index("ix_bounce_read_at", "bounce", ["read_at"])
    _replies()
    _lists()


# As `pipeline.listing` keeps it from here on.
LISTED = """
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
WHERE r.item_id = item.id
  AND r.number = (SELECT max(n.number) FROM revision n WHERE n.item_id = item.id)
"""


def _replies() -> None:
    big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "reply",
        sa.Column("id", big, nullable=False),
        sa.Column("channel", sa.String(length=40), nullable=False),
        sa.Column("address", sa.String(length=200), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("item_id", big, nullable=True),
        sa.Column("received_at", UTCTime(), nullable=False),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name=op.f("fk_reply_item_id_item")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reply")),
    )
    op.create_index(op.f("ix_reply_received_at"), "reply", ["received_at"])


def _lists() -> None:
    big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    for column in (
        sa.Column("latest_id", big, server_default="0", nullable=False),
        sa.Column("title", sa.String(length=200), server_default="", nullable=False),
        sa.Column("item_type", sa.String(length=40), server_default="", nullable=False),
        sa.Column("author", sa.String(length=40), server_default="", nullable=False),
        sa.Column("formed_on", sa.Date(), server_default="1970-01-01", nullable=False),
        sa.Column("phase", sa.String(length=20), server_default="draft", nullable=False),
        sa.Column("unsubmitted", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("sent", sa.Boolean(), server_default=sa.text("false"), nullable=False),
    ):
        op.add_column("item", column)
    op.execute(LISTED)
    shown = ["latest_id", "department", "created_by", "item_type", "author", "formed_on", "phase", "sent", "title"]
    op.create_index("ix_item_list", "item", [*shown, "index_number"])
    _index_where("ix_item_unsubmitted", "item", ["id"], "unsubmitted", "unsubmitted = 1")
    _index_where("ix_item_open", "item", ["formed_on"], "phase IN ('draft', 'returned', 'reviewing')")
    settled = "state IN ('accepted', 'skipped') AND expanded_at IS NULL"
    _index_where("ix_delivery_settled", "delivery", ["channel", "item_id"], settled)
    _index_where("ix_posting_hanging", "posting", ["down_due", "delivery_id", "generation"], "removed_at IS NULL")
    op.drop_index("ix_delivery_count_day", "delivery_count")
    op.create_index("ix_delivery_count_day", "delivery_count", ["day", "department", "channel", "state", "count"])
    op.create_index("ix_audit_person", "audit", ["person", "id"])
    op.create_index("ix_audit_decision", "audit", ["decision", "id"])
    op.create_index("ix_audit_at", "audit", ["at"])


def _index_where(name: str, table: str, columns: list[str], where: str, on_sqlite: str = "") -> None:
    op.create_index(name, table, columns, sqlite_where=sa.text(on_sqlite or where), postgresql_where=sa.text(where))


def downgrade() -> None:
    raise RuntimeError("Restore a backup instead.")
