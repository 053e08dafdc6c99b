"""What an issue of the newsletter is made of (编排): columns of entries, an editorial, an imprint. Pure.

It is kept in the issue's revisions and hashed with them. The plain text that checks, comparison and search read, and
the `Issue` that channels set, are made of it and of nothing else.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date
from typing import Any

from channels.document import Block, Heading, Paragraph, parse, to_text
from channels.issue import Column, Entry, Issue

NUMERALS = "一二三四五六七八九十"
EXCERPT = "（节选）"
GONE = "（本期有{count}则信息已撤下。）"
SUMMARY_TITLE = 60  # characters of the first title that a summary names
# An internal publication's imprint names all of these (domain: Print).
INTERNAL_MARK = ("资料性质", "内部资料，免费交流")
NUMBER_LABEL, PRINTED_LABEL, MERGED_LABEL = "期号", "印刷日期", "合刊说明"
REQUIRED_LABELS = ("准印证号", "编印单位", "发送对象", "印刷单位", "印数")


@dataclass(frozen=True)
class Piece:
    """One item as it stands in an issue: `text` is that of its approved revision number `revision`, or of the editor's
    own where it is an `excerpt`. `department`: its name at that time; `picture`: one of the issue's attachments."""

    item: int
    revision: int
    title: str
    text: str
    department: str
    published_on: date
    excerpt: bool = False
    picture: str = ""

    @property
    def heading(self) -> str:
        return self.title + EXCERPT if self.excerpt else self.title


@dataclass(frozen=True)
class Section:
    """A column (栏目) with its pieces in order; it stays when it is empty, and is not shown then."""

    name: str
    pieces: tuple[Piece, ...] = ()


@dataclass(frozen=True)
class Arrangement:
    """A whole issue. `gone`: so many pieces were taken out by rule after it had been approved; a line says so."""

    name: str
    year: int
    number: int
    running: int
    day: date
    sections: tuple[Section, ...]
    editorial: str = ""
    editorial_picture: str = ""
    internal: bool = False
    imprint: tuple[tuple[str, str], ...] = ()
    gone: int = 0

    @property
    def title(self) -> str:
        return f"{self.name}{numbers(self.year, self.number, self.running)}"

    @property
    def pieces(self) -> dict[int, Piece]:
        """All of them by item, in their order."""
        return {piece.item: piece for section in self.sections for piece in section.pieces}

    @property
    def emptied(self) -> bool:
        """Was everything taken out of it by rule? All it says then is that something was."""
        return bool(self.gone) and not self.pieces and not self.editorial

    @property
    def shown(self) -> tuple[Section, ...]:
        return tuple(section for section in self.sections if section.pieces)

    @property
    def text(self) -> str:
        """All of it as a plain text in official style."""
        return to_text(self.blocks)

    @property
    def summary(self) -> str:
        """What the catalogue says of the issue."""
        pieces = list(self.pieces.values())
        if not pieces:
            return f"{self.name}{self.year}年第{self.number}期。"
        title = pieces[0].title
        title = title if len(title) <= SUMMARY_TITLE else title[: SUMMARY_TITLE - 1] + "…"
        return f"本期载有《{title}》等{len(pieces)}则信息。" if len(pieces) > 1 else f"本期载有《{title}》。"

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The same as blocks: columns are headings of the first level, titles of the second."""
        found: list[Block] = list(_below(self.editorial, 0)) if self.editorial else []
        for place, section in enumerate(self.shown):
            found.append(Heading(1, f"{numeral(place)}、{section.name}"))
            for at, piece in enumerate(section.pieces):
                found.append(Heading(2, f"（{numeral(at)}）{piece.heading}"))
                found += _below(piece.text, 2)
                found.append(
                    Paragraph(f"（{piece.department}，{in_words(piece.published_on)}发布，原文：/i/{piece.item}）")
                )
        if self.gone:
            found.append(Paragraph(GONE.format(count=self.gone)))
        return tuple(found)

    def issue(self, address_of: Callable[[int], str]) -> Issue:
        """As channels set it."""
        columns = [
            Column(
                section.name,
                tuple(
                    Entry(
                        number=piece.item,
                        title=piece.heading,
                        blocks=parse(piece.text),
                        address=address_of(piece.item),
                        department=piece.department,
                        published_on=piece.published_on,
                        picture=piece.picture,
                    )
                    for piece in section.pieces
                ),
            )
            for section in self.shown
        ]
        return Issue(
            name=self.name,
            year=self.year,
            number=self.number,
            running=self.running,
            day=self.day,
            columns=tuple(columns),
            editorial=parse(self.editorial) if self.editorial else (),
            editorial_picture=self.editorial_picture,
            internal=self.internal,
            imprint=self.imprint,
            note=GONE.format(count=self.gone) if self.gone else "",
        )

    # ── changes ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def without(self, item: int) -> "Arrangement":
        sections = (
            replace(one, pieces=tuple(piece for piece in one.pieces if piece.item != item)) for one in self.sections
        )
        return replace(self, sections=tuple(sections))

    @property
    def bare(self) -> "Arrangement":
        """With its columns, and nothing in them."""
        return replace(self, sections=tuple(Section(one.name) for one in self.sections))

    def replaced(self, piece: Piece) -> "Arrangement":
        """With this piece in the place of the one of the same item."""
        sections = (
            replace(one, pieces=tuple(piece if old.item == piece.item else old for old in one.pieces))
            for one in self.sections
        )
        return replace(self, sections=tuple(sections))

    def put(self, piece: Piece, column: str, place: int | None = None) -> "Arrangement":
        """With this piece in a column, at a place counted from 0 (None: at its end). A column that is not there yet
        comes last."""
        bare = self.without(piece.item)
        if all(section.name != column for section in bare.sections):
            bare = replace(bare, sections=(*bare.sections, Section(column)))
        sections = []
        for section in bare.sections:
            if section.name == column:
                at = len(section.pieces) if place is None else min(max(place, 0), len(section.pieces))
                section = replace(section, pieces=(*section.pieces[:at], piece, *section.pieces[at:]))
            sections.append(section)
        return replace(bare, sections=tuple(sections))

    # ── stored ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def data(self) -> dict[str, Any]:
        """For JSON; days as they are."""
        return asdict(self)

    @staticmethod
    def read(data: Mapping[str, Any]) -> "Arrangement":
        """What `data` made, after JSON."""
        sections = [
            Section(
                one["name"],
                tuple(
                    Piece(**{**piece, "published_on": date.fromisoformat(piece["published_on"])})
                    for piece in one["pieces"]
                ),
            )
            for one in data["sections"]
        ]
        imprint = tuple((label, value) for label, value in data["imprint"])
        day = date.fromisoformat(data["day"])
        return Arrangement(**{**data, "sections": tuple(sections), "imprint": imprint, "day": day})


def numbers(year: int, number: int, running: int) -> str:
    """2015年第3期（总第51期）"""
    return f"{year}年第{number}期（总第{running}期）"


def numeral(place: int) -> str:
    """The Chinese numeral of a place counted from 0, up to 999: after an outage a column may be long."""
    hundreds, rest = divmod(place + 1, 100)
    tens, ones = divmod(rest, 10)
    head = NUMERALS[hundreds - 1] + "百" if hundreds else ""
    if tens:
        head += "十" if tens == 1 and not hundreds else NUMERALS[tens - 1] + "十"
    elif hundreds and ones:
        head += "零"
    return head + (NUMERALS[ones - 1] if ones else "")


def in_words(day: date) -> str:
    """2026年11月20日"""
    return f"{day.year}年{day.month}月{day.day}日"


def _below(text: str, level: int) -> tuple[Block, ...]:
    """The blocks of a text whose headings stand below one of this level; there are four levels."""
    return tuple(
        replace(block, level=min(block.level + level, 4)) if isinstance(block, Heading) else block
        for block in parse(text)
    )
