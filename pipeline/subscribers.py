"""Who is told: the subscriber list of a channel with recipients."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from sqlalchemy import func, select

from channels.contract import ChannelError
from channels.document import BadText, clean
from pipeline.database import insert_for
from pipeline.decisions import Actor, Decision, Refused, audit, permit
from pipeline.models import Subscriber, Suppression
from pipeline.runtime import Runtime

ADDRESS_COLUMNS = ("phone", "address", "手机号", "手机号码")
NAME_COLUMNS = ("name", "姓名")
SOURCE_COLUMNS = ("consent_source", "同意来源")
DATE_COLUMNS = ("consent_on", "同意日期")
LONGEST_ADDRESS, LONGEST_NAME = 200, 80  # characters, as the table holds them


@dataclass(frozen=True)
class Imported:
    """What became of a list: how many were new, how many known already, and the lines that could not be taken."""

    new: int
    known: int
    bad: tuple[tuple[int, str], ...]  # line number, code


def import_csv(rt: Runtime, actor: Actor, channel: str, text: str) -> Imported:
    """Add the people of a CSV (header: phone or address, name, consent_source, consent_on) to a channel's list. A line
    that cannot be taken is said and the others go in; everybody is on the list once."""
    permit(actor, Decision.SUBSCRIBE)
    opened = rt.channels.get(channel)
    if opened is None or not opened.adapter.addressed:
        known = ", ".join(one.name for one in rt.channels.values() if one.adapter.addressed)
        raise Refused("review.unknown_channel", given=channel, known=known)
    try:
        reader = csv.DictReader(io.StringIO(clean(text)))
        header = reader.fieldnames or ()
    except BadText as error:
        raise Refused(error.code, **{**error.facts, "field": "file"}) from error
    except csv.Error as error:
        raise Refused("subscribers.not_csv", line="1") from error
    if not any(column in header for column in ADDRESS_COLUMNS):
        raise Refused("subscribers.no_address_column", columns=", ".join(ADDRESS_COLUMNS))
    rows, bad = list[dict[str, object]](), list[tuple[int, str]]()
    for line, row in _numbered(reader):
        try:
            address = opened.adapter.normalise(_first(row, ADDRESS_COLUMNS))
            consent_on = date.fromisoformat(given) if (given := _first(row, DATE_COLUMNS)) else None
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
        rows.append(
            {
                "channel": channel,
                "address": address,
                "name": name,
                "consent_source": _first(row, SOURCE_COLUMNS),
                "consent_on": consent_on,
                "added_at": rt.now(),
            }
        )
    with rt.writing() as db:
        before = db.scalar(select(func.count()).select_from(Subscriber)) or 0
        if rows:
            db.execute(insert_for(db, Subscriber).on_conflict_do_nothing(), rows)
        new = (db.scalar(select(func.count()).select_from(Subscriber)) or 0) - before
        audit(rt, db, actor, Decision.SUBSCRIBE, None, channel=channel, new=new, bad=len(bad))
    return Imported(new, len(rows) - new, tuple(bad))


def count(rt: Runtime, channel: str) -> int:
    """How many would be told now."""
    suppressed = select(Suppression.address).where(Suppression.channel == channel)
    with rt.reading() as db:
        chosen = select(func.count()).where(Subscriber.channel == channel, Subscriber.address.not_in(suppressed))
        return db.scalar(chosen) or 0


def _numbered(reader: "csv.DictReader[str]") -> Iterator[tuple[int, dict[str, str]]]:
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise Refused("subscribers.not_csv", line=str(reader.line_num)) from error


def _first(row: dict[str, str], columns: tuple[str, ...]) -> str:
    return next((row[column].strip() for column in columns if row.get(column)), "")
