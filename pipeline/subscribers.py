"""Who is told: the subscriber list of a channel with recipients."""

import csv
import io
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import ColumnElement, delete, func, or_, select
from sqlalchemy.orm import Session

from channels.contract import ChannelError
from channels.document import BadText, clean
from pipeline import audience, subscriptions
from pipeline.database import insert_for
from pipeline.decisions import Actor, Decision, Refused, audit, may, permit, require_reason
from pipeline.logbook import plain_cell
from pipeline.models import Subscriber, SubscriberGroup, Suppression
from pipeline.runtime import Opened, Runtime
from pipeline.words import masked

ADDRESS_COLUMNS = ("phone", "address", "手机号", "手机号码", "邮箱", "电子邮箱")
NAME_COLUMNS = ("name", "姓名")
SOURCE_COLUMNS = ("consent_source", "同意来源")
DATE_COLUMNS = ("consent_on", "同意日期")
LONGEST_ADDRESS, LONGEST_NAME = 200, 80  # characters, as the table holds them
MOST_LINES = 50_000  # of one file
GROUP_COLUMNS = ("groups", "类别")
FILE_COLUMNS = ("手机号", "姓名", "同意来源", "同意日期", "拒收")  # as we write them; the first four are read again


@dataclass(frozen=True)
class Imported:
    """What became of a list: how many were new, how many known already, and the lines that could not be taken."""

    new: int
    known: int
    bad: tuple[tuple[int, str], ...]  # line number, code


@dataclass(frozen=True)
class Listed:
    """A subscriber on a list. `suppressed`: on the suppression list too, so nothing is sent; `groups`: ids of what they
    chose, none: everything."""

    id: int
    address: str
    name: str
    consent_source: str
    consent_on: date | None
    suppressed: bool
    groups: tuple[str, ...] = ()


@dataclass(frozen=True)
class Suppressed:
    """A line of the suppression list, its address masked."""

    address: str
    reason: str
    at: datetime


@dataclass(frozen=True)
class Found:
    """One page of a list, of `total` in all. `barred`: the number that was asked for is on the suppression list."""

    lines: tuple[Listed, ...]
    total: int
    barred: Suppressed | None = None


def import_csv(rt: Runtime, actor: Actor, channel: str, text: str) -> Imported:
    """Add the people of a CSV (header: phone or address, name, consent_source, consent_on, groups) to a channel's list;
    who is on it already keeps what stands there, and the groups of the line are added. A line that cannot be taken is
    said and the others go in; everybody is on the list once. Nobody is taken without source and date of their consent
    (个人信息保护法, art. 13 and 14), nor from the suppression list."""
    permit(actor, Decision.SUBSCRIBE)
    rows, groups, bad = _read(rt, channel, text)
    with rt.writing() as db:
        before = db.scalar(select(func.count()).select_from(Subscriber)) or 0
        if rows:
            db.execute(insert_for(db, Subscriber).on_conflict_do_nothing(), rows)
        _join(db, channel, groups)
        new = (db.scalar(select(func.count()).select_from(Subscriber)) or 0) - before
        audit(rt, db, actor, Decision.SUBSCRIBE, None, channel=channel, new=new, bad=len(bad))
    return Imported(new, len(rows) - new, bad)


def _join(db: Session, channel: str, groups: Mapping[str, Collection[str]]) -> None:
    """Add subscribers, by address, to groups."""
    if not groups:
        return
    here = db.execute(select(Subscriber.id, Subscriber.address).where(Subscriber.channel == channel))
    joined = [{"subscriber_id": id, "group_id": one} for id, address in here for one in groups.get(address, ())]
    if joined:
        db.execute(insert_for(db, SubscriberGroup).on_conflict_do_nothing(), joined)


def foresee(rt: Runtime, actor: Actor, channel: str, text: str) -> Imported:
    """What `import_csv` would make of this list; nothing is changed."""
    permit(actor, Decision.SUBSCRIBE)
    rows, _, bad = _read(rt, channel, text)
    with rt.reading() as db:
        known = set(db.scalars(select(Subscriber.address).where(Subscriber.channel == channel)))
    new = len({str(row["address"]) for row in rows} - known)
    return Imported(new, len(rows) - new, bad)


def _read(
    rt: Runtime, channel: str, text: str
) -> tuple[list[dict[str, object]], dict[str, set[str]], tuple[tuple[int, str], ...]]:
    """The lines of a list that can be taken, as rows of the table, the groups of each address that names some, and the
    lines that cannot: their numbers and why."""
    opened = _addressed(rt, channel)
    today = rt.now().astimezone(rt.settings.zone).date()
    with rt.reading() as db:
        suppressed = set(db.scalars(select(Suppression.address).where(Suppression.channel == channel)))
    try:
        reader = csv.DictReader(io.StringIO(clean(text)))
        header = reader.fieldnames or ()
    except BadText as error:
        raise Refused(error.code, **{**error.facts, "field": "file"}) from error
    except csv.Error as error:
        raise Refused("subscribers.not_csv", line="1") from error
    if not any(column in header for column in ADDRESS_COLUMNS):
        raise Refused("subscribers.no_address_column", columns=", ".join(ADDRESS_COLUMNS))
    rows, groups, bad = list[dict[str, object]](), dict[str, set[str]](), list[tuple[int, str]]()
    for line, row in _numbered(reader):
        if line > MOST_LINES:
            raise Refused("subscribers.too_many_lines", limit=str(MOST_LINES))
        try:
            address = opened.adapter.normalise(_first(row, ADDRESS_COLUMNS))
            consent_on = _day(_first(row, DATE_COLUMNS))
            consent_source = _first(row, SOURCE_COLUMNS)
        except ChannelError as error:
            bad.append((line, error.code))
            continue
        except ValueError:
            bad.append((line, "subscribers.bad_date"))
            continue
        name = _first(row, NAME_COLUMNS)
        if len(address) > LONGEST_ADDRESS or len(name) > LONGEST_NAME:
            bad.append((line, "subscribers.too_long"))
            continue
        if consent_on is None or not consent_source:
            bad.append((line, "subscribers.no_consent"))
            continue
        if consent_on > today:
            bad.append((line, "subscribers.consent_in_future"))
            continue
        if address in suppressed:
            bad.append((line, "subscribers.on_suppression_list"))
            continue
        try:
            named = audience.chosen(rt.settings, [one for one in _LIST.split(_first(row, GROUP_COLUMNS)) if one])
        except Refused:
            bad.append((line, "subscribers.unknown_group"))
            continue
        if named:
            groups.setdefault(address, set()).update(named)
        rows.append(
            {
                "channel": channel,
                "address": address,
                "name": name,
                "consent_source": consent_source,
                "consent_on": consent_on,
                "added_at": rt.now(),
            }
        )
    return rows, groups, tuple(bad)


_LIST = re.compile(r"[\s,，、;；|]+")


def _day(given: str) -> date | None:
    """A date however a spreadsheet writes it: 2026-11-20, 2026/3/5, 2026年3月5日. Raises ValueError."""
    if not given:
        return None
    parts = re.fullmatch(r"(\d{4})[-/.年](\d{1,2})[-/.月](\d{1,2})日?", given, re.ASCII)
    if parts is None:
        raise ValueError(given)
    year, month, day = map(int, parts.groups())
    return date(year, month, day)


def count(rt: Runtime, channel: str, groups: Collection[str] | None = None) -> int:
    """How many would be told now: of what goes to these groups; None: how many there are."""
    suppressed = select(Suppression.address).where(Suppression.channel == channel)
    with rt.reading() as db:
        chosen = select(func.count()).where(Subscriber.channel == channel, Subscriber.address.not_in(suppressed))
        if groups is not None:
            chosen = chosen.where(audience.told(groups))
        return db.scalar(chosen) or 0


def listed(rt: Runtime, actor: Actor, channel: str, whole: bool = False) -> list[Listed]:
    """The subscribers of a channel, oldest first. `whole`: with their whole numbers, for those who may see them, which
    the audit log records; otherwise, and for everybody else, masked."""
    _addressed(rt, channel)
    suppressed = select(Suppression.address).where(Suppression.channel == channel)
    with rt.reading() as db:
        barred = set(db.scalars(suppressed))
        rows = db.scalars(select(Subscriber).where(Subscriber.channel == channel).order_by(Subscriber.id)).all()
        groups = _groups(db, channel)
        whole = whole and may(actor, Decision.READ_SUBSCRIBERS)
        found = [
            Listed(
                id=row.id,
                address=row.address if whole else masked(row.address),
                name=row.name,
                consent_source=row.consent_source,
                consent_on=row.consent_on,
                suppressed=row.address in barred,
                groups=groups.get(row.id, ()),
            )
            for row in rows
        ]
    if whole:
        with rt.writing() as db:
            audit(rt, db, actor, Decision.READ_SUBSCRIBERS, None, channel=channel, count=len(found))
    return found


def export(rt: Runtime, actor: Actor, channel: str) -> str:
    """The whole list with whole numbers as CSV (RFC 4180), no cell a formula, with groups where the office has any; the
    audit log records it. Raises Refused."""
    permit(actor, Decision.READ_SUBSCRIBERS)
    written = io.StringIO()
    rows = csv.writer(written)
    grouped = bool(audience.groups(rt.settings))
    rows.writerow((*FILE_COLUMNS, GROUP_COLUMNS[1]) if grouped else FILE_COLUMNS)
    for one in listed(rt, actor, channel, whole=True):
        given = one.consent_on.isoformat() if one.consent_on else ""
        chosen = ["、".join(group_names(rt, one.groups))] if grouped else []
        cells = (one.address, one.name, one.consent_source, given, "是" if one.suppressed else "", *chosen)
        rows.writerow(map(plain_cell, cells))
    return written.getvalue()


def group_names(rt: Runtime, ids: Collection[str]) -> list[str]:
    """The names of groups, in the office's order; one that the office has given up by its id."""
    there = {one.id: one.name for one in audience.groups(rt.settings)}
    return [name for id, name in there.items() if id in ids] + sorted(set(ids) - there.keys())


def _groups(db: Session, channel: str, ids: Collection[int] | None = None) -> dict[int, tuple[str, ...]]:
    """What the subscribers of a channel chose, of these only or of all."""
    asked = select(SubscriberGroup.subscriber_id, SubscriberGroup.group_id)
    asked = asked.join(Subscriber, Subscriber.id == SubscriberGroup.subscriber_id).where(Subscriber.channel == channel)
    if ids is not None:
        asked = asked.where(Subscriber.id.in_(ids))
    found: dict[int, tuple[str, ...]] = {}
    for id, group in db.execute(asked.order_by(SubscriberGroup.subscriber_id, SubscriberGroup.group_id)):
        found[id] = (*found.get(id, ()), group)
    return found


def search(
    rt: Runtime, actor: Actor, channel: str, words: str = "", page: int = 1, size: int = 50, group: str = ""
) -> Found:
    """Subscribers by a whole number, its last four digits or a name, the newest first, with masked numbers: what the
    mask hides cannot be searched for piece by piece. `group`: only those who are told of what goes to it. Raises
    Refused."""
    permit(actor, Decision.SEE_SUBSCRIBERS)
    opened, words = _addressed(rt, channel), words.strip()
    chosen = select(Subscriber).where(Subscriber.channel == channel)
    number = ""
    if group:
        chosen = chosen.where(audience.told(audience.chosen(rt.settings, [group])))
    if words:
        asked: list[ColumnElement[bool]] = [Subscriber.name.contains(words, autoescape=True)]
        try:
            number = opened.adapter.normalise(words)
            asked.append(Subscriber.address == number)
        except ChannelError:
            pass
        if re.fullmatch(r"\d{4}", words, re.ASCII):
            asked.append(Subscriber.address.endswith(words))
        chosen = chosen.where(or_(*asked))
    with rt.reading() as db:
        total = db.scalar(select(func.count()).select_from(chosen.with_only_columns(Subscriber.id).subquery())) or 0
        rows = db.scalars(chosen.order_by(Subscriber.id.desc()).limit(size).offset((page - 1) * size)).all()
        these = (Suppression.channel == channel, Suppression.address.in_([row.address for row in rows]))
        barred = set(db.scalars(select(Suppression.address).where(*these)))
        groups = _groups(db, channel, [row.id for row in rows])
        lines = tuple(
            Listed(
                row.id, masked(row.address), row.name, row.consent_source, row.consent_on, row.address in barred,
                groups.get(row.id, ()),
            )
            for row in rows
        )  # fmt: skip
        kept = db.get(Suppression, (channel, number)) if number else None
        return Found(lines, total, _suppressed(kept) if kept is not None else None)


def suppressions(rt: Runtime, actor: Actor, channel: str, most: int = 200) -> tuple[list[Suppressed], int]:
    """The newest lines of the suppression list, and how many there are. Raises Refused."""
    permit(actor, Decision.SEE_SUBSCRIBERS)
    _addressed(rt, channel)
    with rt.reading() as db:
        mine = Suppression.channel == channel
        total = db.scalar(select(func.count()).select_from(Suppression).where(mine)) or 0
        rows = db.scalars(select(Suppression).where(mine).order_by(Suppression.at.desc()).limit(most))
        return [_suppressed(row) for row in rows], total


def _suppressed(row: Suppression) -> Suppressed:
    return Suppressed(masked(row.address), row.reason, row.at)


def remove(rt: Runtime, actor: Actor, channel: str, address: str) -> str:
    """Take somebody off a channel's list. Returns the address, masked. Raises Refused when they are not on it."""
    permit(actor, Decision.UNSUBSCRIBE)
    opened = _addressed(rt, channel)
    address = _normalised(opened, address)
    with rt.writing() as db:
        if not _drop(db, channel, address):
            raise Refused("subscribers.not_listed", channel=opened.section.label)
        audit(rt, db, actor, Decision.UNSUBSCRIBE, None, channel=channel, address=masked(address))
    return masked(address)


def remove_listed(rt: Runtime, actor: Actor, id: int) -> str:
    """The same by their line on the list; the masked address. Raises Refused when the line is not there any more."""
    permit(actor, Decision.UNSUBSCRIBE)
    with rt.writing() as db:
        row = db.get(Subscriber, id)
        if row is None:
            raise Refused("subscribers.gone")
        channel, address = row.channel, masked(row.address)
        db.delete(row)
        audit(rt, db, actor, Decision.UNSUBSCRIBE, None, channel=channel, address=address)
    return address


def suppress(rt: Runtime, actor: Actor, channel: str, address: str, reason: str) -> str:
    """Put an address on the suppression list (拒收名单), subscriber or not. Returns it, masked. Raises Refused when it
    is there already."""
    permit(actor, Decision.SUPPRESS)
    opened = _addressed(rt, channel)
    address, reason = _normalised(opened, address), require_reason(reason)
    with rt.writing() as db:
        if db.get(Suppression, (channel, address)) is not None:
            raise Refused("subscribers.already_suppressed", channel=opened.section.label)
        db.add(Suppression(channel=channel, address=address, reason=reason, at=rt.now()))
        audit(rt, db, actor, Decision.SUPPRESS, None, channel=channel, address=masked(address), reason=reason)
    return masked(address)


def unsuppress(rt: Runtime, actor: Actor, channel: str, address: str, reason: str) -> str:
    """Take an address off the suppression list, because its holder asked for it; they are told again only when they are
    a subscriber, too. Returns it, masked. Raises Refused."""
    permit(actor, Decision.UNSUPPRESS)
    opened = _addressed(rt, channel)
    address, reason = _normalised(opened, address), require_reason(reason)
    with rt.writing() as db:
        kept = db.get(Suppression, (channel, address))
        if kept is None:
            raise Refused("subscribers.not_suppressed", channel=opened.section.label)
        db.delete(kept)
        audit(rt, db, actor, Decision.UNSUPPRESS, None, channel=channel, address=masked(address), reason=reason)
    return masked(address)


def reply_address(rt: Runtime, actor: Actor, channel: str) -> str:
    """Where the gateway of a channel hands on what phones send back: whoever knows it can take anybody off the list.
    Raises Refused."""
    permit(actor, Decision.STAFF)
    return subscriptions.message_address(rt, _addressed(rt, channel).name)


def _addressed(rt: Runtime, channel: str) -> Opened:
    opened = rt.channels.get(channel)
    if opened is None or not opened.adapter.addressed:
        known = ", ".join(one.name for one in rt.channels.values() if one.adapter.addressed)
        raise Refused("review.unknown_channel", given=channel, known=known)
    return opened


def _normalised(opened: Opened, address: str) -> str:
    try:
        return opened.adapter.normalise(address)
    except ChannelError as error:
        raise Refused("subscribers.bad_address", channel=opened.section.label) from error


def _drop(db: Session, channel: str, address: str) -> bool:
    gone = delete(Subscriber).where(Subscriber.channel == channel, Subscriber.address == address)
    return db.scalar(gone.returning(Subscriber.id)) is not None


def _numbered(reader: "csv.DictReader[str]") -> Iterator[tuple[int, dict[str, str]]]:
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise Refused("subscribers.not_csv", line=str(reader.line_num)) from error


def _first(row: dict[str, str], columns: tuple[str, ...]) -> str:
    return next((row[column].strip() for column in columns if row.get(column)), "")
