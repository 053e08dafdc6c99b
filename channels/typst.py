"""Data → PDF, for everything that the bureau prints.

A template is a Typst file in `templates/`. It finds its data in `json(bytes(sys.inputs.data))` and the families of each
font role in `json(bytes(sys.inputs.fonts))`. Item text reaches Typst only so: as markup, a paragraph that starts with
`1. ` would lose its number.
"""

import json
import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from threading import local
from typing import Any

import typst
from fontTools.ttLib import TTFont

from channels.contract import ChannelError, Finding, Severity

TEMPLATES = Path(__file__).parent / "templates"
SUBSTITUTES = Path(__file__).parent / "fonts"
SCREEN_PPI = 110.0  # of pictures: an A4 page is some 900 pixels wide


class Role(StrEnum):
    """The faces that GB/T 9704-2012 names, and the page number's."""

    FANGSONG = "仿宋"
    KAITI = "楷体"
    HEITI = "黑体"
    XIAOBIAOSONG = "小标宋"
    FOLIO = "页码"


_SUBSTITUTE = {
    Role.FANGSONG: "FabuFangsong",
    Role.KAITI: "FabuKaiti",
    Role.HEITI: "FabuHeiti",
    Role.XIAOBIAOSONG: "FabuXiaobiaosong",
    Role.FOLIO: "FabuFangsong",
}


class CannotTypeset(ChannelError):
    """The template and its data do not make a PDF. Always the same for the same data: trying again is no use."""


@dataclass(frozen=True, eq=False)
class Fonts:
    """The fonts of every role in the order they are tried, and the code points they can write."""

    loaded: typst.Fonts
    families: Mapping[Role, tuple[str, ...]]
    glyphs: Mapping[Role, frozenset[int]]

    def missing(self, role: Role, text: str) -> list[str]:
        """The characters of `text`, each once and in order, that no font of `role` has; line ends need none."""
        return [character for character in dict.fromkeys(text) if ord(character) not in self.glyphs[role]]

    def findings(self, texts: Iterable[tuple[Role, str]]) -> list[Finding]:
        """One for each character of `texts` that no font of its role has."""
        found = dict[str, Finding]()
        for role, text in texts:
            for character in self.missing(role, text):
                at = text.index(character)
                facts = {"character": character, "code_point": f"U+{ord(character):04X}"}
                place = text[max(0, at - 8) : at + 9]
                found.setdefault(character, Finding("bulletin.no_glyph", Severity.BLOCK, place, facts))
        return list(found.values())


@cache
def fonts(directory: Path | None = None) -> Fonts:
    """The office's own fonts first (files in `directory` named by role: 仿宋.ttf, 小标宋.otf …), then our substitute of
    the role, and for what neither has, 仿宋. Read once a process."""
    loaded = typst.Fonts(
        include_system_fonts=False,
        include_embedded_fonts=False,
        font_paths=[str(folder) for folder in (directory, SUBSTITUTES) if folder],
    )
    by_stem = {Path(font.path).stem: font for font in loaded.fonts() if font.path and font.index == 0}
    families, glyphs = {}, {}
    for role in Role:
        stems = dict.fromkeys((role, _SUBSTITUTE[role], Role.FANGSONG, _SUBSTITUTE[Role.FANGSONG]))
        chosen = [by_stem[stem] for stem in stems if stem in by_stem]
        families[role] = tuple(font.family for font in chosen)
        glyphs[role] = frozenset(b"\n").union(*(_code_points(font.path) for font in chosen if font.path))
    return Fonts(loaded, families, glyphs)


def typeset(template: str, data: Mapping[str, object], fonts_dir: Path | None = None) -> bytes:
    """The PDF/UA-1 that `template` (its name without `.typ`) makes of `data`: same data, same bytes.

    Raises CannotTypeset (`typst.cannot_typeset`, detail) for an error and for any warning: both are faults of the
    template or the installation, never of a text.
    """
    (pdf,) = _compiled(template, data, fonts_dir, format="pdf", pdf_standards="ua-1", timestamp=0)
    return pdf


def pictures(template: str, data: Mapping[str, object], fonts_dir: Path | None = None) -> tuple[bytes, ...]:
    """The same pages as PNG, one each, for a screen. Raises CannotTypeset."""
    return _compiled(template, data, fonts_dir, format="png", ppi=SCREEN_PPI)


def _compiled(template: str, data: Mapping[str, object], fonts_dir: Path | None, **how: Any) -> tuple[bytes, ...]:
    inputs = {"data": json.dumps(data, ensure_ascii=False), "fonts": json.dumps(fonts(fonts_dir).families)}
    try:
        made, warnings = _compiler(template, fonts_dir).compile_with_warnings(sys_inputs=inputs, **how)
    except typst.TypstError as error:
        raise CannotTypeset("typst.cannot_typeset", template=template, detail=error.message) from error
    if warnings:
        raise CannotTypeset("typst.cannot_typeset", template=template, detail=warnings[0].message)
    return (made,) if isinstance(made, bytes) else tuple(made or ())


_kept = local()
_first_process: list[int] = []


def _compiler(template: str, fonts_dir: Path | None) -> typst.Compiler:
    """This thread's compiler, kept because a warm one takes a third of the time; two threads cannot share one.

    Typst's own threads do not live through a fork and a compile in the child would wait for them for ever, so that is
    refused: workers compile after the fork, never before it.
    """
    _first_process[:] = _first_process or [os.getpid()]
    if os.getpid() not in _first_process:
        raise RuntimeError("Typst was used before this process was forked")
    compilers: dict[tuple[str, Path | None], typst.Compiler] = _kept.__dict__.setdefault("compilers", {})
    if (template, fonts_dir) not in compilers:
        compilers[template, fonts_dir] = typst.Compiler(
            TEMPLATES / f"{template}.typ",
            root=TEMPLATES,
            font_paths=fonts(fonts_dir).loaded,
            ignore_system_fonts=True,
        )
    return compilers[template, fonts_dir]


def _code_points(path: str) -> frozenset[int]:
    with TTFont(path, fontNumber=0, lazy=True) as font:
        return frozenset(font.getBestCmap())


# Where a title breaks well (GB/T 9704-2012, 7.3.1: 词意完整，排列对称，长短适宜); no dictionary, a short list.
_BREAK_BEFORE = re.compile("关于|转发|印发|公布|通报|做好|加强|进一步|开展|实施|推进|举办|召开|和|与|及|暨|《|“|（|〔")
_BREAK_AFTER = re.compile("(?:[的等》”）〕、，：；]|局|厅|政府|委员会|办公室|公司|中心|年度|工作)$")
_ONE_WORD = re.compile("广播电视局?|政府信息公开|信息公开|网络视听|人民政府|办公室|工作人员|事业单位|进一步")
_NEVER_FIRST = "的了等》”）〕】、，。：；！？％%年月日号期届"
_NEVER_LAST = "《“（〔【第一二三四五六七八九十"


def title_lines(title: str, width: float) -> list[str]:
    """`title` broken into lines of at most `width` characters (Latin counts a little over half), alike in length and,
    where that can be told, between words."""

    def wide(character: str) -> float:
        return 0.6 if character.isascii() else 1.0

    within = {at for word in _ONE_WORD.finditer(title) for at in range(word.start() + 1, word.end())}

    def penalty(at: int) -> float:
        before, after = title[at - 1], title[at]
        if at in within or after in _NEVER_FIRST or before in _NEVER_LAST or (before + after).isascii():
            return 400.0
        return 0.0 if _BREAK_BEFORE.match(title, at) or _BREAK_AFTER.search(title, max(0, at - 3), at) else 25.0

    total = sum(map(wide, title))
    if total <= width:
        return [title]
    ideal = total / max(2, math.ceil(total / (0.95 * width)))
    best = [(0.0, 0)]  # for each end: the least cost of all lines up to it, and where its last line starts
    for end in range(1, len(title) + 1):
        here = penalty(end) if end < len(title) else 0.0
        length, choices = 0.0, list[tuple[float, int]]()
        for start in range(end - 1, -1, -1):
            length += wide(title[start])
            if length > width and choices:
                break
            choices.append((best[start][0] + (length - ideal) ** 2 + here, start))
        best.append(min(choices))
    lines, end = list[str](), len(title)
    while end:
        start = best[end][1]
        lines.insert(0, title[start:end].strip())
        end = start
    return lines
