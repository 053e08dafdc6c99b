"""Submission: class, channels, time, and the short texts of channels that have one; with what will go out beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from fastapi import APIRouter, Response
from fastapi.responses import HTMLResponse
from starlette.datastructures import FormData

from channels.contract import Finding
from pipeline import audience, checks, drafts, items, previews, reasons, review, staff, working_copy
from pipeline.checks import Found
from pipeline.decisions import Decision, Refused
from pipeline.previews import Preview
from pipeline.proposals import Proposal, propose
from pipeline.states import Disclosure, Ground
from web.console.page import Console, Posted, Signed
from web.console.writing import Typed, looked_at

routes = APIRouter()


@routes.get("/items/{item:int}/submit")
def submit_page(console: Signed, item: int) -> Response:
    return _page(console, item, _proposed(console, item))


def _proposed(console: Console, item: int) -> Proposal:
    items.require_visible(console.rt, console.person, item)
    if not console.may(Decision.SUBMIT, items.line(console.rt, item).department):
        raise Refused("writing.readers_only")
    return propose(console.rt, item)


@dataclass(frozen=True)
class Question:
    """A finding as the page shows it, and the reason that is there for it so far."""

    finding: Finding
    reason: str = ""

    @property
    def found(self) -> Found | None:
        return self.finding if isinstance(self.finding, Found) else None


def _page(
    console: Console, item: int, proposal: Proposal, wrong: Refused | None = None, at: str | None = None,
    why: Mapping[str, str] | None = None,
) -> Response:  # fmt: skip
    line = items.line(console.rt, item)
    open_ = set(list(console.rt.channels)[:1])
    shown = _shown(console, item, proposal, open_)
    findings: Sequence[Finding] = _found(console, proposal)
    if wrong and wrong.code == "review.blocked":
        findings = wrong.findings
    before = {key: answer.reason for key, answer in reasons.given(console.rt, item).items()} | dict(why or {})
    time = proposal.publish_at.astimezone(console.rt.settings.zone) if proposal.publish_at else None
    return console.page(
        "submitting-submit.html", 409 if wrong else 200,
        line=line, proposal=proposal, draft=proposal.draft, previews=shown, open=open_,
        told={one.channel: one for one in shown if one.recipients is not None},
        channels=list(console.rt.channels.values()), classes=list(Disclosure), grounds=list(Ground),
        groups=audience.groups(console.rt.settings),
        labels={name: opened.section.label for name, opened in console.rt.channels.items()},
        at=at if at is not None else time.strftime("%Y-%m-%dT%H:%M") if time else "",
        now=console.rt.now().astimezone(console.rt.settings.zone).strftime("%Y-%m-%dT%H:%M"),
        questions=[Question(one, before.get(getattr(one, "key", ""), "")) for one in findings],
        names=staff.names(console.rt), unsaved=_unsaved(console, item),
        wrong=console.problem(wrong.code, wrong.facts) if wrong else "",
    )  # fmt: skip


def _unsaved(console: Console, item: int) -> bool:
    """Has the person typed something that is in no revision? It would not be submitted."""
    return working_copy.read(console.rt, console.person.id, item) is not None


def _shown(console: Console, item: int, proposal: Proposal, open_: set[str]) -> list[Preview]:
    """How every channel would show it now; the views of those that are open on the page."""
    message = drafts.compose_unsubmitted(console.rt, item, proposal.draft)
    return previews.of_message(console.rt, message, console.rt.channels, open_, proposal.groups)


def _found(console: Console, proposal: Proposal) -> list[Found]:
    return checks.report(console.rt, proposal.draft, proposal.disclosure is Disclosure.PROACTIVE)


@routes.post("/items/{item:int}/submit")
def submit(console: Posted, item: int, data: Typed) -> Response:
    proposal = _proposed(console, item)
    typed = str(data.get("at", "")) if data.get("when") == "at" else ""
    why = {name[4:]: str(value) for name, value in data.multi_items() if name.startswith("why:")}
    chosen = _chosen(console, proposal, data)
    try:
        if str(data.get("revision", "")) != str(proposal.revision):
            raise Refused("review.edited_meanwhile")
        if data.get("when") == "at":
            chosen = replace(chosen, publish_at=console.moment(typed))
        act, _, key = str(data.get("act", "")).partition(":")
        if act == "mend":
            chosen = _revised(console, item, proposal, _mended(chosen, _found(console, chosen), key))
            return _page(console, item, chosen, None, typed, why)
        chosen = _revised(console, item, proposal, chosen)
        channels = chosen.channels if chosen.disclosure is Disclosure.PROACTIVE else frozenset[str]()
        ground = chosen.ground if chosen.disclosure is Disclosure.NOT_PUBLIC else None
        done = review.submit(
            console.rt, console.actor, item, channels, chosen.publish_at, chosen.disclosure, ground, why,
            chosen.groups,
        )  # fmt: skip
    except Refused as error:
        return _page(console, item, chosen, error, typed, why)
    return console.done(f"/items/{item}", "submitting.done", item=item, index_number=done.index_number)


def _revised(console: Console, item: int, proposal: Proposal, chosen: Proposal) -> Proposal:
    """What was chosen, with a new revision where it says something else than the one that was proposed."""
    if chosen.draft == proposal.draft:
        return chosen
    decide = review.correct if proposal.fixed else review.edit
    return replace(chosen, revision=decide(console.rt, console.actor, item, chosen.draft, proposal.revision))


def _mended(chosen: Proposal, found: Sequence[Found], key: str) -> Proposal:
    """With the finding of this key masked or put right, as the checks propose."""
    try:
        return replace(chosen, draft=checks.mended(chosen.draft, [one for one in found if one.key == key]))
    except ValueError as error:
        raise Refused("review.edited_meanwhile") from error


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
        groups=tuple(one.id for one in audience.groups(console.rt.settings) if one.id in data.getlist("groups")),
    )


@routes.post("/items/{item:int}/submit/preview")
def preview(console: Posted, item: int, data: Typed) -> Response:
    """For the page's module: what goes out with the short texts as they are typed."""
    open_ = looked_at(console, data)
    shown = _shown(console, item, _chosen(console, _proposed(console, item), data), open_)
    return HTMLResponse(
        console.fragment(
            "writing-previews.html",
            previews=shown,
            open=open_,
            findings=(),
            waiting=[],
            wrong="",
            frames=f"/items/{item}/frame/",
        )
    )
