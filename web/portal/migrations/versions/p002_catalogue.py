"""Catalogue, words and history beside the slots. `Storage.open` fills the first two from the stored bodies; the history
of what is there is written here, as far as the slots still tell it."""

import sqlalchemy as sa
from alembic import op

revision = "p002"
down_revision = "p001"
branch_labels = None
depends_on = None

TEXTS = ("index_number", "title", "document_number", "publisher", "item_type", "theme", "department", "validity",
         "summary")  # fmt: skip


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "change_log",
        sa.Column("kind", sa.String(8), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at", moment, nullable=False),
        sa.Column("what", sa.String(16), nullable=False),
    )
    op.create_table(
        "catalogue",
        sa.Column("ordinal", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("number", sa.Integer, nullable=False, unique=True),
        *(sa.Column(name, sa.Text, nullable=False) for name in TEXTS),
        sa.Column("formed_on", sa.Date),
        sa.Column("published_at", moment),
        sa.Column("changed_at", moment),
    )
    op.create_index("ix_catalogue_formed_on_ordinal", "catalogue", ["formed_on", "ordinal"])
    op.create_index("ix_catalogue_published_at", "catalogue", ["published_at"])
    op.create_table(
        "words",
        sa.Column("block", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("term", sa.LargeBinary, primary_key=True),
        sa.Column("bits", sa.LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "standing",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("derived", sa.Integer, nullable=False),
    )
    op.execute("INSERT INTO standing (id, version, derived) VALUES (1, 0, 0)")
    for position, what, at, where in (
        (1, "published", "first_published_at", "first_published_at IS NOT NULL"),
        (2, "republished", "shown_since", "shown_since <> first_published_at"),
        (3, "corrected", "changed_at", "body IS NOT NULL AND changed_at <> shown_since"),
        (3, "withdrawn", "changed_at", "body IS NULL AND first_published_at IS NOT NULL"),
    ):
        op.execute(
            "INSERT INTO change_log (kind, number, position, at, what) "
            f"SELECT kind, number, {position}, {at}, '{what}' FROM slots WHERE {where}"
        )
