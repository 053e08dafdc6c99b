"""Reviews: what waits for me, and a submission exactly as it will go out, to be decided."""

from typing import Annotated

from fastapi import APIRouter, Form, Response, UploadFile
from fastapi.responses import RedirectResponse

from channels.contract import File
from channels.document import parse, to_html
from pipeline import desk, differences, items, previews, referrals, review, review_sheet, staff
from pipeline.decisions import Decision, Refused, permit
from pipeline.models import ReferralKind
from pipeline.states import Ground
from web.console.page import Console, Posted, Signed, upload

routes = APIRouter()


@routes.get("/reviews")
def reviews_page(console: Signed) -> Response:
    """All that is under review; what waits for the reader first."""
    mine = desk.reviews(console.rt, console.person)
    taken = {one.item for one in mine}
    department = None if items.sees_all(console.rt, console.person) else console.person.department
    others = [
        one
        for one in desk.reviews_waiting(console.rt)
        if one.item not in taken and (department in (None, one.department) or console.person.id in one.authors)
    ]
    return console.page("reviewing-list.html", mine=mine, others=others, names=staff.names(console.rt))


@routes.get("/items/{item:int}/review")
def review_page(console: Signed, item: int) -> Response:
    return _page(console, item)


def _page(console: Console, item: int, wrong: Refused | None = None, reason: str = "") -> Response:
    items.require_visible(console.rt, console.person, item)
    try:
        view = desk.submission(console.rt, item)
    except Refused:  # somebody decided, or edited it, since the link was made
        return console.page("reviewing-gone.html", 409, history=items.history(console.rt, item),
                            names=staff.names(console.rt))  # fmt: skip
    waiting = next(one for one in desk.reviews_waiting(console.rt) if one.item == item)
    mine = desk.reviews(console.rt, console.person)
    own = next((one for one in mine if one.item == item), None)
    history, before = items.history(console.rt, item), items.last_approved(console.rt, item)
    return console.page(
        "reviewing-review.html", 409 if wrong else 200,
        view=view, waiting=waiting, own=own, more=len(mine) - (own is not None),
        previews=previews.of_submission(console.rt, item, view.hash),
        changes=differences.between(before, history.draft) if before is not None else None,
        history=history,
        names=staff.names(console.rt), grounds=list(Ground), reason=reason,
        html=to_html(parse(view.draft.text)), asked=referrals.asked(console.rt, item), kinds=list(ReferralKind),
        deciders=[one for one in staff.people(console.rt) if view.role in one.roles and one.id != console.person.id],
        wrong=console.problem(wrong.code, wrong.facts) if wrong else "",
    )  # fmt: skip


@routes.post("/items/{item:int}/approve")
def approve(console: Posted, item: int, hash: Annotated[str, Form()] = "") -> Response:
    try:
        last = review.approve(console.rt, console.actor, item, hash)
    except Refused as error:
        return _page(console, item, error)
    return _on(console, "reviewing.approved_last" if last else "reviewing.approved", item)


@routes.post("/items/{item:int}/return")
def return_(console: Posted, item: int, reason: Annotated[str, Form()] = "") -> Response:
    try:
        review.return_(console.rt, console.actor, item, reason)
    except Refused as error:
        return _page(console, item, error, reason)
    return _on(console, "reviewing.returned", item)


@routes.post("/items/{item:int}/refuse")
def refuse(
    console: Posted, item: int, ground: Annotated[str, Form()] = "", reason: Annotated[str, Form()] = ""
) -> Response:
    try:
        if ground not in set(Ground):
            raise Refused("reviewing.ground_missing")
        review.refuse(console.rt, console.actor, item, Ground(ground), reason)
    except Refused as error:
        return _page(console, item, error, reason)
    return _on(console, "reviewing.refused", item)


@routes.get("/items/{item:int}/sheet")
def sheet(console: Signed, item: int) -> Response:
    """The review sheet, to be printed and signed."""
    items.require_visible(console.rt, console.person, item)
    headers = {"Content-Disposition": f'inline; filename="review-sheet-{item}.pdf"'}
    return Response(review_sheet.of(console.rt, item), media_type="application/pdf", headers=headers)


@routes.post("/items/{item:int}/paper")
def paper(
    console: Posted, item: int, scan: UploadFile, person: Annotated[str, Form()] = "",
    hash: Annotated[str, Form()] = "", signed: Annotated[str, Form()] = "", reason: Annotated[str, Form()] = "",
    ground: Annotated[str, Form()] = "",
) -> Response:  # fmt: skip
    """What somebody signed on the sheet, entered by somebody else with its scan (代录)."""
    items.require_visible(console.rt, console.person, item)
    permit(console.actor, Decision.RECORD)
    file = upload(console.rt, scan, "scan") or File("scan", "", b"")
    try:
        if signed not in review.SIGNED:
            raise Refused("reviewing.signed_missing")
        sheet = review.Paper(
            person, hash.replace(" ", ""), file, review.SIGNED[signed], reason,
            Ground(ground) if ground in set(Ground) else None,
        )  # fmt: skip
        last = review.record_paper(console.rt, console.actor, item, sheet)
    except Refused as error:
        return _page(console, item, error)
    if review.SIGNED[signed] is not Decision.APPROVE:
        return _on(console, "reviewing.recorded_back", item)
    return _on(console, "reviewing.recorded_last" if last else "reviewing.recorded", item)


@routes.post("/items/{item:int}/refer")
def refer(
    console: Posted, item: int, kind: Annotated[str, Form()] = "", to_whom: Annotated[str, Form()] = "",
    question: Annotated[str, Form()] = "",
) -> Response:  # fmt: skip
    items.require_visible(console.rt, console.person, item)
    try:
        if kind not in set(ReferralKind):
            raise Refused("reviewing.kind_missing")
        referrals.refer(console.rt, console.actor, item, ReferralKind(kind), to_whom, question)
    except Refused as error:
        return _page(console, item, error)
    return console.done(f"/items/{item}/review", "reviewing.referred", to_whom=to_whom)


@routes.post("/items/{item:int}/referrals/{id:int}")
def answer(console: Posted, item: int, id: int, answer: Annotated[str, Form()] = "") -> Response:
    items.require_visible(console.rt, console.person, item)
    try:
        referrals.answer(console.rt, console.actor, item, id, answer)
    except Refused as error:
        return _page(console, item, error)
    return console.done(f"/items/{item}/review", "reviewing.answered")


def _on(console: Console, said: str, item: int) -> Response:
    """After a decision the next one that waits for the same person; the desk when there is none."""
    mine = desk.reviews(console.rt, console.person)
    to = f"/items/{mine[0].item}/review" if mine else "/"
    return console.done(to, said, item=item, more=len(mine))


@routes.get("/reviews/next")
def next_review(console: Signed) -> Response:
    mine = desk.reviews(console.rt, console.person)
    return RedirectResponse(console.link(f"/items/{mine[0].item}/review" if mine else "/reviews"), 303)
