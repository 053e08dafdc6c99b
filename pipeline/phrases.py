"""The word table: set phrases that are mistaken for others, which the office keeps itself (domain: Secrecy review).

A line says: whoever writes `wrong` means `correct`, from one day until another. Nothing is deleted: why a text was
questioned stays to be seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session

from pipeline.decisions import Actor, Decision, Refused, audit, permit, plain
from pipeline.models import StoredPhrase
from pipeline.runtime import Runtime

LONGEST = 40  # characters of a phrase
SHORTEST = 2  # one character would question half of every text
SHIPPED = ""  # `set_by` of what came with the program


@dataclass(frozen=True)
class Phrase:
    """`wrong` is written where `correct` is meant."""

    correct: str
    wrong: str


class Standing(StrEnum):
    IN_FORCE = "in_force"
    NOT_YET = "not_yet"  # its first day is still to come
    OVER = "over"  # ended, or its last day has passed


@dataclass(frozen=True)
class Line(Phrase):
    """A line of the table with its days (`to_on` None: until somebody ends it) and who decided. `set_by` "": it came
    with the program."""

    id: int
    from_on: date
    to_on: date | None
    set_by: str
    set_at: datetime
    ended_by: str
    ended_at: datetime | None
    standing: Standing


def in_force(db: Session, today: date) -> tuple[Phrase, ...]:
    """What the checks look for on this day."""
    chosen = select(StoredPhrase.correct, StoredPhrase.wrong).where(*_valid(today)).order_by(StoredPhrase.id)
    return tuple(Phrase(correct, wrong) for correct, wrong in db.execute(chosen))


def lines(rt: Runtime) -> list[Line]:
    """The whole table by the right phrase: the office's own lines, those that came with the program, what is over."""
    today = _today(rt)
    with rt.reading() as db:
        rows = db.scalars(select(StoredPhrase).order_by(StoredPhrase.correct, StoredPhrase.id)).all()
        found = [_line(row, today) for row in rows]
    return sorted(found, key=lambda line: (line.standing is Standing.OVER, line.set_by == SHIPPED))


def add(
    rt: Runtime,
    actor: Actor,
    correct: str,
    wrong: Sequence[str],
    from_on: date | None = None,
    to_on: date | None = None,
) -> list[Line]:
    """New lines: each of `wrong` for the same `correct`, from `from_on` (None: today) to `to_on` inclusive. Raises
    Refused, and then has added none."""
    permit(actor, Decision.WORDS)
    today = _today(rt)
    begin = from_on or today
    if to_on is not None and to_on < max(begin, today):
        raise Refused("words.backwards")
    correct = _phrase(correct, "phrase_correct")
    mistaken = list(dict.fromkeys(_phrase(one, "phrase_wrong") for one in wrong if one.strip()))
    if not mistaken:
        raise Refused("words.nothing_wrong", correct=correct)
    with rt.writing() as db:
        added = []
        for one in mistaken:
            if one == correct:
                raise Refused("words.same", phrase=correct)
            if known := db.scalar(select(StoredPhrase).where(StoredPhrase.wrong == one, *_open(today))):
                raise Refused("words.known", wrong=one, correct=known.correct)
            if db.scalar(select(StoredPhrase.id).where(StoredPhrase.correct == one, *_open(today))):
                raise Refused("words.is_correct", phrase=one)
            row = StoredPhrase(correct=correct, wrong=one, from_on=begin, to_on=to_on, set_at=rt.now())
            row.set_by, row.ended_by = actor.person.id, ""
            db.add(row)
            added.append(row)
        db.flush()
        audit(rt, db, actor, Decision.WORDS, None, correct=correct, wrong=mistaken, from_on=begin, to_on=to_on)
        return [_line(row, today) for row in added]


def end(rt: Runtime, actor: Actor, id: int) -> Line:
    """Look for this phrase no more, from now on. Raises Refused."""
    permit(actor, Decision.WORDS)
    today = _today(rt)
    with rt.writing() as db:
        row = db.get(StoredPhrase, id, with_for_update=True)
        if row is None:
            raise Refused("words.unknown", number=str(id))
        if row.ended_at is not None or (row.to_on is not None and row.to_on < today):
            raise Refused("words.ended_already", wrong=row.wrong)
        row.ended_at, row.ended_by = rt.now(), actor.person.id
        audit(rt, db, actor, Decision.WORDS, None, correct=row.correct, wrong=[row.wrong], ended=row.id)
        return _line(row, today)


def _open(today: date) -> tuple[ColumnElement[bool], ...]:
    """Neither ended nor past its last day."""
    return StoredPhrase.ended_at.is_(None), or_(StoredPhrase.to_on.is_(None), StoredPhrase.to_on >= today)


def _valid(today: date) -> tuple[ColumnElement[bool], ...]:
    return *_open(today), StoredPhrase.from_on <= today


def _line(row: StoredPhrase, today: date) -> Line:
    still = row.ended_at is None and (row.to_on is None or row.to_on >= today)
    return Line(
        correct=row.correct,
        wrong=row.wrong,
        id=row.id,
        from_on=row.from_on,
        to_on=row.to_on,
        set_by=row.set_by,
        set_at=row.set_at,
        ended_by=row.ended_by,
        ended_at=row.ended_at,
        standing=Standing.OVER if not still else Standing.IN_FORCE if row.from_on <= today else Standing.NOT_YET,
    )


def _phrase(given: str, field: str) -> str:
    phrase = "".join(plain(given, field).split())
    if not SHORTEST <= len(phrase) <= LONGEST:
        raise Refused("words.length", phrase=phrase[:LONGEST], least=str(SHORTEST), most=str(LONGEST))
    return phrase


def _today(rt: Runtime) -> date:
    return rt.now().astimezone(rt.settings.zone).date()
