"""What a channel is: the vocabulary between the pipeline, which decides, and the adapters, which speak.

The pipeline knows channels only by this module. An adapter is a frozen dataclass whose fields are its configuration
section; it renders purely, delivers once, reads back from outside, and takes back where it can.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import ClassVar, Protocol, runtime_checkable

from channels.document import Block
from channels.issue import Issue


class Evidence(StrEnum):
    """How a channel comes to be *confirmed*."""

    READBACK = "readback"  # we read it as a citizen would
    REPORT = "report"  # the outside reports back, for each recipient
    BOUNCE = "bounce"  # the outside reports what did not arrive only: silence is the usual end
    PERSON = "person"  # a person ticks it

    @property
    def reported(self) -> bool:
        """Does the outside report to `Call.report_to`?"""
        return self in (Evidence.REPORT, Evidence.BOUNCE)


@dataclass(frozen=True)
class Standing:
    """How one column of the other side stands: when it last changed, how many items it shows, and within how many days
    it must change (None: no limit)."""

    id: str
    name: str
    updated_at: datetime | None  # None: nothing was ever in it
    items: int
    limit_days: int | None


class Severity(StrEnum):
    BLOCK = "block"
    WARN = "warn"


class Seen(StrEnum):
    """What a look from outside found at a slot."""

    SAME = "same"  # exactly the wanted rendition
    OTHER = "other"  # something else, an older revision for instance
    NOTHING = "nothing"  # nothing, or a tombstone
    UNKNOWN = "unknown"  # the look failed, or this channel cannot look


@dataclass(frozen=True)
class File:
    """An attachment: its name as a citizen sees it, its media type, its bytes."""

    name: str
    media_type: str
    content: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True)
class Office:
    """Who publishes; printed on notices, page feet and in signatures."""

    name: str  # 张店区广播电视局
    code: str  # organisation code, first part of the index number
    phone: str = ""  # supervision phone, 监督电话
    address: str = ""
    short_name: str = ""  # 张店区广电局, the SMS signature


@dataclass(frozen=True)
class Message:
    """One revision of an item, ready to be rendered by any channel. Everything in it is covered by the approval.

    `number` is the N of the permanent short address `/i/N`; `address` that address in full.
    """

    number: int
    index_number: str
    title: str
    blocks: tuple[Block, ...]
    item_type: str  # 体裁: 通知 公告 公示 意见 报告 …
    department: str
    office: Office
    address: str
    formed_on: date
    revision: int = 1
    document_number: str = ""  # 文号
    summary: str = ""
    keywords: tuple[str, ...] = ()
    theme: str = ""  # 主题分类
    source: str = ""  # 信息来源
    short_title: str = ""
    sms_text: str = ""  # the item's own reviewed SMS text; empty: the channel composes title and short address
    period: tuple[date, date] | None = None  # of a 公示
    objection_contact: str = ""  # of a 公示
    corrects: str = ""  # index number of the item that this correction notice corrects
    corrected: bool = False  # an earlier revision of it has gone out
    validity: str = "有效"  # 有效性: 有效, 失效 or 废止
    files: tuple[File, ...] = ()
    issue: Issue | None = None  # a number of the newsletter: `blocks` say the same as a plain text


@dataclass(frozen=True)
class Rendition:
    """What one channel will send, byte for byte, or the data and template version it will be made from."""

    media_type: str
    body: bytes
    files: tuple[File, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 over the media type, the body and each attachment's name, type and hash, hexadecimal."""
        lines = [self.media_type, hashlib.sha256(self.body).hexdigest()]
        lines += [f"{file.sha256} {file.media_type} {file.name}" for file in self.files]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@dataclass(frozen=True)
class View:
    """What people will see of a rendition, to be looked at before it goes out: a page (`title`, `facts` by name of
    field, `html` escaped and of channels/document's elements), a text in the parts it is sent in, or printed pages as
    PNG. `document`: a whole HTML page with styles of its own, its pictures in it (a mail): shown in a frame only."""

    title: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    html: str = ""
    messages: tuple[str, ...] = ()
    pages: tuple[bytes, ...] = ()
    document: str = ""


@dataclass(frozen=True)
class Call:
    """Names one intended effect: this slot, this generation, this recipient.

    `slot` is `channel/number`. `facts` are facts of sending (posting date, unsubscribe link), outside key and hash and
    fixed at a generation's first attempt. `report_to` is where the outside reports on *this attempt*: an address nobody
    can guess, new for each attempt, so that a late report is never taken for a later attempt's.
    """

    slot: str
    generation: int
    recipient: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    report_to: str = ""

    @property
    def key(self) -> str:
        """The same on every retry of the same effect: 32 hexadecimal characters."""
        return hashlib.sha256(f"{self.slot}\n{self.generation}\n{self.recipient}".encode()).hexdigest()[:32]

    @property
    def number(self) -> int:
        return int(self.slot.rpartition("/")[2])


@dataclass(frozen=True)
class Receipt:
    """The channel said yes. `reference` is its own id (batch number, URL, file name); `evidence` what it answered,
    short, without personal data."""

    reference: str
    evidence: str = ""


@dataclass(frozen=True)
class Kept:
    """What a fenced other side keeps of one slot: its highest generation, withdrawals included, and of what it shows
    the index number and title (empty where it shows nothing, or cannot tell)."""

    generation: int
    shown: bool
    index_number: str = ""
    title: str = ""


class Outcome(StrEnum):
    """What a report from outside says of one attempt."""

    DELIVERED = "delivered"
    PENDING = "pending"
    FAILED = "failed"


@dataclass(frozen=True)
class Report:
    outcome: Outcome
    evidence: str = ""


@dataclass(frozen=True)
class Finding:
    """Something a check found: `code` and `facts` are put in words at the edge; `place` says where in the text."""

    code: str
    severity: Severity
    place: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)


class ChannelError(Exception):
    """Something a channel says. `code` and `facts` are put in words at the edge."""

    def __init__(self, code: str, **facts: str) -> None:
        super().__init__(code, facts)
        self.code = code
        self.facts = facts

    def __str__(self) -> str:
        return " ".join([self.code, *(f"{name}={value}" for name, value in self.facts.items())])


class Unrenderable(ChannelError):
    """This message cannot be rendered for this channel; `findings` say why, each with its place."""

    def __init__(self, *findings: Finding) -> None:
        super().__init__(findings[0].code, **findings[0].facts)
        self.findings = findings


def require_public(message: Message) -> None:
    """What every channel that anybody can read asks first. Raises Unrenderable (`newsletter.internal`) for a number of
    a newsletter that is internal material (内部资料性出版物)."""
    if message.issue is not None and message.issue.internal:
        raise Unrenderable(Finding("newsletter.internal", Severity.BLOCK))


class DeliveryError(ChannelError):
    """A delivery did not succeed; the subclass decides what happens next."""


class Unavailable(DeliveryError):
    """Nothing was sent; try later. `retry_after`: seconds the channel asked for, or None."""

    def __init__(self, code: str, *, retry_after: float | None = None, **facts: str) -> None:
        super().__init__(code, **facts)
        self.retry_after = retry_after


class PutOff(Unavailable):
    """Nothing was sent to this recipient; the channel itself is well."""


class Rejected(DeliveryError):
    """Refused; a person must look."""


class Gone(Rejected):
    """There is nobody at this address: it goes on the suppression list."""


class InDoubt(DeliveryError):
    """The line broke after sending; look before anything is sent again."""


class Channel(Protocol):
    """One carrier. See docs/architecture.md for what the pipeline makes of each attribute.

    `recall`: can it take back what it sent? `evidence`: how it is confirmed. `addressed`: is it sent to recipients, one
    call each? `fenced`: does the other side keep the highest generation of a slot and refuse lower ones?
    """

    recall: ClassVar[bool]
    evidence: ClassVar[Evidence]
    addressed: ClassVar[bool]
    fenced: ClassVar[bool]

    def render(self, message: Message) -> Rendition:
        """Pure; also the preview; attachments included. Raises Unrenderable."""

    def view(self, rendition: Rendition) -> View:
        """What people will see of it: made of the very bytes that are sent. Raises ChannelError."""

    def deliver(self, rendition: Rendition, call: Call) -> Receipt:
        """One effect. A "duplicate" answer for the same key is a Receipt. Raises DeliveryError."""

    def verify(self, wanted: Sequence[tuple[Rendition | None, Call]]) -> list[Seen]:
        """Look from outside, one pass for many, an answer for each in order; None: nothing is wanted there. Never
        raises DeliveryError: what could not be looked at is UNKNOWN. Channels without readback answer UNKNOWN."""

    def withdraw(self, call: Call) -> Receipt:
        """Take the slot back; safe to repeat. Only called where `recall`. Raises DeliveryError."""

    def read_report(self, query: Mapping[str, str]) -> Report | None:
        """Read a report sent to `Call.report_to`; None when it says nothing. Only called where evidence is REPORT."""

    def kept(self) -> Mapping[int, Kept] | None:
        """What the other side keeps, by item number, all of it: asked once after a restore. Nothing where not `fenced`;
        None where it cannot be listed. Raises DeliveryError."""

    def normalise(self, address: str) -> str:
        """The one way to write a recipient's address, so that nobody is told twice. Only called where `addressed`.
        Raises ChannelError when it is none."""

    def invitation(self, office: Office, link: str, code: str) -> Rendition:
        """The one message that asks whoever reads an address whether they want to be told, because somebody typed that
        address into a form (double opt-in): `link` leads to a page with a button, `code` is typed on ours. Only called
        where `addressed`."""

    def standing(self) -> Sequence[Standing] | None:
        """Every column that the other side shows; None where it cannot say. Raises DeliveryError."""

    def check(self) -> str:
        """Is the other side there and are we let in? A test no citizen sees: answers a short word, or raises
        DeliveryError."""


@runtime_checkable
class Paced(Protocol):
    """A channel that must not be called too fast for some of its recipients."""

    def wait(self, recipient: str) -> float:
        """Seconds until this recipient's turn; 0: it is their turn now, and the call will be made. No network. A turn
        that is still to come is kept free."""
