"""The newsletter: its calendar, one issue as its editor works at it, and how far it is."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import date, datetime
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from channels.contract import File
from pipeline import assembly, issue_pages, issues, items, operate, trials
from pipeline.decisions import Refused
from pipeline.issues import Line, Phase
from pipeline.sources import Change
from pipeline.states import State
from pipeline.words import masked
from web.console.api.caller import Called, Caller
from web.console.api.shapes import LARGEST, Day, FileRef, FindingOut, ItemNumber, Reason, Shape, Short
from web.console.api.texts import Submitted, submitted

routes = APIRouter(tags=["newsletter"])
Number = Annotated[int, Field(ge=0, le=LARGEST)]


class IssueOut(BaseModel):
    """`id` 0: not made yet; `item` 0: nothing was assembled."""

    id: int
    nominal: date
    out_on: date
    cut_off_at: datetime
    send_at: datetime
    provisional: bool
    year: int
    number: int
    running: int
    item: int
    phase: Phase
    late: bool
    reason: str
    into: date | None


class EntryOut(BaseModel):
    item: int
    heading: str
    department: str
    published_on: date | None
    excerpt: bool
    picture: str
    change: Change | None


class ColumnOut(BaseModel):
    name: str
    entries: list[EntryOut]


class IssuePageOut(BaseModel):
    """`revision`: what every change names as `based_on`; `findings`: why this text cannot be sent as it is."""

    line: IssueOut
    title: str
    revision: int
    columns: list[ColumnOut]
    left_out: list[EntryOut]
    editorial: str
    editorial_picture: str
    pictures: list[str]
    editable: bool
    findings: list[FindingOut]


class ProgressOut(BaseModel):
    """`seconds` null: nobody can say how long it still takes."""

    channel: str
    counts: dict[State, int]
    sent: int
    total: int
    per_minute: float
    seconds: float | None


class DomainOut(BaseModel):
    domain: str
    total: int
    sent: int
    failed: int
    in_doubt: int
    opted_out: int


class FiguresOut(BaseModel):
    channel: str
    whole: DomainOut
    domains: list[DomainOut]


class StateOut(BaseModel):
    progress: list[ProgressOut]
    figures: list[FiguresOut]


class Revised(BaseModel):
    revision: int


class Released(BaseModel):
    count: int


class Skip(Shape):
    """`into`: the nominal day of a later issue that it is merged into; left out: no issue comes out."""

    day: Day
    reason: Reason
    into: Day | None = None


class TakeBack(Shape):
    day: Day
    reason: Reason


class Arrange(Shape):
    """`act`: move (to a `column` and a `place` counted from 0; left out: its end), drop, put_back, shorten (`text`; "":
    its own text again), or editorial (`text`)."""

    act: Literal["move", "drop", "put_back", "shorten", "editorial"]
    based_on: Number
    item: Number = 0
    column: Short = ""
    place: Annotated[int, Field(ge=0, le=1000)] | None = None
    text: Annotated[str, Field(max_length=200_000)] = ""


class SetPicture(Shape):
    """`item` 0: the editorial's picture; `picture`: a PNG or JPEG that was uploaded before, null takes it away."""

    based_on: Number
    item: Number = 0
    picture: FileRef | None = None


class OnChannel(Shape):
    channel: Annotated[str, Field(min_length=1, max_length=40, examples=["mail"])]


class Tried(BaseModel):
    """`address`: where it went, masked."""

    address: str


class Why(Shape):
    """Reasons for what the checks question, by the finding's code."""

    reasons: Annotated[dict[Short, Short], Field(max_length=100, default_factory=dict)]


@routes.get("/newsletter", operation_id="planNewsletter")
def plan(called: Called) -> list[IssueOut]:
    """What is overdue, and the next 24 issues."""
    return [_line(one) for one in issues.plan(called.rt)]


@routes.post("/newsletter/skips", operation_id="skipIssue")
def skip(called: Called, given: Skip) -> list[IssueOut]:
    """No issue comes out for this day, or it is merged into a later one. Answers the plan after that."""
    issues.skip(called.rt, called.actor, given.day, given.reason, given.into)
    return plan(called)


@routes.post("/newsletter/skips/end", operation_id="takeIssueBack")
def take_back(called: Called, given: TakeBack) -> list[IssueOut]:
    """The issue of this day comes out after all."""
    issues.take_back(called.rt, called.actor, given.day, given.reason)
    return plan(called)


@routes.get("/newsletter/{id}", operation_id="readIssue")
def read_issue(called: Called, id: ItemNumber) -> IssuePageOut:
    """One issue with its contents."""
    return _page(called, id)


@routes.get("/newsletter/{id}/progress", operation_id="readProgress")
def read_progress(called: Called, id: ItemNumber) -> StateOut:
    """How far it is on each channel, and what became of it by mail domain."""
    _see(called, id)
    progress = [
        ProgressOut(
            channel=one.channel, counts=dict(one.counts), sent=one.sent, total=one.total, per_minute=one.per_minute,
            seconds=one.seconds,
        )
        for one in issue_pages.progress(called.rt, id)
    ]  # fmt: skip
    return StateOut(
        progress=progress, figures=[FiguresOut(**asdict(one)) for one in issue_pages.figures(called.rt, id)]
    )


@routes.post("/newsletter/{id}/build", operation_id="buildIssue")
def build(called: Called, id: ItemNumber) -> IssuePageOut:
    """Assemble it, or bring it up to what is public now."""
    _see(called, id)
    assembly.build(called.rt, called.actor, id)
    return _page(called, id)


@routes.post("/newsletter/{id}/arrange", operation_id="arrangeIssue")
def arrange(called: Called, id: ItemNumber, given: Arrange) -> Revised:
    """One change by its editor."""
    _see(called, id)
    rt, actor, based_on = called.rt, called.actor, given.based_on
    match given.act:
        case "move":
            number = assembly.move(rt, actor, id, based_on, given.item, given.column, given.place)
        case "drop":
            number = assembly.drop(rt, actor, id, based_on, given.item)
        case "put_back":
            number = assembly.put_back(rt, actor, id, based_on, given.item, given.column, given.place)
        case "shorten":
            number = assembly.shorten(rt, actor, id, based_on, given.item, given.text)
        case "editorial":
            number = assembly.write_editorial(rt, actor, id, based_on, given.text)
    return Revised(revision=number)


@routes.post("/newsletter/{id}/pictures", operation_id="setIssuePicture")
def set_picture(called: Called, id: ItemNumber, given: SetPicture) -> Revised:
    """Put a picture to an entry or to the editorial, or take it away."""
    _see(called, id)
    picture = None
    if (ref := given.picture) is not None:
        picture = File(ref.name, ref.media_type, called.uploaded(ref.sha256)[ref.sha256])
    number = assembly.set_picture(called.rt, called.actor, id, given.based_on, given.item or None, picture)
    return Revised(revision=number)


@routes.post("/newsletter/{id}/submission", operation_id="submitIssue")
def submit(called: Called, id: ItemNumber, given: Why) -> Submitted:
    """Put it up for review, for the newsletter's channels and its time."""
    _see(called, id)
    return submitted(assembly.submit(called.rt, called.actor, id, given.reasons))


@routes.post("/newsletter/{id}/release", operation_id="releaseIssue")
def release(called: Called, id: ItemNumber) -> Released:
    """Let go what was approved only after its time."""
    _see(called, id)
    return Released(count=issues.release(called.rt, called.actor, id))


@routes.post("/newsletter/{id}/retry", operation_id="retryIssue")
def retry(called: Called, id: ItemNumber, given: OnChannel) -> Released:
    """Send it again to those only to whom it did not go on this channel."""
    return Released(count=operate.retry(called.rt, called.actor, _built(called, id), given.channel))


@routes.post("/newsletter/{id}/trial", operation_id="tryIssue")
def try_it(called: Called, id: ItemNumber, given: OnChannel) -> Tried:
    """Send it as it is now to the caller's own mail address, and to no subscriber."""
    return Tried(address=masked(trials.send(called.rt, called.actor, _built(called, id), given.channel)))


def _see(called: Caller, id: int) -> Line:
    """Raise Refused when this person is not shown this issue."""
    line = issues.line(called.rt, id)
    if line.item:
        items.require_visible(called.rt, called.person, line.item)
    return line


def _built(called: Caller, id: int) -> int:
    """The issue's item. Raises Refused when nothing was assembled yet, too."""
    line = _see(called, id)
    if not line.item:
        raise Refused("issue.not_built", issue=line.numbers)
    return line.item


def _page(called: Caller, id: int) -> IssuePageOut:
    _see(called, id)
    page = issue_pages.page(called.rt, id)
    given: Mapping[str, object] = {name: getattr(page, name) for name in ("title", "revision", "editorial",
                                   "editorial_picture", "editable")}  # fmt: skip
    return IssuePageOut.model_validate(
        {
            **given,
            "line": _line(page.line),
            "columns": [asdict(one) for one in page.columns],
            "left_out": [asdict(one) for one in page.left_out],
            "pictures": list(page.pictures),
            "findings": [FindingOut.of(one) for one in page.findings],
        }
    )


def _line(line: Line) -> IssueOut:
    return IssueOut(**asdict(line))
