"""How citizens come onto a subscriber list and leave it, by themselves: nobody on the staff decides here.

On: somebody types an address; whoever reads that address is asked once (`invite`) and must say yes with the link or
the code that only they have seen (double opt-in). Off: one POST to an address that every message carries (RFC 8058), or
an SMS back. Invitations are bounded by address, by network and in all, so that nobody is molested through us.
"""

import base64
import hashlib
import hmac
import logging
import time
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_address, ip_network

from sqlalchemy import ColumnElement, and_, delete, exists, func, insert, or_, select, text, update
from sqlalchemy.orm import Session

from channels.contract import Call, ChannelError, DeliveryError, Office, Unavailable
from config.settings import GroupSection, SubscriptionSection
from pipeline import audience, replies
from pipeline.database import insert_for
from pipeline.decisions import Refused
from pipeline.models import ChannelStatus, Delivery, OptIn, StoredRendition, Subscriber, SubscriberGroup, Suppression
from pipeline.rescue.hold import unfinished
from pipeline.runtime import Opened, Runtime
from pipeline.states import backoff
from pipeline.words import masked

log = logging.getLogger("fabu.subscriptions")

BETWEEN = timedelta(hours=1)  # one invitation an address; and how long a code holds
KEPT = timedelta(hours=48)  # an address that nobody confirmed; and how long a link holds
MOST_INVITATIONS = 3  # to one address while it is kept
MOST_TRIES = 5  # codes typed for one invitation
ROUND_SECONDS = 50.0
SOURCE = "网上订阅（本人确认）"  # of the consent, as the office reads it
BY_PAGE, BY_SMS = "本人在网页上退订", "本人回复短信退订"  # why an address is on the suppression list
_OPT_OUT_WORDS = frozenset({"R", "T", "TD", "退订"})  # domain: SMS


# ── tokens ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _keyed(rt: Runtime, purpose: str, content: bytes) -> bytes:
    key = hmac.new(rt.settings.secret.encode(), purpose.encode(), hashlib.sha256).digest()
    return hmac.new(key, content, hashlib.sha256).digest()


def _seal(rt: Runtime, purpose: str, *parts: str) -> str:
    """Parts that only we can read and nobody can make: encrypted under a synthetic IV, which authenticates them (the
    construction of RFC 5297, with HMAC-SHA256 as the function), so that nothing is stored. Always the same for the
    same parts; padded, so that its length says little."""
    content = "\0".join(parts).encode()
    content += bytes(-len(content) % 16)
    mark = _keyed(rt, f"{purpose} mark", content)[:16]
    return base64.urlsafe_b64encode(mark + _veil(rt, purpose, mark, content)).decode().rstrip("=")


def _unseal(rt: Runtime, purpose: str, token: str) -> tuple[str, ...] | None:
    """What was sealed; None for anything that we did not seal for this purpose."""
    if not token.isascii() or len(token) > 600:
        return None
    try:
        sealed = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return None
    mark, content = sealed[:16], _veil(rt, purpose, sealed[:16], sealed[16:])
    if not content or not hmac.compare_digest(mark, _keyed(rt, f"{purpose} mark", content)[:16]):
        return None
    return tuple(content.rstrip(b"\0").decode().split("\0"))


def _veil(rt: Runtime, purpose: str, mark: bytes, content: bytes) -> bytes:
    blocks = range(-(-len(content) // 32))
    stream = b"".join(_keyed(rt, f"{purpose} stream", mark + block.to_bytes(4, "big")) for block in blocks)
    return bytes(one ^ other for one, other in zip(content, stream, strict=False))


# ── leaving ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Leaving:
    """What somebody leaves with the address in a message. `address`: masked. `groups`: names of those that the message
    was sent to; none: everything on this channel. `others`: names of what else they chose and are told of all the same.
    `done`: they left."""

    channel: str
    address: str
    groups: tuple[str, ...]
    others: tuple[str, ...]
    done: bool


def unsubscribe_address(rt: Runtime, channel: str, address: str, item_id: int | None = None) -> str:
    """Where a POST takes this (normalised) address off the list that sent this item (RFC 8058), for ever. Nothing is
    stored for it, and no address can be read in it. Without an item: off all there is on this channel."""
    item = [str(item_id)] if item_id is not None else []
    return f"{rt.settings.inbound_url}/u/{_seal(rt, 'unsubscribe', channel, address, *item)}"


def read_token(rt: Runtime, token: str) -> tuple[str, str, int | None] | None:
    """Channel, address and item that an unsubscribe token names; None when it is none of ours."""
    match _unseal(rt, "unsubscribe", token):
        case (channel, address) if channel in rt.channels:
            return channel, address, None
        case (channel, address, item) if channel in rt.channels:
            return channel, address, int(item)
    return None


def leaving(rt: Runtime, token: str) -> Leaving:
    """What this address would end. Nothing is changed. Raises Refused when it is none of ours."""
    channel, address, item = _named_by(rt, token)
    with rt.reading() as db:
        lists = _lists(rt, db, channel, address, item)
        out = db.get(Suppression, (channel, address)) is not None
    return _leaving(rt, channel, address, lists, done=out or (lists is not None and not lists.left))


def leave(rt: Runtime, token: str, everything: bool = False) -> Leaving:
    """Whoever chose several groups leaves those that the message was sent to, and is told of the others all the same:
    that is the list which sent it (RFC 8058, 1). Everybody else, and with `everything`, leaves the channel and goes on
    the suppression list. Twice is once. Raises Refused when the address is none of ours."""
    channel, address, item = _named_by(rt, token)
    if not everything:
        with rt.writing() as db:
            lists = _lists(rt, db, channel, address, item, lock=True)
            if lists is not None:
                own = SubscriberGroup.subscriber_id == lists.subscriber_id
                db.execute(delete(SubscriberGroup).where(own, SubscriberGroup.group_id.in_(lists.left)))
                return _leaving(rt, channel, address, lists, done=True)
    opt_out(rt, channel, address)
    return _leaving(rt, channel, address, None, done=True)


@dataclass(frozen=True)
class _Lists:
    """Of a subscriber who chose more than a message was sent to: `sent`, its groups, `left`, those of them that they
    are still told of, and `others`."""

    subscriber_id: int
    sent: frozenset[str]
    left: frozenset[str]
    others: frozenset[str]


def _lists(rt: Runtime, db: Session, channel: str, address: str, item: int | None, lock: bool = False) -> _Lists | None:
    """None: nothing would be left over, as for whoever is told of everything."""
    if item is None:
        return None
    mine = select(Subscriber.id).where(Subscriber.channel == channel, Subscriber.address == address)
    subscriber = db.scalar(mine.with_for_update() if lock else mine)
    if subscriber is None:
        return None
    chosen = select(SubscriberGroup.group_id).where(SubscriberGroup.subscriber_id == subscriber)
    told_of = frozenset(db.scalars(chosen))
    sent = _sent_to(rt, db, channel, address, item)
    others = told_of - sent
    return _Lists(subscriber, sent, told_of & sent, others) if sent and others else None


def _sent_to(rt: Runtime, db: Session, channel: str, address: str, item: int) -> frozenset[str]:
    """The groups of the submission by which somebody was told of an item."""
    row = and_(Delivery.item_id == item, Delivery.channel == channel, Delivery.recipient == address)
    told_by = func.coalesce(Delivery.held_id, Delivery.wanted_id)
    query = select(StoredRendition.submission_id).join(Delivery, told_by == StoredRendition.id).where(row)
    submission = db.scalar(query)
    return frozenset(audience.of_submission(rt.settings, db, submission)) if submission is not None else frozenset()


def _named_by(rt: Runtime, token: str) -> tuple[str, str, int | None]:
    named = read_token(rt, token)
    if named is None:
        raise Refused("subscription.not_ours")
    return named


def _leaving(rt: Runtime, channel: str, address: str, lists: _Lists | None, *, done: bool) -> Leaving:
    sent, others = (lists.left or lists.sent, lists.others) if lists is not None else ((), ())
    return Leaving(channel, masked(address), _names(rt, sent), _names(rt, others), done)


def _names(rt: Runtime, ids: Collection[str]) -> tuple[str, ...]:
    """In the office's order; a group that it has given up has no name left."""
    return tuple(one.name for one in audience.groups(rt.settings) if one.id in ids)


def opt_out(rt: Runtime, channel: str, address: str, reason: str = BY_PAGE) -> None:
    """Put this address on the suppression list and forget what else we kept of its holder (个人信息保护法, art. 47).
    Twice is once."""
    with rt.writing() as db:
        barred = {"channel": channel, "address": address, "reason": reason, "at": rt.now()}
        db.execute(insert_for(db, Suppression).values(barred).on_conflict_do_nothing())
        db.execute(delete(Subscriber).where(Subscriber.channel == channel, Subscriber.address == address))


def message_address(rt: Runtime, channel: str) -> str:
    """Where the SMS gateway hands on what phones send back; the gateway adds `from` and `text`."""
    return f"{rt.settings.inbound_url}/mo/{channel}/{_seal(rt, 'message', channel)}"


def take_message(rt: Runtime, channel: str, token: str, sender: str, content: bytes) -> bool | None:
    """An SMS that somebody sent back. True: they want no more, and are told no more; False: it says something else, and
    is kept for the office (`replies`); None: it does not come from our gateway, or from no phone."""
    opened = rt.channels.get(channel)
    if opened is None or not opened.adapter.addressed or _unseal(rt, "message", token) != (channel,):
        return None
    try:
        address = opened.adapter.normalise(sender)
    except ChannelError:
        return None
    if not _asks_out(content):
        replies.keep(rt, channel, address, content)
        return False
    opt_out(rt, channel, address, BY_SMS)
    return True


def _asks_out(content: bytes) -> bool:
    """R, T, TD or 退订, however it was typed and in whichever charset it came."""
    for charset in replies.CHARSETS:
        try:
            typed = unicodedata.normalize("NFKC", content.decode(charset)).upper()
        except UnicodeDecodeError:
            continue
        if "".join(one for one in typed if one.isalnum()) in _OPT_OUT_WORDS:
            return True
    return False


# ── asking ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Asked:
    """An address that will be asked, or was already: masked. `by_code`: it gets a code to be typed with `token`, else a
    link."""

    channel: str
    address: str
    by_code: bool
    token: str


def form(rt: Runtime) -> SubscriptionSection:
    """What the citizens' form offers. Raises Refused when there is none."""
    if rt.settings.subscription is None or not offered(rt):
        raise Refused("subscription.closed")
    return rt.settings.subscription


def offered(rt: Runtime) -> list[Opened]:
    """The channels of the form."""
    section = rt.settings.subscription
    named = section.channels if section is not None else ()
    return [one for one in rt.channels.values() if one.adapter.addressed and (not named or one.name in named)]


def groups_of(rt: Runtime, channel: str) -> list[GroupSection]:
    """The groups that a channel's subscribers may choose."""
    section = rt.settings.subscription
    return [one for one in section.groups if not one.channels or channel in one.channels] if section else []


def ask(rt: Runtime, addresses: Mapping[str, str], groups: Collection[str], network: str) -> list[Asked]:
    """Somebody wants these addresses, by channel, told of these groups. The answer says nothing about any of them: new
    or known, asked before or barred, it is the same. `network`: the address of their computer. Raises Refused: nothing
    was kept."""
    section, now = form(rt), rt.now()
    known = {one.name: one for one in offered(rt)}
    wanted: dict[str, tuple[str, str]] = {}
    for channel, typed in addresses.items():
        if channel not in known:
            raise Refused("subscription.no_channel")
        chosen = [one.id for one in groups_of(rt, channel) if one.id in groups]
        if not chosen and groups_of(rt, channel):
            raise Refused("subscription.no_group", channel=known[channel].section.label)
        try:
            wanted[channel] = known[channel].adapter.normalise(typed), " ".join(chosen)
        except ChannelError as error:
            raise Refused("subscription.bad_address", channel=known[channel].section.label) from error
    if not wanted:
        raise Refused("subscription.no_address")
    came_from = _network(rt, network)
    with rt.writing() as db:
        if db.get_bind().dialect.name == "postgresql":
            db.execute(text("LOCK TABLE opt_in IN EXCLUSIVE MODE"))  # or two at once would each find room
        lately = OptIn.asked_at > now - BETWEEN
        full = _count(db, lately) >= section.hourly
        if full or _count(db, lately, OptIn.network == came_from) >= section.hourly_network:
            raise Refused("subscription.busy")
        for channel, (address, chosen_ids) in wanted.items():
            same = and_(OptIn.channel == channel, OptIn.address == address)
            if _count(db, same, lately) or _count(db, same) >= MOST_INVITATIONS:
                continue
            new = OptIn(channel=channel, address=address, groups=chosen_ids, network=came_from, asked_at=now)
            db.add(new)
    return [
        Asked(channel, masked(address), "@" not in address, _seal(rt, "code", channel, address))
        for channel, (address, _) in wanted.items()
    ]


def asked_again(rt: Runtime, token: str) -> Asked | None:
    """What a token of `ask` stands for, to show its page once more; None when it is none of ours."""
    match _unseal(rt, "code", token):
        case (channel, address) if channel in rt.channels:
            return Asked(channel, masked(address), "@" not in address, token)
    return None


def _count(db: Session, *conditions: ColumnElement[bool]) -> int:
    return db.scalar(select(func.count()).select_from(OptIn).where(*conditions)) or 0


def _network(rt: Runtime, address: str) -> str:
    """Whence somebody comes, to be counted and not to be read: an IPv4 address, of IPv6 the /64 of a household."""
    try:
        place = ip_address(address)
        place = getattr(place, "ipv4_mapped", None) or place
        network = str(ip_network((place, 64), strict=False)) if place.version == 6 else str(place)
    except ValueError:
        network = address
    return _keyed(rt, "network", network.encode()).hex()[:32]


def forget(rt: Runtime) -> int:
    """Delete what was asked two days ago. Returns how many lines."""
    old = OptIn.asked_at < rt.now() - KEPT
    with rt.reading() as db:
        if db.scalar(select(exists().where(old))) is False:
            return 0
    with rt.writing() as db:
        return len(db.scalars(delete(OptIn).where(old).returning(OptIn.id)).all())


# ── inviting ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def invite(rt: Runtime) -> int:
    """Send the invitations that wait, each at most once whatever breaks, for at most a minute. Returns how many were
    handed over."""
    until, sent = time.monotonic() + ROUND_SECONDS, 0
    for opened in offered(rt):
        while time.monotonic() < until and (row := _claim(rt, opened.name)) is not None:
            done = _send(rt, opened, row)
            sent += done
            if not done:
                break  # the others can wait until its other side is back
    return sent


def _waiting(rt: Runtime, channel: str) -> ColumnElement[bool]:
    now = rt.now()
    return and_(
        OptIn.channel == channel,
        OptIn.claimed_at.is_(None),
        OptIn.asked_at > now - BETWEEN,  # later nobody expects it any more
        or_(OptIn.try_after.is_(None), OptIn.try_after <= now),
    )


def _claim(rt: Runtime, channel: str) -> OptIn | None:
    """The next invitation of a channel, marked as sent before it is: who dies then leaves one unsent, never one sent
    twice."""
    waiting = _waiting(rt, channel)
    with rt.reading() as db:
        status = db.get(ChannelStatus, channel)
        if (status is not None and status.paused_at is not None) or unfinished(rt, db):
            return None
        if not db.scalar(select(exists().where(waiting))):
            return None
    with rt.writing() as db:
        chosen = select(OptIn).where(waiting).order_by(OptIn.id).limit(1).with_for_update(skip_locked=True)
        row = db.scalar(chosen)
        if row is not None:
            row.claimed_at = rt.now()
        return row


def _send(rt: Runtime, opened: Opened, row: OptIn) -> bool:
    office = rt.settings.office
    link = f"{rt.settings.inbound_url}/subscribe/confirm/{_seal(rt, 'confirm', *_named(row))}"
    try:
        rendition = opened.adapter.invitation(
            Office(office.name, office.code, office.phone, office.address, office.short_name), link, _code(rt, row)
        )
        opened.adapter.deliver(rendition, Call(f"{opened.name}/0", row.id, row.address))
    except Unavailable as error:  # surely not sent
        failures = row.failures + 1
        wait = backoff(failures, error.retry_after)
        again = {"claimed_at": None, "failures": failures, "try_after": rt.now() + wait}
        with rt.writing() as db:
            db.execute(update(OptIn).where(OptIn.id == row.id).values(again))
        return False
    except DeliveryError as error:  # refused, or nobody knows: whoever waits may ask again in an hour
        log.warning("an invitation on channel %s: %s", opened.name, error.code)
    except Exception:
        log.exception("an invitation on channel %s broke off", opened.name)
    return True


def _named(row: OptIn) -> tuple[str, str]:
    """What names this line and no other, also after a restore has given its number again."""
    return str(row.id), str(int(row.asked_at.timestamp() * 1_000_000))


def _code(rt: Runtime, row: OptIn) -> str:
    """Six digits, derived: not to be read in the database, nor in a backup."""
    digest = _keyed(rt, "code of", "/".join(_named(row)).encode())
    return f"{int.from_bytes(digest[:8], 'big') % 1_000_000:06d}"


# ── confirming ───────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Invited:
    """What somebody who was invited may say yes to. `address`: masked; `groups`: by name, none: everything;
    `done`: they said it already."""

    channel: str
    address: str
    groups: tuple[str, ...]
    done: bool


def invited(rt: Runtime, token: str) -> Invited:
    """What the link in an invitation asks. Nothing is changed. Raises Refused when it is not or no longer good."""
    with rt.reading() as db:
        return _shown(rt, _by_link(rt, db, token, lock=False))


def confirm(rt: Runtime, token: str) -> Invited:
    """The yes of whoever got the link. Twice is once. Raises Refused."""
    with rt.writing() as db:
        row = _by_link(rt, db, token, lock=True)
        if row.confirmed_at is None:
            _subscribe(rt, db, row)
        return _shown(rt, row)


def confirm_code(rt: Runtime, token: str, code: str) -> Invited:
    """The yes of whoever got the code; `token`: of `Asked`. Every try counts, also a wrong one. Raises Refused with the
    same words for a wrong code, one that is too old, and one that was never sent."""
    named = _unseal(rt, "code", token)
    if named is None or len(named) != 2:
        raise Refused("subscription.bad_code")
    typed = unicodedata.normalize("NFKC", code).strip().replace(" ", "")
    with rt.writing() as db:
        latest = select(OptIn).where(
            OptIn.channel == named[0],
            OptIn.address == named[1],
            OptIn.claimed_at > rt.now() - BETWEEN,
            OptIn.confirmed_at.is_(None),
        )
        row = db.scalar(latest.order_by(OptIn.id.desc()).limit(1).with_for_update())
        right = False
        if row is not None and row.tries < MOST_TRIES:
            row.tries += 1
            right = hmac.compare_digest(_code(rt, row).encode(), typed.encode())
            if right:
                _subscribe(rt, db, row)
    if row is None or not right:
        raise Refused("subscription.bad_code")
    return _shown(rt, row)


def _by_link(rt: Runtime, db: Session, token: str, *, lock: bool) -> OptIn:
    named = _unseal(rt, "confirm", token)
    row = db.get(OptIn, int(named[0]), with_for_update=lock) if named is not None else None
    if row is None or _named(row) != named or row.asked_at < rt.now() - KEPT:
        raise Refused("subscription.link_gone")
    return row


def _shown(rt: Runtime, row: OptIn) -> Invited:
    names = {one.id: one.name for one in groups_of(rt, row.channel)}
    groups = tuple(names.get(one, one) for one in row.groups.split())
    return Invited(row.channel, masked(row.address), groups, row.confirmed_at is not None)


def _subscribe(rt: Runtime, db: Session, row: OptIn) -> None:
    """From now on they are told of what they chose, and of nothing else; it is this very yes that takes an address off
    the suppression list."""
    now = rt.now()
    consent = {"consent_source": SOURCE, "consent_on": now.astimezone(rt.settings.zone).date()}
    new = insert_for(db, Subscriber).values(channel=row.channel, address=row.address, name="", added_at=now, **consent)
    subscriber = db.scalar(
        new.on_conflict_do_update(index_elements=["channel", "address"], set_=consent).returning(Subscriber.id)
    )
    db.execute(delete(SubscriberGroup).where(SubscriberGroup.subscriber_id == subscriber))
    if chosen := [{"subscriber_id": subscriber, "group_id": one} for one in row.groups.split()]:
        db.execute(insert(SubscriberGroup), chosen)
    db.execute(delete(Suppression).where(Suppression.channel == row.channel, Suppression.address == row.address))
    row.confirmed_at = now
