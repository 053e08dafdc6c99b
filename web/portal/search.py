"""Words of Chinese texts: what is indexed, what is looked for, and what of it is marked in a result.

Chinese has no spaces, so a text is cut into units, and every two that stand side by side are a term: a name of two
characters is found wherever it stands, without a dictionary that would not know it. A unit is one Chinese character,
or a run of other letters or of digits (`12号` is two). Width and case are folded: `ＩＰＴＶ`, `iptv` and `IPTV` are
one.
"""

import html
import itertools
import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache

LONGEST_WORD = 32  # characters of a run of letters or digits; the rest of a longer one is not looked at
LOOKED_FOR = 64  # terms of a query; those of a longer one are not looked at

_HAN = "〇々\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_UNIT = re.compile(f"[{_HAN}]|[^\\W_{_HAN}]+")
_STRETCH = re.compile(r"[^\W_]+")
_HAN_ONE = re.compile(f"[{_HAN}]")
_RUNNING_ON = re.compile(f"[^\\W_{_HAN}]{{2}}")
_LOOSE = re.compile(f"(?<=[{_HAN}])[ \\t]+(?=[^\\W_{_HAN}])|(?<=[^\\W_{_HAN}])[ \\t]+(?=[{_HAN}])")
_TAG = re.compile("<[^>]*>")
_BLOCK_ENDS = re.compile("</(?:h[2-5]|p|tr|th|td)>|<br ?/?>")


def plain(document: str) -> str:
    """The text of HTML of our subset (content.py), a line for each paragraph, heading and cell."""
    return html.unescape(_TAG.sub("", _BLOCK_ENDS.sub("\n", document))).strip()


def terms(*texts: str) -> set[str]:
    """What a text is found by. Between letters and Chinese characters a space means nothing: `IPTV 机顶盒` is found by
    `IPTV机顶盒`, too."""
    found = set[str]()
    for text in texts:
        for stretch in _STRETCH.findall(_LOOSE.sub("", _fold(text))):
            units = _units(stretch)
            found.update(units)
            found.update(map("".join, itertools.pairwise(units)))
    return found


def looked_for(query: str) -> list[str]:
    """The terms that a text must hold all of, each once: pairs, and single units only where they stand alone."""
    found: dict[str, None] = {}
    for stretch in _STRETCH.findall(_fold(query)):
        found.update(dict.fromkeys(_pairs(_units(stretch))))
    return list(found)[:LOOKED_FOR]


def highlight(text: str, query: str) -> list[tuple[str, bool]]:
    """The text in pieces, each with whether it is what was looked for: whole words of the query where the text has
    them, else the pairs by which it was found."""
    folded, origin = _aligned(text)
    marked = bytearray(len(text))
    for begin, end in _hits(folded, query):
        first, last = origin[begin], origin[end - 1]
        marked[first : last + 1] = b"\1" * (last + 1 - first)
    return [(text[slice(*same.span())], same[0][0] == 1) for same in re.finditer(rb"\x00+|\x01+", marked)]


def snippet(text: str, query: str, length: int = 120) -> str:
    """So many characters of the text around what was first found of the query; `…` stands for what is left out."""
    text = re.sub(r"\s+", " ", text).strip()
    folded, origin = _aligned(text)
    first = min((origin[begin] for begin, _ in _hits(folded, query)), default=0)
    begin = max(0, min(first - length // 4, len(text) - length))
    end = begin + length
    return ("…" if begin else "") + text[begin:end] + ("…" if end < len(text) else "")


def _fold(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _units(stretch: str) -> list[str]:
    return [unit[:LONGEST_WORD] for unit in _UNIT.findall(stretch)]


def _pairs(units: list[str]) -> list[str]:
    return list(map("".join, itertools.pairwise(units))) if len(units) > 1 else units


class _Folding(dict[int, str]):
    """Characters folded one by one, for `str.translate`; each is folded once."""

    def __missing__(self, code: int) -> str:
        self[code] = _fold(chr(code))
        return self[code]


_FOLDING = _Folding()


def _aligned(text: str) -> tuple[str, Sequence[int]]:
    """The text folded character by character, and for each of the folded ones where it came from."""
    folded = text.translate(_FOLDING)
    if len(folded) == len(text):  # no character ever folds to none
        return folded, range(len(text))
    return folded, [at for at, character in enumerate(text) for _ in _FOLDING[ord(character)]]


@lru_cache(maxsize=256)
def _marks(query: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The words of a query, each with what stands for it where it does not stand as a whole."""
    words = [_units(stretch) for stretch in _STRETCH.findall(_fold(query))]
    return tuple(
        ("".join(units), tuple(dict.fromkeys((*_pairs(units), *(unit for unit in units if not _HAN_ONE.match(unit))))))
        for units in words
    )


def _hits(folded: str, query: str) -> Iterator[tuple[int, int]]:
    for whole, parts in _marks(query):
        found = False
        for found_at in _places(folded, whole):
            found = True
            yield found_at
        for part in () if found else parts:
            yield from _places(folded, part)


def _places(text: str, wanted: str) -> Iterator[tuple[int, int]]:
    """Where it stands, and not within a longer run of letters or digits."""
    begin = text.find(wanted)
    while begin >= 0:
        end = begin + len(wanted)
        if not _within(text, begin) and (len(wanted) >= LONGEST_WORD or not _within(text, end)):
            yield begin, end
        begin = text.find(wanted, begin + 1)


def _within(text: str, at: int) -> bool:
    """Is this place in the middle of a run of letters or digits?"""
    return bool(_RUNNING_ON.match(text, at - 1)) if 0 < at < len(text) else False
