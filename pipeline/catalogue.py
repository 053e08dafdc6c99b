"""The catalogue (公开目录): index numbers, issued once and never changed (domain: Catalogue)."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from pipeline.database import insert_for
from pipeline.decisions import Refused
from pipeline.models import Counter, Item
from pipeline.runtime import Runtime


def issue_index_number(rt: Runtime, db: Session) -> str:
    """The next 索引号 of this organisation and year, by the office's template. The counter's row is locked until the
    commit: two submissions never get the same one, and one that fails gives its number back."""
    office = rt.settings.office
    year = rt.now().astimezone(rt.settings.zone).year
    serial = next_number(db, f"index/{office.code}/{year}")
    return office.index_template.format(code=office.code, year=year, serial=serial)


def next_number(db: Session, name: str) -> int:
    """Count one further and return it; concurrent callers wait for each other's commit."""
    counted = insert_for(db, Counter).values(name=name, value=1)
    counted = counted.on_conflict_do_update(index_elements=["name"], set_={"value": Counter.value + 1})
    return db.execute(counted.returning(Counter.value)).scalar_one()


def find_item(db: Session, name: str) -> int:
    """The id of the item that a person names by its short number or its index number. Raises Refused."""
    wanted = Item.id == int(name) if name.isascii() and name.isdigit() else Item.index_number == name
    found = db.scalar(select(Item.id).where(wanted))
    if found is None:
        raise Refused("item.unknown", item=name)
    return found
