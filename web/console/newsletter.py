"""The newsletter (通讯): its calendar, and one issue as its editor works at it, submits it, and watches it go out."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any

from fastapi import APIRouter, Form, HTTPException, Query, Response, UploadFile
from fastapi.responses import HTMLResponse, JSONResponse

from channels import newsletter as forms
from channels.contract import ChannelError, Message, Rendition, Unrenderable
from channels.typst import pictures
from pipeline import assembly, checks, issue_pages, issues, items, operate, previews, reasons, trials
from pipeline.decisions import Decision, Refused, permit
from pipeline.drafts import Draft, compose_unsubmitted
from pipeline.issues import Line, Phase
from pipeline.words import masked
from web.console.page import FRAMED, Console, Posted, Signed, upload
from web.console.submitting import Question
from web.console.writing import Typed

routes = APIRouter()
NEXT = 24  # issues ahead, a year of them
MERGE_INTO = 6  # issues that one may be merged into
PRINT, MAIL = "print", "mail"  # forms of an issue that are there whatever its channels are
BADGES: Mapping[Phase, str] = {
    Phase.HELD: "bad", Phase.OUTDATED: "bad", Phase.DRAFT: "warn", Phase.REVIEWING: "warn", Phase.APPROVED: "good",
    Phase.SENT: "good",
}  # fmt: skip
SUBMITTABLE = (Phase.DRAFT, Phase.WITHDRAWN)
IN_FORCE = (Phase.APPROVED, Phase.HELD, Phase.OUTDATED, Phase.SENDING, Phase.SENT)
One = Annotated[str, Form()]
Number = Annotated[int, Form(ge=0, le=2**53)]


# ── the calendar ─────────────────────────────────────────────────────────────────────────────────────────────────────


@routes.get("/newsletter")
def plan_page(console: Signed) -> Response:
    return _plan(console)


def _plan(console: Console, wrong: Refused | None = None) -> Response:
    there = console.rt.settings.newsletter is not None
    coming = issues.plan(console.rt, NEXT) if there else []
    past = [one for one in issues.archive(console.rt) if one.id not in {line.id for line in coming}] if there else []
    return console.page(
        "newsletter-plan.html", 409 if wrong else 200,
        there=there, coming=coming, past=past, badge=lambda line: BADGES.get(line.phase, ""),
        later=lambda line: [
            one for one in coming if one.nominal > line.nominal and issues.takes_more(console.rt, one)
        ][:MERGE_INTO],
        wrong=console.problem(wrong.code, wrong.facts) if wrong else "",
    )  # fmt: skip


@routes.post("/newsletter/skip")
def skip(console: Posted, day: One = "", reason: One = "", into: One = "") -> Response:
    permit(console.actor, Decision.SKIP)
    try:
        target = console.day(into) if into else None
        issues.skip(console.rt, console.actor, console.day(day), reason, target)
    except Refused as error:
        return _plan(console, error)
    if target is not None:
        return console.done("/newsletter", "newsletter.merged", day=day, into=target)
    return console.done("/newsletter", "newsletter.skipped", day=day)


@routes.post("/newsletter/take-back")
def take_back(console: Posted, day: One = "", reason: One = "") -> Response:
    permit(console.actor, Decision.SKIP)
    try:
        issues.take_back(console.rt, console.actor, console.day(day), reason)
    except Refused as error:
        return _plan(console, error)
    return console.done("/newsletter", "newsletter.taken_back", day=day)


# ── one issue ────────────────────────────────────────────────────────────────────────────────────────────────────────


@routes.get("/newsletter/{id:int}")
def issue_page(console: Signed, id: int, correct: Annotated[str, Query(max_length=1)] = "") -> Response:
    """`correct`: show the editor's buttons of an issue that is approved already."""
    return _issue(console, id, begins=bool(correct))


def _issue(
    console: Console, id: int, wrong: Refused | None = None, why: Mapping[str, str] | None = None,
    editorial: str | None = None, begins: bool = False,
) -> Response:  # fmt: skip
    """`why`, `editorial`: what was typed, to be sent again; `begins`: a correction of what is approved."""
    line = _seen(console, id)
    page = issue_pages.page(console.rt, id)
    history = items.history(console.rt, line.item) if line.item else None
    draft, phase = (history.draft, history.line.phase) if history is not None else (None, items.Phase.DRAFT)
    arranges = page.editable and draft is not None and console.may(Decision.ARRANGE)
    in_force, corrects = line.phase in IN_FORCE, phase is items.Phase.CORRECTING
    submits = draft is not None and console.may(Decision.SUBMIT) and (line.phase in SUBMITTABLE or corrects)
    return console.page(
        "newsletter-issue.html", 409 if wrong else 200,
        page=page, badge=BADGES.get(line.phase, ""), **_state(console, line),
        edits=arranges and (not in_force or begins or corrects), corrects=corrects, in_force=in_force,
        may_correct=arranges and in_force and not (begins or corrects),
        submits=submits, questions=_questions(console, line, draft, why or {}, wrong) if submits and draft else [],
        editorial=page.editorial if editorial is None else editorial,
        trials={name: masked(to) for name, to in trials.channels(console.rt, console.actor).items()},
        wrong=console.problem(wrong.code, wrong.facts) if wrong else "",
    )  # fmt: skip


def _seen(console: Console, id: int) -> Line:
    """Raise Refused unless the reader is shown this issue."""
    line = issues.line(console.rt, id)
    if line.item:
        items.require_visible(console.rt, console.person, line.item)
    return line


def _questions(
    console: Console, line: Line, draft: Draft, why: Mapping[str, str], wrong: Refused | None
) -> list[Question]:
    """What the checks ask before this issue may be submitted, with the reasons that are there so far."""
    found = wrong.findings if wrong and wrong.findings else checks.report(console.rt, draft)
    before = {key: answer.reason for key, answer in reasons.given(console.rt, line.item).items()} | dict(why)
    return [Question(one, before.get(getattr(one, "key", ""), "")) for one in found]


@routes.get("/newsletter/{id:int}/live")
def live(console: Signed, id: int, seen: Annotated[str, Query(max_length=32)] = "") -> Response:
    """For the page's module: countdown and progress again, when they are not what it shows any more."""
    values = _state(console, _seen(console, id))
    html = console.fragment("newsletter-live.html", **values)
    mark = hashlib.sha256(html.encode()).hexdigest()[:16]
    return Response(status_code=204) if mark == seen else JSONResponse({"live": mark, "html": html})


@dataclass(frozen=True)
class _Part:
    """One channel's progress in words."""

    label: str
    sent: int
    total: int
    counts: Mapping[Any, int]
    remaining: str


def _state(console: Console, line: Line) -> dict[str, Any]:
    """How far an issue is: what the page shows live."""
    rt = console.rt
    parts = [
        _Part(rt.channels[one.channel].section.label, one.sent, one.total, one.counts, _remaining(console, one))
        for one in issue_pages.progress(rt, line.id)
    ]
    figures = issue_pages.figures(rt, line.id) if line.phase in IN_FORCE[1:] else []
    labels = {name: opened.section.label for name, opened in rt.channels.items()}
    return {
        "countdown": _countdown(console, line), "parts": parts, "figures": figures, "labels": labels, "line": line,
        "failed": {one.channel for one in figures if one.whole.failed}, "most": 20,
    }  # fmt: skip


def _countdown(console: Console, line: Line) -> str:
    now = console.rt.now()
    if line.phase in (Phase.LEFT_OUT, Phase.SENT, Phase.SENDING, Phase.WITHDRAWN):
        return ""
    if line.cut_off_at > now:
        return console.t("issue_page.to_cut_off", time=_duration(console, (line.cut_off_at - now).total_seconds()))
    if line.send_at > now:
        return console.t("issue_page.to_sending", time=_duration(console, (line.send_at - now).total_seconds()))
    return console.t("issue_page.past", time=_duration(console, (now - line.send_at).total_seconds()))


def _remaining(console: Console, one: issue_pages.Progress) -> str:
    if one.seconds is None:
        return console.t("newsletter.remaining_unknown")
    if one.seconds == 0:
        return ""
    return console.t("newsletter.remaining", time=_duration(console, one.seconds), rate=round(one.per_minute))


def _duration(console: Console, seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return console.t("issue_page.under_a_minute")
    if minutes < 60:
        return console.t("issue_page.minutes", minutes=minutes)
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return console.t("issue_page.hours", hours=hours, minutes=minutes)
    return console.t("issue_page.days", days=hours // 24, hours=hours % 24)


# ── the editor's hand ────────────────────────────────────────────────────────────────────────────────────────────────


def _decide(console: Console, id: int, decide: Callable[[Line], Response], **typed: Any) -> Response:
    """One decision; what is refused comes back on the page, with what was typed."""
    line = _seen(console, id)
    try:
        return decide(line)
    except Refused as error:
        if error.code in ("decision.not_permitted", "decision.other_department"):
            raise
        return _issue(console, id, error, **typed)


@routes.post("/newsletter/{id:int}/build")
def build(console: Posted, id: int) -> Response:
    def decide(line: Line) -> Response:
        done = assembly.build(console.rt, console.actor, id)
        return console.done(
            f"/newsletter/{id}", "issue_page.built" if done.changed else "issue_page.nothing_new",
            added=len(done.added), withdrawn=len(done.withdrawn), corrected=len(done.corrected),
        )  # fmt: skip

    return _decide(console, id, decide)


@routes.post("/newsletter/{id:int}/arrange")
def arrange(console: Posted, id: int, act: One = "", based_on: Number = 0) -> Response:
    """`act`: up:ITEM, down:ITEM, drop:ITEM, back:ITEM, or place:ITEM:COLUMN:PLACE, both counted from 0."""

    def decide(line: Line) -> Response:
        permit(console.actor, Decision.ARRANGE)
        what, *numbers = act.split(":")
        if not numbers or not all(one.isascii() and one.isdigit() and len(one) < 16 for one in numbers):
            raise HTTPException(422)
        item, *place = (int(one) for one in numbers)
        rt, actor = console.rt, console.actor
        match what:
            case "drop":
                assembly.drop(rt, actor, id, based_on, item)
                return console.done(f"/newsletter/{id}#left-out", "issue_page.dropped", item=item)
            case "back":
                assembly.put_back(rt, actor, id, based_on, item)
            case "up" | "down":
                to = _beside(console, id, item, -1 if what == "up" else 1)
                assembly.move(rt, actor, id, based_on, item, *to)
            case "place" if len(place) == 2:
                columns = issue_pages.page(rt, id).columns
                name = columns[min(place[0], len(columns) - 1)].name
                assembly.move(rt, actor, id, based_on, item, name, place[1])
            case _:
                raise HTTPException(422)
        return console.done(f"/newsletter/{id}#entry-{item}", "issue_page.moved", item=item)

    return _decide(console, id, decide)


def _beside(console: Console, id: int, item: int, step: int) -> tuple[str, int]:
    """One place up or down; beyond its column the end of the one before, or the beginning of the next."""
    columns = issue_pages.page(console.rt, id).columns
    for at, column in enumerate(columns):
        order = [one.item for one in column.entries]
        if item not in order:
            continue
        place = order.index(item) + step
        if 0 <= place < len(order):
            return column.name, place
        other = at + step
        if not 0 <= other < len(columns):
            return column.name, order.index(item)
        return columns[other].name, len(columns[other].entries) if step < 0 else 0
    raise Refused("issue.not_in_it", item=str(item))


@routes.get("/newsletter/{id:int}/entries/{item:int}")
def entry_page(console: Signed, id: int, item: int) -> Response:
    return _entry(console, id, item)


def _entry(console: Console, id: int, item: int, wrong: Refused | None = None, text: str | None = None) -> Response:
    line = _seen(console, id)
    draft = items.history(console.rt, line.item).draft if line.item else None
    piece = draft.issue.pieces.get(item) if draft is not None and draft.issue is not None else None
    if piece is None:
        raise Refused("issue.not_in_it", item=str(item))
    page = issue_pages.page(console.rt, id)
    return console.page(
        "newsletter-entry.html", 409 if wrong else 200,
        line=line, page=page, piece=piece, text=piece.text if text is None else text,
        edits=page.editable and console.may(Decision.ARRANGE),
        wrong=console.problem(wrong.code, wrong.facts) if wrong else "",
    )  # fmt: skip


@routes.post("/newsletter/{id:int}/entries/{item:int}")
def change_entry(
    console: Posted, id: int, item: int, text: One = "", act: One = "", based_on: Number = 0,
    picture: UploadFile | None = None,
) -> Response:  # fmt: skip
    """`act`: shorten, whole (its own text again), picture, no_picture."""
    _seen(console, id)
    permit(console.actor, Decision.ARRANGE)
    rt, actor = console.rt, console.actor
    try:
        match act:
            case "shorten" | "whole":
                kept = text.replace("\r\n", "\n") if act == "shorten" else ""
                assembly.shorten(rt, actor, id, based_on, item, kept)
            case "picture" | "no_picture":
                chosen = upload(rt, picture, "picture") if picture is not None and act == "picture" else None
                if act == "picture" and chosen is None:
                    raise Refused("issue_page.picture_missing")
                assembly.set_picture(rt, actor, id, based_on, item, chosen)
            case _:
                raise HTTPException(422)
    except Refused as error:
        return _entry(console, id, item, error, text or None)
    return console.done(f"/newsletter/{id}#entry-{item}", "issue_page.changed", item=item)


@routes.post("/newsletter/{id:int}/editorial")
def editorial(
    console: Posted, id: int, text: One = "", act: One = "", based_on: Number = 0, picture: UploadFile | None = None
) -> Response:
    """`act`: save, no_picture. A picture that was chosen comes along."""
    text = text.replace("\r\n", "\n")

    def decide(line: Line) -> Response:
        permit(console.actor, Decision.ARRANGE)
        rt, actor, revision = console.rt, console.actor, based_on
        chosen = upload(rt, picture, "picture") if picture is not None else None
        if act == "no_picture":
            assembly.set_picture(rt, actor, id, revision, None, None)
        else:
            if text.strip() != issue_pages.page(rt, id).editorial:
                revision = assembly.write_editorial(rt, actor, id, revision, text)
            if chosen is not None:
                assembly.set_picture(rt, actor, id, revision, None, chosen)
        return console.done(f"/newsletter/{id}#editorial", "issue_page.editorial_saved")

    return _decide(console, id, decide, editorial=text)


@routes.post("/newsletter/{id:int}/submit")
def submit(console: Posted, id: int, data: Typed) -> Response:
    why = {name[4:]: str(value) for name, value in data.multi_items() if name.startswith("why:")}

    def decide(line: Line) -> Response:
        permit(console.actor, Decision.SUBMIT)
        if str(data.get("revision", "")) != str(issue_pages.page(console.rt, id).revision):
            raise Refused("review.edited_meanwhile")
        done = assembly.submit(console.rt, console.actor, id, why)
        return console.done(
            f"/newsletter/{id}", "submitting.done", item=done.item_id, index_number=done.index_number
        )  # fmt: skip

    return _decide(console, id, decide, why=why)


@routes.post("/newsletter/{id:int}/release")
def release(console: Posted, id: int) -> Response:
    def decide(line: Line) -> Response:
        permit(console.actor, Decision.RETRY)
        rows = issues.release(console.rt, console.actor, id)
        return console.done(f"/newsletter/{id}", "newsletter.released", issue=line.numbers, rows=rows)

    return _decide(console, id, decide)


@routes.post("/newsletter/{id:int}/retry")
def retry(console: Posted, id: int, channel: One = "") -> Response:
    """Send again to those only to whom it did not go."""

    def decide(line: Line) -> Response:
        rows = operate.retry(console.rt, console.actor, line.item, channel or None)
        return console.done(f"/newsletter/{id}", "reach.retried", count=rows)

    return _decide(console, id, decide)


@routes.post("/newsletter/{id:int}/try")
def try_it(console: Posted, id: int, channel: One = "") -> Response:
    def decide(line: Line) -> Response:
        if not line.item:
            raise Refused("issue.not_built", issue=line.numbers)
        to = trials.send(console.rt, console.actor, line.item, channel)
        return console.done(f"/newsletter/{id}", "issue_page.tried", address=masked(to))

    return _decide(console, id, decide)


# ── its forms ────────────────────────────────────────────────────────────────────────────────────────────────────────


@lru_cache(maxsize=4)  # whole issues: each takes a second to set, and is looked at again and again
def _printed_pages(printed: Rendition) -> tuple[bytes, ...]:
    return pictures("newsletter", forms.page(printed))


@routes.get("/newsletter/{id:int}/preview")
def preview(console: Signed, id: int, form: Annotated[str, Query(max_length=40)] = PRINT) -> Response:
    """One form of the latest text: printed pages, mail, or what a channel shows."""
    line, message = _message(console, id)
    newsletter = console.rt.settings.newsletter
    chosen = newsletter.channels if newsletter is not None else ()
    names = [name for name, one in console.rt.channels.items() if name in chosen and one.section.kind != MAIL]
    shown, text, wrong, printed = None, "", None, 0
    try:
        if form == PRINT:
            printed = len(_printed_pages(forms.printed(message)))
        elif form == MAIL:
            text = forms.mail_parts(message).text.replace(forms.UNSUBSCRIBE, "…")
        elif form in names:
            (preview,) = previews.of_message(console.rt, message, [form])
            shown = preview.view
            wrong = preview.findings[0] if preview.findings else None
        else:
            raise HTTPException(404)
    except Unrenderable as error:
        wrong = error.findings[0]
    return console.page(
        "newsletter-preview.html", line=line, form=form, shown=shown, text=text, wrong=wrong, printed=printed,
        tabs=[(PRINT, ""), (MAIL, ""), *((name, console.rt.channels[name].section.label) for name in names)],
    )  # fmt: skip


@routes.get("/newsletter/{id:int}/pages/{number:int}")
def printed_page(console: Signed, id: int, number: int) -> Response:
    """One printed page as a picture: an issue has too many of them for one answer."""
    try:
        pages = _printed_pages(forms.printed(_message(console, id)[1]))
    except Unrenderable as error:
        raise HTTPException(404) from error  # the preview says why
    if not 1 <= number <= len(pages):
        raise HTTPException(404)
    return Response(pages[number - 1], media_type="image/png")


@routes.get("/newsletter/{id:int}/mail")
def mail(console: Signed, id: int) -> Response:
    """The mail as a page of its own, for a frame: its pictures are in it, and it can do nothing."""
    _, message = _message(console, id)
    try:
        parts = forms.mail_parts(message)
    except Unrenderable as error:
        raise Refused(error.code, error.findings, **error.facts) from error
    return HTMLResponse(forms.alone(parts.html, parts.pictures), headers={"Content-Security-Policy": FRAMED})


@routes.get("/newsletter/{id:int}/issue.pdf")
def pdf(console: Signed, id: int) -> Response:
    _, message = _message(console, id)
    try:
        file = forms.pdf(message)
    except ChannelError as error:
        raise Refused(error.code, **error.facts) from error
    headers = {"Content-Disposition": f'inline; filename="newsletter-{id}.pdf"'}
    return Response(file.content, media_type="application/pdf", headers=headers)


def _message(console: Console, id: int) -> tuple[Line, Message]:
    """The issue as its latest revision has it. Raises Refused when nothing was assembled yet."""
    line = _seen(console, id)
    if not line.item:
        raise Refused("issue.not_built", issue=line.numbers)
    return line, compose_unsubmitted(console.rt, line.item, items.history(console.rt, line.item).draft)
