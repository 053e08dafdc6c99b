"""The tables. Bytes that were hashed are stored as they were hashed; what happened is only ever added to."""

from datetime import date, datetime
from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Date,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy import Enum as SqlEnum
from sqlalchemy.orm import Mapped, mapped_column

from pipeline.database import Base, UTCTime
from pipeline.states import Disclosure, Ground, Result, Stage, State

BigId = BigInteger().with_variant(Integer(), "sqlite")  # SQLite counts up only in an INTEGER PRIMARY KEY


def checked(values: type[StrEnum]) -> SqlEnum:
    """An enum kept as text with a CHECK, so that a person can read the database and a stray word cannot enter it."""
    return SqlEnum(
        values,
        native_enum=False,
        create_constraint=True,
        length=32,
        name=values.__name__.lower(),
        values_callable=lambda members: [member.value for member in members],
    )


class StoredDepartment(Base):
    """A department (各部室). Never deleted: items belong to it."""

    __tablename__ = "department"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(80))


class StoredPerson(Base):
    """One of the staff. Never deleted: decisions name them. Roles and departments in charge are ids with blanks
    between."""

    __tablename__ = "person"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(80))
    department: Mapped[str] = mapped_column(ForeignKey("department.id"))
    roles: Mapped[str] = mapped_column(String(200))
    in_charge: Mapped[str] = mapped_column(Text, default="")
    email: Mapped[str] = mapped_column(String(200), default="")
    active: Mapped[bool] = mapped_column(default=True)


class Deputy(Base):
    """`person` stands in for `for_person` (代理), both days included, unless ended before."""

    __tablename__ = "deputy"
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    person: Mapped[str] = mapped_column(ForeignKey("person.id"), index=True)
    for_person: Mapped[str] = mapped_column(ForeignKey("person.id"))
    from_on: Mapped[date] = mapped_column(Date)
    to_on: Mapped[date] = mapped_column(Date)
    set_by: Mapped[str] = mapped_column(String(40))
    set_at: Mapped[datetime] = mapped_column(UTCTime)
    ended_at: Mapped[datetime | None] = mapped_column(UTCTime)


class Counter(Base):
    """Numbers issued once: `index/<code>/<year>`. Never counted back."""

    __tablename__ = "counter"
    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    value: Mapped[int]


class Item(Base):
    """A piece of information. `id` is the N of its permanent short address `/i/N`. Below `index_number`: what lists ask
    for, as `pipeline.listing` keeps it."""

    __tablename__ = "item"
    __table_args__ = (
        # All that a list filters by: it is walked from its end, and the table itself is not read.
        Index("ix_item_list", "latest_id", "department", "created_by", "item_type", "author", "formed_on", "phase",
              "sent", "title", "index_number"),
        Index("ix_item_unsubmitted", "id", sqlite_where=text("unsubmitted = 1"), postgresql_where=text("unsubmitted")),
        Index("ix_item_open", "formed_on", sqlite_where=text("phase IN ('draft', 'returned', 'reviewing')"),
              postgresql_where=text("phase IN ('draft', 'returned', 'reviewing')")),
        {"sqlite_autoincrement": True},
    )  # fmt: skip
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    department: Mapped[str] = mapped_column(String(40))
    created_by: Mapped[str] = mapped_column(String(40))
    created_at: Mapped[datetime] = mapped_column(UTCTime)
    index_number: Mapped[str | None] = mapped_column(String(80), unique=True)

    latest_id: Mapped[int] = mapped_column(BigId, server_default="0")  # its latest revision
    title: Mapped[str] = mapped_column(String(200), server_default="")  # as far as it is searched
    item_type: Mapped[str] = mapped_column(String(40), server_default="")
    author: Mapped[str] = mapped_column(String(40), server_default="")
    formed_on: Mapped[date] = mapped_column(Date, server_default="1970-01-01")
    phase: Mapped[str] = mapped_column(String(20), server_default="draft")  # pipeline.items.Phase
    unsubmitted: Mapped[bool] = mapped_column(server_default=text("false"))  # its latest text waits for its author
    sent: Mapped[bool] = mapped_column(server_default=text("false"))  # there is a slot of it


class Blob(Base):
    """Bytes of attachments, once each, by what they are."""

    __tablename__ = "blob"
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    content: Mapped[bytes] = mapped_column(LargeBinary)


class Revision(Base):
    """What was written, immutable. `content` is the JSON that `content_hash` (SHA-256) was taken over; what lists and
    figures ask for stands beside it in columns of its own."""

    __tablename__ = "revision"
    __table_args__ = (UniqueConstraint("item_id", "number"),)
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    item_id: Mapped[int] = mapped_column(ForeignKey("item.id"))
    number: Mapped[int]
    author: Mapped[str] = mapped_column(String(40))
    created_at: Mapped[datetime] = mapped_column(UTCTime)
    title: Mapped[str] = mapped_column(Text)
    item_type: Mapped[str] = mapped_column(String(40), server_default="")
    department: Mapped[str] = mapped_column(String(40), server_default="")
    formed_on: Mapped[date] = mapped_column(Date, server_default="1970-01-01")
    content: Mapped[bytes] = mapped_column(LargeBinary)
    content_hash: Mapped[str] = mapped_column(String(64))


class Submission(Base):
    """A revision put up for review, with what was chosen. `hash` (SHA-256) is over the stored `manifest`."""

    __tablename__ = "submission"
    __table_args__ = (
        Index("uq_submission_reviewing", "item_id", unique=True, sqlite_where=text("stage = 'reviewing'"),
              postgresql_where=text("stage = 'reviewing'")),
        Index("uq_submission_approved", "item_id", unique=True, sqlite_where=text("stage = 'approved'"),
              postgresql_where=text("stage = 'approved'")),
        Index("ix_submission_sent_back", "closed_at", sqlite_where=text("stage IN ('returned', 'refused')"),
              postgresql_where=text("stage IN ('returned', 'refused')")),
    )  # fmt: skip
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    item_id: Mapped[int] = mapped_column(ForeignKey("item.id"), index=True)
    revision_id: Mapped[int] = mapped_column(ForeignKey("revision.id"))
    submitted_by: Mapped[str] = mapped_column(String(40))
    submitted_at: Mapped[datetime] = mapped_column(UTCTime)
    disclosure: Mapped[Disclosure] = mapped_column(checked(Disclosure))
    ground: Mapped[Ground | None] = mapped_column(checked(Ground))
    publish_at: Mapped[datetime | None] = mapped_column(UTCTime)
    manifest: Mapped[bytes] = mapped_column(LargeBinary)
    hash: Mapped[str] = mapped_column(String(64))
    stage: Mapped[Stage] = mapped_column(checked(Stage))
    reason: Mapped[str] = mapped_column(Text, default="")
    closed_at: Mapped[datetime | None] = mapped_column(UTCTime)
    # groups of subscribers that it goes to, where there are recipients: ids with blanks between; None: its item type's
    groups: Mapped[str | None] = mapped_column(Text)
    closed_by: Mapped[str] = mapped_column(String(40), server_default="")  # who returned or refused it
    # decided on the paper review sheet, and entered by somebody else with its scan (代录)
    recorded_by: Mapped[str] = mapped_column(String(40), server_default="")
    scan_sha256: Mapped[str] = mapped_column(String(64), server_default="")


class Approval(Base):
    """One level's yes to one submission, naming the hash that was seen."""

    __tablename__ = "approval"
    submission_id: Mapped[int] = mapped_column(ForeignKey("submission.id"), primary_key=True)
    level: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    role: Mapped[str] = mapped_column(String(20))
    person: Mapped[str] = mapped_column(String(40))
    hash: Mapped[str] = mapped_column(String(64))
    at: Mapped[datetime] = mapped_column(UTCTime)
    on_behalf_of: Mapped[str] = mapped_column(String(40), server_default="")  # whom a deputy stood in for
    # signed on the paper review sheet, and entered by somebody else with its scan (代录)
    recorded_by: Mapped[str] = mapped_column(String(40), server_default="")
    scan_sha256: Mapped[str] = mapped_column(String(64), server_default="")


class ReferralKind(StrEnum):
    """Who is asked before a submission may be decided (条例 2019, art. 17, 32)."""

    COMPETENT = "competent"  # 有关主管部门
    SECRECY = "secrecy"  # 保密行政管理部门
    THIRD_PARTY = "third_party"


class Referral(Base):
    """Somebody outside is asked: until they have answered, the submission is not approved."""

    __tablename__ = "referral"
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    submission_id: Mapped[int] = mapped_column(ForeignKey("submission.id"), index=True)
    kind: Mapped[ReferralKind] = mapped_column(checked(ReferralKind))
    to_whom: Mapped[str] = mapped_column(String(120))
    question: Mapped[str] = mapped_column(Text)
    asked_by: Mapped[str] = mapped_column(String(40))
    asked_at: Mapped[datetime] = mapped_column(UTCTime)
    answer: Mapped[str] = mapped_column(Text, default="")
    answered_by: Mapped[str | None] = mapped_column(String(40))
    answered_at: Mapped[datetime | None] = mapped_column(UTCTime)


class StoredRendition(Base):
    """What one channel shows or sends of one submission, as it was previewed and approved."""

    __tablename__ = "rendition"
    __table_args__ = (UniqueConstraint("submission_id", "channel"),)
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    submission_id: Mapped[int] = mapped_column(ForeignKey("submission.id"))
    revision_id: Mapped[int] = mapped_column(ForeignKey("revision.id"))
    channel: Mapped[str] = mapped_column(String(40))
    media_type: Mapped[str] = mapped_column(String(120))
    body: Mapped[bytes] = mapped_column(LargeBinary)
    files: Mapped[str] = mapped_column(Text)  # JSON: [[name, media type, sha256], …]
    digest: Mapped[str] = mapped_column(String(64))


class Delivery(Base):
    """What should be at one place, and what is. One row per item × channel (the slot, for ever), and for a channel with
    recipients one more for each recipient, below its slot.

    `wanted_id`: the rendition that should be there, or nothing. `generation`: +1 whenever that changes. `held_id`: what
    is there as far as anybody knows (`held_known`). An attempt is open while `call_open`; its number is `attempts`.
    """

    __tablename__ = "delivery"
    __table_args__ = (
        UniqueConstraint("item_id", "channel", "recipient"),
        Index("ix_delivery_due", "channel", "publish_at", "id", sqlite_where=text("state = 'due'"),
              postgresql_where=text("state = 'due'")),
        Index("ix_delivery_withdrawal", "channel", "id", sqlite_where=text("state = 'due' AND wanted_id IS NULL"),
              postgresql_where=text("state = 'due' AND wanted_id IS NULL")),
        Index("ix_delivery_lease", "lease_until", sqlite_where=text("state = 'sending'"),
              postgresql_where=text("state = 'sending'")),
        Index("ix_delivery_look", "channel", "look_after", sqlite_where=text("look_after IS NOT NULL"),
              postgresql_where=text("look_after IS NOT NULL")),
        Index("ix_delivery_trouble", "channel", "id",
              sqlite_where=text("state IN ('failed', 'in_doubt', 'on_hold')"),
              postgresql_where=text("state IN ('failed', 'in_doubt', 'on_hold')")),
        Index("ix_delivery_settled", "channel", "item_id",
              sqlite_where=text("state IN ('accepted', 'skipped') AND expanded_at IS NULL"),
              postgresql_where=text("state IN ('accepted', 'skipped') AND expanded_at IS NULL")),
        Index("ix_delivery_slot", "slot_id", "state", sqlite_where=text("slot_id IS NOT NULL"),
              postgresql_where=text("slot_id IS NOT NULL")),
        CheckConstraint("recipient = '' OR slot_id IS NOT NULL", name="recipient_below_slot"),
        CheckConstraint("state = 'sending' OR (lease_token IS NULL AND NOT call_open)", name="lease_while_sending"),
    )  # fmt: skip
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    item_id: Mapped[int] = mapped_column(ForeignKey("item.id"))
    channel: Mapped[str] = mapped_column(String(40))
    recipient: Mapped[str] = mapped_column(String(200), default="")
    slot_id: Mapped[int | None] = mapped_column(ForeignKey("delivery.id"))

    wanted_id: Mapped[int | None] = mapped_column(ForeignKey("rendition.id"))
    wanted_at: Mapped[datetime] = mapped_column(UTCTime)
    generation: Mapped[int]
    held_id: Mapped[int | None] = mapped_column(ForeignKey("rendition.id"))
    held_known: Mapped[bool] = mapped_column(default=True)

    state: Mapped[State] = mapped_column(checked(State))
    reason: Mapped[str] = mapped_column(String(40), default="")  # why on hold or skipped
    error: Mapped[str] = mapped_column(Text, default="")  # JSON {code, facts} of what last went wrong

    publish_at: Mapped[datetime] = mapped_column(UTCTime)  # a person's
    try_after: Mapped[datetime | None] = mapped_column(UTCTime)  # the machine's back-off
    released_at: Mapped[datetime | None] = mapped_column(UTCTime)  # a person let it go: lateness counts from here
    hurry: Mapped[bool] = mapped_column(default=False)  # a person lets it go in the quiet hours

    lease_token: Mapped[str | None] = mapped_column(String(32))
    lease_until: Mapped[datetime | None] = mapped_column(UTCTime)
    call_open: Mapped[bool] = mapped_column(default=False)
    attempts: Mapped[int] = mapped_column(default=0)  # number of the latest attempt
    failures: Mapped[int] = mapped_column(default=0)  # in a row in which nothing could be sent
    tries: Mapped[int] = mapped_column(default=0)  # of this generation's budget
    first_tried_at: Mapped[datetime | None] = mapped_column(UTCTime)  # of this generation: fixes the facts of sending
    last_tried_at: Mapped[datetime | None] = mapped_column(UTCTime)
    looks: Mapped[int] = mapped_column(default=0)
    look_after: Mapped[datetime | None] = mapped_column(UTCTime)

    reference: Mapped[str] = mapped_column(String(300), default="")
    confirmed_at: Mapped[datetime | None] = mapped_column(UTCTime)
    expanded_at: Mapped[datetime | None] = mapped_column(UTCTime)  # a slot's recipients were copied


class Attempt(Base):
    """One call, committed before it is made. Never changed."""

    __tablename__ = "attempt"
    delivery_id: Mapped[int] = mapped_column(ForeignKey("delivery.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    generation: Mapped[int]
    rendition_id: Mapped[int | None] = mapped_column(ForeignKey("rendition.id"))  # None: a withdrawal
    started_at: Mapped[datetime] = mapped_column(UTCTime)
    worker: Mapped[str] = mapped_column(String(120))


class AttemptEnd(Base):
    """How an attempt ended, as far as known: never, when its worker died; twice, when it was given up as overdue and
    ended late. Never changed."""

    __tablename__ = "attempt_end"
    __table_args__ = (Index("ix_attempt_end_attempt", "delivery_id", "number"),)
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    delivery_id: Mapped[int] = mapped_column(ForeignKey("delivery.id"))
    number: Mapped[int]
    at: Mapped[datetime] = mapped_column(UTCTime)
    result: Mapped[Result] = mapped_column(checked(Result))
    reference: Mapped[str] = mapped_column(String(300))
    evidence: Mapped[str] = mapped_column(Text)
    error: Mapped[str] = mapped_column(Text)  # JSON {code, facts}


class Sighting(Base):
    """Something from outside changed what we know of a delivery: a look, a report, a person. Never changed."""

    __tablename__ = "sighting"
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    delivery_id: Mapped[int] = mapped_column(ForeignKey("delivery.id"), index=True)
    generation: Mapped[int]
    at: Mapped[datetime] = mapped_column(UTCTime)
    evidence: Mapped[str] = mapped_column(String(20))  # readback, report, person
    seen: Mapped[str] = mapped_column(String(40))
    state: Mapped[State] = mapped_column(checked(State))  # what the row became
    note: Mapped[str] = mapped_column(Text, default="")


class StoredReport(Base):
    """A report as it came in, stored before anything else is done with it."""

    __tablename__ = "report"
    __table_args__ = (
        Index("ix_report_waiting", "id", sqlite_where=text("applied_at IS NULL"),
              postgresql_where=text("applied_at IS NULL")),
        Index("ix_report_attempt", "delivery_id", "number"),
    )  # fmt: skip
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    channel: Mapped[str] = mapped_column(String(40))
    delivery_id: Mapped[int] = mapped_column(BigId)  # no foreign key: an orphan after a restore is kept, too
    number: Mapped[int]
    started_at: Mapped[datetime] = mapped_column(UTCTime)  # of the attempt it speaks of
    query: Mapped[str] = mapped_column(Text)  # JSON
    received_at: Mapped[datetime] = mapped_column(UTCTime)
    applied_at: Mapped[datetime | None] = mapped_column(UTCTime)


class Posting(Base):
    """A printed notice on a board: who posted it where and when, who took it down (domain: life of a printout)."""

    __tablename__ = "posting"
    __table_args__ = (
        Index("ix_posting_hanging", "down_due", "delivery_id", "generation", sqlite_where=text("removed_at IS NULL"),
              postgresql_where=text("removed_at IS NULL")),
    )  # fmt: skip
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    delivery_id: Mapped[int] = mapped_column(ForeignKey("delivery.id"), index=True)
    generation: Mapped[int]
    rendition_id: Mapped[int] = mapped_column(ForeignKey("rendition.id"))
    place: Mapped[str] = mapped_column(Text)
    posted_by: Mapped[str] = mapped_column(String(40))
    posted_at: Mapped[datetime] = mapped_column(UTCTime)
    photo_sha256: Mapped[str] = mapped_column(String(64), server_default="")  # of how it hangs there; "": none
    down_due: Mapped[date | None] = mapped_column(Date)  # the day after a 公示's period
    removed_by: Mapped[str | None] = mapped_column(String(40))
    removed_at: Mapped[datetime | None] = mapped_column(UTCTime)


class ChannelStatus(Base):
    """Conditions of the claim: a person's pause, the circuit breaker; and what a person wants to know of a channel."""

    __tablename__ = "channel_status"
    channel: Mapped[str] = mapped_column(String(40), primary_key=True)
    paused_by: Mapped[str | None] = mapped_column(String(40))
    paused_at: Mapped[datetime | None] = mapped_column(UTCTime)
    failures: Mapped[int] = mapped_column(default=0)  # in a row: `states.breaker`
    open_until: Mapped[datetime | None] = mapped_column(UTCTime)  # the breaker lets nothing but withdrawals through
    last_success_at: Mapped[datetime | None] = mapped_column(UTCTime)
    last_failure_at: Mapped[datetime | None] = mapped_column(UTCTime)
    last_error: Mapped[str] = mapped_column(Text, default="")
    leases_expired: Mapped[int] = mapped_column(default=0, server_default="0")  # workers that did not come back


class Subscriber(Base):
    """Somebody who agreed to be told. `address` is normalised by its channel."""

    __tablename__ = "subscriber"
    __table_args__ = (UniqueConstraint("channel", "address"),)
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    channel: Mapped[str] = mapped_column(String(40))
    address: Mapped[str] = mapped_column(String(200))
    name: Mapped[str] = mapped_column(String(80), default="")
    consent_source: Mapped[str] = mapped_column(Text, default="")
    consent_on: Mapped[date | None] = mapped_column(Date)
    added_at: Mapped[datetime] = mapped_column(UTCTime)


class Suppression(Base):
    """The suppression list (拒收名单): checked at the moment of sending."""

    __tablename__ = "suppression"
    channel: Mapped[str] = mapped_column(String(40), primary_key=True)
    address: Mapped[str] = mapped_column(String(200), primary_key=True)
    reason: Mapped[str] = mapped_column(Text, default="")
    at: Mapped[datetime] = mapped_column(UTCTime)


class AuditLine(Base):
    """One line for each decision (操作日志). Never changed: the database refuses."""

    __tablename__ = "audit"
    __table_args__ = (Index("ix_audit_person", "person", "id"), Index("ix_audit_decision", "decision", "id"),
                      Index("ix_audit_at", "at"))  # fmt: skip
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    at: Mapped[datetime] = mapped_column(UTCTime)
    person: Mapped[str] = mapped_column(String(40))
    os_user: Mapped[str] = mapped_column(String(80))
    decision: Mapped[str] = mapped_column(String(40))
    item_id: Mapped[int | None] = mapped_column(ForeignKey("item.id"), index=True)
    facts: Mapped[str] = mapped_column(Text)  # JSON


class ImportedFile(Base):
    """A body file that became an item: the same bytes are not imported twice."""

    __tablename__ = "imported"
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    item_id: Mapped[int] = mapped_column(ForeignKey("item.id"))
    at: Mapped[datetime] = mapped_column(UTCTime)


class Feed(Base):
    """A feed that is collected: what the other side told us to ask with next time, and how the last visit went."""

    __tablename__ = "feed"
    url: Mapped[str] = mapped_column(String(500), primary_key=True)
    etag: Mapped[str] = mapped_column(Text, default="")
    last_modified: Mapped[str] = mapped_column(Text, default="")
    visited_at: Mapped[datetime | None] = mapped_column(UTCTime)
    read_at: Mapped[datetime | None] = mapped_column(UTCTime)  # the last visit that could be read
    error: Mapped[str] = mapped_column(Text, default="")  # JSON {code, facts} of the last visit


class FeedEntry(Base):
    """An entry that became a draft, once. `key`: its GUID, else its link and hash."""

    __tablename__ = "feed_entry"
    __table_args__ = (
        UniqueConstraint("feed_url", "key"),
        Index("ix_feed_entry_changed_at", "changed_at", sqlite_where=text("changed_at IS NOT NULL"),
              postgresql_where=text("changed_at IS NOT NULL")),
    )  # fmt: skip
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    feed_url: Mapped[str] = mapped_column(ForeignKey("feed.url"))
    key: Mapped[str] = mapped_column(String(64))  # SHA-256
    link: Mapped[str] = mapped_column(Text, default="")
    content_hash: Mapped[str] = mapped_column(String(64))
    item_id: Mapped[int] = mapped_column(ForeignKey("item.id"), index=True)
    collected_at: Mapped[datetime] = mapped_column(UTCTime)
    changed_at: Mapped[datetime | None] = mapped_column(UTCTime)  # the source changed it after we took it


class Process(Base):
    """When a worker or beat was last seen: each writes its own line now and then."""

    __tablename__ = "process"
    name: Mapped[str] = mapped_column(String(120), primary_key=True)  # kind@host:pid
    kind: Mapped[str] = mapped_column(String(20))
    started_at: Mapped[datetime] = mapped_column(UTCTime)
    seen_at: Mapped[datetime] = mapped_column(UTCTime)


class Mailed(Base):
    """What a person was last told by mail: a digest goes out when it says something new, at most hourly. Claimed before
    the mail is sent."""

    __tablename__ = "mailed"
    person: Mapped[str] = mapped_column(ForeignKey("person.id"), primary_key=True)
    at: Mapped[datetime | None] = mapped_column(UTCTime)
    told: Mapped[str] = mapped_column(Text, default="[]")  # JSON: the keys of what that mail said
    error: Mapped[str] = mapped_column(Text, default="")  # JSON {code, facts} of what went wrong with it


class Restoration(Base):
    """The ledger was restored from a backup. While one is not finished nothing is claimed (`claim.look`).

    Items up to `last_item` may have been sent after the backup, for all the ledger knows. `spare`: so many numbers are
    left out, because nothing outside can say which were given after the backup. `found`: JSON, `rescue.compare.Found`.
    """

    __tablename__ = "restoration"
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    taken_at: Mapped[datetime] = mapped_column(UTCTime)  # the backup
    restored_at: Mapped[datetime] = mapped_column(UTCTime)
    restored_by: Mapped[str] = mapped_column(String(40))
    last_item: Mapped[int] = mapped_column(BigId)
    spare: Mapped[int]
    finished_at: Mapped[datetime | None] = mapped_column(UTCTime)
    found: Mapped[str] = mapped_column(Text, default="")


class Account(Base):
    """A person's way into the console. The password is kept as argon2id (RFC 9106); a first one must be changed."""

    __tablename__ = "account"
    person: Mapped[str] = mapped_column(ForeignKey("person.id"), primary_key=True)
    password_hash: Mapped[str] = mapped_column(String(200))
    must_change: Mapped[bool]
    changed_at: Mapped[datetime] = mapped_column(UTCTime)
    failures: Mapped[int] = mapped_column(default=0)  # wrong passwords in a row
    locked_until: Mapped[datetime | None] = mapped_column(UTCTime)


class SignedIn(Base):
    """A browser that is signed in, by the SHA-256 of its cookie: who reads the database cannot use it."""

    __tablename__ = "signed_in"
    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    person: Mapped[str] = mapped_column(ForeignKey("person.id"), index=True)
    since: Mapped[datetime] = mapped_column(UTCTime)
    seen_at: Mapped[datetime] = mapped_column(UTCTime)


class ApiToken(Base):
    """A program's way in, with the rights of the person who made it, by its SHA-256."""

    __tablename__ = "api_token"
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    person: Mapped[str] = mapped_column(ForeignKey("person.id"), index=True)
    label: Mapped[str] = mapped_column(String(80))
    made_at: Mapped[datetime] = mapped_column(UTCTime)
    used_at: Mapped[datetime | None] = mapped_column(UTCTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UTCTime)


class StoredPhrase(Base):
    """A line of the word table: `wrong` is written where `correct` is meant, both days included. Never deleted.
    `set_by` "": it came with the program."""

    __tablename__ = "phrase"
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    correct: Mapped[str] = mapped_column(String(40))
    wrong: Mapped[str] = mapped_column(String(40), index=True)
    from_on: Mapped[date] = mapped_column(Date)
    to_on: Mapped[date | None] = mapped_column(Date)
    set_by: Mapped[str] = mapped_column(String(40))
    set_at: Mapped[datetime] = mapped_column(UTCTime)
    ended_by: Mapped[str] = mapped_column(String(40))
    ended_at: Mapped[datetime | None] = mapped_column(UTCTime)


class StoredFinding(Base):
    """What the checks found in a submission, and why it was submitted all the same (`reason` "": no reason is needed).
    Never changed. `found` is a pipeline.checks.Found as JSON; `key` names what was found as long as its text stays."""

    __tablename__ = "finding"
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    submission_id: Mapped[int] = mapped_column(ForeignKey("submission.id"), index=True)
    code: Mapped[str] = mapped_column(String(60))
    key: Mapped[str] = mapped_column(String(40))
    found: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    reason_by: Mapped[str] = mapped_column(String(40))
    reason_at: Mapped[datetime | None] = mapped_column(UTCTime)


class WorkingCopy(Base):
    """What somebody types before they save it as a revision: survives a closed browser. `item_id` None: a new item;
    `based_on`: the revision's number that it began from. `content` is the form as JSON."""

    __tablename__ = "working_copy"
    __table_args__ = (UniqueConstraint("person", "item_id"),)
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    person: Mapped[str] = mapped_column(ForeignKey("person.id"))
    item_id: Mapped[int | None] = mapped_column(ForeignKey("item.id"), index=True)
    based_on: Mapped[int]
    content: Mapped[str] = mapped_column(Text)
    saved_at: Mapped[datetime] = mapped_column(UTCTime)


class Publication(Base):
    """An item was seen where the public finds it, for the first time: `day` in the office's zone, with the date formed
    of the text that was seen. `pipeline.counting` finds it and keeps `department` and `withdrawn` as they are now."""

    __tablename__ = "publication"
    __table_args__ = (Index("ix_publication_day", "day", "department", "formed_on", "withdrawn"),)
    item_id: Mapped[int] = mapped_column(ForeignKey("item.id"), primary_key=True, autoincrement=False)
    day: Mapped[date] = mapped_column(Date)
    department: Mapped[str] = mapped_column(String(40))
    formed_on: Mapped[date] = mapped_column(Date)
    withdrawn: Mapped[bool] = mapped_column(default=False)


class DeliveryCount(Base):
    """How many deliveries of one block of ids (`pipeline.counting`) are in a state. `day`: that of their time to go
    out, in the office's zone; `state`: of `State`, or *withdrawn*."""

    __tablename__ = "delivery_count"
    __table_args__ = (Index("ix_delivery_count_day", "day", "department", "channel", "state", "count"),)
    block: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=False)
    day: Mapped[date] = mapped_column(Date, primary_key=True)
    department: Mapped[str] = mapped_column(String(40), primary_key=True)
    channel: Mapped[str] = mapped_column(String(40), primary_key=True)
    state: Mapped[str] = mapped_column(String(32), primary_key=True)
    count: Mapped[int]


class CountMark(Base):
    """How far a table was counted: up to `read`; from `again` on it is read once more, for lines that are committed
    after others with higher ids."""

    __tablename__ = "count_mark"
    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    read: Mapped[int] = mapped_column(BigInteger)
    again: Mapped[int] = mapped_column(BigInteger)
    at: Mapped[datetime] = mapped_column(UTCTime)


class StoredIssue(Base):
    """A number of the newsletter that is to come out, one for each day named by the calendar (`nominal`). `item_id`: it
    as an item like any other, once it was assembled. `pipeline.issues` says where its numbers come from."""

    __tablename__ = "issue"
    __table_args__ = (UniqueConstraint("year", "number"),)
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    nominal: Mapped[date] = mapped_column(Date, unique=True)
    year: Mapped[int]
    number: Mapped[int]  # within the year
    running: Mapped[int] = mapped_column(unique=True)  # for ever
    out_on: Mapped[date] = mapped_column(Date)
    cut_off_at: Mapped[datetime] = mapped_column(UTCTime)
    send_at: Mapped[datetime] = mapped_column(UTCTime)
    made_at: Mapped[datetime] = mapped_column(UTCTime)
    item_id: Mapped[int | None] = mapped_column(ForeignKey("item.id"), unique=True)
    built_at: Mapped[datetime | None] = mapped_column(UTCTime)  # the last time


class IssueEntry(Base):
    """An item was offered to an issue: to one only, whatever becomes of it there. `place`: the column whose rule took
    it, "" none did; `dropped`: it is not in the issue's latest text."""

    __tablename__ = "issue_entry"
    item_id: Mapped[int] = mapped_column(ForeignKey("item.id"), primary_key=True, autoincrement=False)
    issue_id: Mapped[int] = mapped_column(ForeignKey("issue.id"), index=True)
    place: Mapped[str] = mapped_column(String(40))
    dropped: Mapped[bool]
    offered_at: Mapped[datetime] = mapped_column(UTCTime)


class SkippedIssue(Base):
    """A person decided that no issue comes out for this day: left out, or merged into a later one (`into`)."""

    __tablename__ = "issue_skip"
    nominal: Mapped[date] = mapped_column(Date, primary_key=True)
    into: Mapped[date | None] = mapped_column(Date)
    reason: Mapped[str] = mapped_column(Text)
    set_by: Mapped[str] = mapped_column(String(40))
    set_at: Mapped[datetime] = mapped_column(UTCTime)


class Ruling(Base):
    """A submission of an issue that nobody approved: it followed by rule from an approved one, because of what was
    decided about an item in it. Never changed."""

    __tablename__ = "ruling"
    submission_id: Mapped[int] = mapped_column(ForeignKey("submission.id"), primary_key=True, autoincrement=False)
    from_submission: Mapped[int] = mapped_column(ForeignKey("submission.id"))
    item_id: Mapped[int] = mapped_column(ForeignKey("item.id"))  # the item in it
    change: Mapped[str] = mapped_column(String(20))  # dropped, replaced
    at: Mapped[datetime] = mapped_column(UTCTime)


class SubscriberGroup(Base):
    """A kind of news that a subscriber chose (settings: subscription.groups). One with none is told of everything."""

    __tablename__ = "subscriber_group"
    subscriber_id: Mapped[int] = mapped_column(ForeignKey("subscriber.id", ondelete="CASCADE"), primary_key=True)
    group_id: Mapped[str] = mapped_column(String(40), primary_key=True, index=True)


class OptIn(Base):
    """Somebody typed this address into the citizens' form: whoever reads it is asked once, and only their yes makes a
    subscriber. Deleted two days later, whatever became of it. `network`: whence it came, as a keyed hash; `claimed_at`:
    the invitation is sent, or was (at most once); `tries`: codes that were typed."""

    __tablename__ = "opt_in"
    __table_args__ = (Index("ix_opt_in_address", "channel", "address"),)
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    channel: Mapped[str] = mapped_column(String(40))
    address: Mapped[str] = mapped_column(String(200))
    groups: Mapped[str] = mapped_column(Text)  # ids with blanks between
    network: Mapped[str] = mapped_column(String(32))
    asked_at: Mapped[datetime] = mapped_column(UTCTime, index=True)
    claimed_at: Mapped[datetime | None] = mapped_column(UTCTime)
    failures: Mapped[int] = mapped_column(default=0)
    try_after: Mapped[datetime | None] = mapped_column(UTCTime)
    tries: Mapped[int] = mapped_column(default=0)
    confirmed_at: Mapped[datetime | None] = mapped_column(UTCTime)


class StoredReply(Base):
    """An SMS that somebody sent back, and not to be told no more. `address`: masked, the number itself is not kept;
    `item_id`: what the sender had last been told of. Deleted after `pipeline.replies.KEPT`."""

    __tablename__ = "reply"
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    channel: Mapped[str] = mapped_column(String(40))
    address: Mapped[str] = mapped_column(String(200))
    text: Mapped[str] = mapped_column(Text)
    item_id: Mapped[int | None] = mapped_column(ForeignKey("item.id"))
    received_at: Mapped[datetime] = mapped_column(UTCTime, index=True)


class ColumnStanding(Base):
    """How a column of a public side stood when it was last asked (channels.contract.Standing)."""

    __tablename__ = "column_standing"
    channel: Mapped[str] = mapped_column(String(40), primary_key=True)
    id: Mapped[str] = mapped_column(String(80), primary_key=True)
    place: Mapped[int]  # in the order of the other side
    name: Mapped[str] = mapped_column(String(200))
    items: Mapped[int]
    updated_at: Mapped[datetime | None] = mapped_column(UTCTime)
    limit_days: Mapped[int | None]
    read_at: Mapped[datetime] = mapped_column(UTCTime)


class Crawl(Base):
    """One walk through our public site, looking for dead links. `complete`: no bound cut it short."""

    __tablename__ = "crawl"
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    started_at: Mapped[datetime] = mapped_column(UTCTime)
    finished_at: Mapped[datetime | None] = mapped_column(UTCTime)
    pages: Mapped[int] = mapped_column(default=0)
    links: Mapped[int] = mapped_column(default=0)
    complete: Mapped[bool] = mapped_column(default=False)


class DeadLink(Base):
    """A link that leads nowhere, as the last crawl found it. `page`: one of ours that carries it."""

    __tablename__ = "dead_link"
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)  # of the address
    url: Mapped[str] = mapped_column(Text)
    page: Mapped[str] = mapped_column(Text)
    pages: Mapped[int]  # how many carry it
    error: Mapped[str] = mapped_column(Text)  # JSON {code, facts}
    since: Mapped[datetime] = mapped_column(UTCTime)


class BounceKind(StrEnum):
    """What a mail that came back says of the address it was sent to."""

    HARD = "hard"  # nobody there
    SOFT = "soft"  # not this time: full, too large, refused by a filter
    DELAYED = "delayed"  # the server goes on trying
    COMPLAINT = "complaint"  # its reader called it spam


class Bounce(Base):
    """A mail that came back, read once: by the SHA-256 of its bytes. `address` and `delivery_id`: of the mail that it
    speaks of; without them it is an orphan. `status`: enhanced code (RFC 3463)."""

    __tablename__ = "bounce"
    __table_args__ = (Index("ix_bounce_address", "channel", "address"), Index("ix_bounce_read_at", "read_at"))
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    channel: Mapped[str] = mapped_column(String(40))
    kind: Mapped[BounceKind] = mapped_column(checked(BounceKind))
    status: Mapped[str] = mapped_column(String(20))
    address: Mapped[str] = mapped_column(String(200))
    delivery_id: Mapped[int | None] = mapped_column(BigInteger)  # no foreign key: it may be unknown after a restore
    read_at: Mapped[datetime] = mapped_column(UTCTime)
