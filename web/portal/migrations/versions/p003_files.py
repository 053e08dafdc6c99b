"""When a file last came in, how large a picture is, when anything last changed; an item's index number, which outlives
its withdrawal; and requests that are taken once."""

import sqlalchemy as sa
from alembic import op

revision = "p003"
down_revision = "p002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("slots", sa.Column("index_number", sa.Text))
    op.add_column("files", sa.Column("kept_at", sa.DateTime(timezone=True)))
    op.add_column("files", sa.Column("width", sa.Integer))
    op.add_column("files", sa.Column("height", sa.Integer))
    with op.batch_alter_table("standing") as standing:
        began = sa.text("'2026-01-01 00:00:00+00'")
        standing.add_column(sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False, server_default=began))
    op.add_column("request_log", sa.Column("nonce", sa.String(32)))
    op.create_index("ix_request_log_nonce", "request_log", ["nonce"], unique=True)
    op.create_index("ix_files_kept_at", "files", ["kept_at"])
    op.execute("UPDATE files SET kept_at = CURRENT_TIMESTAMP")
    # From now on the version numbers the changes. Index numbers are read from the bodies when the catalogue is made.
    op.execute("UPDATE standing SET version = version + (SELECT coalesce(max(change), 0) FROM slots)")
    op.execute("UPDATE standing SET changed_at = CURRENT_TIMESTAMP")
