"""Reviewing: submission, both reviews, withdrawal."""

import re
from dataclasses import asdict
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pipeline import desk, intake, reach, review, subscribers
from pipeline.states import Disclosure, Ground
from workers import show
from workers.commands.common import DEFAULT_DATA, MOMENT, AsJson, Data, ItemName, Open, Person, Reason, app, help_


@app.command(help=help_("submit"))
def submit(
    name: ItemName,
    person: Person,
    channels: Annotated[str | None, typer.Option("--channels", help=help_("channels_option"))] = None,
    at: Annotated[datetime | None, typer.Option("--at", formats=MOMENT, help=help_("at"))] = None,
    disclosure: Annotated[Disclosure, typer.Option("--class", help=help_("class"))] = Disclosure.PROACTIVE,
    ground: Annotated[Ground | None, typer.Option("--ground", help=help_("ground"))] = None,
    reason_for: Annotated[list[str] | None, typer.Option("--reason-for", help=help_("reason_for"))] = None,
    group: Annotated[list[str] | None, typer.Option("--group", help=help_("group"))] = None,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    with Open(data, as_json) as here:
        why = {code.strip(): reason for code, _, reason in (one.partition("=") for one in reason_for or ())}
        chosen = None
        if channels is not None:
            chosen = [here.channel(one.strip()) for one in re.split("[,，、]", channels) if one.strip()]
        done = review.submit(
            here.rt, here.actor(person), here.item(name), chosen, here.moment(at), disclosure, ground, why, group
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
                recipients = subscribers.count(here.rt, channel, done.groups)
                here.screen.line("review.recipients", channel=opened.section.label, count=recipients)


Mine = Annotated[str | None, typer.Option("--as", help=help_("mine"))]


@app.command("review", help=help_("review"))
def waiting(
    name: Annotated[str | None, typer.Argument(metavar="[ITEM]", help=help_("item"))] = None,
    mine: Mine = None,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    with Open(data, as_json) as here:
        if name is not None:
            show.submission(here.screen, here.rt, desk.submission(here.rt, here.item(name)))
            return
        if mine is not None:
            found = desk.desk(here.rt, here.actor(mine).person)
            here.screen.json(asdict(found))
            if not as_json:
                show.desk(here.screen, here.rt, found)
            return
        reviews, notices = desk.reviews_waiting(here.rt), desk.notices_waiting(here.rt)
        here.screen.json(
            {"reviews": [asdict(one) for one in reviews], "notices": [asdict(one) for one in notices]}
        )  # fmt: skip
        if not as_json:
            show.waiting(here.screen, here.rt, reviews, notices)


@app.command("drafts", help=help_("drafts"))
def drafts(mine: Mine = None, data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    with Open(data, as_json) as here:
        if mine is None:
            listed = desk.drafts(here.rt)
        else:
            listed = list(desk.desk(here.rt, here.actor(mine).person).drafts)
        here.screen.json([asdict(one) for one in listed])
        if not as_json:
            show.drafts(here.screen, here.rt, listed)


@app.command(help=help_("approve"))
def approve(
    name: ItemName,
    hash: Annotated[str, typer.Option("--hash", help=help_("hash"))],
    person: Person,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    with Open(data, as_json) as here:
        item = here.item(name)
        last = review.approve(here.rt, here.actor(person), item, hash)
        here.screen.json({"item": item, "approved": True, "published": last})
        public = bool(reach.matrix(here.rt, [item]))
        done = ("review.approved_last" if public else "review.approved_not_public") if last else "review.approved"
        here.screen.line(done, item=item)


@app.command("return", help=help_("return"))
def return_(name: ItemName, person: Person, reason: Reason, data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    with Open(data, as_json) as here:
        item = here.item(name)
        review.return_(here.rt, here.actor(person), item, reason)
        here.screen.json({"item": item, "returned": True})
        here.screen.line("review.returned", item=item)


class SignedAs(StrEnum):
    """What may be ticked on the review sheet (`review.SIGNED`)."""

    APPROVE = "approve"
    RETURN = "return"
    REFUSE = "refuse"


@app.command(help=help_("refuse"))
def refuse(
    name: ItemName,
    person: Person,
    ground: Annotated[Ground, typer.Option("--ground", help=help_("ground"))],
    reason: Reason,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    with Open(data, as_json) as here:
        item = here.item(name)
        review.refuse(here.rt, here.actor(person), item, ground, reason)
        here.screen.json({"item": item, "refused": True})
        here.screen.line("review.refused", item=item)


@app.command(help=help_("record"))
def record(
    name: ItemName,
    scan: Annotated[Path, typer.Argument(metavar="SCAN", help=help_("scan"))],
    signer: Annotated[str, typer.Option("--signed-by", help=help_("signed_by"))],
    hash: Annotated[str, typer.Option("--hash", help=help_("hash_on_sheet"))],
    person: Person,
    decision: Annotated[SignedAs, typer.Option("--decision", help=help_("signed_decision"))] = SignedAs.APPROVE,
    reason: Reason = "",
    ground: Annotated[Ground | None, typer.Option("--ground", help=help_("ground"))] = None,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    with Open(data, as_json) as here:
        item, signed = here.item(name), review.SIGNED[decision]
        paper = review.Paper(signer, hash.replace(" ", ""), intake.read_attachment(scan), signed, reason, ground)
        last = review.record_paper(here.rt, here.actor(person), item, paper)
        here.screen.json({"item": item, "recorded": decision.value, "published": last})
        given = {SignedAs.APPROVE: "review.recorded"}.get(decision, "review.recorded_back")
        here.screen.line("review.recorded_last" if last else given, item=item)


@app.command(help=help_("withdraw"))
def withdraw(
    name: ItemName,
    person: Person,
    reason: Reason = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help=help_("dry_run"))] = False,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    with Open(data, as_json) as here:
        item = here.item(name)
        effects = review.consequences(here.rt, item)
        told = [asdict(one) for one in effects]
        if dry_run:
            here.screen.json({"item": item, "withdrawn": False, "effects": told})
            here.screen.line("withdraw.would", item=item)
        else:
            concerned = review.withdraw(here.rt, here.actor(person), item, reason)
            here.screen.json({"item": item, "withdrawn": True, "channels": concerned, "effects": told})
            here.screen.line("review.withdrawn", item=item)
        for one in effects:
            opened = here.rt.channels.get(one.channel)
            if opened is not None:  # else fabu.toml names it no more
                here.screen.line(f"withdraw.{one.consequence}", channel=opened.section.label, item=item)
