"""Slots with their fence, files, attachments, and the log of write requests."""

import sqlalchemy as sa
from alembic import op

revision = "p001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "slots",
        sa.Column("kind", sa.String(8), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("body", sa.LargeBinary),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("change", sa.Integer, nullable=False),
        sa.Column("changed_at", moment),
        sa.Column("first_published_at", moment),
        sa.Column("shown_since", moment),
        sa.CheckConstraint("kind in ('item', 'entry')", name="ck_slots_kind"),
    )
    op.create_index("ix_slots_kind_change", "slots", ["kind", "change"])
    op.create_index("ix_slots_kind_first_published_at", "slots", ["kind", "first_published_at"])
    op.create_table(
        "files",
        sa.Column("sha256", sa.String(64), primary_key=True),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "attachments",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("media_type", sa.String(255), nullable=False),
    )
    op.create_index("ix_attachments_sha256", "attachments", ["sha256"])
    op.create_table(
        "request_log",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("at", moment, nullable=False),
        sa.Column("method", sa.String(8), nullable=False),
        sa.Column("collection", sa.String(16), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("generation", sa.String(16), nullable=False),
        sqlite_autoincrement=True,
    )
