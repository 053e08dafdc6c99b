"""the console"""

from datetime import UTC, date, datetime

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
    _numbers()
    _describe_revisions()
    _ask_others_and_take_paper()
    _checks()
    _evidence()


# Set phrases that are often mistaken (correct, wrong): each wrong one is a mistake wherever its characters follow each
# other, also across words; 布署 for instance would be found in 发布署名文章.
PHRASES = (
    ("依申请公开", "已申请公开"),
    ("工作部署", "工作布署"),
    ("安排部署", "安排布署"),
    ("决策部署", "决策布署"),
    ("贯彻落实", "贯切落实"),
    ("竣工验收", "峻工验收"),
    ("截至目前", "截止目前"),
    ("按部就班", "按步就班"),
    ("再接再厉", "再接再励"),
    ("一如既往", "一如继往"),
    ("迫不及待", "迫不急待"),
    ("因地制宜", "因地制易"),
    ("相辅相成", "相辅相承"),
    ("融会贯通", "融汇贯通"),
    ("鼎力相助", "顶力相助"),
    ("招聘启事", "招聘启示"),
)


def _checks() -> None:
    """The word table with its first lines, and the findings of submissions."""
    phrases = op.create_table(
        "phrase",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("correct", sa.String(length=40), nullable=False),
        sa.Column("wrong", sa.String(length=40), nullable=False),
        sa.Column("from_on", sa.Date(), nullable=False),
        sa.Column("to_on", sa.Date(), nullable=True),
        sa.Column("set_by", sa.String(length=40), nullable=False),
        sa.Column("set_at", UTCTime(), nullable=False),
        sa.Column("ended_by", sa.String(length=40), nullable=False),
        sa.Column("ended_at", UTCTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_phrase")),
    )
    with op.batch_alter_table("phrase", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_phrase_wrong"), ["wrong"], unique=False)
    made = {"from_on": date(2000, 1, 1), "to_on": None, "set_by": "", "set_at": datetime.now(UTC)}
    ended = {"ended_by": "", "ended_at": None}
    op.bulk_insert(phrases, [{"correct": correct, "wrong": wrong, **made, **ended} for correct, wrong in PHRASES])
    op.create_table(
        "finding",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("submission_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("code", sa.String(length=60), nullable=False),
        sa.Column("key", sa.String(length=40), nullable=False),
        sa.Column("found", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("reason_by", sa.String(length=40), nullable=False),
        sa.Column("reason_at", UTCTime(), nullable=True),
        sa.ForeignKeyConstraint(["submission_id"], ["submission.id"], name=op.f("fk_finding_submission_id_submission")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_finding")),
    )
    with op.batch_alter_table("finding", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_finding_submission_id"), ["submission_id"], unique=False)
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE TRIGGER finding_append_only BEFORE UPDATE OR DELETE ON finding "
            "FOR EACH ROW EXECUTE FUNCTION fabu_append_only()"
        )
        op.execute(
            "CREATE TRIGGER finding_no_truncate BEFORE TRUNCATE ON finding "
            "FOR EACH STATEMENT EXECUTE FUNCTION fabu_append_only()"
        )
        return
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER finding_no_{change.lower()} BEFORE {change} ON finding "
            "BEGIN SELECT RAISE(ABORT, 'finding is append-only'); END"
        )


def _numbers() -> None:
    big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "publication",
        sa.Column("item_id", big, autoincrement=False, nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("department", sa.String(length=40), nullable=False),
        sa.Column("formed_on", sa.Date(), nullable=False),
        sa.Column("withdrawn", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name=op.f("fk_publication_item_id_item")),
        sa.PrimaryKeyConstraint("item_id", name=op.f("pk_publication")),
    )
    op.create_index("ix_publication_day", "publication", ["day", "department", "formed_on", "withdrawn"])
    op.create_table(
        "delivery_count",
        sa.Column("block", big, autoincrement=False, nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("department", sa.String(length=40), nullable=False),
        sa.Column("channel", sa.String(length=40), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("block", "day", "department", "channel", "state", name=op.f("pk_delivery_count")),
    )
    op.create_index("ix_delivery_count_day", "delivery_count", ["day"])
    op.create_table(
        "count_mark",
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("read", sa.BigInteger(), nullable=False),
        sa.Column("again", sa.BigInteger(), nullable=False),
        sa.Column("at", UTCTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_count_mark")),
    )
    sent_back = sa.text("stage IN ('returned', 'refused')")
    op.create_index("ix_submission_sent_back", "submission", ["closed_at"], sqlite_where=sent_back,
                    postgresql_where=sent_back)  # fmt: skip


def _ask_others_and_take_paper() -> None:
    """Referrals, and approvals signed on paper. Columns are added in place: its guards stay where they are."""
    op.add_column("approval", sa.Column("recorded_by", sa.String(length=40), server_default="", nullable=False))
    op.add_column("approval", sa.Column("scan_sha256", sa.String(length=64), server_default="", nullable=False))
    kinds = sa.Enum("competent", "secrecy", "third_party", name="referralkind", native_enum=False,
                    create_constraint=True, length=32)  # fmt: skip
    op.create_table(
        "referral",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("submission_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("kind", kinds, nullable=False),
        sa.Column("to_whom", sa.String(length=120), nullable=False),
        sa.Column("question", sa.Text(), nullable=False),
        sa.Column("asked_by", sa.String(length=40), nullable=False),
        sa.Column("asked_at", UTCTime(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("answered_by", sa.String(length=40), nullable=True),
        sa.Column("answered_at", UTCTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["submission_id"], ["submission.id"], name=op.f("fk_referral_submission_id_submission")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_referral")),
    )
    op.create_index("ix_referral_submission_id", "referral", ["submission_id"])


def _evidence() -> None:
    """A posting's photo; who returned or refused a submission, also on paper. Who it was so far the audit log knows."""
    op.add_column("posting", sa.Column("photo_sha256", sa.String(length=64), server_default="", nullable=False))
    for name, length in (("closed_by", 40), ("recorded_by", 40), ("scan_sha256", 64)):
        op.add_column("submission", sa.Column(name, sa.String(length=length), server_default="", nullable=False))
    changed = sa.text("changed_at IS NOT NULL")  # every desk asks for these few
    op.create_index("ix_feed_entry_changed_at", "feed_entry", ["changed_at"], sqlite_where=changed,
                    postgresql_where=changed)  # fmt: skip
    op.execute(
        "UPDATE submission SET closed_by = COALESCE((SELECT person FROM audit WHERE audit.item_id = submission.item_id "
        "AND audit.decision IN ('return', 'refuse') AND audit.facts LIKE '%' || submission.hash || '%' "
        "ORDER BY audit.id DESC LIMIT 1), '') WHERE stage IN ('returned', 'refused')"
    )


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
