"""The newsletter: its calendar, assembling an issue, looking at it, letting it go, and how far it is."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from channels import newsletter as forms
from pipeline import assembly, intake, issue_pages, issues, trials
from pipeline.decisions import Refused
from pipeline.drafts import compose_unsubmitted, latest_revision, read_draft
from pipeline.issue_pages import ColumnLines, Figures, Page, Progress
from pipeline.issues import Line
from pipeline.runtime import Runtime
from pipeline.words import MARKS, masked
from workers.commands.common import DEFAULT_DATA, MOMENT, AsJson, Data, Open, Person, Reason, app, help_
from workers.show import STYLES, Screen, local

newsletter_app = typer.Typer(help=help_("newsletter"), no_args_is_help=True)
app.add_typer(newsletter_app, name="newsletter")

IssueName = Annotated[str, typer.Argument(metavar="[ISSUE]", help=help_("issue"))]
EntryName = Annotated[str, typer.Argument(metavar="ITEM", help=help_("issue_entry"))]
Day = Annotated[datetime, typer.Argument(metavar="DAY", formats=["%Y-%m-%d"], help=help_("issue_day"))]
Into = Annotated[datetime, typer.Argument(metavar="INTO", formats=["%Y-%m-%d"], help=help_("issue_into"))]
Issue = Annotated[str, typer.Option("--issue", help=help_("issue"))]
Remove = Annotated[bool, typer.Option("--remove", help=help_("issue_remove"))]
WEEKDAYS = "一二三四五六日"
NEXT = 24


@newsletter_app.command("plan", help=help_("newsletter_plan"))
def plan(
    count: Annotated[int, typer.Option("--count", min=1, max=240, help=help_("newsletter_count"))] = NEXT,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    with Open(data, as_json) as here:
        lines = issues.plan(here.rt, count)
        here.screen.json([_json(line) for line in lines])
        if not as_json:
            _plan(here.screen, here.rt, lines)


@newsletter_app.command("build", help=help_("newsletter_build"))
def build(person: Person, name: IssueName = "", data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    with Open(data, as_json) as here:
        issues.ensure(here.rt)
        issue = issues.find(here.rt, name)
        done = assembly.build(here.rt, here.actor(person), issue)
        page = issue_pages.page(here.rt, issue)
        here.screen.json({"issue": issue, **asdict(done)})
        facts = {"added": len(done.added), "withdrawn": len(done.withdrawn), "corrected": len(done.corrected)}
        here.screen.line("newsletter.built", title=page.title, item=done.item, revision=done.revision, **facts)
        if not as_json:
            _columns(here.screen, page.columns, page.left_out)
        here.screen.line("newsletter.next", issue=page.line.nominal)


@newsletter_app.command("show", help=help_("newsletter_show"))
def show(name: IssueName = "", data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    with Open(data, as_json) as here:
        page = issue_pages.page(here.rt, issues.find(here.rt, name))
        here.screen.json({**asdict(page), "line": _json(page.line)})
        here.screen.line("newsletter.title", title=page.title, phase=here.screen.say(f"newsletter.{page.line.phase}"))
        if not as_json:
            _columns(here.screen, page.columns, page.left_out)
            here.screen.findings(page.findings)


@newsletter_app.command("preview", help=help_("newsletter_preview"))
def preview(
    name: IssueName = "",
    folder: Annotated[Path, typer.Option("--to", file_okay=False, help=help_("newsletter_folder"))] = Path(),
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    with Open(data, as_json) as here:
        written = _forms(here.rt, issue_pages.page(here.rt, issues.find(here.rt, name)).line, folder)
        here.screen.json({"files": [str(file) for file in written]})
        for file in written:
            here.screen.line("newsletter.written", file=file)


@newsletter_app.command("submit", help=help_("newsletter_submit"))
def submit(
    person: Person,
    name: IssueName = "",
    at: Annotated[datetime | None, typer.Option("--at", formats=MOMENT, help=help_("issue_at"))] = None,
    reason_for: Annotated[list[str] | None, typer.Option("--reason-for", help=help_("reason_for"))] = None,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    with Open(data, as_json) as here:
        why = {code.strip(): reason for code, _, reason in (one.partition("=") for one in reason_for or ())}
        done = assembly.submit(here.rt, here.actor(person), issues.find(here.rt, name), why, here.moment(at))
        here.screen.json(asdict(done))
        here.screen.line("review.submitted", index_number=done.index_number, item=done.item_id, hash=done.hash)
        if not as_json:
            here.screen.findings(done.warnings)


@newsletter_app.command("send", help=help_("newsletter_send"))
def send(person: Person, name: IssueName = "", data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    with Open(data, as_json) as here:
        issue = issues.find(here.rt, name)
        rows = issues.release(here.rt, here.actor(person), issue)
        here.screen.json({"issue": issue, "due": rows})
        here.screen.line("newsletter.released", issue=issues.line(here.rt, issue).numbers, rows=rows)


@newsletter_app.command("status", help=help_("newsletter_status"))
def status(name: IssueName = "", data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    with Open(data, as_json) as here:
        issue = issues.find(here.rt, name)
        page, parts, figures = (
            issue_pages.page(here.rt, issue), issue_pages.progress(here.rt, issue), issue_pages.figures(here.rt, issue),
        )  # fmt: skip
        here.screen.json(
            {
                "issue": _json(page.line),
                "findings": [asdict(one) for one in page.findings],
                "progress": [
                    {**asdict(one), "counts": dict(one.counts), "total": one.total, "sent": one.sent, "left": one.left}
                    for one in parts
                ],
                "figures": [asdict(one) for one in figures],
            }
        )
        if not as_json:
            _status(here.screen, here.rt, page, parts, figures)


@newsletter_app.command("skip", help=help_("newsletter_skip"))
def skip(day: Day, person: Person, reason: Reason = "", data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    with Open(data, as_json) as here:
        issues.skip(here.rt, here.actor(person), day.date(), reason)
        here.screen.json({"day": day.date(), "left_out": True})
        here.screen.line("newsletter.skipped", day=day.date())


@newsletter_app.command("merge", help=help_("newsletter_merge"))
def merge(
    day: Day, into: Into, person: Person, reason: Reason = "", data: Data = DEFAULT_DATA, as_json: AsJson = False
) -> None:
    with Open(data, as_json) as here:
        issues.skip(here.rt, here.actor(person), day.date(), reason, into.date())
        here.screen.json({"day": day.date(), "into": into.date()})
        here.screen.line("newsletter.merged", day=day.date(), into=into.date())


@newsletter_app.command("take-back", help=help_("newsletter_take_back"))
def take_back(
    day: Day, person: Person, reason: Reason = "", data: Data = DEFAULT_DATA, as_json: AsJson = False
) -> None:
    with Open(data, as_json) as here:
        issues.take_back(here.rt, here.actor(person), day.date(), reason)
        here.screen.json({"day": day.date(), "left_out": False})
        here.screen.line("newsletter.taken_back", day=day.date())


@newsletter_app.command("move", help=help_("newsletter_move"))
def move(
    entry: EntryName,
    column: Annotated[str, typer.Argument(metavar="COLUMN", help=help_("issue_column"))],
    person: Person,
    place: Annotated[int | None, typer.Option("--place", min=1, help=help_("issue_place"))] = None,
    name: Issue = "",
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    with Open(data, as_json) as here:
        issue, item = issues.find(here.rt, name), here.item(entry)
        page = issue_pages.page(here.rt, issue)
        change = assembly.put_back if any(one.item == item for one in page.left_out) else assembly.move
        revision = change(here.rt, here.actor(person), issue, page.revision, item, column, place - 1 if place else None)
        _changed(here, issue, revision)


@newsletter_app.command("drop", help=help_("newsletter_drop"))
def drop(
    entry: EntryName,
    person: Person,
    name: Issue = "",
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    with Open(data, as_json) as here:
        issue = issues.find(here.rt, name)
        page = issue_pages.page(here.rt, issue)
        revision = assembly.drop(here.rt, here.actor(person), issue, page.revision, here.item(entry))
        _changed(here, issue, revision)


@newsletter_app.command("shorten", help=help_("newsletter_shorten"))
def shorten(
    entry: EntryName,
    file: Annotated[Path, typer.Argument(help=help_("issue_text"))],
    person: Person,
    name: Issue = "",
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    with Open(data, as_json) as here:
        _shorten(here, person, name, entry, _text(here, file))


@newsletter_app.command("whole", help=help_("newsletter_whole"))
def whole(
    entry: EntryName, person: Person, name: Issue = "", data: Data = DEFAULT_DATA, as_json: AsJson = False
) -> None:
    with Open(data, as_json) as here:
        _shorten(here, person, name, entry, "")


def _shorten(here: Open, person: str, name: str, entry: str, text: str) -> None:
    issue, item = issues.find(here.rt, name), here.item(entry)
    based_on = issue_pages.page(here.rt, issue).revision
    _changed(here, issue, assembly.shorten(here.rt, here.actor(person), issue, based_on, item, text))


@newsletter_app.command("editorial", help=help_("newsletter_editorial"))
def editorial(
    person: Person,
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help=help_("issue_text"))] = None,
    remove: Remove = False,
    name: Issue = "",
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    with Open(data, as_json) as here:
        chosen = _given(file, remove)
        issue = issues.find(here.rt, name)
        text = _text(here, chosen) if chosen is not None else ""
        based_on = issue_pages.page(here.rt, issue).revision
        _changed(here, issue, assembly.write_editorial(here.rt, here.actor(person), issue, based_on, text))


@newsletter_app.command("picture", help=help_("newsletter_picture"))
def picture(
    person: Person,
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help=help_("issue_picture"))] = None,
    entry: Annotated[str, typer.Option("--entry", metavar="ITEM", help=help_("issue_picture_entry"))] = "",
    remove: Remove = False,
    name: Issue = "",
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    with Open(data, as_json) as here:
        chosen = _given(file, remove)
        issue, item = issues.find(here.rt, name), here.item(entry) if entry else None
        shown = intake.read_attachment(chosen, here.rt.settings.limits.file_bytes) if chosen is not None else None
        based_on = issue_pages.page(here.rt, issue).revision
        _changed(here, issue, assembly.set_picture(here.rt, here.actor(person), issue, based_on, item, shown))


def _given(file: Path | None, remove: bool) -> Path | None:
    """The file; None: what is there is to be taken away."""
    if (file is None) is not remove:
        raise Refused("issue.file_or_remove")
    return file


def _text(here: Open, file: Path) -> str:
    body = intake.read_body(here.rt, file)
    if not body.text.strip():
        raise Refused("document.empty", file=file.name)
    return body.text


@newsletter_app.command("try", help=help_("newsletter_try"))
def try_it(
    person: Person,
    channel: Annotated[str, typer.Option("--channel", help=help_("newsletter_try_channel"))] = "",
    name: Issue = "",
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    with Open(data, as_json) as here:
        actor, line = here.actor(person), issues.line(here.rt, issues.find(here.rt, name))
        if not line.item:
            raise Refused("issue.not_built", issue=line.numbers)
        chosen = here.channel(channel) if channel else next(iter(trials.channels(here.rt, actor)), "")
        address = masked(trials.send(here.rt, actor, line.item, chosen))
        here.screen.json({"issue": line.id, "channel": chosen, "address": address})
        here.screen.line("issue_page.tried", address=address)


def _changed(here: Open, issue: int, revision: int) -> None:
    page = issue_pages.page(here.rt, issue)
    here.screen.json({"issue": issue, "item": page.line.item, "revision": revision})
    here.screen.line("draft.edited", item=page.line.item, revision=revision)
    if not here.screen.as_json:
        _columns(here.screen, page.columns, page.left_out)


# ── showing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _json(line: Line) -> dict[str, Any]:
    return {**asdict(line), "numbers": line.numbers}


def _plan(screen: Screen, rt: Runtime, lines: list[Line]) -> None:
    table = Table(header_style="bold")
    for name in ("newsletter.number", "newsletter.nominal", "newsletter.out_on", "newsletter.cut_off", "word.state"):
        table.add_column(screen.say(name), overflow="fold")
    for line in lines:
        state = screen.say(f"newsletter.{line.phase}")
        if line.into is not None:
            state = screen.say("newsletter.into", day=line.into)
        if line.reason:
            state += screen.say("newsletter.because", reason=line.reason)
        if line.late:
            state += screen.say("newsletter.late")
        out = f"{line.out_on} {_weekday(screen, line)}"
        if line.provisional:
            out += f"（{screen.say('word.provisional')}）"
        style = "dim" if line.phase is issues.Phase.LEFT_OUT else "yellow" if line.late else ""
        cut_off = local(rt, line.cut_off_at)
        table.add_row(line.numbers, str(line.nominal), out, cut_off, Text(state), style=style)
    screen.console.print(table)


def _weekday(screen: Screen, line: Line) -> str:
    weekday = line.out_on.weekday()
    return f"周{WEEKDAYS[weekday]}" if screen.language == "zh" else line.out_on.strftime("%a")


def _columns(screen: Screen, columns: tuple[ColumnLines, ...], left_out: tuple[issue_pages.EntryLine, ...]) -> None:
    for column in columns:
        screen.console.print(Text(column.name, "bold"))
        for place, one in enumerate(column.entries, 1):
            text = Text(f"  {place}. {one.heading}（{one.department}，{screen.say('word.item_id')} {one.item}）")
            if one.change is not None:
                text.append(f"  {screen.say(f'entry_change.{one.change}')}", "yellow")
            screen.console.print(text, soft_wrap=True)
    if left_out:
        screen.console.print(Text(screen.say("newsletter.not_in_it"), "bold"))
        for one in left_out:
            named = f"  {one.heading}（{screen.say('word.item_id')} {one.item}）"
            screen.console.print(Text(named, "dim"), soft_wrap=True)


def _status(screen: Screen, rt: Runtime, page: Page, parts: list[Progress], figures: list[Figures]) -> None:
    line = page.line
    screen.line("newsletter.title", title=line.numbers, phase=screen.say(f"newsletter.{line.phase}"))
    screen.line("newsletter.times", cut_off=local(rt, line.cut_off_at), send=local(rt, line.send_at))
    if line.phase is issues.Phase.OUTDATED:
        screen.line("retry.outdated")
    screen.findings(page.findings)
    if line.late:
        screen.line("newsletter.waits", issue=line.nominal)
    for one in parts:
        text = Text(f"  {rt.channels[one.channel].section.label}  {one.sent}/{one.total}")
        for state, count in one.counts.items():
            text.append(f"  {MARKS[state]} {screen.say(f'state.{state}')} {count}", STYLES[state])
        text.append(f"  {_remaining(screen, one)}")
        screen.console.print(text, soft_wrap=True)
    for each in figures:
        table = Table(title=rt.channels[each.channel].section.label, title_justify="left", header_style="bold")
        for name in ("domain", "total", "sent", "failed", "bounced", "in_doubt", "opted_out"):
            table.add_column(screen.say(f"newsletter.{name}"), justify="left" if name == "domain" else "right")
        for row in (*each.domains[:20], each.whole):
            domain = row.domain or (screen.say("newsletter.whole") if row is each.whole else "—")
            counts = (row.total, row.sent, row.failed, row.bounced, row.in_doubt, row.opted_out)
            table.add_row(domain, *(str(count) for count in counts))
        screen.console.print(table)


def _remaining(screen: Screen, one: Progress) -> str:
    """How long it still takes, as far as anybody can say."""
    if one.seconds is None:
        return screen.say("newsletter.remaining_unknown")
    if one.seconds == 0:
        return ""
    return screen.say(
        "newsletter.remaining", time=str(timedelta(seconds=round(one.seconds))), rate=round(one.per_minute)
    )


# ── forms ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _forms(rt: Runtime, line: Line, folder: Path) -> list[Path]:
    """Write what will be printed, mailed and read, of the issue as it is now; returns the files."""
    if not line.item:
        raise Refused("issue.not_built", issue=line.numbers)
    with rt.reading() as db:
        draft = read_draft(db, latest_revision(db, line.item))
    message = compose_unsubmitted(rt, line.item, draft)
    printed, mail = forms.pdf(message), forms.mail_parts(message)
    stem = printed.name.removesuffix(".pdf")
    files: Mapping[str, bytes] = {
        printed.name: printed.content,
        f"{stem}.html": forms.alone(mail.html, mail.pictures).encode(),
        f"{stem}.txt": mail.text.encode(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, content in files.items():
        path = folder / name
        path.write_bytes(content)
        written.append(path)
    return written
