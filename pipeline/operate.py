"""What a person decides about deliveries and channels: retry, settle, post, take down, pause; audited like the rest."""

from datetime import date, datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from channels.contract import Evidence, File
from pipeline import scans
from pipeline.decisions import FARTHEST, Actor, Decision, Refused, audit, permit, plain, require_reason
from pipeline.drafts import read_draft
from pipeline.models import Delivery, Item, Posting, Revision, StoredRendition
from pipeline.renditions import store_files
from pipeline.rescue.hold import RESTORED
from pipeline.rows import apply, channel_status, follow_slots, locked, locked_where, sight
from pipeline.runtime import Runtime
from pipeline.slots import OUTDATED, given_up
from pipeline.states import Held, State, Verdict, move


def retry(
    rt: Runtime, actor: Actor, item_id: int, channel: str | None = None, hurry: bool = False, reason: str = ""
) -> int:
    """Send again what failed, and let go what is on hold. `hurry` also lets go, in the quiet hours, what is due: it
    needs a reason. Returns how many rows are due now; refuses when there is nothing to retry."""
    permit(actor, Decision.RETRY)
    if hurry:
        reason = require_reason(reason)
    now = rt.now()
    with rt.writing() as db:
        rows = _rows(rt, db, item_id, channel)
        textless = given_up(rt, db, item_id)
        stuck = [row for row in rows if row.state in (State.FAILED, State.ON_HOLD)]
        chosen = [row for row in stuck if row.reason != OUTDATED and row.channel not in textless]
        if stuck and not chosen:
            raise Refused("retry.outdated")
        if any(row.reason == RESTORED and row.wanted_id is None for row in chosen):
            permit(actor, Decision.WITHDRAW)  # letting it go takes down what was approved after the backup
        hurried = [row for row in rows if hurry and row.state is State.DUE and row.wanted_id is not None]
        if not chosen and not hurried:
            states = ", ".join(sorted({row.state.value for row in rows}))
            raise Refused("retry.nothing", states=states)
        for row in chosen:
            row.state = move(row.state, State.DUE)
            row.reason, row.error, row.try_after, row.tries, row.failures = "", "", None, 0, 0
            row.look_after = None
        db.flush()
        follow_slots(db, [row.id for row in chosen if row.slot_id is not None])
        again = [row for row in locked(db, [row.id for row in chosen]) if row.state is State.DUE]
        for row in again:
            row.released_at = now
        for row in again + hurried:
            row.hurry = row.hurry or hurry
        channels = sorted({row.channel for row in again + hurried})
        audit(
            rt, db, actor, Decision.RETRY, item_id, channels=channels, rows=len(again), hurry=hurry, reason=reason
        )  # fmt: skip
    rt.wake(*channels)
    return len(again) + len(hurried)


def settle(
    rt: Runtime, actor: Actor, item_id: int, channel: str, sent: bool, reason: str, recipient: str | None = None
) -> int:
    """Say what became of calls in doubt: they arrived (`sent`), or they did not and may be sent again. A person's word,
    with a reason. `recipient` None: all of this item and channel that are in doubt. Returns how many."""
    permit(actor, Decision.SETTLE)
    reason = require_reason(reason)
    now = rt.now()
    with rt.writing() as db:
        rows = [
            row
            for row in _rows(rt, db, item_id, channel)
            if (row.state is State.IN_DOUBT or _may_have_gone(rt, row)) and recipient in (None, row.recipient)
        ]
        if not rows:
            raise Refused("settle.nothing")
        textless = given_up(rt, db, item_id)
        for row in rows:
            # What was in doubt may be an older generation's call: then the wanted one has still to go.
            held = row.state is State.ON_HOLD
            arrived = sent and (held or row.first_tried_at is not None)
            row.released_at = now if held else row.released_at
            apply(row, Verdict(State.ACCEPTED, look_after=now) if arrived else Verdict(State.DUE), now)
            row.error = ""
            if not arrived and row.channel in textless:
                row.state, row.reason = move(row.state, State.ON_HOLD), OUTDATED
            sight(db, row, Evidence.PERSON, "sent" if sent else "not_sent", now, reason)
        db.flush()
        follow_slots(db, [row.id for row in rows if row.state is State.DUE and row.slot_id is not None])
        audit(rt, db, actor, Decision.SETTLE, item_id, channel=channel, sent=sent, rows=len(rows), reason=reason)
    rt.wake(channel)
    return len(rows)


def _may_have_gone(rt: Runtime, row: Delivery) -> bool:
    """Held after a restore on a channel that cannot take back: in doubt, too."""
    opened = rt.channels.get(row.channel)
    return row.state is State.ON_HOLD and row.reason == RESTORED and opened is not None and not opened.traits.recall


def post(
    rt: Runtime, actor: Actor, item_id: int, place: str, at: datetime | None = None, photo: File | None = None
) -> int:
    """A notice was posted: where and when, and a photo (PNG or JPEG) of how it hangs there. Confirms the delivery.
    Returns the posting's id."""
    permit(actor, Decision.POST)
    place = plain(place, "place").strip()
    if not place:
        raise Refused("post.place_missing")
    if photo is not None:
        scans.require(rt, photo, "post.no_photo", pdf=False)
    moment = _past(rt, at)
    with rt.writing() as db:
        row = _board_row(rt, db, item_id)
        if row.wanted_id is None or row.state not in (State.ACCEPTED, State.CONFIRMED):
            raise Refused("post.not_printed", state=row.state)
        hangs = select(Posting.id).where(
            Posting.delivery_id == row.id,
            Posting.generation == row.generation,
            Posting.place == place,
            Posting.removed_at.is_(None),
        )
        if db.scalar(hangs) is not None:
            raise Refused("post.already", place=place)
        store_files(db, [photo] if photo is not None else [])
        posting = Posting(
            delivery_id=row.id,
            generation=row.generation,
            rendition_id=row.wanted_id,
            place=place,
            posted_by=actor.person.id,
            posted_at=moment,
            photo_sha256=photo.sha256 if photo is not None else "",
            down_due=_down_due(db, row.wanted_id),
        )
        db.add(posting)
        apply(row, Verdict(State.CONFIRMED, held=Held.WANTED), rt.now())
        sight(db, row, Evidence.PERSON, "posted", rt.now(), place)
        db.flush()
        audit(rt, db, actor, Decision.POST, item_id, place=place, at=moment, photo=photo is not None)
        return posting.id


def unpost(rt: Runtime, actor: Actor, item_id: int, at: datetime | None = None) -> int:
    """A notice was taken down. What is wanted stays as it is: this never causes reprinting. Where the item was
    withdrawn it confirms the withdrawal. Returns how many postings were closed."""
    permit(actor, Decision.UNPOST)
    moment = _past(rt, at)
    with rt.writing() as db:
        row = _board_row(rt, db, item_id)
        postings = db.scalars(select(Posting).where(Posting.delivery_id == row.id, Posting.removed_at.is_(None))).all()
        withdrawn = row.wanted_id is None and row.state is State.ACCEPTED
        if not postings and not withdrawn:
            raise Refused("unpost.nothing")
        # After a correction the old notice goes first: what hangs that should not.
        postings = [posting for posting in postings if posting.generation < row.generation] or list(postings)
        if any(posting.posted_at > moment for posting in postings):
            raise Refused("unpost.before_posting")
        for posting in postings:
            posting.removed_by, posting.removed_at = actor.person.id, moment
        if withdrawn:
            apply(row, Verdict(State.CONFIRMED, held=Held.WANTED), rt.now())
        sight(db, row, Evidence.PERSON, "taken_down", rt.now())
        audit(rt, db, actor, Decision.UNPOST, item_id, postings=len(postings), at=moment)
        return len(postings)


def postpone(rt: Runtime, actor: Actor, item_id: int, at: datetime, reason: str) -> int:
    """Let what has not gone out yet go out later than was approved. Earlier is no postponement: the approval names the
    time from which it may be public, so that takes a new submission. Returns how many deliveries were moved."""
    permit(actor, Decision.POSTPONE)
    reason = require_reason(reason)
    if at.tzinfo is None:
        raise Refused("review.naive_time")
    if at - rt.now() > FARTHEST:
        raise Refused("review.time_unlikely", publish_at=str(at))
    with rt.writing() as db:
        waiting = [
            row for row in _rows(rt, db, item_id, None)
            if row.state is State.DUE and row.wanted_id is not None and row.publish_at > rt.now()
        ]  # fmt: skip
        if not waiting:
            raise Refused("postpone.nothing")
        before = max(row.publish_at for row in waiting)
        if at <= before:
            local = before.astimezone(rt.settings.zone).strftime("%Y-%m-%d %H:%M")
            raise Refused("postpone.not_later", approved=local)
        for row in waiting:
            row.publish_at = at
        audit(rt, db, actor, Decision.POSTPONE, item_id, before=before, at=at, reason=reason)
        return len(waiting)


def pause(rt: Runtime, actor: Actor, channel: str, reason: str) -> None:
    """Claim nothing on a channel but withdrawals, until it is resumed."""
    permit(actor, Decision.PAUSE)
    reason = require_reason(reason)
    with rt.writing() as db:
        status = channel_status(db, _known(rt, channel))
        status.paused_by, status.paused_at = actor.person.id, rt.now()
        audit(rt, db, actor, Decision.PAUSE, None, channel=channel, reason=reason)


def resume(rt: Runtime, actor: Actor, channel: str) -> None:
    """Let a channel go on: after a pause, and past an open circuit breaker."""
    permit(actor, Decision.RESUME)
    with rt.writing() as db:
        status = channel_status(db, _known(rt, channel))
        status.paused_by, status.paused_at, status.open_until, status.failures = None, None, None, 0
        audit(rt, db, actor, Decision.RESUME, None, channel=channel)
    rt.wake(channel)


def _rows(rt: Runtime, db: Session, item_id: int, channel: str | None) -> list[Delivery]:
    """The rows of an item that calls are made for: a slot that was expanded is only their plan."""
    if db.get(Item, item_id, with_for_update={"key_share": True}) is None:
        raise Refused("item.unknown", item=str(item_id))
    chosen = [Delivery.item_id == item_id, Delivery.expanded_at.is_(None)]
    if channel is not None:
        chosen.append(Delivery.channel == _known(rt, channel))
    return locked_where(db, *chosen)


def _board_row(rt: Runtime, db: Session, item_id: int) -> Delivery:
    """The item's delivery on the channel that a person confirms."""
    boards = [one.name for one in rt.channels.values() if one.traits.evidence is Evidence.PERSON]
    ids = db.scalars(select(Delivery.id).where(Delivery.item_id == item_id, Delivery.channel.in_(boards))).all()
    if not ids:
        raise Refused("post.not_on_board")
    return locked(db, ids)[0]


def _down_due(db: Session, rendition_id: int) -> date | None:
    revision_id = db.get_one(StoredRendition, rendition_id).revision_id
    period = read_draft(db, db.get_one(Revision, revision_id)).period
    return period[1] + timedelta(days=1) if period else None


def _past(rt: Runtime, at: datetime | None) -> datetime:
    moment = at or rt.now()
    if moment.tzinfo is None:
        raise Refused("review.naive_time")
    if moment > rt.now() + timedelta(minutes=1):
        raise Refused("post.in_future")
    return moment


def _known(rt: Runtime, channel: str) -> str:
    if channel not in rt.channels:
        known = "、".join(f"{one.name}（{one.section.label}）" for one in rt.channels.values())
        raise Refused("review.unknown_channel", given=channel, known=known)
    return channel
