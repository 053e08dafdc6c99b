"""`fabu demo`: the main job from end to end on the embedded stack, with the people played.

Real items are imported, reviewed twice, published on four channels and seen there from outside; then the newsletter is
assembled from them, reviewed, and sent to mailboxes of the sandbox.
"""

import getpass
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from channels.contract import Evidence
from config import settings as config
from config.settings import HERE, ConfigError, Settings
from pipeline import assembly, desk, intake, issues, operate, reach, review, staff, subscribers
from pipeline.decisions import Actor, Refused
from pipeline.reach import Cell
from pipeline.runtime import Runtime, open_runtime
from pipeline.states import State
from workers import embedded, show
from workers.show import Screen
from workers.supervise import is_running

SAMPLES = HERE / "samples"
MARKER = ".demo"  # only a directory that a demo made is ever made anew
PATIENCE_SECONDS = 180.0
OFFICER, LEADER, CLERK, EDITOR = "li", "chen", "wang", "wang"
SETTLED = (State.CONFIRMED, State.FAILED, State.SKIPPED, State.ON_HOLD)


def run(data: Path, screen: Screen) -> int:
    """Run the demo in `data`; returns the exit code: 0 only when every delivery was confirmed from outside."""
    settings = _fresh(data)
    screen.line("demo.starting", data=data)
    with embedded.running(settings), _interrupted_between_steps() as check:
        rt = open_runtime(settings)
        try:
            screen.line("demo.addresses", portal=settings.public_url, **_sandbox(settings))
            samples = _import_samples(rt, screen)
            with _shown(screen) as progress:
                cells = _play(rt, screen, progress, samples, check)
                cells += _send_newsletter(rt, screen, progress, [cell.item for cell in cells], check)
            ok = _conclude(rt, screen, cells)
        finally:
            rt.engine.dispose()
            screen.line("demo.stopping")  # Ctrl-C is answered at once, too
    screen.line("demo.again", command=show.command("up", data))
    return 0 if ok else 1


def _fresh(data: Path) -> Settings:
    """An empty data directory with the demo's configuration. Raises ConfigError where something else lives."""
    if data.exists() and any(data.iterdir()):
        if not (data / MARKER).exists():
            raise ConfigError("demo.not_a_demo", data=str(data))
        if is_running(data):
            raise ConfigError("demo.running", data=str(data), command=show.command("demo", data))
        chosen = data / "ports.json"
        ports = chosen.read_bytes() if chosen.exists() else b""
        shutil.rmtree(data)
        if ports:  # chosen once for a directory
            data.mkdir()
            chosen.write_bytes(ports)
    data.mkdir(parents=True, exist_ok=True)
    (data / MARKER).touch()
    return embedded.prepare(data, "demo.toml")


def _sandbox(settings: Settings) -> dict[str, str]:
    return {"sandbox": config.local_addresses(settings.data)["sandbox"]}


def _actor(rt: Runtime, person: str) -> Actor:
    return Actor(staff.person(rt, person), getpass.getuser())


def _import_samples(rt: Runtime, screen: Screen) -> list[intake.Sample]:
    for channel, file in (("sms", "subscribers.csv"), ("mail", "readers.csv")):
        told = subscribers.import_csv(rt, _actor(rt, EDITOR), channel, intake.read_text(SAMPLES / file))
        screen.line("demo.subscribers", count=told.new, channel=rt.channels[channel].section.label)
    return intake.read_samples(SAMPLES)


@contextmanager
def _interrupted_between_steps() -> Iterator[Callable[[], None]]:
    """Ctrl-C takes effect where the function is called. Raised anywhere, it is lost when it hits a weak reference's
    callback, of which SQLAlchemy has many (seen: the demo went on). A second Ctrl-C takes effect at once."""
    pressed: list[int] = []

    def note(number: int, _: object) -> None:
        pressed.append(number)
        signal.signal(signal.SIGINT, previous)

    def check() -> None:
        if pressed:
            raise KeyboardInterrupt

    previous = signal.getsignal(signal.SIGINT)
    if previous is not signal.SIG_IGN:  # as under nohup
        signal.signal(signal.SIGINT, note)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, previous)


def _shown(screen: Screen) -> Progress:
    """Bars for everything that happens, while it happens."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=screen.console, disable=screen.as_json)


def _play(
    rt: Runtime, screen: Screen, progress: Progress, samples: list[intake.Sample], check: Callable[[], None]
) -> list[Cell]:
    """Take the samples through both reviews, and follow their deliveries until each is confirmed or needs a person;
    the clerk ticks the notices as posted."""
    reviewing = progress.add_task(screen.say("demo.reviewing"), total=len(samples))
    tasks = _bars(rt, progress, [channel for sample in samples for channel in sample.channels])
    items: list[int] = []
    for sample in samples:
        check()
        items.append(_review(rt, sample))
        progress.advance(reviewing)
        _follow(rt, screen, progress, tasks, items)
    return _settle(rt, screen, progress, tasks, items, check)


def _send_newsletter(
    rt: Runtime, screen: Screen, progress: Progress, items: list[int], check: Callable[[], None]
) -> list[Cell]:
    """Assemble the next issue from the items that became public, review it, and follow it to its readers: now, so that
    nobody waits for the 1st or the 15th."""
    issues.ensure(rt)
    issue = next(line for line in issues.plan(rt) if line.cut_off_at > rt.now())
    editor = _actor(rt, EDITOR)
    try:
        built = assembly.build(rt, editor, issue.id)
    except Refused as refused:  # nothing became public, which the end of the demo says
        screen.error(refused.code, refused.facts)
        return []
    assembly.write_editorial(rt, editor, issue.id, built.revision, screen.say("demo.editorial", count=len(built.added)))
    submitted = assembly.submit(rt, editor, issue.id, at=rt.now())
    _approve(rt, submitted)
    screen.line("demo.newsletter", issue=issue.numbers, count=len(built.added), all=len(set(items)))
    tasks = _bars(rt, progress, rt.settings.newsletter.channels if rt.settings.newsletter else (), issue.numbers)
    return _settle(rt, screen, progress, tasks, [submitted.item_id], check)


def _bars(rt: Runtime, progress: Progress, places: Sequence[str], title: str = "") -> dict[str, TaskID]:
    return {
        name: progress.add_task(f"{title} {opened.section.label}".strip(), total=places.count(name))
        for name, opened in rt.channels.items()
        if name in places
    }


def _settle(
    rt: Runtime, screen: Screen, progress: Progress, tasks: dict[str, TaskID], items: list[int],
    check: Callable[[], None],
) -> list[Cell]:  # fmt: skip
    """Follow the deliveries of these items until each has arrived or needs a person."""
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        check()
        cells = _follow(rt, screen, progress, tasks, items)
        settled = all(cell.state in SETTLED or _arrived(cell) for cell in cells)
        if settled or _stuck(rt, cells) or time.monotonic() > until:
            return cells
        time.sleep(0.2)


def _arrived(cell: Cell) -> bool:
    """Seen from outside; of a mail nobody reports that it arrived, only that it did not."""
    return cell.state is State.CONFIRMED or (cell.evidence is Evidence.BOUNCE and cell.state is State.ACCEPTED)


def _review(rt: Runtime, sample: intake.Sample) -> int:
    """Write, submit, first review, second review: by four persons."""
    author = _actor(rt, sample.author)
    today = rt.now().astimezone(rt.settings.zone).date()  # nothing is formed in the future, whatever the clock says
    item = review.create(rt, author, replace(sample.draft, formed_on=min(sample.draft.formed_on, today)))
    _approve(rt, review.submit(rt, author, item, sample.channels))
    return item


def _approve(rt: Runtime, submitted: review.Submitted) -> None:
    for reviewer in (OFFICER, LEADER):
        review.approve(rt, _actor(rt, reviewer), submitted.item_id, submitted.hash)


def _follow(rt: Runtime, screen: Screen, progress: Progress, tasks: dict[str, TaskID], items: list[int]) -> list[Cell]:
    for notice in desk.notices_waiting(rt):
        if notice.what == "post":
            operate.post(rt, _actor(rt, CLERK), notice.item, screen.say("demo.place"))
    cells = reach.matrix(rt, items)
    for name, task in tasks.items():
        done = sum(cell.channel == name and _arrived(cell) for cell in cells)
        progress.update(task, completed=done)
    return cells


def _stuck(rt: Runtime, cells: list[Cell]) -> bool:
    """Nothing moves any more: what is due comes after a channel that failed."""
    failed = {(cell.item, cell.channel) for cell in cells if cell.state is State.FAILED}
    return all(cell.state in SETTLED or _arrived(cell) or (cell.item, _after(rt, cell)) in failed for cell in cells)


def _after(rt: Runtime, cell: Cell) -> str:
    return rt.channels[cell.channel].section.after


def _why(rt: Runtime, screen: Screen, cell: Cell) -> str:
    if cell.error:
        return screen.say(str(cell.error["code"]), **cell.error["facts"])
    if cell.state is State.DUE and (after := _after(rt, cell)):
        return screen.say("demo.waits", channel=rt.channels[after].section.label)
    return ""


def _conclude(rt: Runtime, screen: Screen, cells: list[Cell]) -> bool:
    missing = [cell for cell in cells if not _arrived(cell)]
    mails = sum(cell.evidence is Evidence.BOUNCE for cell in cells)
    screen.json([show.cell_json(cell) for cell in cells])
    if not screen.as_json:
        show.matrix(screen, rt, cells)
    screen.line("demo.result", confirmed=len(cells) - len(missing) - mails, total=len(cells) - mails)
    for cell in missing:
        state, label = screen.say(f"state.{cell.state}"), rt.channels[cell.channel].section.label
        screen.line("demo.missing", item=cell.item, channel=label, state=state, why=_why(rt, screen, cell))
    screen.line("demo.look_portal", portal=rt.settings.public_url, feed=f"{rt.settings.public_url}/feed.json")
    if embedded.rehearses(rt.settings):
        screen.line("demo.look_sandbox", **_sandbox(rt.settings))
    for cell in cells:
        if cell.channel == "bulletin" and cell.reference:
            screen.line("demo.look_notice", title=cell.title, file=rt.settings.data / "notices" / cell.reference)
    return not missing
