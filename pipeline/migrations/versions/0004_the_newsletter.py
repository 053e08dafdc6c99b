"""the newsletter"""

import sqlalchemy as sa
from alembic import op

from pipeline.database import UTCTime

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "issue",
        sa.Column("id", big, nullable=False),
        sa.Column("nominal", sa.Date(), nullable=False),
        sa.Column("year", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("running", sa.Integer(), nullable=False),
        sa.Column("out_on", sa.Date(), nullable=False),
        sa.Column("cut_off_at", UTCTime(), nullable=False),
        sa.Column("send_at", UTCTime(), nullable=False),
        sa.Column("made_at", UTCTime(), nullable=False),
        sa.Column("item_id", big, nullable=True),
        sa.Column("built_at", UTCTime(), nullable=True),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name=op.f("fk_issue_item_id_item")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_issue")),
        sa.UniqueConstraint("item_id", name=op.f("uq_issue_item_id")),
        sa.UniqueConstraint("nominal", name=op.f("uq_issue_nominal")),
        sa.UniqueConstraint("running", name=op.f("uq_issue_running")),
        sa.UniqueConstraint("year", "number", name=op.f("uq_issue_year")),
    )
    op.create_table(
        "issue_entry",
        sa.Column("item_id", big, autoincrement=False, nullable=False),
        sa.Column("issue_id", big, nullable=False),
        sa.Column("place", sa.String(length=40), nullable=False),
        sa.Column("dropped", sa.Boolean(), nullable=False),
        sa.Column("offered_at", UTCTime(), nullable=False),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name=op.f("fk_issue_entry_item_id_item")),
        sa.ForeignKeyConstraint(["issue_id"], ["issue.id"], name=op.f("fk_issue_entry_issue_id_issue")),
        sa.PrimaryKeyConstraint("item_id", name=op.f("pk_issue_entry")),
    )
    op.create_index("ix_issue_entry_issue_id", "issue_entry", ["issue_id"])
    op.create_table(
        "issue_skip",
        sa.Column("nominal", sa.Date(), nullable=False),
        sa.Column("into", sa.Date(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("set_by", sa.String(length=40), nullable=False),
        sa.Column("set_at", UTCTime(), nullable=False),
        sa.PrimaryKeyConstraint("nominal", name=op.f("pk_issue_skip")),
    )
    op.create_table(
        "ruling",
        sa.Column("submission_id", big, autoincrement=False, nullable=False),
        sa.Column("from_submission", big, nullable=False),
        sa.Column("item_id", big, nullable=False),
        sa.Column("change", sa.String(length=20), nullable=False),
        sa.Column("at", UTCTime(), nullable=False),
        sa.ForeignKeyConstraint(["submission_id"], ["submission.id"], name=op.f("fk_ruling_submission_id_submission")),
        sa.ForeignKeyConstraint(
            ["from_submission"], ["submission.id"], name=op.f("fk_ruling_from_submission_submission")
        ),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name=op.f("fk_ruling_item_id_item")),
        sa.PrimaryKeyConstraint("submission_id", name=op.f("pk_ruling")),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE TRIGGER ruling_append_only BEFORE UPDATE OR DELETE ON ruling "
            "FOR EACH ROW EXECUTE FUNCTION fabu_append_only()"
        )
        op.execute(
            "CREATE TRIGGER ruling_no_truncate BEFORE TRUNCATE ON ruling "
            "FOR EACH STATEMENT EXECUTE FUNCTION fabu_append_only()"
        )
        return
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER ruling_no_{change.lower()} BEFORE {change} ON ruling "
            "BEGIN SELECT RAISE(ABORT, 'ruling is append-only'); END"
        )


def downgrade() -> None:
    raise RuntimeError("Restore a backup instead.")
