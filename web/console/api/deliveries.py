"""What reached where, and what is decided about it."""

from dataclasses import asdict
from datetime import date, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from channels.contract import ChannelError, File
from pipeline import desk, items, operate, reach, review
from pipeline.decisions import Decision, Refused, permit
from pipeline.states import State
from pipeline.words import masked
from web.console.api.caller import Called
from web.console.api.shapes import ChannelName, ItemNumber, Moment, Reason, Shape, Short

routes = APIRouter(tags=["reach"])


class CellOut(BaseModel):
    """One item on one channel. `wanted`, `held`: revisions; null: nothing; `held` is unknown while `held_known` is
    false. `counts`: recipients by state."""

    item: int
    channel: str
    state: State
    reason: str
    wanted: int | None
    held: int | None
    held_known: bool
    generation: int
    attempts: int
    counts: dict[str, int]
    reference: str
    confirmed_at: datetime | None
    error: dict[str, Any] | None
    rehearsal: bool


class AttemptOut(BaseModel):
    channel: str
    recipient: str
    number: int
    generation: int
    revision: int | None
    started_at: datetime
    result: str
    ended_at: datetime | None
    evidence: str


class SightingOut(BaseModel):
    """What was seen from outside: read back, reported, or ticked by a person."""

    channel: str
    recipient: str
    at: datetime
    evidence: str
    seen: str
    state: State
    note: str


class PostingOut(BaseModel):
    """`photo`: the SHA-256 of its picture, readable at `/items/{item}/scans/{sha256}`; "": none."""

    place: str
    posted_by: str
    posted_at: datetime
    down_due: date | None
    removed_by: str | None
    removed_at: datetime | None
    photo: str


class ReachOut(BaseModel):
    cells: list[CellOut]
    attempts: list[AttemptOut]
    sightings: list[SightingOut]
    postings: list[PostingOut]


class Effect(BaseModel):
    channel: str
    consequence: str
    sent: int
    unsent: int


class Retry(Shape):
    """`hurry`: do not wait for the end of the quiet hours; needs a reason."""

    channel: Short | None = None
    hurry: bool = False
    reason: Short = ""


class Settle(Shape):
    channel: Short
    sent: bool
    reason: Reason
    recipient: Short | None = None


class Post(Shape):
    """`photo`: the SHA-256 of a picture uploaded before."""

    place: Reason
    at: Moment | None = None
    photo: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None


class Unpost(Shape):
    at: Moment | None = None


class Postpone(Shape):
    at: Moment
    reason: Reason


class WithReason(Shape):
    reason: Reason


class Count(BaseModel):
    count: int


class Withdrawn(BaseModel):
    channels: list[str]


class ChannelOut(BaseModel):
    channel: str
    label: str
    kind: str
    rehearsal: bool
    due: int
    trouble: int
    paused_by: str | None
    open_until: datetime | None
    last_success_at: datetime | None
    last_failure_at: datetime | None


class Tested(BaseModel):
    ok: bool
    code: str = ""


def _cell(cell: reach.Cell) -> CellOut:
    given = {name: getattr(cell, name) for name in CellOut.model_fields}
    return CellOut(**{**given, "counts": dict(cell.counts), "error": dict(cell.error) if cell.error else None})


@routes.get("/reach", operation_id="listReach")
def list_reach(
    called: Called,
    channel: Annotated[str, Query(max_length=40)] = "",
    state: State | None = None,
    words: Annotated[str, Query(max_length=200)] = "",
    department: Annotated[str, Query(max_length=40)] = "",
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
    size: Annotated[int, Query(ge=1, le=200)] = 50,
) -> list[CellOut]:
    """Items × channels, the last changed items first."""
    query = items.Query(words=words, department=department, sent=True, channel=channel, state=state)
    found = items.search(called.rt, called.person, query, page, size)
    return [_cell(cell) for cell in reach.matrix(called.rt, [line.item for line in found.lines])]


@routes.get("/items/{item}/reach", operation_id="readReach")
def read_reach(called: Called, item: ItemNumber) -> ReachOut:
    """One item with every attempt; recipients are masked."""
    called.see(item)
    found = reach.item_reach(called.rt, item)
    attempts = []
    for one in found.attempts:
        at, result, _, evidence, _ = one.ends[-1] if one.ends else (None, "open", "", "", None)
        attempts.append(
            AttemptOut(
                channel=one.channel, recipient=masked(one.recipient), number=one.number, generation=one.generation,
                revision=one.revision, started_at=one.started_at, result=result, ended_at=at, evidence=evidence,
            )
        )  # fmt: skip
    return ReachOut(
        cells=[_cell(cell) for cell in found.cells],
        attempts=attempts,
        sightings=[SightingOut(**{**asdict(one), "recipient": masked(one.recipient)}) for one in found.sightings],
        postings=[PostingOut(**asdict(one)) for one in found.postings],
    )


@routes.get("/items/{item}/withdrawal", operation_id="foreseeWithdrawal")
def foresee_withdrawal(called: Called, item: ItemNumber) -> list[Effect]:
    """What withdrawing the item would do on each channel."""
    called.see(item)
    return [Effect(**asdict(one)) for one in review.consequences(called.rt, item)]


@routes.post("/items/{item}/withdrawal", operation_id="withdrawItem")
def withdraw_item(called: Called, item: ItemNumber, given: WithReason) -> Withdrawn:
    """Take the item back everywhere, at once."""
    called.see(item)
    return Withdrawn(channels=review.withdraw(called.rt, called.actor, item, given.reason))


@routes.post("/items/{item}/retry", operation_id="retryItem")
def retry_item(called: Called, item: ItemNumber, given: Retry) -> Count:
    """Send again what failed, and let go what is on hold."""
    called.see(item)
    count = operate.retry(called.rt, called.actor, item, given.channel, given.hurry, given.reason)
    return Count(count=count)


@routes.post("/items/{item}/settlement", operation_id="settleItem")
def settle_item(called: Called, item: ItemNumber, given: Settle) -> Count:
    """Say what became of calls in doubt."""
    called.see(item)
    rt, actor = called.rt, called.actor
    return Count(count=operate.settle(rt, actor, item, given.channel, given.sent, given.reason, given.recipient))


@routes.post("/items/{item}/posting", operation_id="postItem")
def post_item(called: Called, item: ItemNumber, given: Post) -> Count:
    """A notice was posted."""
    called.see(item)
    photo = None
    if given.photo is not None:
        photo = File("photo", "application/octet-stream", called.uploaded(given.photo)[given.photo])
    operate.post(called.rt, called.actor, item, given.place, given.at, photo)
    return Count(count=1)


@routes.post("/items/{item}/removal", operation_id="unpostItem")
def unpost_item(called: Called, item: ItemNumber, given: Unpost) -> Count:
    """A notice was taken down."""
    called.see(item)
    return Count(count=operate.unpost(called.rt, called.actor, item, given.at))


@routes.post("/items/{item}/postponement", operation_id="postponeItem")
def postpone_item(called: Called, item: ItemNumber, given: Postpone) -> Count:
    """Let what waits for its time wait longer."""
    called.see(item)
    return Count(count=operate.postpone(called.rt, called.actor, item, given.at, given.reason))


@routes.get("/channels", operation_id="listChannels")
def list_channels(called: Called) -> list[ChannelOut]:
    """Every channel and how it is."""
    sections = {name: opened.section for name, opened in called.rt.channels.items()}
    return [
        ChannelOut(
            label=sections[one.channel].label,
            **{name: getattr(one, name) for name in ChannelOut.model_fields if name != "label"},
        )
        for one in desk.channels(called.rt)
    ]


@routes.post("/channels/{channel}/test", operation_id="testChannel")
def test_channel(called: Called, channel: ChannelName) -> Tested:
    """A test that no citizen sees."""
    permit(called.actor, Decision.PAUSE)
    opened = called.rt.channels.get(channel)
    if opened is None:
        raise Refused("review.unknown_channel", given=channel, known="、".join(called.rt.channels))
    try:
        opened.adapter.check()
    except ChannelError as error:
        return Tested(ok=False, code=error.code)
    return Tested(ok=True)


@routes.post("/channels/{channel}/pause", operation_id="pauseChannel")
def pause_channel(called: Called, channel: ChannelName, given: WithReason) -> Literal["paused"]:
    """Claim nothing on a channel but withdrawals."""
    operate.pause(called.rt, called.actor, channel, given.reason)
    return "paused"


@routes.post("/channels/{channel}/resume", operation_id="resumeChannel")
def resume_channel(called: Called, channel: ChannelName) -> Literal["resumed"]:
    """Let a channel go on."""
    operate.resume(called.rt, called.actor, channel)
    return "resumed"
