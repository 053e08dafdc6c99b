"""subscriptions"""

import sqlalchemy as sa
from alembic import op

from pipeline.database import UTCTime

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("submission", sa.Column("groups", sa.Text(), nullable=True))
    big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "subscriber_group",
        sa.Column("subscriber_id", big, nullable=False),
        sa.Column("group_id", sa.String(length=40), nullable=False),
        sa.ForeignKeyConstraint(["subscriber_id"], ["subscriber.id"], ondelete="CASCADE",
                                name=op.f("fk_subscriber_group_subscriber_id_subscriber")),
        sa.PrimaryKeyConstraint("subscriber_id", "group_id", name=op.f("pk_subscriber_group")),
    )  # fmt: skip
    op.create_index("ix_subscriber_group_group_id", "subscriber_group", ["group_id"])
    op.create_table(
        "opt_in",
        sa.Column("id", big, nullable=False),
        sa.Column("channel", sa.String(length=40), nullable=False),
        sa.Column("address", sa.String(length=200), nullable=False),
        sa.Column("groups", sa.Text(), nullable=False),
        sa.Column("network", sa.String(length=32), nullable=False),
        sa.Column("asked_at", UTCTime(), nullable=False),
        sa.Column("claimed_at", UTCTime(), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("try_after", UTCTime(), nullable=True),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("confirmed_at", UTCTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_opt_in")),
    )
    op.create_index("ix_opt_in_address", "opt_in", ["channel", "address"])
    op.create_index("ix_opt_in_asked_at", "opt_in", ["asked_at"])
    op.create_table(
        "column_standing",
        sa.Column("channel", sa.String(length=40), nullable=False),
        sa.Column("id", sa.String(length=80), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("items", sa.Integer(), nullable=False),
        sa.Column("updated_at", UTCTime(), nullable=True),
        sa.Column("limit_days", sa.Integer(), nullable=True),
        sa.Column("read_at", UTCTime(), nullable=False),
        sa.PrimaryKeyConstraint("channel", "id", name=op.f("pk_column_standing")),
    )
    op.create_table(
        "crawl",
        sa.Column("id", big, nullable=False),
        sa.Column("started_at", UTCTime(), nullable=False),
        sa.Column("finished_at", UTCTime(), nullable=True),
        sa.Column("pages", sa.Integer(), nullable=False),
        sa.Column("links", sa.Integer(), nullable=False),
        sa.Column("complete", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_crawl")),
    )
    op.create_table(
        "dead_link",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("page", sa.Text(), nullable=False),
        sa.Column("pages", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("since", UTCTime(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_dead_link")),
    )


def downgrade() -> None:
    raise RuntimeError("Restore a backup instead.")
