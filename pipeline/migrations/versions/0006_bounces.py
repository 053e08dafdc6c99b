"""bounces"""

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


def downgrade() -> None:
    raise RuntimeError("Restore a backup instead.")
