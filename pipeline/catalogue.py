"""The catalogue (公开目录): index numbers, issued once and never changed (domain: Catalogue)."""

from collections.abc import Callable

from sqlalchemy import select
from sqlalchemy.orm import Session

from pipeline.database import insert_for
from pipeline.decisions import Refused
from pipeline.models import Counter, Item
from pipeline.runtime import Runtime

LONGEST_NAME = 80  # characters of an index number


def issue_index_number(rt: Runtime, db: Session) -> str:
    """The next 索引号 of this organisation and year, by the office's template. The counter's row is locked until the
    commit: two submissions never get the same one, and one that fails gives its number back."""
    return _index_number(rt, lambda counter: next_number(db, counter))


def expected_index_number(rt: Runtime, db: Session) -> str:
    """The index number that would be issued now, for a preview: nothing is counted."""
    latest = select(Counter.value)
    return _index_number(rt, lambda counter: (db.scalar(latest.where(Counter.name == counter)) or 0) + 1)


def _index_number(rt: Runtime, serial_of: Callable[[str], int]) -> str:
    office = rt.settings.office
    today = rt.now().astimezone(rt.settings.zone)
    serial = serial_of(f"index/{office.code}/{today.year}")
    return office.index_template.format(code=office.code, year=today.year, month=today.month, serial=serial)


def next_number(db: Session, name: str) -> int:
    """Count one further and return it; concurrent callers wait for each other's commit."""
    counted = insert_for(db, Counter).values(name=name, value=1)
    counted = counted.on_conflict_do_update(index_elements=["name"], set_={"value": Counter.value + 1})
    return db.execute(counted.returning(Counter.value)).scalar_one()


def find_item(db: Session, name: str) -> int:
    """The id of the item that a person names by its short number or its index number. Raises Refused."""
    if not name.isprintable() or len(name) > LONGEST_NAME:
        raise Refused("item.unknown", item=ascii(name[:LONGEST_NAME]))
    by_id = name.isascii() and name.isdigit() and int(name) < 2**63
    found = db.scalar(select(Item.id).where(Item.id == int(name) if by_id else Item.index_number == name))
    if found is None:
        raise Refused("item.unknown", item=name)
    return found
