"""What reviews and the office keep beside the items: questions to others, paper, proof, subscribers, words, numbers."""

from dataclasses import asdict
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, File, Form, Path, Query, Response, UploadFile
from pydantic import BaseModel, Field

from channels.contract import File as Attachment
from pipeline import (
    links,
    numbers,
    phrases,
    proof,
    referrals,
    review,
    review_sheet,
    scans,
    spreadsheets,
    staff,
    standing,
    subscribers,
)
from pipeline.decisions import Refused
from pipeline.models import ReferralKind
from pipeline.states import Ground
from web.console.api.caller import Called
from web.console.api.shapes import ChannelName, Day, ItemNumber, Reason, Shape, Short
from web.console.api.texts import Approved

routes = APIRouter()
LONGEST = timedelta(days=3660)
Identifier = Annotated[str, Path(min_length=1, max_length=40)]

PDF: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/pdf": {"schema": {"type": "string", "format": "binary"}}}}
}
ZIP: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}}
}
SCAN: dict[int | str, dict[str, Any]] = {
    200: {"content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in scans.KINDS.values()}}
}


class Question(Shape):
    kind: ReferralKind
    to_whom: Annotated[str, Field(min_length=1, max_length=120)]
    question: Reason


class QuestionOut(BaseModel):
    id: int
    kind: ReferralKind
    to_whom: str
    question: str
    asked_by: str
    asked_at: datetime
    answer: str
    answered_by: str
    answered_at: datetime | None


class Answer(Shape):
    answer: Reason


class Made(BaseModel):
    id: int


class Done(BaseModel):
    done: bool = True


class SubscriberOut(BaseModel):
    """`address` is masked."""

    id: int
    address: str
    name: str
    consent_source: str
    consent_on: date | None
    suppressed: bool
    groups: list[str]


class SubscribersOut(BaseModel):
    total: int
    subscribers: list[SubscriberOut]


class BadLine(BaseModel):
    line: int
    code: str


class ImportOut(BaseModel):
    new: int
    known: int
    bad: list[BadLine]


class Suppression(Shape):
    address: Annotated[str, Field(min_length=1, max_length=200)]
    reason: Reason


class WordOut(BaseModel):
    id: int
    correct: str
    wrong: str
    from_on: date
    to_on: date | None
    standing: str


class WordIn(Shape):
    correct: Annotated[str, Field(min_length=1, max_length=80)]
    wrong: Annotated[list[Annotated[str, Field(min_length=1, max_length=80)]], Field(min_length=1, max_length=20)]
    from_on: Day | None = None
    to_on: Day | None = None


class TallyOut(BaseModel):
    items: int
    withdrawn: int
    on_time: int
    median: float | None
    returned: int
    refused: int


class NumbersOut(BaseModel):
    total: TallyOut
    months: dict[date, TallyOut]
    departments: dict[str, TallyOut]
    channels: dict[str, dict[str, int]]
    counted_at: datetime | None


class ColumnOut(BaseModel):
    """One column of a public side. `id` "*": the channel as a whole; `days`: since its last update; `stale`: the side
    did not answer lately."""

    channel: str
    id: str
    name: str
    items: int
    updated_at: datetime | None
    days: int | None
    limit_days: int | None
    level: standing.Level
    read_at: datetime
    stale: bool


class DeadLinkOut(BaseModel):
    url: str
    page: str
    pages: int
    code: str
    facts: dict[str, str]
    since: datetime


class StandingOut(BaseModel):
    """`walked_at` None: nobody looked for dead links yet."""

    columns: list[ColumnOut]
    walked_at: datetime | None
    walked_all: bool
    dead_links: list[DeadLinkOut]


class PersonIn(Shape):
    """What is to be; left out: as it was."""

    name: Short | None = None
    department: Short | None = None
    roles: Annotated[list[Short], Field(max_length=10)] | None = None
    in_charge: Annotated[list[Short], Field(max_length=200)] | None = None
    email: Short | None = None
    active: bool | None = None


class DepartmentIn(Shape):
    name: Annotated[str, Field(min_length=1, max_length=80)]


@routes.get("/items/{item}/referrals", tags=["review"], operation_id="listReferrals")
def list_referrals(called: Called, item: ItemNumber) -> list[QuestionOut]:
    """What others were asked about the submission under review."""
    called.see(item)
    return [QuestionOut(**asdict(one)) for one in referrals.asked(called.rt, item)]


@routes.post("/items/{item}/referrals", tags=["review"], operation_id="referItem", status_code=201)
def refer_item(called: Called, item: ItemNumber, given: Question) -> Made:
    """Ask somebody outside; it cannot be approved before the answer."""
    called.see(item)
    return Made(id=referrals.refer(called.rt, called.actor, item, given.kind, given.to_whom, given.question))


@routes.post("/items/{item}/referrals/{id}/answer", tags=["review"], operation_id="answerReferral")
def answer_referral(called: Called, item: ItemNumber, id: ItemNumber, given: Answer) -> Done:
    """Keep what they answered."""
    called.see(item)
    referrals.answer(called.rt, called.actor, item, id, given.answer)
    return Done()


@routes.get("/items/{item}/sheet", tags=["review"], operation_id="printSheet", response_class=Response, responses=PDF)
def print_sheet(called: Called, item: ItemNumber) -> Response:
    """The review sheet (审查单) of the submission under review."""
    called.see(item)
    return Response(review_sheet.of(called.rt, item), media_type="application/pdf")


@routes.post("/items/{item}/paper", tags=["review"], operation_id="recordPaper")
def record_paper(
    called: Called,
    item: ItemNumber,
    scan: Annotated[UploadFile, File()],
    person: Annotated[str, Form(max_length=40)],
    hash: Annotated[str, Form(max_length=100)],
    decision: Annotated[Literal["approve", "return", "refuse"], Form()] = "approve",
    reason: Annotated[str, Form(max_length=2000)] = "",
    ground: Annotated[Ground | None, Form()] = None,
) -> Approved:
    """What somebody signed on the sheet, entered by somebody else with its scan (代录). A return needs a reason, a
    refusal its legal ground, too. `last`: it was the last yes, the item is being published."""
    called.see(item)
    file = Attachment(scan.filename or "scan", "application/octet-stream", called.content(scan))
    sheet = review.Paper(person, hash, file, review.SIGNED[decision], reason, ground)
    return Approved(item=item, last=review.record_paper(called.rt, called.actor, item, sheet))


@routes.get("/items/{item}/scans/{sha256}", tags=["review"], operation_id="readScan", response_class=Response,
            responses=SCAN)  # fmt: skip
def read_scan(called: Called, item: ItemNumber, sha256: Annotated[str, Path(pattern="^[0-9a-f]{64}$")]) -> Response:
    """The photo of a posting, or a signed review sheet."""
    called.see(item)
    kept = scans.read(called.rt, item, sha256)
    if kept is None:
        raise Refused("api.unknown_file", sha256=sha256)
    return Response(kept.content, media_type=kept.media_type)


@routes.get("/items/{item}/proof", tags=["reach"], operation_id="readProof", response_class=Response, responses=ZIP)
def read_proof(called: Called, item: ItemNumber) -> Response:
    """Who approved what when, the exact bytes of each channel, every trace of its arrival."""
    called.see(item)
    return Response(proof.of(called.rt, item, "zh"), media_type="application/zip")


@routes.get("/channels/{channel}/subscribers", tags=["subscribers"], operation_id="listSubscribers")
def list_subscribers(
    called: Called,
    channel: ChannelName,
    words: Annotated[str, Query(max_length=80)] = "",
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
    size: Annotated[int, Query(ge=1, le=200)] = 50,
    group: Annotated[str, Query(max_length=40, description="Only those who are told of what goes to it")] = "",
) -> SubscribersOut:
    """Subscribers by a whole number, its last four digits or a name; numbers are masked."""
    found = subscribers.search(called.rt, called.actor, channel, words, page, size, group)
    return SubscribersOut(total=found.total, subscribers=[SubscriberOut(**asdict(one)) for one in found.lines])


@routes.post("/channels/{channel}/subscribers", tags=["subscribers"], operation_id="importSubscribers")
def import_subscribers(
    called: Called,
    channel: ChannelName,
    file: Annotated[UploadFile, File()],
    dry_run: Annotated[bool, Query(description="Only say what it would make of the list")] = False,
) -> ImportOut:
    """Add the people of a CSV or XLSX; lines that cannot be taken are said, the others go in."""
    text = spreadsheets.as_csv(called.content(file))
    take = subscribers.foresee if dry_run else subscribers.import_csv
    done = take(called.rt, called.actor, channel, text)
    return ImportOut(new=done.new, known=done.known, bad=[BadLine(line=line, code=code) for line, code in done.bad])


@routes.delete("/subscribers/{id}", tags=["subscribers"], operation_id="removeSubscriber", status_code=204)
def remove_subscriber(called: Called, id: ItemNumber) -> Response:
    """Take somebody off the list."""
    subscribers.remove_listed(called.rt, called.actor, id)
    return Response(status_code=204)


@routes.post("/channels/{channel}/suppressions", tags=["subscribers"], operation_id="suppress")
def suppress(called: Called, channel: ChannelName, given: Suppression) -> Done:
    """Put an address on the suppression list (拒收名单)."""
    subscribers.suppress(called.rt, called.actor, channel, given.address, given.reason)
    return Done()


@routes.post("/channels/{channel}/suppressions/end", tags=["subscribers"], operation_id="unsuppress")
def unsuppress(called: Called, channel: ChannelName, given: Suppression) -> Done:
    """Take it off again, because its holder asked for it."""
    subscribers.unsuppress(called.rt, called.actor, channel, given.address, given.reason)
    return Done()


@routes.get("/words", tags=["office"], operation_id="listWords")
def list_words(called: Called) -> list[WordOut]:
    """The word table: what is written where something else is meant."""
    return [
        WordOut(
            id=one.id, correct=one.correct, wrong=one.wrong, from_on=one.from_on, to_on=one.to_on,
            standing=one.standing.value,
        )
        for one in phrases.lines(called.rt)
    ]  # fmt: skip


@routes.post("/words", tags=["office"], operation_id="addWord", status_code=201)
def add_word(called: Called, given: WordIn) -> list[Made]:
    """New lines, one for each wrong form."""
    added = phrases.add(called.rt, called.actor, given.correct, given.wrong, given.from_on, given.to_on)
    return [Made(id=one.id) for one in added]


@routes.post("/words/{id}/end", tags=["office"], operation_id="endWord")
def end_word(called: Called, id: ItemNumber) -> Done:
    """Look for it no more."""
    phrases.end(called.rt, called.actor, id)
    return Done()


@routes.get("/standing", tags=["office"], operation_id="readStanding")
def read_standing(called: Called) -> StandingOut:
    """How fresh each column of the public sides is, and which links lead nowhere, as last seen."""
    walked = links.report(called.rt)
    return StandingOut(
        columns=[ColumnOut(**asdict(one)) for one in standing.lines(called.rt)],
        walked_at=walked.at if walked else None,
        walked_all=walked is not None and walked.complete,
        dead_links=[
            DeadLinkOut(url=one.url, page=one.page, pages=one.pages, since=one.since, **one.error)
            for one in (walked.dead if walked else ())
        ],
    )


@routes.get("/numbers", tags=["office"], operation_id="readNumbers")
def read_numbers(
    called: Called, begin: date, end: date, department: Annotated[str, Query(max_length=40)] = ""
) -> NumbersOut:
    """Items (each once), days from formed to published, deliveries by channel and state; at most ten years."""
    if not (date(2000, 1, 1) <= begin <= end <= date(2100, 1, 1)) or end - begin > LONGEST:
        raise Refused("api.bad_days", days=str(LONGEST.days))
    found = numbers.numbers(called.rt, called.person, begin, end, department)
    return NumbersOut(
        total=_tally(found.total),
        months={month: _tally(one) for month, one in found.months.items()},
        departments={name: _tally(one) for name, one in found.departments.items()},
        channels={name: dict(states) for name, states in found.channels.items()},
        counted_at=found.counted_at,
    )


@routes.put("/people/{id}", tags=["office"], operation_id="putPerson")
def put_person(called: Called, id: Identifier, given: PersonIn) -> Done:
    """Add somebody, or change them: administrators only."""
    known = {one.id for one, _ in staff.everybody(called.rt)}
    change = staff.Change(**dict(given))
    (staff.change_person if id in known else staff.add_person)(called.rt, called.actor, id, change)
    return Done()


@routes.put("/departments/{id}", tags=["office"], operation_id="putDepartment")
def put_department(called: Called, id: Identifier, given: DepartmentIn) -> Done:
    """Add a department, or rename it: administrators only."""
    known = {one.id for one in staff.departments(called.rt)}
    (staff.rename_department if id in known else staff.add_department)(called.rt, called.actor, id, given.name)
    return Done()


def _tally(one: numbers.Tally) -> TallyOut:
    return TallyOut(**{name: getattr(one, name) for name in TallyOut.model_fields})
