"""What phones send back beside opting out: a citizen has answered, and somebody of the office should read it.

Of the number only head and tail are kept, and all is forgotten after KEPT (个人信息保护法, art. 6 and 19); it stands in
no log.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, exists, func, select

from pipeline.decisions import Actor, Decision, permit
from pipeline.models import Delivery, Item, StoredReply
from pipeline.runtime import Runtime
from pipeline.words import masked

KEPT = timedelta(days=180)  # messages that nobody answers for three months count as a fault at inspection
LONGEST = 1000  # characters; an SMS of many parts has 670
LOOKED_THROUGH = 200  # of the latest items, for the one that the sender was told of
CHARSETS = ("utf-8", "utf-16-be", "gb18030")  # in which gateways hand a text on


@dataclass(frozen=True)
class Reply:
    """`address`: masked. `item_id`: of what the sender was last told of on this channel, and `title`; None: of nothing
    lately."""

    channel: str
    address: str
    text: str
    received_at: datetime
    item_id: int | None
    title: str


def keep(rt: Runtime, channel: str, address: str, content: bytes) -> None:
    """Keep what this (normalised) address sent; an empty message is none."""
    text = _read(content).strip()[:LONGEST]
    if not text:
        return
    latest = select(Item.id).order_by(Item.id.desc()).limit(LOOKED_THROUGH)
    told_of = select(Delivery.item_id).where(
        Delivery.item_id.in_(latest),
        Delivery.channel == channel,
        Delivery.recipient == address,
        Delivery.last_tried_at.is_not(None),
    )
    with rt.writing() as db:
        item = db.scalar(told_of.order_by(Delivery.last_tried_at.desc()).limit(1))
        reply = StoredReply(channel=channel, address=masked(address), text=text, item_id=item, received_at=rt.now())
        db.add(reply)


def received(rt: Runtime, actor: Actor, channel: str, most: int = 200) -> tuple[list[Reply], int]:
    """The latest replies on a channel, the newest first, and how many there are. Raises Refused."""
    permit(actor, Decision.SEE_SUBSCRIBERS)
    mine = StoredReply.channel == channel
    asked = select(StoredReply, Item.title).outerjoin(Item, Item.id == StoredReply.item_id).where(mine)
    with rt.reading() as db:
        total = db.scalar(select(func.count()).select_from(StoredReply).where(mine)) or 0
        rows = db.execute(asked.order_by(StoredReply.id.desc()).limit(most))
        return [
            Reply(row.channel, row.address, row.text, row.received_at, row.item_id, title or "") for row, title in rows
        ], total


def forget(rt: Runtime) -> int:
    """Delete what came in longer ago than KEPT. Returns how many."""
    old = StoredReply.received_at < rt.now() - KEPT
    with rt.reading() as db:
        if db.scalar(select(exists().where(old))) is False:
            return 0
    with rt.writing() as db:
        return len(db.scalars(delete(StoredReply).where(old).returning(StoredReply.id)).all())


def _read(content: bytes) -> str:
    """The text, in whichever charset it came: the one in which most of it is Chinese or ASCII."""
    readings = list[str]()
    for charset in CHARSETS:
        try:
            text = content.decode(charset)
        except UnicodeDecodeError:
            continue
        if all(one.isprintable() or one in "\r\n\t" for one in text):
            readings.append(text)
    if not readings:
        return "".join(one for one in content.decode("utf-8", "replace") if one.isprintable())
    return max(readings, key=_familiar)


def _familiar(text: str) -> float:
    known = ("\u0000", "\u007f"), ("\u3000", "\u303f"), ("\u4e00", "\u9fff"), ("\uff00", "\uffef")
    return sum(any(first <= one <= last for first, last in known) for one in text) / max(1, len(text))
