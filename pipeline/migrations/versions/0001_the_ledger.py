"""The ledger"""

import sqlalchemy as sa
from alembic import op

from pipeline.database import UTCTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

APPEND_ONLY = ("audit", "revision", "attempt", "attempt_end", "sighting", "approval", "rendition", "blob")


def upgrade() -> None:
    op.create_table(
        "blob",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_blob")),
    )
    op.create_table(
        "channel_status",
        sa.Column("channel", sa.String(length=40), nullable=False),
        sa.Column("paused_by", sa.String(length=40), nullable=True),
        sa.Column("paused_at", UTCTime(), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("open_until", UTCTime(), nullable=True),
        sa.Column("last_success_at", UTCTime(), nullable=True),
        sa.Column("last_failure_at", UTCTime(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("channel", name=op.f("pk_channel_status")),
    )
    op.create_table(
        "counter",
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("value", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_counter")),
    )
    op.create_table(
        "item",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("department", sa.String(length=40), nullable=False),
        sa.Column("created_by", sa.String(length=40), nullable=False),
        sa.Column("created_at", UTCTime(), nullable=False),
        sa.Column("index_number", sa.String(length=80), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_item")),
        sa.UniqueConstraint("index_number", name=op.f("uq_item_index_number")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "report",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("channel", sa.String(length=40), nullable=False),
        sa.Column("delivery_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("started_at", UTCTime(), nullable=False),
        sa.Column("query", sa.Text(), nullable=False),
        sa.Column("received_at", UTCTime(), nullable=False),
        sa.Column("applied_at", UTCTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_report")),
    )
    with op.batch_alter_table("report", schema=None) as batch_op:
        batch_op.create_index("ix_report_attempt", ["delivery_id", "number"], unique=False)
        batch_op.create_index(
            "ix_report_waiting",
            ["id"],
            unique=False,
            sqlite_where=sa.text("applied_at IS NULL"),
            postgresql_where=sa.text("applied_at IS NULL"),
        )

    op.create_table(
        "subscriber",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("channel", sa.String(length=40), nullable=False),
        sa.Column("address", sa.String(length=200), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("consent_source", sa.Text(), nullable=False),
        sa.Column("consent_on", sa.Date(), nullable=True),
        sa.Column("added_at", UTCTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_subscriber")),
        sa.UniqueConstraint("channel", "address", name=op.f("uq_subscriber_channel")),
    )
    op.create_table(
        "suppression",
        sa.Column("channel", sa.String(length=40), nullable=False),
        sa.Column("address", sa.String(length=200), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", UTCTime(), nullable=False),
        sa.PrimaryKeyConstraint("channel", "address", name=op.f("pk_suppression")),
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at", UTCTime(), nullable=False),
        sa.Column("person", sa.String(length=40), nullable=False),
        sa.Column("os_user", sa.String(length=80), nullable=False),
        sa.Column("decision", sa.String(length=40), nullable=False),
        sa.Column("item_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name=op.f("fk_audit_item_id_item")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    with op.batch_alter_table("audit", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_audit_item_id"), ["item_id"], unique=False)

    op.create_table(
        "revision",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("item_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("author", sa.String(length=40), nullable=False),
        sa.Column("created_at", UTCTime(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("content_hash", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name=op.f("fk_revision_item_id_item")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_revision")),
        sa.UniqueConstraint("item_id", "number", name=op.f("uq_revision_item_id")),
    )
    op.create_table(
        "submission",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("item_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("revision_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("submitted_by", sa.String(length=40), nullable=False),
        sa.Column("submitted_at", UTCTime(), nullable=False),
        sa.Column(
            "disclosure",
            sa.Enum(
                "proactive",
                "on_request",
                "not_public",
                name="disclosure",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column(
            "ground",
            sa.Enum(
                "14_state_secret",
                "14_forbidden_by_law",
                "14_endangers_safety",
                "15_third_party",
                "16_internal_affairs",
                "16_process_information",
                "16_enforcement_file",
                name="ground",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=True,
        ),
        sa.Column("publish_at", UTCTime(), nullable=True),
        sa.Column("manifest", sa.LargeBinary(), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column(
            "stage",
            sa.Enum(
                "reviewing",
                "returned",
                "refused",
                "voided",
                "approved",
                "superseded",
                "withdrawn",
                name="stage",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("closed_at", UTCTime(), nullable=True),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name=op.f("fk_submission_item_id_item")),
        sa.ForeignKeyConstraint(["revision_id"], ["revision.id"], name=op.f("fk_submission_revision_id_revision")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_submission")),
    )
    with op.batch_alter_table("submission", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_submission_item_id"), ["item_id"], unique=False)
        batch_op.create_index(
            "uq_submission_approved",
            ["item_id"],
            unique=True,
            sqlite_where=sa.text("stage = 'approved'"),
            postgresql_where=sa.text("stage = 'approved'"),
        )
        batch_op.create_index(
            "uq_submission_reviewing",
            ["item_id"],
            unique=True,
            sqlite_where=sa.text("stage = 'reviewing'"),
            postgresql_where=sa.text("stage = 'reviewing'"),
        )

    op.create_table(
        "approval",
        sa.Column("submission_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("level", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("role", sa.String(length=20), nullable=False),
        sa.Column("person", sa.String(length=40), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("at", UTCTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["submission_id"], ["submission.id"], name=op.f("fk_approval_submission_id_submission")
        ),
        sa.PrimaryKeyConstraint("submission_id", "level", name=op.f("pk_approval")),
    )
    op.create_table(
        "rendition",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("submission_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("revision_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("channel", sa.String(length=40), nullable=False),
        sa.Column("media_type", sa.String(length=120), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("files", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["revision_id"], ["revision.id"], name=op.f("fk_rendition_revision_id_revision")),
        sa.ForeignKeyConstraint(
            ["submission_id"], ["submission.id"], name=op.f("fk_rendition_submission_id_submission")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rendition")),
        sa.UniqueConstraint("submission_id", "channel", name=op.f("uq_rendition_submission_id")),
    )
    op.create_table(
        "delivery",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("item_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("channel", sa.String(length=40), nullable=False),
        sa.Column("recipient", sa.String(length=200), nullable=False),
        sa.Column("slot_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("wanted_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("wanted_at", UTCTime(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("held_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("held_known", sa.Boolean(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "due",
                "sending",
                "accepted",
                "confirmed",
                "failed",
                "in_doubt",
                "on_hold",
                "skipped",
                name="state",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("reason", sa.String(length=40), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("publish_at", UTCTime(), nullable=False),
        sa.Column("try_after", UTCTime(), nullable=True),
        sa.Column("released_at", UTCTime(), nullable=True),
        sa.Column("hurry", sa.Boolean(), nullable=False),
        sa.Column("lease_token", sa.String(length=32), nullable=True),
        sa.Column("lease_until", UTCTime(), nullable=True),
        sa.Column("call_open", sa.Boolean(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("first_tried_at", UTCTime(), nullable=True),
        sa.Column("last_tried_at", UTCTime(), nullable=True),
        sa.Column("looks", sa.Integer(), nullable=False),
        sa.Column("look_after", UTCTime(), nullable=True),
        sa.Column("reference", sa.String(length=300), nullable=False),
        sa.Column("confirmed_at", UTCTime(), nullable=True),
        sa.Column("expanded_at", UTCTime(), nullable=True),
        sa.CheckConstraint("recipient = '' OR slot_id IS NOT NULL", name=op.f("ck_delivery_recipient_below_slot")),
        sa.CheckConstraint(
            "state = 'sending' OR (lease_token IS NULL AND NOT call_open)", name=op.f("ck_delivery_lease_while_sending")
        ),
        sa.ForeignKeyConstraint(["held_id"], ["rendition.id"], name=op.f("fk_delivery_held_id_rendition")),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name=op.f("fk_delivery_item_id_item")),
        sa.ForeignKeyConstraint(["slot_id"], ["delivery.id"], name=op.f("fk_delivery_slot_id_delivery")),
        sa.ForeignKeyConstraint(["wanted_id"], ["rendition.id"], name=op.f("fk_delivery_wanted_id_rendition")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery")),
        sa.UniqueConstraint("item_id", "channel", "recipient", name=op.f("uq_delivery_item_id")),
    )
    with op.batch_alter_table("delivery", schema=None) as batch_op:
        batch_op.create_index(
            "ix_delivery_due",
            ["channel", "publish_at", "id"],
            unique=False,
            sqlite_where=sa.text("state = 'due'"),
            postgresql_where=sa.text("state = 'due'"),
        )
        batch_op.create_index(
            "ix_delivery_lease",
            ["lease_until"],
            unique=False,
            sqlite_where=sa.text("state = 'sending'"),
            postgresql_where=sa.text("state = 'sending'"),
        )
        batch_op.create_index(
            "ix_delivery_look",
            ["channel", "look_after"],
            unique=False,
            sqlite_where=sa.text("look_after IS NOT NULL"),
            postgresql_where=sa.text("look_after IS NOT NULL"),
        )
        batch_op.create_index(
            "ix_delivery_slot",
            ["slot_id", "state"],
            unique=False,
            sqlite_where=sa.text("slot_id IS NOT NULL"),
            postgresql_where=sa.text("slot_id IS NOT NULL"),
        )
        batch_op.create_index(
            "ix_delivery_trouble",
            ["channel", "id"],
            unique=False,
            sqlite_where=sa.text("state IN ('failed', 'in_doubt', 'on_hold')"),
            postgresql_where=sa.text("state IN ('failed', 'in_doubt', 'on_hold')"),
        )
        batch_op.create_index(
            "ix_delivery_withdrawal",
            ["channel", "id"],
            unique=False,
            sqlite_where=sa.text("state = 'due' AND wanted_id IS NULL"),
            postgresql_where=sa.text("state = 'due' AND wanted_id IS NULL"),
        )

    op.create_table(
        "attempt",
        sa.Column("delivery_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("rendition_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("started_at", UTCTime(), nullable=False),
        sa.Column("worker", sa.String(length=120), nullable=False),
        sa.ForeignKeyConstraint(["delivery_id"], ["delivery.id"], name=op.f("fk_attempt_delivery_id_delivery")),
        sa.ForeignKeyConstraint(["rendition_id"], ["rendition.id"], name=op.f("fk_attempt_rendition_id_rendition")),
        sa.PrimaryKeyConstraint("delivery_id", "number", name=op.f("pk_attempt")),
    )
    op.create_table(
        "attempt_end",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("delivery_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("at", UTCTime(), nullable=False),
        sa.Column(
            "result",
            sa.Enum(
                "accepted",
                "unavailable",
                "rejected",
                "in_doubt",
                name="result",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("reference", sa.String(length=300), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["delivery_id"], ["delivery.id"], name=op.f("fk_attempt_end_delivery_id_delivery")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempt_end")),
    )
    with op.batch_alter_table("attempt_end", schema=None) as batch_op:
        batch_op.create_index("ix_attempt_end_attempt", ["delivery_id", "number"], unique=False)

    op.create_table(
        "posting",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("delivery_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("rendition_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("posted_by", sa.String(length=40), nullable=False),
        sa.Column("posted_at", UTCTime(), nullable=False),
        sa.Column("down_due", sa.Date(), nullable=True),
        sa.Column("removed_by", sa.String(length=40), nullable=True),
        sa.Column("removed_at", UTCTime(), nullable=True),
        sa.ForeignKeyConstraint(["delivery_id"], ["delivery.id"], name=op.f("fk_posting_delivery_id_delivery")),
        sa.ForeignKeyConstraint(["rendition_id"], ["rendition.id"], name=op.f("fk_posting_rendition_id_rendition")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_posting")),
    )
    with op.batch_alter_table("posting", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_posting_delivery_id"), ["delivery_id"], unique=False)

    op.create_table(
        "sighting",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("delivery_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("at", UTCTime(), nullable=False),
        sa.Column("evidence", sa.String(length=20), nullable=False),
        sa.Column("seen", sa.String(length=40), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "due",
                "sending",
                "accepted",
                "confirmed",
                "failed",
                "in_doubt",
                "on_hold",
                "skipped",
                name="state",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("note", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["delivery_id"], ["delivery.id"], name=op.f("fk_sighting_delivery_id_delivery")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sighting")),
    )
    with op.batch_alter_table("sighting", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_sighting_delivery_id"), ["delivery_id"], unique=False)
    for table in APPEND_ONLY:
        _refuse_changes(table)


def _refuse_changes(table: str) -> None:
    """What happened is only ever added to, even by somebody with a database shell."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            """
            CREATE OR REPLACE FUNCTION fabu_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$
            """
        )
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION fabu_append_only()"
        )
        op.execute(
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION fabu_append_only()"
        )
        return
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER {table}_no_{change.lower()} BEFORE {change} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        )


def downgrade() -> None:
    raise RuntimeError("The first migration is not taken back: restore a backup instead.")
