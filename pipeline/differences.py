"""What changed between two texts, as a reviewer reads it: by paragraphs, and within them by characters. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from enum import StrEnum

from channels.document import parse, to_text
from pipeline.drafts import Draft

ALIKE = 0.5  # from this likeness on two paragraphs are one that was changed, below it one went and another came


class Change(StrEnum):
    SAME = "same"
    ADDED = "added"
    REMOVED = "removed"


@dataclass(frozen=True)
class Piece:
    change: Change
    text: str


Paragraph = tuple[Piece, ...]


@dataclass(frozen=True)
class Field:
    """A field of the catalogue entry that is not what it was."""

    name: str
    before: str
    after: str


@dataclass(frozen=True)
class Differences:
    """`paragraphs`: the whole text, changed or not."""

    fields: tuple[Field, ...]
    paragraphs: tuple[Paragraph, ...]

    @property
    def changed(self) -> bool:
        return bool(self.fields) or any(piece.change is not Change.SAME for row in self.paragraphs for piece in row)


def between(before: Draft, after: Draft) -> Differences:
    """What became of `before` in `after`."""
    return Differences(tuple(_fields(before, after)), tuple(_paragraphs(_lines(before), _lines(after))))


def _lines(draft: Draft) -> list[str]:
    return [line for line in to_text(parse(draft.text)).splitlines() if line.strip()]


_FIELDS = (
    "title", "item_type", "department", "formed_on", "document_number", "summary", "theme", "keywords", "source",
    "short_title", "sms_text", "period", "objection_contact", "corrects", "validity",
)  # fmt: skip


def _fields(before: Draft, after: Draft) -> Iterator[Field]:
    for name in _FIELDS:
        was, now = _plain(getattr(before, name)), _plain(getattr(after, name))
        if was != now:
            yield Field(name, was, now)
    files = [{file.name: file.sha256 for file in draft.files} for draft in (before, after)]
    for name in dict.fromkeys([*files[0], *files[1]]):
        if files[0].get(name) != files[1].get(name):
            yield Field("files", name if name in files[0] else "", name if name in files[1] else "")


def _plain(value: object) -> str:
    match value:
        case None:
            return ""
        case tuple():
            return "、".join(str(one) for one in value)
    return str(value)


def _paragraphs(before: list[str], after: list[str]) -> Iterator[Paragraph]:
    for kind, first, last, begin, end in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if kind == "equal":
            yield from ((Piece(Change.SAME, line),) for line in after[begin:end])
        else:
            yield from _changed(before[first:last], after[begin:end])


def _changed(before: list[str], after: list[str]) -> Iterator[Paragraph]:
    """Lines that were replaced: each is shown beside the one that it most likely was."""
    left = list(before)
    for line in after:
        ratios = [SequenceMatcher(None, old, line, autojunk=False).ratio() for old in left]
        best = max(range(len(left)), key=ratios.__getitem__, default=None)
        if best is None or ratios[best] < ALIKE:
            yield (Piece(Change.ADDED, line),)
            continue
        yield from ((Piece(Change.REMOVED, old),) for old in left[:best])
        yield tuple(_pieces(left[best], line))
        del left[: best + 1]
    yield from ((Piece(Change.REMOVED, old),) for old in left)


def _pieces(before: str, after: str) -> Iterator[Piece]:
    for kind, first, last, begin, end in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if kind == "equal":
            yield Piece(Change.SAME, after[begin:end])
            continue
        if first < last:
            yield Piece(Change.REMOVED, before[first:last])
        if begin < end:
            yield Piece(Change.ADDED, after[begin:end])
