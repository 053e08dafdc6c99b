"""the console"""

import sqlalchemy as sa
from alembic import op

from pipeline.database import UTCTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "account",
        sa.Column("person", sa.String(length=40), nullable=False),
        sa.Column("password_hash", sa.String(length=200), nullable=False),
        sa.Column("must_change", sa.Boolean(), nullable=False),
        sa.Column("changed_at", UTCTime(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("locked_until", UTCTime(), nullable=True),
        sa.ForeignKeyConstraint(["person"], ["person.id"], name=op.f("fk_account_person_person")),
        sa.PrimaryKeyConstraint("person", name=op.f("pk_account")),
    )
    op.create_table(
        "api_token",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("person", sa.String(length=40), nullable=False),
        sa.Column("label", sa.String(length=80), nullable=False),
        sa.Column("made_at", UTCTime(), nullable=False),
        sa.Column("used_at", UTCTime(), nullable=True),
        sa.Column("revoked_at", UTCTime(), nullable=True),
        sa.ForeignKeyConstraint(["person"], ["person.id"], name=op.f("fk_api_token_person_person")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_token")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_api_token_token_hash")),
    )
    with op.batch_alter_table("api_token", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_api_token_person"), ["person"], unique=False)

    op.create_table(
        "signed_in",
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("person", sa.String(length=40), nullable=False),
        sa.Column("since", UTCTime(), nullable=False),
        sa.Column("seen_at", UTCTime(), nullable=False),
        sa.ForeignKeyConstraint(["person"], ["person.id"], name=op.f("fk_signed_in_person_person")),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_signed_in")),
    )
    with op.batch_alter_table("signed_in", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_signed_in_person"), ["person"], unique=False)

    op.create_table(
        "working_copy",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("person", sa.String(length=40), nullable=False),
        sa.Column("item_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("based_on", sa.Integer(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("saved_at", UTCTime(), nullable=False),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name=op.f("fk_working_copy_item_id_item")),
        sa.ForeignKeyConstraint(["person"], ["person.id"], name=op.f("fk_working_copy_person_person")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_working_copy")),
        sa.UniqueConstraint("person", "item_id", name=op.f("uq_working_copy_person")),
    )
    with op.batch_alter_table("working_copy", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_working_copy_item_id"), ["item_id"], unique=False)
    _describe_revisions()


def _describe_revisions() -> None:
    """Columns for lists and figures, filled from what each revision holds. Its table is append-only, so the guard steps
    aside for this one statement."""
    op.add_column("revision", sa.Column("item_type", sa.String(length=40), server_default="", nullable=False))
    op.add_column("revision", sa.Column("department", sa.String(length=40), server_default="", nullable=False))
    op.add_column("revision", sa.Column("formed_on", sa.Date(), server_default="1970-01-01", nullable=False))
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE revision DISABLE TRIGGER revision_append_only")
        fields = "convert_from(content, 'UTF8')::json ->> '{}'"
        day = f"({fields.format('formed_on')})::date"
        back = "ALTER TABLE revision ENABLE TRIGGER revision_append_only"
    else:
        fields = "json_extract(CAST(content AS TEXT), '$.{}')"
        day = fields.format("formed_on")
        guard = "SELECT sql FROM sqlite_master WHERE type = 'trigger' AND name = 'revision_no_update'"
        back = op.get_bind().scalar(sa.text(guard))
        op.execute("DROP TRIGGER revision_no_update")
    op.execute(
        f"UPDATE revision SET item_type = {fields.format('item_type')}, "
        f"department = {fields.format('department')}, formed_on = {day}"
    )
    op.execute(back)


def downgrade() -> None:
    raise RuntimeError("Restore a backup instead.")
