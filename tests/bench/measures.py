"""What is measured. Each measure takes its ceiling in the same run, turn about, and gives figures."""

import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from shutil import copyfile
from typing import Any

import typst
from sqlalchemy import exists, select

from channels.bulletin import Bulletin
from channels.contract import Call, Message, Office
from channels.document import Paragraph
from channels.typst import TEMPLATES, fonts
from pipeline import reach, review
from pipeline.models import Delivery
from pipeline.states import State
from pipeline.wake import producer, queue_of
from tests.bench import ledger, numbers, tasks
from tests.bench.figures import Figure
from tests.faults import stack
from tests.office import Bureau, claim
from tests.parts import create_database, postgres, valkey
from workers.app import SWEEP_QUEUE
from workers.embedded import WORKER_THREADS

CHANNELS = ("first", "second", "third", "fourth")  # that do nothing
SLOW = "slow"  # its calls take 50 ms
NUMBER = "10000000"  # stands for the number of a notice
SENTENCE = "根据工作安排，现将有关事项通知如下。"
POSTED = "2026-11-23"
WARM_PAGES = 10
FILL_SECONDS = 130.0  # a ledger: a slow machine measures growth to fewer than ten million, and its figures say so
PREFETCH = 16  # messages a thread keeps: no other was tried; chunks do not care


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    items: int  # of four deliveries each, a run
    slow: int
    one_by_one: int
    approvals: int  # a run
    pages: int
    few: int  # items of the past in the smaller ledger
    many: int
    mails: int  # on SQLite; a fifth of them on PostgreSQL
    signings: int
    runs: int = 3


FULL = Scale(
    items=1000, slow=1000, one_by_one=120, approvals=60, pages=60, few=250_000, many=2_500_000, mails=100_000,
    signings=300,
)  # fmt: skip
QUICK = Scale(
    items=100, slow=200, one_by_one=40, approvals=10, pages=5, few=1_000, many=10_000, mails=2_000, signings=20, runs=1
)


@dataclass(frozen=True)
class Place:
    """A database that the bench was given, with a broker: `url` gives the one of a name, a new empty one when there is
    none; `copy` makes one as another is, which nobody uses meanwhile."""

    name: str
    url: Callable[[str], str]
    copy: Callable[[str, str], object]


@contextmanager
def places(data: Path) -> Iterator[list[Place]]:
    """SQLite as `fabu up` has it, and a PostgreSQL with fsync on."""
    with postgres(data / "postgres") as cluster:
        made = dict[str, str]()

        def named(name: str) -> str:
            return made.get(name) or made.setdefault(name, create_database(cluster, name))

        def file(name: str) -> Path:
            return data / f"{name}.db"

        yield [
            Place("SQLite", lambda name: f"sqlite:///{file(name)}", lambda old, new: copyfile(file(old), file(new))),
            Place("PostgreSQL", named, lambda old, new: made.update({new: create_database(cluster, new, old)})),
        ]


@contextmanager
def _bureau(data: Path, place: Place, name: str, broker: str = "") -> Iterator[Bureau]:
    """A bureau with the limits of `fabu up`, four channels that do nothing, and a slow one."""
    nothing = {"kind": "tests.bench.channel:Nothing", "call_seconds": 10.0}
    channels = {channel: {**nothing, "label": channel} for channel in CHANNELS}
    channels[SLOW] = {**nothing, "label": SLOW, "takes": 0.05}
    limits = {"lease_seconds": 90.0, "sweep_seconds": 2.0}
    bureau = stack.found(data / f"{name}-{place.name}", place.url(name), broker, channels=channels, limits=limits)
    try:
        yield bureau
    finally:
        bureau.rt.engine.dispose()


class Hands:
    """One worker, and the bench's own queue, which it hears when asked to."""

    def __init__(self, bureau: Bureau, broker: str) -> None:
        self.bureau, self.app = bureau, producer(broker)
        self.marks = bureau.rt.settings.data / "marks"

    def tell(self, task: str, *args: object, queue: str = tasks.QUEUE) -> None:
        self.app.send_task(task, args=args, queue=queue, ignore_result=True)

    def marked(self) -> list[float]:
        return [float(line) for line in self.marks.read_text().split()] if self.marks.exists() else []

    def mark(self, queue: str) -> float:
        """Send a task that does nothing but tell when it began; gives that moment."""
        before = len(self.marked())
        self.tell("bench.mark", queue=queue)
        stack.until(lambda: len(self.marked()) > before)
        return self.marked()[-1]

    def listen(self) -> None:
        self.app.control.add_consumer(tasks.QUEUE, reply=True, limit=1, timeout=10)

    def stop_listening(self) -> None:
        self.app.control.cancel_consumer(tasks.QUEUE, reply=True, limit=1, timeout=10)


@contextmanager
def _worker(bureau: Bureau, broker: str, pool: str = "threads", hands: int = WORKER_THREADS) -> Iterator[Hands]:
    """One worker, as the embedded stack starts it; gives it when it takes tasks."""
    queues = ",".join([SWEEP_QUEUE, *map(queue_of, bureau.rt.channels)])
    process = stack.start(
        bureau, "worker", "celery", "-A", "workers.app", "worker", "-P", pool, "-c", str(hands), "-Q", queues,
        "-I", "tests.bench.tasks", "--prefetch-multiplier", str(PREFETCH), "-l", "WARNING",
        "--without-mingle", "--without-gossip", "--without-heartbeat",
    )  # fmt: skip
    try:
        worker = Hands(bureau, broker)
        worker.mark(SWEEP_QUEUE)
        yield worker
    finally:
        stack.end(process)


# ── chunks against tasks that do nothing ─────────────────────────────────────────────────────────────────────────────


def chunks(data: Path, place: Place, scale: Scale) -> list[Figure]:
    """Deliveries a second through one worker, four channels an item, against tasks a second that do nothing through
    the same worker: its queue is full before it begins."""
    ratios, ceilings, rates = list[float](), list[float](), list[float]()
    with (
        valkey(data / f"valkey-chunks-{place.name}") as broker,
        _bureau(data, place, "chunks", broker) as bureau,
        _worker(bureau, broker) as worker,
    ):
        for run in range(scale.runs + 1):
            ceiling = _tasks(worker, "bench.nothing", [()] * scale.items * len(CHANNELS))
            rate = _drain(worker, CHANNELS, scale.items, first=1_000_000 * (run + 1))
            if run:  # the first warms up
                ceilings, rates, ratios = [*ceilings, ceiling], [*rates, rate], [*ratios, rate / ceiling]
    bars = {"SQLite": 2.5, "PostgreSQL": 1.5}
    return [
        Figure(f"chunks ÷ no-op tasks, {place.name}", statistics.median(ratios), "ratio", at_least=bars[place.name]),
        Figure(f"chunks, {place.name}", statistics.median(rates), "deliveries/s"),
        Figure(f"no-op tasks beside {place.name}", statistics.median(ceilings), "tasks/s"),
    ]


def one_by_one(data: Path, place: Place, scale: Scale) -> list[Figure]:
    """A channel that takes 50 ms: chunks in threads, against one task a delivery in two processes."""
    chunked, single = [], []
    with valkey(data / f"valkey-slow-{place.name}") as broker, _bureau(data, place, "slow", broker) as bureau:
        with _worker(bureau, broker) as worker:
            for run in range(scale.runs):
                chunked.append(_drain(worker, (SLOW,), scale.slow, first=1_000_000 * (run + 1)))
        with _worker(bureau, broker, "prefork", 2) as worker:
            for run in range(scale.runs):
                first = 100_000_000 + 1_000_000 * run
                ids = _fill(bureau, (SLOW,), first, scale.one_by_one)
                single.append(_tasks(worker, "bench.one", [(SLOW, id) for id in ids]))
                _until_finished(bureau, (SLOW,))  # the mark behind the last of them may have overtaken it
                _counted(bureau, first, scale.one_by_one)
    rate, ceiling = statistics.median(chunked), statistics.median(single)
    return [
        Figure(f"50 ms channel: chunks ÷ one by one, {place.name}", rate / ceiling, "ratio", at_least=8),
        Figure(f"50 ms channel: chunks, {place.name}", rate, "deliveries/s"),
        Figure(f"50 ms channel: one by one on prefork 2, {place.name}", ceiling, "deliveries/s"),
    ]


def _tasks(worker: Hands, name: str, arguments: Sequence[tuple[object, ...]]) -> float:
    """Tasks a second: all are waiting when the worker begins, a mark before them and one behind."""
    before = len(worker.marked())
    for task, args in (("bench.mark", ()), *((name, args) for args in arguments), ("bench.mark", ())):
        worker.tell(task, *args)
    worker.listen()
    stack.until(lambda: len(worker.marked()) == before + 2)
    worker.stop_listening()
    first, last = worker.marked()[-2:]
    return len(arguments) / (last - first)


def _drain(worker: Hands, channels: Sequence[str], items: int, first: int) -> float:
    """Deliveries a second, from waking the channels to the last record's commit."""
    bureau = worker.bureau
    _fill(bureau, channels, first, items)
    begun = time.monotonic()
    bureau.rt.wake(*channels)
    _until_finished(bureau, channels)
    took = time.monotonic() - begun
    return _counted(bureau, first, items * len(channels)) / took


def _until_finished(bureau: Bureau, channels: Sequence[str]) -> None:
    open_states = (State.DUE, State.SENDING)
    unfinished = select(exists().where(Delivery.state.in_(open_states), Delivery.channel.in_(channels)))

    def finished() -> bool:
        with bureau.rt.reading() as db:
            return not db.scalar(unfinished)

    stack.until(finished)


def _fill(bureau: Bureau, channels: Sequence[str], first: int, items: int) -> list[int]:
    ledger.fill(bureau.rt.engine, channels, first, first + items - 1)
    ledger.settle_down(bureau.rt.engine)
    with bureau.rt.reading() as db:
        mine = select(Delivery.id).where(Delivery.item_id >= first, Delivery.state == State.DUE)
        return list(db.scalars(mine.order_by(Delivery.id)))


def _counted(bureau: Bureau, first: int, deliveries: int) -> int:
    """How many were delivered; fails unless each was attempted once, and came back with a receipt of its own."""
    counted = ledger.count(bureau.rt, first, first + 999_999)
    assert counted == ledger.Counted(*[deliveries] * 5), counted
    return deliveries


# ── approval ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def approval(data: Path, place: Place, scale: Scale) -> list[Figure]:
    """From the leader's decision to the commit that says *accepted*, a real wake and an idle worker between; against
    the start of a task that was published to the same worker. The last of twenty decides: so in several runs, each
    with its own floor, and the run in the middle counts."""
    runs = list[_Approvals]()
    with (
        valkey(data / f"valkey-approval-{place.name}") as broker,
        _bureau(data, place, "approval", broker) as bureau,
        _worker(bureau, broker) as worker,
    ):
        _approvals(bureau, worker, 5)  # warms up
        for _ in range(scale.runs):
            runs.append(_approvals(bureau, worker, scale.approvals))
        _counted(bureau, 1, 5 + scale.runs * scale.approvals)
    middle = sorted(runs, key=lambda run: run.ratio)[len(runs) // 2]
    return [
        Figure(f"approval → accepted, 95th percentile ÷ no-op publish → start, {place.name}", middle.ratio, "ratio",
               at_most=10),
        Figure(f"approval → accepted, 95th percentile, {place.name}", _percentile(middle.takes, 95) * 1000, "ms"),
        Figure(f"approval → accepted, median, {place.name}", statistics.median(middle.takes) * 1000, "ms"),
        Figure(f"of that after the approval's commit, median, {place.name}", statistics.median(middle.waits) * 1000,
               "ms"),
        Figure(f"no-op publish → start, median, {place.name}", statistics.median(middle.starts) * 1000, "ms"),
        Figure(f"no-op publish → start, 95th percentile, {place.name}", _percentile(middle.starts, 95) * 1000, "ms"),
    ]  # fmt: skip


@dataclass(frozen=True)
class _Approvals:
    """Seconds, turn by turn: from a no-op's publishing to its start; from a decision to *accepted*; of that, after the
    decision's commit."""

    starts: list[float]
    takes: list[float]
    waits: list[float]

    @property
    def ratio(self) -> float:
        return _percentile(self.takes, 95) / statistics.median(self.starts)


def _approvals(bureau: Bureau, worker: Hands, turns: int) -> _Approvals:
    measured = _Approvals([], [], [])
    for _ in range(turns):
        item = bureau.write()
        seen = bureau.submit(item, CHANNELS[0])
        review.approve(bureau.rt, bureau.actor("li"), item, seen)
        time.sleep(0.02)
        begun = time.monotonic()
        measured.starts.append(worker.mark(SWEEP_QUEUE) - begun)
        time.sleep(0.02)
        begun = time.monotonic()
        review.approve(bureau.rt, bureau.actor("chen"), item, seen)
        decided = time.monotonic()
        _until_accepted(bureau, item)
        accepted = time.monotonic()
        measured.takes.append(accepted - begun)
        measured.waits.append(accepted - decided)
    return measured


def _until_accepted(bureau: Bureau, item: int) -> None:
    """Ask the driver itself, in one round trip: whoever asks dearly, on few cores, holds up what is waited for."""
    question = f"SELECT 1 FROM delivery WHERE item_id = {item} AND state = 'accepted'"
    deadline = time.monotonic() + stack.PATIENCE
    with bureau.rt.engine.connect().execution_options(reading=True) as connection:
        driver: Any = connection.connection.driver_connection
        while driver.execute(question).fetchone() is None:
            assert time.monotonic() < deadline, "it was never accepted"
            time.sleep(0.0005)


def _percentile(values: Sequence[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


# ── growth ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def growth(data: Path, places: Sequence[Place], scale: Scale) -> list[Figure]:
    """One item's reach, and the claim of a batch among 400 that are due, in a ledger and in one ten times as large;
    turn about, so that what else the machine does meets both. In the smaller one, the numbers. Both databases are
    filled at the same time, and measured one after the other."""
    small = _filled(data, places, "few", [0] * len(places), scale.few)
    for place in places:
        place.copy("few", "many")
    large = _filled(data, places, "many", small, scale.many)
    figures = list[Figure]()
    for place, *sizes in zip(places, small, large, strict=True):
        with _bureau(data, place, "few") as few, _bureau(data, place, "many") as many:
            figures += _compared(place, (few, many), sizes)
    return figures


def _filled(data: Path, places: Sequence[Place], name: str, there: Sequence[int], items: int) -> list[int]:
    """Fill the ledger of this name in each database, all at once; says how many items of the past each holds then."""
    with ExitStack() as open_, ThreadPoolExecutor() as hands:
        bureaus = [open_.enter_context(_bureau(data, place, name)) for place in places]
        return list(hands.map(lambda bureau, first: _past(bureau, first, items), bureaus, there))


def _compared(place: Place, bureaus: tuple[Bureau, Bureau], sizes: Sequence[int]) -> list[Figure]:
    turns = [
        [_timed(bureau, 1 + turn * 7919 % size) for bureau, size in zip(bureaus, sizes, strict=True)]
        for turn in range(51)
    ]
    figures = numbers.dashboard(bureaus[0], sizes[0] * len(CHANNELS), place.name)
    small, large = (f"{size * len(CHANNELS):,}" for size in sizes)
    for at, what in enumerate(("one item's reach", "a claim")):
        low, high = (statistics.median(turn[which][at] for turn in turns) for which in (0, 1))
        figures += [
            Figure(f"{what} at {large} ÷ at {small} deliveries, {place.name}", high / low, "ratio", at_most=3),
            Figure(f"{what} at {small}, {place.name}", low * 1000, "ms"),
            Figure(f"{what} at {large}, {place.name}", high * 1000, "ms"),
        ]
    return figures


def _past(bureau: Bureau, there: int, items: int) -> int:
    """Fill a ledger up to so many items of the past, or with what the time allows on this machine; says how many it
    holds then."""
    until = time.monotonic() + FILL_SECONDS
    if not there:  # else they came with the copy
        ledger.fill(bureau.rt.engine, CHANNELS, 100_000_000, 100_000_099)  # due
    for first in range(there + 1, items + 1, ledger.AT_ONCE):
        if time.monotonic() > until:
            break
        there = min(first + ledger.AT_ONCE - 1, items)
        ledger.fill(bureau.rt.engine, CHANNELS, first, there, past=True)
    ledger.settle_down(bureau.rt.engine)
    return there


def _timed(bureau: Bureau, item: int) -> tuple[float, float]:
    """Seconds that the reach of an item takes, and that a claim takes (it is handed back)."""
    opened = bureau.rt.channels[CHANNELS[0]]
    begun = time.monotonic()
    found = reach.item_reach(bureau.rt, item)
    read = time.monotonic()
    rows, _ = claim(bureau.rt, opened)
    claimed = time.monotonic()
    assert len(found.cells) == len(found.attempts) == len(found.sightings) == len(CHANNELS)
    assert len(rows) == opened.section.batch
    ledger.hand_back(bureau.rt, [row.id for row in rows])
    return read - begun, claimed - read


# ── pages ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def pages(data: Path, scale: Scale) -> list[Figure]:
    """A notice as its channel sets it, QR code and all, against the bare compiler, kept, with everything at hand. Turn
    about, and no text comes twice: Typst remembers what it has set."""
    board = Bulletin(data / "board")
    written = board.render(_notice())
    compiler = typst.Compiler(
        TEMPLATES / "notice.typ", root=TEMPLATES, font_paths=fonts().loaded, ignore_system_fonts=True
    )
    families = json.dumps(fonts().families)
    times = list[tuple[float, float, float]]()
    for turn in range(scale.pages + WARM_PAGES):
        first, second, third = (
            replace(written, body=written.body.replace(NUMBER.encode(), str(number + turn).encode()))
            for number in (20_000_000, 30_000_000, 40_000_000)
        )
        inputs = {"data": json.dumps(board._page(first, POSTED), ensure_ascii=False), "fonts": families}
        call = Call(f"board/{turn}", 1, facts={"posting_date": POSTED})
        begun = time.monotonic()
        compiler.compile(sys_inputs=inputs, format="pdf", pdf_standards="ua-1", timestamp=0)
        compiled = time.monotonic()
        board.preview(second, POSTED)
        previewed = time.monotonic()
        board.deliver(third, call)
        times.append((compiled - begun, previewed - compiled, time.monotonic() - previewed))
    bare, ours, delivered = (statistics.median(column) for column in zip(*times[WARM_PAGES:], strict=True))
    return [
        Figure("a notice set ÷ bare kept Typst compiler", ours / bare, "ratio", at_most=2),
        Figure("a notice set", ours * 1000, "ms"),
        Figure("bare kept Typst compiler", bare * 1000, "ms"),
        Figure("a notice delivered, safe on disk", delivered * 1000, "ms"),
    ]


def _notice() -> Message:
    """Half a page, with a number in every paragraph."""
    paragraphs = tuple(
        Paragraph(f"第{NUMBER}号第{at}条。" + "根据工作安排，现将有关事项通知如下。" * 3) for at in range(6)
    )
    return Message(
        number=1, index_number=f"370303/{NUMBER}", title=f"关于第{NUMBER}号试播的通知", blocks=paragraphs,
        item_type="通知", department="新闻部", office=Office("张店区广播电视局", "370303"),
        address=f"http://gk.example/i/{NUMBER}", formed_on=date(2026, 11, 20),
    )  # fmt: skip
