"""Channels, and who is told on them."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pipeline import audience, desk, intake, operate, replies, subscribers
from pipeline.decisions import Refused
from workers import show
from workers.commands.common import DEFAULT_DATA, AsJson, Data, Open, Person, Reason, app, help_

channels_app = typer.Typer(help=help_("channels"), invoke_without_command=True)
subscribers_app = typer.Typer(help=help_("subscribers"), no_args_is_help=True)
app.add_typer(channels_app, name="channels")
app.add_typer(subscribers_app, name="subscribers")


@channels_app.callback()
def channels(context: typer.Context, data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    if context.invoked_subcommand is not None:
        return
    with Open(data, as_json) as here:
        listed = desk.channels(here.rt)
        here.screen.json([asdict(one) for one in listed])
        if not as_json:
            show.channels(here.screen, here.rt, listed)


ChannelName = Annotated[str, typer.Argument(metavar="CHANNEL", help=help_("channel"))]


@channels_app.command("test", help=help_("channels_test"))
def channels_test(name: ChannelName, data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    with Open(data, as_json) as here:
        opened = here.rt.channels.get(name)
        if opened is None:
            raise Refused("review.unknown_channel", given=name, known=", ".join(here.rt.channels))
        answer = opened.adapter.check()
        here.screen.json({"channel": name, "ok": True, "answer": answer})
        here.screen.line("channels.ok", channel=opened.section.label)


@channels_app.command("pause", help=help_("channels_pause"))
def channels_pause(
    name: ChannelName, person: Person, reason: Reason, data: Data = DEFAULT_DATA, as_json: AsJson = False
) -> None:
    with Open(data, as_json) as here:
        operate.pause(here.rt, here.actor(person), name, reason)
        here.screen.json({"channel": name, "paused": True})
        here.screen.line("channels.paused", channel=here.rt.channels[name].section.label)


@channels_app.command("resume", help=help_("channels_resume"))
def channels_resume(name: ChannelName, person: Person, data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    with Open(data, as_json) as here:
        operate.resume(here.rt, here.actor(person), name)
        here.screen.json({"channel": name, "paused": False})
        here.screen.line("channels.resumed", channel=here.rt.channels[name].section.label)


AddressedChannel = Annotated[str, typer.Option("--channel", help=help_("channel"))]
Address = Annotated[str, typer.Argument(metavar="NUMBER", help=help_("address"))]


@subscribers_app.command("import", help=help_("subscribers_import"))
def subscribers_import(
    file: Annotated[Path, typer.Argument(help=help_("subscribers_file"))],
    person: Person,
    channel: AddressedChannel = "sms",
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    with Open(data, as_json) as here:
        done = subscribers.import_csv(here.rt, here.actor(person), here.channel(channel), intake.read_text(file))
        here.screen.json(asdict(done))
        here.screen.line("subscribers.imported", new=done.new, known=done.known, bad=len(done.bad))
        for line, code in done.bad:
            here.screen.line("subscribers.bad_line", line=line, why=here.screen.say(code))


@subscribers_app.command("list", help=help_("subscribers_list"))
def subscribers_list(
    person: Person,
    channel: AddressedChannel = "sms",
    group: Annotated[str | None, typer.Option("--group", help=help_("subscribers_group"))] = None,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    with Open(data, as_json) as here:
        name = here.channel(channel)
        found = subscribers.listed(here.rt, here.actor(person), name, whole=as_json)
        if group:
            told = audience.chosen(here.rt.settings, [group])
            found = [one for one in found if not one.groups or set(told) & set(one.groups)]
        here.screen.json([asdict(one) for one in found])
        if not as_json:
            show.subscribers(here.screen, here.rt, name, found)


@subscribers_app.command("remove", help=help_("subscribers_remove"))
def subscribers_remove(
    address: Address, person: Person, channel: AddressedChannel = "sms", data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    with Open(data, as_json) as here:
        name = here.channel(channel)
        gone = subscribers.remove(here.rt, here.actor(person), name, address)
        here.screen.json({"channel": name, "removed": True})
        label = here.rt.channels[name].section.label
        here.screen.line("subscribers.removed", channel=label, address=gone)


@subscribers_app.command("suppress", help=help_("subscribers_suppress"))
def subscribers_suppress(
    address: Address, person: Person, reason: Reason, channel: AddressedChannel = "sms", data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    with Open(data, as_json) as here:
        name = here.channel(channel)
        barred = subscribers.suppress(here.rt, here.actor(person), name, address, reason)
        here.screen.json({"channel": name, "suppressed": True})
        label = here.rt.channels[name].section.label
        here.screen.line("subscribers.suppressed", channel=label, address=barred)


@subscribers_app.command("replies", help=help_("subscribers_replies"))
def subscribers_replies(
    person: Person, channel: AddressedChannel = "sms", data: Data = DEFAULT_DATA, as_json: AsJson = False
) -> None:
    with Open(data, as_json) as here:
        address = f"{subscribers.reply_address(here.rt, here.actor(person), here.channel(channel))}?from=%p&text=%b"
        here.screen.json({"channel": here.channel(channel), "address": address})
        here.screen.line("subscribers.replies", address=address)


@subscribers_app.command("received", help=help_("subscribers_received"))
def subscribers_received(
    person: Person, channel: AddressedChannel = "sms", data: Data = DEFAULT_DATA, as_json: AsJson = False
) -> None:
    with Open(data, as_json) as here:
        name = here.channel(channel)
        found, total = replies.received(here.rt, here.actor(person), name)
        here.screen.json([asdict(one) for one in found])
        if not as_json:
            show.replies(here.screen, here.rt, name, found, total)
