"""The command `fabu`: everything the office does, before there is a console and beside it.

Every command takes `--json`; every decision takes `--as PERSON` and records the account it was made from.
"""

import getpass
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy.exc import ArgumentError, DBAPIError

from channels.contract import ChannelError
from config import settings as config
from config.locale import Language, language, say
from config.settings import ConfigError
from pipeline import catalogue, confirm, desk, intake, operate, reach, review, subscribers
from pipeline.decisions import Actor, Refused
from pipeline.drafts import Draft, latest_revision, read_draft
from pipeline.runtime import Runtime, open_runtime
from pipeline.states import Disclosure, Ground, State
from workers import show
from workers.show import Screen

_language = language()
_screen = Screen(_language)


def _help(name: str) -> str:
    return say(_language, f"help.{name}")


app = typer.Typer(
    name="fabu", help=_help("fabu"), no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False
)
channels_app = typer.Typer(help=_help("channels"), invoke_without_command=True)
subscribers_app = typer.Typer(help=_help("subscribers"), no_args_is_help=True)
app.add_typer(channels_app, name="channels")
app.add_typer(subscribers_app, name="subscribers")

Data = Annotated[Path, typer.Option("--data", envvar=config.DATA, help=_help("data"), show_default=True)]
AsJson = Annotated[bool, typer.Option("--json", help=_help("json"))]
Person = Annotated[str, typer.Option("--as", help=_help("as"))]
ItemName = Annotated[str, typer.Argument(metavar="ITEM", help=_help("item"))]
Reason = Annotated[str, typer.Option("--reason", help=_help("reason"))]
Title = Annotated[str | None, typer.Option("--title", help=_help("title"))]
ItemType = Annotated[str | None, typer.Option("--type", help=_help("type"))]
DepartmentId = Annotated[str | None, typer.Option("--department", help=_help("department"))]
Formed = Annotated[datetime | None, typer.Option("--formed", formats=["%Y-%m-%d"], help=_help("formed"))]
Summary = Annotated[str | None, typer.Option("--summary", help=_help("summary"))]
Number = Annotated[str | None, typer.Option("--number", help=_help("number"))]
Keywords = Annotated[list[str] | None, typer.Option("--keyword", help=_help("keyword"))]
Theme = Annotated[str | None, typer.Option("--theme", help=_help("theme"))]
Source = Annotated[str | None, typer.Option("--source", help=_help("source"))]
ShortTitle = Annotated[str | None, typer.Option("--short-title", help=_help("short_title"))]
SmsText = Annotated[str | None, typer.Option("--sms", help=_help("sms"))]
PeriodFrom = Annotated[datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help=_help("period_from"))]
PeriodTo = Annotated[datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help=_help("period_to"))]
Contact = Annotated[str | None, typer.Option("--contact", help=_help("contact"))]
Corrects = Annotated[str | None, typer.Option("--corrects", help=_help("corrects"))]
Attach = Annotated[list[Path] | None, typer.Option("--attach", help=_help("attach"))]
MOMENT = ["%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%d"]
DEFAULT_DATA = Path("var/fabu")
INTERRUPTED = 128 + signal.SIGINT


def _show_in(chosen: Language, as_json: bool) -> Screen:
    """Where this command speaks, and `main` for it when something goes wrong."""
    global _screen
    _screen = Screen(chosen, as_json)
    return _screen


class _Open:
    """One command's runtime."""

    def __init__(self, data: Path, as_json: bool) -> None:
        _show_in(language(), as_json)  # for what goes wrong before there are settings
        settings = config.load(data)
        self.screen = _show_in(language(settings.locale), as_json)
        self.rt: Runtime = open_runtime(settings)

    def __enter__(self) -> "_Open":
        return self

    def __exit__(self, *_: object) -> None:
        self.rt.engine.dispose()

    def actor(self, person: str) -> Actor:
        return Actor(self.rt.settings.person(person), getpass.getuser())

    def item(self, name: str) -> int:
        with self.rt.reading() as db:
            return catalogue.find_item(db, name)

    def moment(self, given: datetime | None) -> datetime | None:
        return given.replace(tzinfo=self.rt.settings.zone) if given else None


def _day(given: datetime | None) -> date | None:
    return given.date() if given else None


def _period(begin: datetime | None, end: datetime | None) -> tuple[date, date] | None:
    if (begin is None) != (end is None):
        raise Refused("draft.period_half")
    return (begin.date(), end.date()) if begin and end else None


@app.command(help=_help("up"))
def up(data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    from workers import embedded
    from workers.supervise import SuperviseError

    _show_in(language(), as_json)
    settings = embedded.prepare(data)
    screen = _show_in(language(settings.locale), as_json)
    screen.line("up.starting", data=data)
    with embedded.running(settings) as supervisor:
        addresses = config.local_addresses(settings.data)
        feed = f"{settings.public_url}/feed.json"
        sandbox = addresses["sandbox"] if embedded.rehearses(settings) else None
        screen.json({"data": str(settings.data), "portal": settings.public_url, "feed": feed, "sandbox": sandbox})
        screen.line("up.running", portal=settings.public_url, feed=feed)
        if sandbox is not None:
            screen.line("up.sandbox", sandbox=sandbox)
        screen.line("up.stop")
        if supervisor.wait() is None:
            raise SuperviseError("supervise.ended", log=str(settings.data / "logs" / "supervisord.log"))
        screen.line("up.stopping")


@app.command(help=_help("migrate"))
def migrate(data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    from pipeline.migrate import upgrade

    with _Open(data, as_json) as here:
        upgrade(here.rt.engine)
        here.screen.json({"migrated": True})
        here.screen.line("migrate.done")


@app.command(help=_help("demo"))
def demo(data: Data = Path("var/demo"), as_json: AsJson = False) -> None:
    from workers.demo import run

    raise typer.Exit(run(data, _show_in(language(), as_json)))


@app.command(help=_help("new"))
def new(
    file: Annotated[Path, typer.Argument(help=_help("file"))],
    person: Person,
    title: Title = None,
    item_type: ItemType = None,
    department: DepartmentId = None,
    formed: Formed = None,
    summary: Summary = None,
    number: Number = None,
    keyword: Keywords = None,
    theme: Theme = None,
    source: Source = None,
    short_title: ShortTitle = None,
    sms: SmsText = None,
    period_from: PeriodFrom = None,
    period_to: PeriodTo = None,
    contact: Contact = None,
    corrects: Corrects = None,
    attach: Attach = None,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    with _Open(data, as_json) as here:
        actor = here.actor(person)
        if title is None and not as_json and sys.stdin.isatty():
            title = typer.prompt(here.screen.say("draft.ask_title"))
        blank = Draft(
            title=title or "",
            text=intake.read_text(file),
            item_type=item_type or here.rt.settings.item_types[0],
            department=actor.person.department,
            formed_on=here.rt.now().astimezone(here.rt.settings.zone).date(),
        )
        draft = _changed(
            blank, department=department, formed_on=_day(formed), summary=summary, document_number=number,
            keywords=tuple(keyword) if keyword else None, theme=theme, source=source, short_title=short_title,
            sms_text=sms, period=_period(period_from, period_to), objection_contact=contact,
            corrects=_index_number(here, corrects), files=_files(attach),
        )  # fmt: skip
        item = review.create(here.rt, actor, draft)
        here.screen.json({"item": item, "revision": 1})
        here.screen.line("draft.created", item=item, title=draft.title)


def _revise(decide: Callable[..., int], done: str) -> Callable[..., None]:
    """`edit` and `correct` take the same: what is not given stays as it was."""

    def command(
        name: ItemName,
        person: Person,
        file: Annotated[Path | None, typer.Argument(help=_help("file"))] = None,
        title: Title = None,
        item_type: ItemType = None,
        department: DepartmentId = None,
        formed: Formed = None,
        summary: Summary = None,
        number: Number = None,
        keyword: Keywords = None,
        theme: Theme = None,
        source: Source = None,
        short_title: ShortTitle = None,
        sms: SmsText = None,
        period_from: PeriodFrom = None,
        period_to: PeriodTo = None,
        contact: Contact = None,
        attach: Attach = None,
        data: Data = DEFAULT_DATA,
        as_json: AsJson = False,
    ) -> None:
        with _Open(data, as_json) as here:
            item = here.item(name)
            with here.rt.reading() as db:
                before = read_draft(db, latest_revision(db, item))
            draft = _changed(
                before, text=intake.read_text(file) if file else None, title=title, item_type=item_type,
                department=department, formed_on=_day(formed), summary=summary, document_number=number,
                keywords=tuple(keyword) if keyword else None, theme=theme, source=source, short_title=short_title,
                sms_text=sms, period=_period(period_from, period_to), objection_contact=contact, files=_files(attach),
            )  # fmt: skip
            revision = decide(here.rt, here.actor(person), item, draft)
            here.screen.json({"item": item, "revision": revision})
            here.screen.line(done, item=item, revision=revision)

    return command


app.command("edit", help=_help("edit"))(_revise(review.edit, "draft.edited"))
app.command("correct", help=_help("correct"))(_revise(review.correct, "draft.corrected"))


def _changed(draft: Draft, **given: Any) -> Draft:
    return replace(draft, **{name: value for name, value in given.items() if value is not None})


def _files(paths: list[Path] | None) -> tuple[Any, ...] | None:
    return tuple(intake.read_attachment(path) for path in paths) if paths else None


def _index_number(here: _Open, name: str | None) -> str | None:
    """The index number of the item that a correction notice corrects."""
    if name is None:
        return None
    cells = reach.matrix(here.rt, [here.item(name)])
    return next((cell.index_number for cell in cells if cell.index_number), name)


@app.command(help=_help("submit"))
def submit(
    name: ItemName,
    person: Person,
    channels: Annotated[str | None, typer.Option("--channels", help=_help("channels_option"))] = None,
    at: Annotated[datetime | None, typer.Option("--at", formats=MOMENT, help=_help("at"))] = None,
    disclosure: Annotated[Disclosure, typer.Option("--class", help=_help("class"))] = Disclosure.PROACTIVE,
    ground: Annotated[Ground | None, typer.Option("--ground", help=_help("ground"))] = None,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    with _Open(data, as_json) as here:
        chosen = [one.strip() for one in channels.split(",") if one.strip()] if channels is not None else None
        done = review.submit(
            here.rt, here.actor(person), here.item(name), chosen, here.moment(at), disclosure, ground
        )  # fmt: skip
        here.screen.json(asdict(done))
        here.screen.line("review.submitted", index_number=done.index_number, item=done.item_id, hash=done.hash)
        if not as_json:
            here.screen.findings(done.warnings)
        sent = {cell.channel: cell.sent for cell in reach.matrix(here.rt, [done.item_id])}
        for channel in chosen or ():
            opened = here.rt.channels[channel]
            if opened.adapter.addressed and sent.get(channel):
                here.screen.line(
                    "review.recipients_told", channel=opened.section.label, count=sent[channel], item=done.item_id
                )  # fmt: skip
            elif opened.adapter.addressed:
                recipients = subscribers.count(here.rt, channel)
                here.screen.line("review.recipients", channel=opened.section.label, count=recipients)


@app.command("review", help=_help("review"))
def waiting(
    name: Annotated[str | None, typer.Argument(metavar="[ITEM]", help=_help("item"))] = None,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    with _Open(data, as_json) as here:
        if name is not None:
            show.submission(here.screen, here.rt, desk.submission(here.rt, here.item(name)))
            return
        reviews, notices = desk.reviews_waiting(here.rt), desk.notices_waiting(here.rt)
        here.screen.json(
            {"reviews": [asdict(one) for one in reviews], "notices": [asdict(one) for one in notices]}
        )  # fmt: skip
        if not as_json:
            show.waiting(here.screen, here.rt, reviews, notices)


@app.command(help=_help("approve"))
def approve(
    name: ItemName,
    hash: Annotated[str, typer.Option("--hash", help=_help("hash"))],
    person: Person,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    with _Open(data, as_json) as here:
        item = here.item(name)
        last = review.approve(here.rt, here.actor(person), item, hash)
        here.screen.json({"item": item, "approved": True, "published": last})
        public = bool(reach.matrix(here.rt, [item]))
        done = ("review.approved_last" if public else "review.approved_not_public") if last else "review.approved"
        here.screen.line(done, item=item)


@app.command("return", help=_help("return"))
def return_(name: ItemName, person: Person, reason: Reason, data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    with _Open(data, as_json) as here:
        item = here.item(name)
        review.return_(here.rt, here.actor(person), item, reason)
        here.screen.json({"item": item, "returned": True})
        here.screen.line("review.returned", item=item)


@app.command(help=_help("refuse"))
def refuse(
    name: ItemName,
    person: Person,
    ground: Annotated[Ground, typer.Option("--ground", help=_help("ground"))],
    reason: Reason,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    with _Open(data, as_json) as here:
        item = here.item(name)
        review.refuse(here.rt, here.actor(person), item, ground, reason)
        here.screen.json({"item": item, "refused": True})
        here.screen.line("review.refused", item=item)


@app.command(help=_help("withdraw"))
def withdraw(
    name: ItemName, person: Person, reason: Reason, data: Data = DEFAULT_DATA, as_json: AsJson = False
) -> None:
    with _Open(data, as_json) as here:
        item = here.item(name)
        concerned = review.withdraw(here.rt, here.actor(person), item, reason)
        here.screen.json({"item": item, "withdrawn": True, "channels": concerned})
        here.screen.line("review.withdrawn", item=item)
        skipped = {cell.channel for cell in reach.matrix(here.rt, [item]) if cell.state is State.SKIPPED}
        for channel in concerned:
            opened = here.rt.channels.get(channel)
            if opened is None:  # fabu.toml names it no more
                continue
            kind = "recall" if opened.traits.recall else "no_recall"
            how = "person" if opened.traits.evidence.value == "person" else kind
            how = "unsent" if channel in skipped else how
            here.screen.line(f"withdraw.{how}", channel=opened.section.label, item=item)


@app.command("reach", help=_help("reach"))
def reach_(
    name: Annotated[str | None, typer.Argument(metavar="[ITEM]", help=_help("item"))] = None,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    from workers.supervise import is_running

    with _Open(data, as_json) as here:
        if name is not None:
            found = reach.item_reach(here.rt, here.item(name))
            here.screen.json(show.item_json(found))
            if not as_json:
                show.item(here.screen, here.rt, found)
        else:
            cells = reach.matrix(here.rt)
            here.screen.json([show.cell_json(cell) for cell in cells])
            if not as_json:
                show.matrix(here.screen, here.rt, cells)
        if not is_running(data) and (data / "ports.json").exists():
            here.screen.line("reach.not_running", command=show.command("up", data))


@app.command(help=_help("retry"))
def retry(
    name: ItemName,
    person: Person,
    channel: Annotated[str | None, typer.Option("--channel", help=_help("channel"))] = None,
    hurry: Annotated[bool, typer.Option("--hurry", help=_help("hurry"))] = False,
    reason: Reason = "",
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    with _Open(data, as_json) as here:
        item = here.item(name)
        rows = operate.retry(here.rt, here.actor(person), item, channel, hurry, reason)
        here.screen.json({"item": item, "due": rows})
        here.screen.line("retry.done", item=item, rows=rows)


@app.command(help=_help("settle"))
def settle(
    name: ItemName,
    person: Person,
    channel: Annotated[str, typer.Option("--channel", help=_help("channel"))],
    sent: Annotated[bool, typer.Option("--sent/--not-sent", help=_help("sent"))],
    reason: Reason,
    recipient: Annotated[str | None, typer.Option("--recipient", help=_help("recipient"))] = None,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    with _Open(data, as_json) as here:
        item = here.item(name)
        rows = operate.settle(here.rt, here.actor(person), item, channel, sent, reason, recipient)
        here.screen.json({"item": item, "settled": rows})
        here.screen.line("settle.done", item=item, rows=rows)


@app.command(help=_help("verify"))
def verify(
    name: Annotated[str | None, typer.Argument(metavar="[ITEM]", help=_help("item"))] = None,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    with _Open(data, as_json) as here:
        items = [here.item(name)] if name is not None else None
        confirm.verify(here.rt, items[0] if items else None)
        cells = reach.matrix(here.rt, items)
        here.screen.json([show.cell_json(cell) for cell in cells])
        if not as_json:
            show.matrix(here.screen, here.rt, cells)
        unseen = [cell for cell in cells if cell.unseen]
        for channel in dict.fromkeys(cell.channel for cell in unseen):
            count = sum(cell.channel == channel for cell in unseen)
            here.screen.line("verify.unseen", channel=here.rt.channels[channel].section.label, count=count)
        if unseen:
            raise typer.Exit(1)
        here.screen.line("verify.seen")


@app.command(help=_help("post"))
def post(
    name: ItemName,
    person: Person,
    place: Annotated[str, typer.Option("--place", help=_help("place"))],
    at: Annotated[datetime | None, typer.Option("--at", formats=MOMENT, help=_help("posted_at"))] = None,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    with _Open(data, as_json) as here:
        item = here.item(name)
        posting = operate.post(here.rt, here.actor(person), item, place, here.moment(at))
        here.screen.json({"item": item, "posting": posting})
        here.screen.line("post.done", item=item, place=place)


@app.command(help=_help("unpost"))
def unpost(
    name: ItemName,
    person: Person,
    at: Annotated[datetime | None, typer.Option("--at", formats=MOMENT, help=_help("posted_at"))] = None,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    with _Open(data, as_json) as here:
        item = here.item(name)
        closed = operate.unpost(here.rt, here.actor(person), item, here.moment(at))
        here.screen.json({"item": item, "removed": closed})
        here.screen.line("unpost.done", item=item)


@channels_app.callback()
def channels(context: typer.Context, data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    if context.invoked_subcommand is not None:
        return
    with _Open(data, as_json) as here:
        listed = desk.channels(here.rt)
        here.screen.json([asdict(one) for one in listed])
        if not as_json:
            show.channels(here.screen, here.rt, listed)


ChannelName = Annotated[str, typer.Argument(metavar="CHANNEL", help=_help("channel"))]


@channels_app.command("test", help=_help("channels_test"))
def channels_test(name: ChannelName, data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    with _Open(data, as_json) as here:
        opened = here.rt.channels.get(name)
        if opened is None:
            raise Refused("review.unknown_channel", given=name, known=", ".join(here.rt.channels))
        answer = opened.adapter.check()
        here.screen.json({"channel": name, "ok": True, "answer": answer})
        here.screen.line("channels.ok", channel=opened.section.label)


@channels_app.command("pause", help=_help("channels_pause"))
def channels_pause(
    name: ChannelName, person: Person, reason: Reason, data: Data = DEFAULT_DATA, as_json: AsJson = False
) -> None:
    with _Open(data, as_json) as here:
        operate.pause(here.rt, here.actor(person), name, reason)
        here.screen.json({"channel": name, "paused": True})
        here.screen.line("channels.paused", channel=here.rt.channels[name].section.label)


@channels_app.command("resume", help=_help("channels_resume"))
def channels_resume(name: ChannelName, person: Person, data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    with _Open(data, as_json) as here:
        operate.resume(here.rt, here.actor(person), name)
        here.screen.json({"channel": name, "paused": False})
        here.screen.line("channels.resumed", channel=here.rt.channels[name].section.label)


@subscribers_app.command("import", help=_help("subscribers_import"))
def subscribers_import(
    file: Annotated[Path, typer.Argument(help=_help("subscribers_file"))],
    person: Person,
    channel: Annotated[str, typer.Option("--channel", help=_help("channel"))] = "sms",
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    with _Open(data, as_json) as here:
        done = subscribers.import_csv(here.rt, here.actor(person), channel, intake.read_text(file))
        here.screen.json(asdict(done))
        here.screen.line("subscribers.imported", new=done.new, known=done.known, bad=len(done.bad))
        for line, code in done.bad:
            here.screen.line("subscribers.bad_line", line=line, why=here.screen.say(code))


def main() -> None:
    """The entry point: whatever goes wrong is said in words, and the exit code is not 0."""
    from workers.supervise import SuperviseError

    try:
        app()
    except Refused as error:
        _screen.error(error.code, error.facts, error.findings)
        sys.exit(1)
    except (ConfigError, ChannelError, SuperviseError) as error:
        _screen.error(error.code, error.facts)
        sys.exit(1)
    except ArgumentError as error:
        _screen.error("config.bad_database", {"detail": str(error)})
        sys.exit(1)
    except DBAPIError as error:
        _screen.error("database.error", {"detail": str(error.orig).partition("\n")[0]})
        sys.exit(1)
    except SystemExit as end:
        if end.code == INTERRUPTED:  # what Typer makes of Ctrl-C, without a word
            with suppress(OSError):
                _screen.line("up.interrupted")
        raise
