"""What the portal holds, table by table.

A slot is never deleted: a tombstone keeps its generation for ever. Files lie in the database, so that an item and
its attachments change in one transaction and are backed up as one. `catalogue` and `words` are made of the slots'
bodies and may be made anew (`standing.derived`).
"""

from datetime import UTC, datetime

from sqlalchemy import (
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Dialect,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)
from sqlalchemy.types import TypeDecorator


class UtcTime(TypeDecorator[datetime]):
    """A moment: refuses naive times, keeps UTC, gives aware times back on every database."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("a naive time")
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = MetaData(
    naming_convention={"ix": "ix_%(table_name)s_%(column_0_N_name)s", "ck": "ck_%(table_name)s_%(constraint_name)s"}
)
slots = Table(
    "slots",
    metadata,
    Column("kind", String(8), CheckConstraint("kind in ('item', 'entry')", name="kind"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("generation", Integer, nullable=False),
    Column("body", LargeBinary),  # the rendition's exact bytes; NULL: withdrawn
    Column("digest", String(64), nullable=False),  # of the body; empty: withdrawn
    Column("change", Integer, nullable=False),  # grows in the order of commits: that of the feeds
    Column("changed_at", UtcTime),
    Column("first_published_at", UtcTime),  # PubDate: our own clock, once, for ever
    Column("shown_since", UtcTime),  # later than the first publication where a withdrawn one was published again
    Column("index_number", Text),  # of an item that is or was public: a withdrawn one keeps it
    Index(None, "kind", "change"),
    Index(None, "kind", "first_published_at"),
)
files = Table(
    "files",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("content", LargeBinary, nullable=False),
    Column("kept_at", UtcTime),  # it last came in; swept a day later where no item names it
    Column("width", Integer),  # of a picture, in pixels
    Column("height", Integer),
    Index(None, "kept_at"),
)
attachments = Table(  # a file is public while a live item names it
    "attachments",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("sha256", String(64), nullable=False),
    Column("name", String(255), nullable=False),
    Column("media_type", String(255), nullable=False),
    Index(None, "sha256"),
)
request_log = Table(
    "request_log",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", UtcTime, nullable=False),
    Column("method", String(8), nullable=False),
    Column("collection", String(16), nullable=False),
    Column("name", String(64), nullable=False),
    Column("generation", String(16), nullable=False),
    Column("nonce", String(32)),  # of the signature: none is taken twice
    Index(None, "nonce", unique=True),
    sqlite_autoincrement=True,  # a number is never given twice
)
change_log = Table(  # what became of a slot, for its history; its texts are not kept
    "change_log",
    metadata,
    Column("kind", String(8), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("at", UtcTime, nullable=False),
    Column("what", String(16), nullable=False),
)
catalogue = Table(  # an item that is or was public; of a withdrawn one only its place in the order is left
    "catalogue",
    metadata,
    Column("ordinal", Integer, primary_key=True, autoincrement=False),  # 0, 1, 2 … in the order of first publication
    Column("number", Integer, nullable=False, unique=True),
    Column("index_number", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("document_number", Text, nullable=False),
    Column("publisher", Text, nullable=False),
    Column("item_type", Text, nullable=False),
    Column("theme", Text, nullable=False),
    Column("department", Text, nullable=False),
    Column("validity", Text, nullable=False),
    Column("summary", Text, nullable=False),
    Column("formed_on", Date),
    Column("published_at", UtcTime),  # NULL: withdrawn
    Column("changed_at", UtcTime),
    Index(None, "formed_on", "ordinal"),
    Index(None, "published_at"),
)
words = Table(  # which items a term stands in: see search.py
    "words",
    metadata,
    Column("block", Integer, primary_key=True, autoincrement=False),
    Column("term", LargeBinary, primary_key=True),  # UTF-8: bytes order alike on every database
    Column("bits", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)
standing = Table(  # one row
    "standing",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("version", Integer, nullable=False),  # grows when a slot changes: what is kept in memory is then dropped
    Column("changed_at", UtcTime, nullable=False),  # when it last grew
    Column("derived", Integer, nullable=False),  # by which rules catalogue and words were made; 0: not yet
)
