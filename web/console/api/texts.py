"""Items: written, submitted, reviewed."""

import hashlib
from dataclasses import asdict
from datetime import date, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, File, Query, UploadFile
from pydantic import BaseModel, Field

from channels.contract import File as Attachment
from pipeline import checks, desk, intake, items, previews, renditions, review
from pipeline.decisions import Decision, Refused, permit
from pipeline.drafts import Draft
from pipeline.items import Phase
from pipeline.states import Disclosure, Ground
from web.console.api.caller import Called, Caller
from web.console.api.shapes import FindingOut, ItemNumber, Moment, Reason, Shape, Short, Text, TextOut

routes = APIRouter()


class LineOut(BaseModel):
    item: int
    index_number: str
    title: str
    item_type: str
    department: str
    author: str
    formed_on: date
    revision: int
    changed_at: datetime
    phase: Phase
    turn: str
    reason: str


class ListOut(BaseModel):
    total: int
    items: list[LineOut]


class ApprovalOut(BaseModel):
    """`on_behalf_of`: whom a deputy stood in for; `recorded_by`, `scan`: of a signature on paper."""

    role: str
    person: str
    at: datetime
    on_behalf_of: str
    recorded_by: str
    scan: str


class RoundOut(BaseModel):
    revision: int
    submitted_by: str
    submitted_at: datetime
    stage: str
    reason: str
    hash: str
    approvals: list[ApprovalOut]
    closed_at: datetime | None
    closed_by: str
    recorded_by: str
    scan: str


class ItemOut(BaseModel):
    line: LineOut
    text: TextOut
    rounds: list[RoundOut]


class Written(BaseModel):
    item: int
    revision: int


class Submission(Shape):
    """`channels` left out: those in force. `reasons`: of what the checks question, by the finding's code. `groups`: of
    subscribers, by id or name; left out: those of the item's type."""

    channels: Annotated[list[Short], Field(max_length=50)] | None = None
    publish_at: Moment | None = None
    disclosure: Disclosure = Disclosure.PROACTIVE
    ground: Ground | None = None
    reasons: Annotated[dict[Short, Short], Field(max_length=100, default_factory=dict)]
    groups: Annotated[list[Short], Field(max_length=50)] | None = None


class Submitted(BaseModel):
    item: int
    index_number: str
    hash: str
    warnings: list[FindingOut]


class WaitingOut(BaseModel):
    item: int
    index_number: str
    title: str
    department: str
    role: str
    hash: str
    submitted_by: str
    submitted_at: datetime
    channels: list[str]
    publish_at: datetime | None


class ReviewOut(BaseModel):
    """A submission under review. `renditions`: by channel, the SHA-256 of what will go out."""

    item: int
    index_number: str
    revision: int
    text: TextOut
    disclosure: str
    ground: str
    publish_at: datetime | None
    role: str
    hash: str
    renditions: dict[str, str]


class Approve(Shape):
    hash: Annotated[str, Field(min_length=12, max_length=64, pattern="^[0-9a-f]+$")]


class Approved(BaseModel):
    item: int
    last: bool


class WithReason(Shape):
    reason: Reason


class RefuseIn(WithReason):
    ground: Ground


class Done(BaseModel):
    item: int
    done: Literal[True] = True


class ViewOut(BaseModel):
    """What people will see on one channel; `pages`: how many printed pages; `groups`: of subscribers, by name."""

    channel: str
    label: str
    title: str
    html: str
    messages: list[str]
    pages: int
    recipients: int | None
    groups: list[str]
    findings: list[FindingOut]


class DocumentOut(BaseModel):
    """A document as the fields of a draft."""

    text: str
    title: str
    pictures: list[str]
    findings: list[FindingOut]


class FileOut(BaseModel):
    sha256: str
    size: int


@routes.get("/items", tags=["items"], operation_id="listItems")
def list_items(
    called: Called,
    words: Annotated[str, Query(max_length=200)] = "",
    phase: Phase | None = None,
    department: Annotated[str, Query(max_length=40)] = "",
    item_type: Annotated[str, Query(max_length=40)] = "",
    formed_from: date | None = None,
    formed_to: date | None = None,
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
    size: Annotated[int, Query(ge=1, le=200)] = 50,
) -> ListOut:
    """Items that the caller may see, the last changed first."""
    query = items.Query(words, phase, department, item_type, "", formed_from, formed_to)
    found = items.search(called.rt, called.person, query, page, size)
    return ListOut(total=found.total, items=[LineOut(**asdict(one)) for one in found.lines])


@routes.post("/items", tags=["items"], operation_id="createItem", status_code=201)
def create_item(called: Called, given: Text) -> Written:
    """A new item, as a draft."""
    return Written(item=review.create(called.rt, called.actor, _draft(called, given)), revision=1)


@routes.get("/items/{item}", tags=["items"], operation_id="readItem")
def read_item(called: Called, item: ItemNumber) -> ItemOut:
    """One item with its latest text and every round of review."""
    called.see(item)
    told = items.history(called.rt, item)
    rounds = [
        RoundOut(
            revision=one.revision, submitted_by=one.submitted_by, submitted_at=one.submitted_at, stage=one.stage.value,
            reason=one.reason, hash=one.hash, approvals=[ApprovalOut(**asdict(each)) for each in one.approvals],
            closed_at=one.closed_at, closed_by=one.closed_by, recorded_by=one.recorded_by, scan=one.scan,
        )
        for one in told.rounds
    ]  # fmt: skip
    return ItemOut(line=LineOut(**asdict(told.line)), text=TextOut.of(told.draft), rounds=rounds)


@routes.put("/items/{item}", tags=["items"], operation_id="editItem")
def edit_item(called: Called, item: ItemNumber, given: Text) -> Written:
    """Edit an item that is not public: reviews given so far are void. All fields are replaced."""
    called.see(item)
    draft = _draft(called, given)
    return Written(item=item, revision=review.edit(called.rt, called.actor, item, draft))


@routes.put("/items/{item}/correction", tags=["items"], operation_id="correctItem")
def correct_item(called: Called, item: ItemNumber, given: Text) -> Written:
    """Correct an item that is public: the old text stays until the new one is approved."""
    called.see(item)
    draft = _draft(called, given)
    return Written(item=item, revision=review.correct(called.rt, called.actor, item, draft))


@routes.post("/files", tags=["items"], operation_id="uploadFile", status_code=201)
def upload_file(called: Called, file: Annotated[UploadFile, File()]) -> FileOut:
    """Keep a file; items name it by its SHA-256."""
    permit(called.actor, Decision.CREATE)
    content = called.content(file)
    with called.rt.writing() as db:
        renditions.store_files(db, [Attachment(file.filename or "file", "application/octet-stream", content)])
    return FileOut(sha256=hashlib.sha256(content).hexdigest(), size=len(content))


@routes.post("/documents", tags=["items"], operation_id="readDocument")
def read_document(called: Called, file: Annotated[UploadFile, File()]) -> DocumentOut:
    """A text file or a Word document as the fields of a draft; nothing is kept."""
    name = file.filename or ""
    body = intake.body_of(called.rt, name, called.content(file))
    return DocumentOut(
        text=body.text, title=body.title, pictures=[one.name for one in body.pictures],
        findings=[FindingOut.of(one) for one in body.findings],
    )  # fmt: skip


@routes.post("/checks", tags=["items"], operation_id="checkText")
def check_text(called: Called, given: Text) -> list[FindingOut]:
    """What the checks find in a text, saved or not."""
    return [FindingOut.of(one) for one in checks.report(called.rt, _draft(called, given))]


@routes.post("/items/{item}/submission", tags=["review"], operation_id="submitItem")
def submit_item(called: Called, item: ItemNumber, given: Submission) -> Submitted:
    """Put the latest revision up for review. The hash that is answered is what approvals name."""
    called.see(item)
    if given.publish_at is not None and given.publish_at.tzinfo is None:
        raise Refused("review.naive_time")
    done = review.submit(
        called.rt, called.actor, item, given.channels, given.publish_at, given.disclosure, given.ground, given.reasons,
        given.groups,
    )  # fmt: skip
    return submitted(done)


@routes.get("/reviews", tags=["review"], operation_id="listReviews")
def list_reviews(called: Called) -> list[WaitingOut]:
    """What waits for the caller's own review, the oldest first."""
    return [
        WaitingOut(
            item=one.item, index_number=one.index_number, title=one.title, department=one.department, role=one.role,
            hash=one.hash, submitted_by=one.submitted_by, submitted_at=one.submitted_at, channels=list(one.channels),
            publish_at=one.publish_at,
        )
        for one in desk.reviews(called.rt, called.person)
    ]  # fmt: skip


@routes.get("/items/{item}/review", tags=["review"], operation_id="readReview")
def read_review(called: Called, item: ItemNumber) -> ReviewOut:
    """A submission under review."""
    called.see(item)
    view = desk.submission(called.rt, item)
    return ReviewOut(
        item=item, index_number=view.index_number, revision=view.revision,
        text=TextOut.of(items.history(called.rt, item).draft), disclosure=view.disclosure, ground=view.ground,
        publish_at=view.publish_at, role=view.role, hash=view.hash, renditions=dict(view.renditions),
    )  # fmt: skip


@routes.get("/items/{item}/views", tags=["review"], operation_id="viewItem")
def view_item(called: Called, item: ItemNumber) -> list[ViewOut]:
    """What people will see on each channel of the submission under review."""
    called.see(item)
    shown = previews.of_submission(called.rt, item, desk.submission(called.rt, item).hash)
    return [
        ViewOut(
            channel=one.channel, label=one.label, recipients=one.recipients, groups=list(one.groups),
            title=one.view.title if one.view else "", html=one.view.html if one.view else "",
            messages=list(one.view.messages) if one.view else [], pages=len(one.view.pages) if one.view else 0,
            findings=[FindingOut.of(finding) for finding in one.findings],
        )
        for one in shown
    ]  # fmt: skip


@routes.post("/items/{item}/approval", tags=["review"], operation_id="approveItem")
def approve_item(called: Called, item: ItemNumber, given: Approve) -> Approved:
    """Approve the submission with this hash. `last`: it is being published."""
    called.see(item)
    return Approved(item=item, last=review.approve(called.rt, called.actor, item, given.hash))


@routes.post("/items/{item}/return", tags=["review"], operation_id="returnItem")
def return_item(called: Called, item: ItemNumber, given: WithReason) -> Done:
    """Send the submission back to its author."""
    called.see(item)
    review.return_(called.rt, called.actor, item, given.reason)
    return Done(item=item)


@routes.post("/items/{item}/refusal", tags=["review"], operation_id="refuseItem")
def refuse_item(called: Called, item: ItemNumber, given: RefuseIn) -> Done:
    """Decide that it is not to be public, on a legal ground."""
    called.see(item)
    review.refuse(called.rt, called.actor, item, given.ground, given.reason)
    return Done(item=item)


def submitted(done: review.Submitted) -> Submitted:
    warnings = [FindingOut.of(one) for one in done.warnings]
    return Submitted(item=done.item_id, index_number=done.index_number, hash=done.hash, warnings=warnings)


def _draft(called: Caller, given: Text) -> Draft:
    return given.draft(called.uploaded(*(one.sha256 for one in given.files)))
