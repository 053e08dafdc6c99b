"""Submission: class, channels, time, and the short texts of channels that have one; with what will go out beside it."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from fastapi import APIRouter, Response
from fastapi.responses import HTMLResponse
from starlette.datastructures import FormData

from channels.contract import Finding
from pipeline import checks, drafts, items, previews, review, staff, working_copy
from pipeline.decisions import Decision, Refused
from pipeline.previews import Preview
from pipeline.proposals import Proposal, propose
from pipeline.states import Disclosure, Ground
from web.console.page import Console, Posted, Signed
from web.console.writing import Typed

routes = APIRouter()


@routes.get("/items/{item:int}/submit")
def submit_page(console: Signed, item: int) -> Response:
    return _page(console, item, _proposed(console, item))


def _proposed(console: Console, item: int) -> Proposal:
    items.require_visible(console.rt, console.person, item)
    if not console.may(Decision.SUBMIT, items.line(console.rt, item).department):
        raise Refused("writing.readers_only")
    return propose(console.rt, item)


def _page(
    console: Console, item: int, proposal: Proposal, wrong: Refused | None = None, at: str | None = None
) -> Response:
    line = items.line(console.rt, item)
    shown, found = _shown(console, item, proposal)
    time = proposal.publish_at.astimezone(console.rt.settings.zone) if proposal.publish_at else None
    return console.page(
        "submitting-submit.html", 409 if wrong else 200,
        line=line, proposal=proposal, draft=proposal.draft, previews=shown,
        told={one.channel: one for one in shown if one.recipients is not None},
        channels=list(console.rt.channels.values()), classes=list(Disclosure), grounds=list(Ground),
        labels={name: opened.section.label for name, opened in console.rt.channels.items()},
        at=at if at is not None else time.strftime("%Y-%m-%dT%H:%M") if time else "",
        now=console.rt.now().astimezone(console.rt.settings.zone).strftime("%Y-%m-%dT%H:%M"),
        findings=wrong.findings if wrong and wrong.findings else found, names=staff.names(console.rt),
        wrong=console.problem(wrong.code, wrong.facts) if wrong else "", unsaved=_unsaved(console, item),
    )  # fmt: skip


def _unsaved(console: Console, item: int) -> bool:
    """Has the person typed something that is in no revision? It would not be submitted."""
    return working_copy.read(console.rt, console.person.id, item) is not None


def _shown(console: Console, item: int, proposal: Proposal) -> tuple[list[Preview], Sequence[Finding]]:
    """How every channel would show it now, and what the checks find."""
    message = drafts.compose_unsubmitted(console.rt, item, proposal.draft)
    return previews.of_message(console.rt, message, console.rt.channels), checks.find(message)


@routes.post("/items/{item:int}/submit")
def submit(console: Posted, item: int, data: Typed) -> Response:
    proposal = _proposed(console, item)
    seen = str(data.get("revision", ""))
    typed = str(data.get("at", "")) if data.get("when") == "at" else ""
    chosen = _chosen(console, proposal, data)
    try:
        if seen != str(proposal.revision):
            raise Refused("review.edited_meanwhile")
        if data.get("when") == "at":
            chosen = replace(chosen, publish_at=_moment(console, typed))
        if chosen.draft != proposal.draft:
            decide = review.correct if proposal.fixed else review.edit
            number = decide(console.rt, console.actor, item, chosen.draft, proposal.revision)
            chosen = replace(chosen, revision=number)
        channels = chosen.channels if chosen.disclosure is Disclosure.PROACTIVE else frozenset[str]()
        ground = chosen.ground if chosen.disclosure is Disclosure.NOT_PUBLIC else None
        done = review.submit(
            console.rt, console.actor, item, channels, chosen.publish_at, chosen.disclosure, ground
        )  # fmt: skip
    except Refused as error:
        return _page(console, item, chosen, error, typed)
    return console.done(f"/items/{item}", "submitting.done", item=item, index_number=done.index_number)


def _chosen(console: Console, proposal: Proposal, data: FormData) -> Proposal:
    """The proposal as the person changed it; the time is read apart."""
    disclosure, ground = str(data.get("class", "")), str(data.get("ground", ""))
    short_title, sms_text = (" ".join(str(data.get(name, "")).split()) for name in ("short_title", "sms_text"))
    return replace(
        proposal,
        draft=replace(proposal.draft, short_title=short_title, sms_text=sms_text),
        channels=frozenset(str(one) for one in data.getlist("channels")) | proposal.fixed,
        publish_at=None,
        disclosure=Disclosure(disclosure) if disclosure in set(Disclosure) else proposal.disclosure,
        ground=Ground(ground) if ground in set(Ground) else None,
    )


def _moment(console: Console, typed: str) -> datetime:
    """A time from the form, in the office's zone. Raises Refused."""
    try:
        return datetime.fromisoformat(typed).replace(tzinfo=console.rt.settings.zone)
    except ValueError as error:
        raise Refused("console.bad_time", given=typed[:30]) from error


@routes.post("/items/{item:int}/submit/preview")
def preview(console: Posted, item: int, data: Typed) -> Response:
    """For the page's module: what goes out with the short texts as they are typed."""
    proposal = _chosen(console, _proposed(console, item), data)
    shown, found = _shown(console, item, proposal)
    return HTMLResponse(console.fragment("writing-previews.html", previews=shown, findings=found, wrong=""))
