"""The numbers from what is kept for them, against the same from the ledger's own rows."""

import statistics
from collections import Counter
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from time import monotonic

from sqlalchemy import exists, func, select

from pipeline import counting, numbers
from pipeline.models import Delivery, Item, Revision, Sighting, Submission
from pipeline.numbers import Numbers
from pipeline.states import Stage, State
from tests.bench.figures import Figure
from tests.bench.ledger import OLDEST
from tests.office import Bureau

RUNS = 3
DAY = timedelta(days=1)


def dashboard(bureau: Bureau, deliveries: int, place: str) -> list[Figure]:
    """The page over all years of a ledger of the past. The scan is spared the day, the working days and the median."""
    today = bureau.rt.now().date()
    begin = today - OLDEST - DAY
    first = _seconds(lambda: counting.refresh(bureau.rt))
    _seconds(lambda: counting.refresh(bureau.rt))  # reads the lines of the first once more
    idle = statistics.median(_seconds(lambda: counting.refresh(bureau.rt)) for _ in range(RUNS))
    kept, scanned = list[float](), list[float]()
    for _ in range(RUNS):
        began = monotonic()
        found = numbers.numbers(bureau.rt, None, begin, today)
        read = monotonic()
        counts = _scan(bureau, begin, today)
        kept, scanned = [*kept, read - began], [*scanned, monotonic() - read]
        assert counts == _plain(found)
    low, high = statistics.median(kept), statistics.median(scanned)
    return [
        Figure(f"the numbers of {deliveries:,} deliveries ÷ a scan of them, {place}", low / high, "ratio",
               at_most=0.05),
        Figure(f"the numbers of {deliveries:,} deliveries, {place}", low * 1000, "ms"),
        Figure(f"a scan of {deliveries:,} deliveries, {place}", high * 1000, "ms"),
        Figure(f"the first count of {deliveries:,} deliveries, {place}", first, "s"),
        Figure(f"a count with nothing new, {place}", idle * 1000, "ms"),
    ]  # fmt: skip


def _seconds(act: Callable[[], object]) -> float:
    began = monotonic()
    act()
    return monotonic() - began


def _scan(bureau: Bureau, begin: date, end: date) -> Counter[tuple[str, str]]:
    """Items by department, withdrawn or not, and deliveries by channel and state, from the ledger itself."""
    seen = (
        select(Delivery.item_id, func.min(Sighting.at).label("at"))
        .join(Sighting, Sighting.delivery_id == Delivery.id)
        .where(Sighting.state == State.CONFIRMED)
        .group_by(Delivery.item_id)
        .subquery()
    )
    first, last = (datetime.combine(day, time.min, bureau.rt.settings.zone) for day in (begin, end + DAY))
    in_force = exists().where(Submission.item_id == Item.id, Submission.stage == Stage.APPROVED)
    items = (
        select(Item.department, func.count(), func.count(Revision.formed_on))
        .join(seen, seen.c.item_id == Item.id)
        .join(Revision, Revision.item_id == Item.id)
        .where(Revision.number == 1, seen.c.at.between(first, last), in_force)
        .group_by(Item.department)
    )
    deliveries = (
        select(Delivery.channel, Delivery.state, func.count())
        .join(Item, Item.id == Delivery.item_id)
        .where(Delivery.expanded_at.is_(None), Delivery.publish_at.between(first, last))
        .group_by(Delivery.channel, Delivery.state)
    )
    with bureau.rt.reading() as db:
        found = Counter({("item", name): count for name, count, _ in db.execute(items)})
        for channel, state, count in db.execute(deliveries):
            found[channel, state.value] += count
        return found


def _plain(found: Numbers) -> Counter[tuple[str, str]]:
    items = {("item", name): tally.items for name, tally in found.departments.items()}
    channels = {(name, state): count for name, counts in found.channels.items() for state, count in counts.items()}
    return Counter({**items, **channels})
