"""staff, what came in, processes"""

import sqlalchemy as sa
from alembic import op

from pipeline.database import UTCTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "department",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_department")),
    )
    op.create_table(
        "feed",
        sa.Column("url", sa.String(length=500), nullable=False),
        sa.Column("etag", sa.Text(), nullable=False),
        sa.Column("last_modified", sa.Text(), nullable=False),
        sa.Column("visited_at", UTCTime(), nullable=True),
        sa.Column("read_at", UTCTime(), nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("url", name=op.f("pk_feed")),
    )
    op.create_table(
        "process",
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("started_at", UTCTime(), nullable=False),
        sa.Column("seen_at", UTCTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_process")),
    )
    op.create_table(
        "feed_entry",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("feed_url", sa.String(length=500), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("link", sa.Text(), nullable=False),
        sa.Column("content_hash", sa.String(length=64), nullable=False),
        sa.Column("item_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("collected_at", UTCTime(), nullable=False),
        sa.Column("changed_at", UTCTime(), nullable=True),
        sa.ForeignKeyConstraint(["feed_url"], ["feed.url"], name=op.f("fk_feed_entry_feed_url_feed")),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name=op.f("fk_feed_entry_item_id_item")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_feed_entry")),
        sa.UniqueConstraint("feed_url", "key", name=op.f("uq_feed_entry_feed_url")),
    )
    with op.batch_alter_table("feed_entry", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_feed_entry_item_id"), ["item_id"], unique=False)

    op.create_table(
        "imported",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("item_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at", UTCTime(), nullable=False),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name=op.f("fk_imported_item_id_item")),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_imported")),
    )
    op.create_table(
        "person",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("department", sa.String(length=40), nullable=False),
        sa.Column("roles", sa.String(length=200), nullable=False),
        sa.Column("in_charge", sa.Text(), nullable=False),
        sa.Column("email", sa.String(length=200), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["department"], ["department.id"], name=op.f("fk_person_department_department")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_person")),
    )
    op.create_table(
        "deputy",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("person", sa.String(length=40), nullable=False),
        sa.Column("for_person", sa.String(length=40), nullable=False),
        sa.Column("from_on", sa.Date(), nullable=False),
        sa.Column("to_on", sa.Date(), nullable=False),
        sa.Column("set_by", sa.String(length=40), nullable=False),
        sa.Column("set_at", UTCTime(), nullable=False),
        sa.Column("ended_at", UTCTime(), nullable=True),
        sa.ForeignKeyConstraint(["for_person"], ["person.id"], name=op.f("fk_deputy_for_person_person")),
        sa.ForeignKeyConstraint(["person"], ["person.id"], name=op.f("fk_deputy_person_person")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deputy")),
    )
    with op.batch_alter_table("deputy", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_deputy_person"), ["person"], unique=False)

    op.create_table(
        "mailed",
        sa.Column("person", sa.String(length=40), nullable=False),
        sa.Column("at", UTCTime(), nullable=True),
        sa.Column("told", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["person"], ["person.id"], name=op.f("fk_mailed_person_person")),
        sa.PrimaryKeyConstraint("person", name=op.f("pk_mailed")),
    )
    op.create_table(
        "restoration",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("taken_at", UTCTime(), nullable=False),
        sa.Column("restored_at", UTCTime(), nullable=False),
        sa.Column("restored_by", sa.String(length=40), nullable=False),
        sa.Column("last_item", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("spare", sa.Integer(), nullable=False),
        sa.Column("finished_at", UTCTime(), nullable=True),
        sa.Column("found", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_restoration")),
    )
    op.add_column("channel_status", sa.Column("leases_expired", sa.Integer(), server_default="0", nullable=False))
    # Not in a batch: SQLite would copy the table, and its append-only triggers would be lost.
    op.add_column("approval", sa.Column("on_behalf_of", sa.String(length=40), server_default="", nullable=False))


def downgrade() -> None:
    raise RuntimeError("Restore a backup instead.")
