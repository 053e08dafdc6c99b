"""How fresh our public sides are: each column's last update against its limit, asked once a day and kept.

Limits come from the other side (its columns' own) or, for a channel as a whole, from `fresh_days` of its section. A
column that is not updated in time, or five that are empty, fail a site at inspection (domain: Web).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import delete, func, select

from channels.contract import DeliveryError, Standing
from pipeline.models import ColumnStanding, Delivery
from pipeline.runtime import Opened, Runtime
from pipeline.states import State

NEAR = 0.7  # of the limit: from here on the staff is warned
DAILY = timedelta(hours=20)  # so that a beat that asks every hour reads about once a day
STALE = timedelta(days=2)  # what was read longer ago may be wrong
EMPTY_COLUMNS = 5  # so many fail a site
WHOLE = "*"  # the id of a channel as a whole


class Level(StrEnum):
    FRESH = "fresh"
    NEAR = "near"
    OVER = "over"
    EMPTY = "empty"


@dataclass(frozen=True)
class Line:
    """One column as the staff reads it. `days`: since the last update, None: nothing was ever in it; `stale`: the other
    side did not answer lately, so this may be wrong."""

    channel: str
    id: str
    name: str
    items: int
    updated_at: datetime | None
    days: int | None
    limit_days: int | None
    level: Level
    read_at: datetime
    stale: bool


def judge(items: int, days: int | None, limit_days: int | None) -> Level:
    """How a column stands, `days` after its last update."""
    if items == 0 or days is None:
        return Level.EMPTY
    if limit_days is None or days < NEAR * limit_days:
        return Level.FRESH
    return Level.NEAR if days <= limit_days else Level.OVER


def lines(rt: Runtime) -> list[Line]:
    """Every column as it stood when it was last asked, judged as of now; channels in the office's order."""
    now = rt.now()
    order = {name: place for place, name in enumerate(rt.channels)}
    with rt.reading() as db:
        rows = db.scalars(select(ColumnStanding).where(ColumnStanding.channel.in_(order))).all()
    found = []
    for row in sorted(rows, key=lambda row: (order[row.channel], row.place)):
        days = _days(rt, row.updated_at, now) if row.updated_at else None
        found.append(
            Line(
                channel=row.channel, id=row.id, name=row.name, items=row.items, updated_at=row.updated_at, days=days,
                limit_days=row.limit_days, level=judge(row.items, days, row.limit_days), read_at=row.read_at,
                stale=now - row.read_at > STALE,
            )
        )  # fmt: skip
    return found


def troubles(rt: Runtime) -> list[Line]:
    """What is to be updated: over its limit first, then near it. Empty columns stand on their page only: a new site has
    many."""
    rank = {Level.OVER: 0, Level.NEAR: 1}
    return sorted((one for one in lines(rt) if one.level in rank), key=lambda one: rank[one.level])


def _days(rt: Runtime, since: datetime, now: datetime) -> int:
    """Days between two moments as the office's calendar counts them."""
    zone = rt.settings.zone
    return (now.astimezone(zone).date() - since.astimezone(zone).date()).days


def daily(rt: Runtime) -> None:
    """Ask every side that was not asked today."""
    with rt.reading() as db:
        kept = select(ColumnStanding.channel, func.max(ColumnStanding.read_at)).group_by(ColumnStanding.channel)
        asked = {channel: at for channel, at in db.execute(kept)}  # noqa: C416  (a Row is no pair to the type checker)
    for opened in rt.channels.values():
        if opened.name not in asked or rt.now() - asked[opened.name] > DAILY:
            read(rt, opened)


def read_all(rt: Runtime) -> dict[str, DeliveryError]:
    """Ask every side now. Returns why some did not answer, by channel."""
    results = {opened.name: read(rt, opened) for opened in rt.channels.values()}
    return {name: error for name, error in results.items() if error is not None}


def read(rt: Runtime, opened: Opened) -> DeliveryError | None:
    """Ask one side and keep what it says in the place of what it said before. Returns why it did not answer: then what
    it said before stays."""
    try:
        found = list(opened.adapter.standing() or ())
    except DeliveryError as error:
        return error
    if opened.section.fresh_days is not None:
        found.insert(0, _whole(rt, opened, opened.section.fresh_days))
    with rt.writing() as db:
        db.execute(delete(ColumnStanding).where(ColumnStanding.channel == opened.name))
        db.add_all(_rows(rt, opened.name, found))
    return None


def _whole(rt: Runtime, opened: Opened, limit_days: int) -> Standing:
    """A channel as a whole, by what was confirmed on it."""
    there = select(func.count(), func.max(Delivery.confirmed_at)).where(
        Delivery.channel == opened.name,
        Delivery.recipient == "",
        Delivery.state == State.CONFIRMED,
        Delivery.held_id.is_not(None),
    )
    with rt.reading() as db:
        count, latest = db.execute(there).one()
    return Standing(WHOLE, opened.section.label, latest, count, limit_days)


def _rows(rt: Runtime, channel: str, found: Sequence[Standing]) -> list[ColumnStanding]:
    """As rows of the table, each id once."""
    return [
        ColumnStanding(
            channel=channel, id=one.id[:80], place=place, name=one.name[:200], items=one.items,
            updated_at=one.updated_at, limit_days=one.limit_days, read_at=rt.now(),
        )
        for place, one in enumerate({one.id[:80]: one for one in found}.values())
    ]  # fmt: skip
