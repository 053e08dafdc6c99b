"""One issue as people look at it: its page, how far it is where it goes, and what became of it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from sqlalchemy import case, exists, func, select
from sqlalchemy.orm import Session

from channels.contract import Finding
from pipeline import sources
from pipeline.arrangement import Arrangement
from pipeline.drafts import latest_revision, read_draft
from pipeline.issues import Line, Phase, configured, line, stored
from pipeline.models import Bounce, BounceKind, ChannelStatus, Delivery, IssueEntry, Suppression
from pipeline.runtime import Opened, Runtime
from pipeline.sources import Change
from pipeline.states import State

LATELY = timedelta(minutes=5)  # over which a rate is measured
UNSENT = (State.DUE, State.SENDING)
OUT = (State.ACCEPTED, State.CONFIRMED)


@dataclass(frozen=True)
class EntryLine:
    """An item in an issue, or left out of it. `change`: what happened to it since its text was taken."""

    item: int
    heading: str
    department: str
    published_on: date | None
    excerpt: bool
    picture: str
    change: Change | None


@dataclass(frozen=True)
class ColumnLines:
    name: str
    entries: tuple[EntryLine, ...]


@dataclass(frozen=True)
class Page:
    """One issue as its editor works at it. `revision`: the number of its latest text (0: nothing was assembled), which
    every change names as `based_on`. Seconds to cut-off and sending are below 0 once they have passed. `left_out`: what
    was offered and is not in it, to be put back. `editable`: changes are taken now (an approved one becomes a
    correction, which is reviewed). `findings`: why this text cannot be sent as it is."""

    line: Line
    title: str
    revision: int
    cut_off_seconds: float
    send_seconds: float
    columns: tuple[ColumnLines, ...]
    left_out: tuple[EntryLine, ...]
    editorial: str
    editorial_picture: str
    pictures: tuple[str, ...]
    editable: bool
    findings: tuple[Finding, ...] = ()

    @property
    def changed(self) -> tuple[EntryLine, ...]:
        """What must be renewed before it can be submitted."""
        return tuple(entry for column in self.columns for entry in column.entries if entry.change is not None)


@dataclass(frozen=True)
class Progress:
    """How far an issue is on one channel. `counts`: by state, one for each recipient where there are recipients.
    `per_minute`: sent in the last five minutes, by the minute; `seconds`: what is left at that rate, 0 when nothing is
    left, None when nobody can say: nothing moves, it waits for a person, or for its time."""

    channel: str
    addressed: bool
    counts: Mapping[State, int]
    per_minute: float
    seconds: float | None

    @property
    def total(self) -> int:
        return sum(self.counts.values()) - self.counts.get(State.SKIPPED, 0)

    @property
    def sent(self) -> int:
        return sum(self.counts.get(state, 0) for state in OUT)

    @property
    def left(self) -> int:
        return sum(self.counts.get(state, 0) for state in UNSENT)


@dataclass(frozen=True)
class DomainLine:
    """What became of an issue at one mail domain ("" for numbers and the like). `sent`: accepted, and nothing came
    back; `failed`: refused or come back; `bounced`: come back; `opted_out`: by their own will since they were sent it.
    """

    domain: str
    total: int
    sent: int
    failed: int
    bounced: int
    in_doubt: int
    opted_out: int


@dataclass(frozen=True)
class Figures:
    """What became of an issue on one channel with recipients; `domains`: the largest first, `domain` "" in `whole`."""

    channel: str
    whole: DomainLine
    domains: tuple[DomainLine, ...]


def page(rt: Runtime, issue_id: int) -> Page:
    """One issue as its editor works at it. Raises Refused when there is none."""
    now = line(rt, issue_id)
    with rt.reading() as db:
        issue = stored(db, issue_id)
        revision = latest_revision(db, issue.item_id) if issue.item_id is not None else None
        draft = read_draft(db, revision) if revision is not None else None
        arranged = draft.issue if draft is not None else None
        entries = db.scalars(select(IssueEntry).where(IssueEntry.issue_id == issue_id).order_by(IssueEntry.item_id))
        there = arranged.pieces if arranged is not None else {}
        others = [one.item_id for one in entries if one.item_id not in there]
        changes = sources.changes(db, arranged) if arranged is not None else {}
        titles = sources.titles(db, others)
    return Page(
        line=now,
        title=draft.title if draft is not None else f"{configured(rt).name}{now.numbers}",
        revision=revision.number if revision is not None else 0,
        cut_off_seconds=(now.cut_off_at - rt.now()).total_seconds(),
        send_seconds=(now.send_at - rt.now()).total_seconds(),
        columns=_columns(arranged, changes),
        left_out=tuple(EntryLine(item, titles[item], "", None, False, "", None) for item in others if item in titles),
        editorial=arranged.editorial if arranged is not None else "",
        editorial_picture=arranged.editorial_picture if arranged is not None else "",
        pictures=tuple(file.name for file in draft.files) if draft is not None else (),
        editable=now.phase not in (Phase.LEFT_OUT, Phase.WITHDRAWN),
        findings=tuple(sources.findings(rt, draft, ())) if draft is not None else (),
    )


def _columns(arranged: Arrangement | None, changes: Mapping[int, Change]) -> tuple[ColumnLines, ...]:
    return tuple(
        ColumnLines(
            section.name,
            tuple(
                EntryLine(
                    piece.item, piece.heading, piece.department, piece.published_on, piece.excerpt, piece.picture,
                    changes.get(piece.item),
                )
                for piece in section.pieces
            ),
        )
        for section in (arranged.sections if arranged is not None else ())
    )  # fmt: skip


def progress(rt: Runtime, issue_id: int) -> list[Progress]:
    """How far an issue is on each of its channels, in their order."""
    with rt.reading() as db:
        item_id = stored(db, issue_id).item_id
        counts = _by_state(db, item_id) if item_id is not None else {}
        return [
            _progress(rt, db, rt.channels[name], counts[name], item_id or 0) for name in rt.channels if name in counts
        ]


def _progress(rt: Runtime, db: Session, opened: Opened, counts: Mapping[State, int], item_id: int) -> Progress:
    now = rt.now()
    mine = (Delivery.item_id == item_id, Delivery.channel == opened.name, Delivery.expanded_at.is_(None))
    lately = select(func.count(), func.min(Delivery.last_tried_at)).where(
        *mine, Delivery.last_tried_at > now - LATELY, Delivery.state.in_((*OUT, State.FAILED))
    )
    sent, since = db.execute(lately).one()
    seconds = max((now - since).total_seconds(), 1.0) if since is not None else 0.0
    rate = sent / seconds if seconds else 0.0
    left = sum(counts.get(state, 0) for state in UNSENT)
    status = db.get(ChannelStatus, opened.name)
    shut = status is not None and (status.paused_at or (status.open_until is not None and status.open_until > now))
    if not left and not counts.get(State.ON_HOLD, 0):
        remaining: float | None = 0.0
    else:
        remaining = left / rate if left and rate and not shut else None
    return Progress(opened.name, opened.adapter.addressed, counts, rate * 60, remaining)


def figures(rt: Runtime, issue_id: int) -> list[Figures]:
    """What became of an issue on each channel with recipients, together and by mail domain."""
    with rt.reading() as db:
        item_id = stored(db, issue_id).item_id
        addressed = [opened.name for opened in rt.channels.values() if opened.adapter.addressed]
        found = {name: _domains(db, item_id, name) for name in addressed} if item_id is not None else {}
    return [
        Figures(name, _sum(lines), tuple(sorted(lines, key=lambda one: (-one.total, one.domain))))
        for name, lines in found.items()
        if lines
    ]


def _domains(db: Session, item_id: int, channel: str) -> list[DomainLine]:
    position = func.instr if db.get_bind().dialect.name == "sqlite" else func.strpos
    at = position(Delivery.recipient, "@")
    mine = (Delivery.item_id == item_id, Delivery.channel == channel, Delivery.recipient != "")
    domain = case((at > 0, func.substr(Delivery.recipient, at + 1)), else_="")  # without an @ it is no mail address
    each = select(domain.label("domain"), Delivery.state.label("state")).where(*mine).subquery()
    counted = select(each.c.domain, each.c.state, func.count()).group_by(each.c.domain, each.c.state)
    rows = [(name, state, count) for name, state, count in db.execute(counted)]
    gone = (
        select(Delivery.recipient)
        .join(Suppression, (Suppression.channel == channel) & (Suppression.address == Delivery.recipient))
        .where(*mine, Delivery.first_tried_at.is_not(None), Suppression.at >= Delivery.first_tried_at)
    )
    kinds = (BounceKind.HARD, BounceKind.SOFT)
    returned = exists().where(Bounce.channel == channel, Bounce.address == Delivery.recipient, Bounce.kind.in_(kinds))
    opted = _by_domain(db.scalars(gone.where(~returned)))
    back = select(Delivery.recipient).where(
        *mine, exists().where(Bounce.delivery_id == Delivery.id, Bounce.kind.in_(kinds))
    )
    bounced = _by_domain(db.scalars(back))
    counts: dict[str, dict[State, int]] = {}
    for name, state, count in rows:
        counts.setdefault(name, {})[state] = count
    return [
        DomainLine(
            domain=name,
            total=sum(one.values()),
            sent=sum(one.get(state, 0) for state in OUT),
            failed=one.get(State.FAILED, 0),
            bounced=bounced[name],
            in_doubt=one.get(State.IN_DOUBT, 0),
            opted_out=opted[name],
        )
        for name, one in counts.items()
    ]


def _by_domain(addresses: Iterable[str]) -> Counter[str]:
    return Counter(address.partition("@")[2] for address in addresses)


def _sum(lines: Sequence[DomainLine]) -> DomainLine:
    return DomainLine(
        domain="",
        total=sum(one.total for one in lines),
        sent=sum(one.sent for one in lines),
        failed=sum(one.failed for one in lines),
        bounced=sum(one.bounced for one in lines),
        in_doubt=sum(one.in_doubt for one in lines),
        opted_out=sum(one.opted_out for one in lines),
    )


def _by_state(db: Session, item_id: int) -> dict[str, dict[State, int]]:
    """The deliveries of an issue by channel and state: a slot with recipients is only their plan."""
    counted = (
        select(Delivery.channel, Delivery.state, func.count())
        .where(Delivery.item_id == item_id, Delivery.expanded_at.is_(None))
        .group_by(Delivery.channel, Delivery.state)
    )
    found: dict[str, dict[State, int]] = {}
    for channel, state, count in db.execute(counted):
        found.setdefault(channel, {})[state] = count
    return found
