"""A .docx of Word or WPS → its text in official style, its pictures, and what the clerk must look at.

Pure. The names of elements are WordprocessingML's (ECMA-376, part 1; ISO/IEC 29500 "strict" is read alike). What a
reader of the document sees is taken as text: automatic numbers, tables as `|` rows, text boxes below the paragraph that
holds them, footnotes in brackets. What is not meant for readers never is: comments, deleted and hidden text. Tracked
changes are taken as if all were accepted. Whatever could not be taken as it stands is a finding with its count.
"""

import mimetypes
import posixpath
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import PurePosixPath
from zipfile import BadZipFile, ZipFile

from lxml import etree

from channels.contract import File, Finding, Severity
from channels.document import BadText, Heading, parse

_Element = etree._Element

LARGEST = 120_000_000  # bytes that the parts we read may unpack to, all together
MOST_PARTS = 5_000
MOST_TAGS = 1_000_000  # of all parts: as many empty paragraphs took 6 s to read
LONGEST_TITLE = 100  # characters; what is longer is a paragraph
WIDEST = 63  # columns that a Word table may have
PICTURE_NAME = re.compile(r"图\d+\.\w+")  # what we call a picture that becomes an attachment

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_R = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
_M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
_STRICT = {
    b"http://purl.oclc.org/ooxml/wordprocessingml/main": _W[1:-1].encode(),
    b"http://purl.oclc.org/ooxml/officeDocument/relationships": _R[1:-1].encode(),
    b"http://purl.oclc.org/ooxml/officeDocument/math": _M[1:-1].encode(),
}


@dataclass(frozen=True)
class Body:
    """What a file says. `title`: what its author set as one, possibly nothing; it does not stand in `text`."""

    text: str
    title: str = ""
    pictures: tuple[File, ...] = ()
    findings: tuple[Finding, ...] = ()


def read(content: bytes) -> Body:
    """The body in the bytes of a .docx. Raises BadText: `docx.damaged`, `docx.not_word`, `docx.macros`,
    `docx.too_large` (`limit` in MB)."""
    return _Reader(_Package(content)).read()


# The package


class _Package:
    """The parts of the zip file, read within limits: what the directory says of their sizes is not believed."""

    def __init__(self, content: bytes) -> None:
        if content.count(b"PK\x01\x02") > MOST_PARTS:
            raise _too_large()
        try:
            self._zip = ZipFile(BytesIO(content))
        except (BadZipFile, ValueError, OSError) as error:
            raise BadText("docx.damaged") from error
        self._left, self._tags = LARGEST, MOST_TAGS
        if any(name.lower().endswith("vbaproject.bin") for name in self._zip.namelist()):
            raise BadText("docx.macros")
        if b"macroEnabled" in (self.part("[Content_Types].xml") or b""):
            raise BadText("docx.macros")

    def part(self, name: str) -> bytes | None:
        """The bytes of a part, or None when it is not there."""
        try:
            with self._zip.open(name) as part:
                data = part.read(self._left + 1)
        except KeyError:
            return None
        except (BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError) as error:
            raise BadText("docx.damaged") from error
        self._left -= len(data)
        if self._left < 0:
            raise _too_large()
        return data

    def xml(self, name: str) -> _Element | None:
        """The root of a part. No entity is resolved and nothing is fetched; the format allows no DOCTYPE."""
        data = self.part(name)
        if data is None:
            return None
        self._tags -= data.count(b"<")
        if self._tags < 0:
            raise _too_large()
        for strict, transitional in _STRICT.items():
            data = data.replace(strict, transitional)
        parser = etree.XMLParser(resolve_entities=False, no_network=True, remove_comments=True, remove_pis=True)
        try:
            root = etree.fromstring(data, parser)
        except etree.XMLSyntaxError as error:
            raise BadText("docx.damaged") from error
        if root.getroottree().docinfo.internalDTD is not None:
            raise BadText("docx.damaged")
        return root

    def relations(self, name: str) -> Mapping[str, tuple[str, str, bool]]:
        """What a part refers to, by id: kind, target (a part's name or an address), whether it lies inside."""
        folder, base = posixpath.split(name)
        root = self.xml(posixpath.join(folder, "_rels", f"{base}.rels"))
        found = {}
        for each in root if root is not None else ():
            target, inside = each.get("Target", ""), each.get("TargetMode") != "External"
            if inside:
                target = posixpath.normpath(posixpath.join("/", folder, target)).lstrip("/")
            found[each.get("Id", "")] = each.get("Type", "").rpartition("/")[2], target, inside
        return found


def _too_large() -> BadText:
    return BadText("docx.too_large", limit=str(LARGEST // 1_000_000))


def _name(element: _Element) -> str:
    return etree.QName(element).localname


def _value(element: _Element | None, path: str, name: str = "val") -> str | None:
    """An attribute of the element at `path` below this one."""
    found = element.find("/".join(_W + step for step in path.split("/"))) if element is not None else None
    return found.get(_W + name) if found is not None else None


def _on(element: _Element | None, path: str) -> bool | None:
    """A property that is on, off, or not mentioned."""
    found = element.find("/".join(_W + step for step in path.split("/"))) if element is not None else None
    return None if found is None else found.get(_W + "val", "1") not in ("0", "false", "off")


def _whole(text: str | None, default: int = 0, most: int = 1_000_000) -> int:
    return min(int(text), most) if text is not None and re.fullmatch(r"\d{1,9}", text) else default


# Styles


class _Styles:
    """Named sets of properties, each based on another."""

    def __init__(self, root: _Element | None) -> None:
        styles = root.findall(_W + "style") if root is not None else []
        self._by_id = {style.get(_W + "styleId", ""): style for style in styles}
        self._default = next(
            (
                style.get(_W + "styleId", "")
                for style in styles
                if style.get(_W + "type") == "paragraph" and style.get(_W + "default") in ("1", "true", "on")
            ),
            "",
        )

    def chain(self, id: str | None, *, paragraph: bool = False) -> list[_Element]:
        """The style of this id and those it is based on, nearest first."""
        found: list[_Element] = []
        id = self._default if id is None and paragraph else id
        while id is not None and (style := self._by_id.get(id)) is not None and style not in found:
            found.append(style)
            id = _value(style, "basedOn")
        return found


# Numbers


def _han(number: int) -> str:
    text = ""
    for unit, name in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit = number // unit % 10
        if digit:
            text += "零一二三四五六七八九"[digit] + name
        elif text and not text.endswith("零") and number % unit:
            text += "零"
    return text.removeprefix("一") if text.startswith("一十") else text or "零"


_LEGAL = str.maketrans("一二三四五六七八九十百千", "壹贰叁肆伍陆柒捌玖拾佰仟")


def _legal(number: int) -> str:
    han = _han(number)
    return ("一" + han if han.startswith("十") else han).translate(_LEGAL)


def _roman(number: int) -> str:
    text = ""
    for value, sign in zip(
        (1000, 900, 500, 400, 100, 90, 50, 40, 10, 9, 5, 4, 1),
        ("m", "cm", "d", "cd", "c", "xc", "l", "xl", "x", "ix", "v", "iv", "i"),
        strict=True,
    ):
        text += sign * (number // value)
        number %= value
    return text


def _letter(number: int) -> str:
    return chr(ord("a") + (number - 1) % 26) * ((number - 1) // 26 + 1) if number else ""


def _signs(*runs: tuple[int, int, int]) -> Callable[[int], str]:
    """Numbers that are characters of their own: (first number, how many, its code point)."""

    def one(number: int) -> str:
        for first, count, code_point in runs:
            if first <= number < first + count:
                return chr(code_point + number - first)
        return str(number)

    return one


def _cycle(signs: str) -> Callable[[int], str]:
    return lambda number: signs[(number - 1) % len(signs)]


_CIRCLE = _signs((0, 1, 0x24EA), (1, 20, 0x2460), (21, 15, 0x3251), (36, 15, 0x32B1))
_FULL_WIDTH = str.maketrans("0123456789", "０１２３４５６７８９")
_DIGITS = str.maketrans("0123456789", "〇一二三四五六七八九")
# ST_NumberFormat (ECMA-376, part 1, 17.18.59); what is not here is counted in Arabic figures.
_FORMATS: Mapping[str, Callable[[int], str]] = {
    **dict.fromkeys(
        ("chineseCounting", "chineseCountingThousand", "japaneseCounting", "taiwaneseCounting",
         "taiwaneseCountingThousand", "koreanCounting"),
        _han,
    ),
    **dict.fromkeys(("chineseLegalSimplified", "ideographLegalTraditional", "japaneseLegal"), _legal),
    **dict.fromkeys(
        ("ideographDigital", "japaneseDigitalTenThousand", "taiwaneseDigital"), lambda n: str(n).translate(_DIGITS)
    ),
    **dict.fromkeys(("decimalFullWidth", "decimalFullWidth2"), lambda n: str(n).translate(_FULL_WIDTH)),
    **dict.fromkeys(("decimalEnclosedCircle", "decimalEnclosedCircleChinese"), _CIRCLE),
    "decimalEnclosedFullstop": _signs((1, 20, 0x2488)),
    "decimalEnclosedParen": _signs((1, 20, 0x2474)),
    "ideographEnclosedCircle": _signs((1, 10, 0x3280)),
    "ideographTraditional": _cycle("甲乙丙丁戊己庚辛壬癸"),
    "ideographZodiac": _cycle("子丑寅卯辰巳午未申酉戌亥"),
    "decimalZero": lambda n: f"{n:02}",
    "lowerRoman": _roman,
    "upperRoman": lambda n: _roman(n).upper(),
    "lowerLetter": _letter,
    "upperLetter": lambda n: _letter(n).upper(),
    "none": lambda n: "",
}  # fmt: skip


def _figure(format: str, number: int) -> str:
    return _FORMATS.get(format, str)(number) if number < 10_000 else str(number)


@dataclass(frozen=True)
class _Level:
    """One level of a numbering. `text` has %1…%9 for the numbers of the levels. `restart`: the level (from 1) whose
    numbers restart this one's, 0 for none."""

    start: int = 1
    format: str = "decimal"
    text: str = ""
    restart: int = 9
    legal: bool = False  # all its numbers in Arabic figures
    style: str | None = None  # the paragraph style that stands for this level


def _level(element: _Element, index: int) -> _Level:
    return _Level(
        start=_whole(_value(element, "start")),
        format=_value(element, "numFmt") or "decimal",
        text=(_value(element, "lvlText") or "")[:40],
        restart=_whole(_value(element, "lvlRestart"), index),
        legal=_on(element, "isLgl") or False,
        style=_value(element, "pStyle"),
    )


def _levels(element: _Element) -> dict[int, _Level]:
    return {(n := _whole(each.get(_W + "ilvl"))): _level(each, n) for each in element.findall(_W + "lvl")}


class _Numbering:
    """Automatic numbers. Instances of one abstract numbering count on together, unless one restarts."""

    def __init__(self, root: _Element | None) -> None:
        abstracts = root.findall(_W + "abstractNum") if root is not None else []
        self._levels = {each.get(_W + "abstractNumId", ""): _levels(each) for each in abstracts}
        linked = {_value(each, "styleLink"): each.get(_W + "abstractNumId", "") for each in abstracts}
        for each in abstracts:  # a list style says what the levels are
            if (link := _value(each, "numStyleLink")) is not None and link in linked:
                self._levels[each.get(_W + "abstractNumId", "")] = self._levels[linked[link]]
        nums = root.findall(_W + "num") if root is not None else []
        self._nums = {each.get(_W + "numId", ""): self._read(each) for each in nums}
        self._counts: dict[str, dict[int, int]] = {}
        self._begun: set[tuple[str, int]] = set()

    def _read(self, element: _Element) -> tuple[str, dict[int, _Level], dict[int, int]]:
        """The abstract numbering of an instance, its levels, and where it starts anew."""
        abstract = _value(element, "abstractNumId") or ""
        levels, starts = dict(self._levels.get(abstract, {})), dict[int, int]()
        for override in element.findall(_W + "lvlOverride"):
            index = _whole(override.get(_W + "ilvl"))
            own = override.find(_W + "lvl")
            if own is not None:
                levels[index] = _level(own, index)
            if (start := _value(override, "startOverride")) is not None:
                starts[index] = _whole(start)
        return abstract, levels, starts

    def level_of(self, num: str, styles: Sequence[str]) -> int | None:
        """The level that one of these paragraph styles stands for."""
        if num not in self._nums:
            return None
        levels = self._nums[num][1]
        return next((index for index, level in levels.items() if level.style in styles), None)

    def next(self, num: str, index: int) -> str:
        """Count one further and return the number as it is printed, or nothing."""
        if num not in self._nums:
            return ""
        abstract, levels, starts = self._nums[num]
        level = levels.get(index)
        if level is None:
            return ""
        counts = self._counts.setdefault(abstract, {})
        if index in starts and (num, index) not in self._begun:
            counts[index] = starts[index]
        else:
            counts[index] = counts[index] + 1 if index in counts else level.start
        self._begun.add((num, index))
        for deeper in [one for one in counts if one > index]:
            if index < levels.get(deeper, _Level()).restart:
                del counts[deeper]
        if level.format == "bullet":
            return "•"

        def figure(found: re.Match[str]) -> str:
            at = int(found[1]) - 1
            above = levels.get(at, _Level())
            return _figure("decimal" if level.legal else above.format, counts.get(at, max(above.start - 1, 0)))

        return re.sub(r"%([1-9])", figure, level.text).strip()


# The text


@dataclass(frozen=True)
class _Line:
    """A paragraph, or a table's rows. `number`: its automatic number."""

    text: str
    number: str = ""
    titled: bool = False  # in the style Title
    heading: bool = False  # by its style
    centred: bool = False
    table: bool = False

    @property
    def full(self) -> str:
        if not self.number or not self.text:
            return self.number + self.text
        parted = self.number[-1] == "•" or self.number[-1].isalpha() or self.number[-1].isdecimal()
        # "1." before "5万元" would be read as 1.5万元
        parted = parted or (self.number[-1] == "." and self.text[0].isascii() and self.text[0].isalnum())
        return f"{self.number} {self.text}" if parted else self.number + self.text


_SILENT = {"pPr", "rPr", "sectPr", "tblPr", "trPr", "tcPr", "sdtPr", "sdtEndPr", "rubyPr", "rt", "instrText", "delText",
           "delInstrText", "fldData", "docPr"}  # fmt: skip
_GONE = {"del", "moveFrom"}
_TITLE_STYLES = {"title", "标题", "大标题", "主标题", "公文标题", "文章标题"}
_CHECK_BOXES = {"A3": "□", "A8": "□", "6F": "□", "FE": "☑", "52": "☑", "FC": "✓"}  # Wingdings, as forms use them
_SHOWN = {".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff"}  # what citizens can open


@dataclass
class _Reader:
    """One document being read."""

    package: _Package
    counts: Counter[str] = field(default_factory=Counter)
    pictures: dict[str, File] = field(default_factory=dict)

    def __post_init__(self) -> None:
        start = self.package.relations("")
        mains = [target for kind, target, _ in start.values() if kind == "officeDocument"]
        self.main = mains[0] if mains else "word/document.xml"
        root = self.package.xml(self.main)
        body = root.find(_W + "body") if root is not None else None
        if body is None:
            raise BadText("docx.not_word")
        self.body = body
        self.relations = self.package.relations(self.main)
        self.styles = _Styles(self._related("styles"))
        self.numbering = _Numbering(self._related("numbering"))
        self.notes = {
            (kind, note.get(_W + "id")): note
            for kind in ("footnote", "endnote")
            if (notes := self._related(f"{kind}s")) is not None
            for note in notes
        }
        self._carried = ""  # text before a deleted end of paragraph
        self._cell = 0  # tables in tables

    def _related(self, kind: str) -> _Element | None:
        target = next((target for one, target, inside in self.relations.values() if one == kind and inside), None)
        return self.package.xml(target) if target is not None else None

    def read(self) -> Body:
        title, lines = _take_title(list(self._blocks(self.body)))
        for line in lines:
            if line.heading and line.text and not isinstance(parse(line.full)[0], Heading):
                self.counts["docx.headings_plain"] += 1
        text = "\n\n".join(line.full for line in lines if line.text)
        return Body(text, title, tuple(self.pictures.values()), tuple(self._findings()))

    def _findings(self) -> Iterator[Finding]:
        if self.counts["insertions"] or self.counts["deletions"]:
            facts = {name: str(self.counts[name]) for name in ("insertions", "deletions")}
            yield Finding("docx.tracked", Severity.WARN, "text", facts)
        for code in ("docx.comments", "docx.hidden", "docx.contents", "docx.headings_plain", "docx.text_boxes",
                     "docx.footnotes", "docx.merged_cells", "docx.nested_tables", "docx.objects", "docx.formulas",
                     "docx.symbols", "docx.links", "docx.pictures_left_out"):  # fmt: skip
            if count := self.counts[code]:
                yield Finding(code, Severity.WARN, "text", {"count": str(count)})
        if self.pictures:
            names = "、".join(picture.name for picture in self.pictures.values())
            yield Finding("docx.pictures", Severity.WARN, facts={"names": names})

    def _blocks(self, parent: _Element) -> Iterator[_Line]:
        """The lines of whatever holds paragraphs and tables."""
        for child in parent:
            match _name(child):
                case "p":
                    yield from self._paragraph(child)
                case "tbl":
                    yield from self._table(child)
                case "altChunk":  # another file, to be merged when Word opens this one
                    self.counts["docx.objects"] += 1
                case "AlternateContent":
                    yield from self._blocks(_choice(child))
                case "sdt" if _on(child, "sdtPr/showingPlcHdr"):  # "click here to enter text"
                    pass
                case "sdt" | "sdtContent" | "customXml" | "ins" | "moveTo":
                    yield from self._blocks(child)
        if self._carried:
            yield _Line(self._carried)
            self._carried = ""

    def _paragraph(self, paragraph: _Element) -> Iterator[_Line]:
        own = paragraph.find(_W + "pPr")
        chain = self.styles.chain(_value(own, "pStyle"), paragraph=True)
        names = [(_value(style, "name") or "").lower() for style in chain]
        if names and re.match(r"toc ?\d|toc heading", names[0]):
            self.counts["docx.contents"] += 1
            return
        hidden = next((on for style in chain if (on := _on(style, "rPr/vanish")) is not None), False)
        boxes: list[_Element] = []
        deletions = self.counts["deletions"]
        text = self._carried + "".join(self._inline(paragraph, boxes, hidden))
        self._carried = ""
        if _on(own, "rPr/del") or _on(own, "rPr/moveFrom"):  # it runs into the next one
            self.counts["deletions"] = max(self.counts["deletions"], deletions + 1)
            self._carried = text
        else:
            pieces = (re.sub(r"[ \t]*\t[ \t]*", " ", piece).strip() for piece in text.split("\n"))
            holders = [own, *(style.find(_W + "pPr") for style in chain)]
            levels = (_value(holder, "outlineLvl") for holder in holders)
            yield _Line(
                "\n".join(piece for piece in pieces if piece),
                "" if _on(own, "rPr/vanish") else self._number(own, chain),
                titled=not _TITLE_STYLES.isdisjoint(names),
                heading=any(re.fullmatch(r"heading \d", name) for name in names)
                or next((level for level in levels if level is not None), "9") != "9",
                centred=next((how for one in holders if (how := _value(one, "jc")) is not None), "") == "center",
            )
        for box in boxes:
            lines = [line for line in self._blocks(box) if line.text]
            self.counts["docx.text_boxes"] += bool(lines)
            yield from lines

    def _number(self, own: _Element | None, chain: Sequence[_Element]) -> str:
        """The automatic number of a paragraph: its own, or its style's; WPS leaves the level out."""
        holders = [own, *(style.find(_W + "pPr") for style in chain)]
        num = next((num for one in holders if (num := _value(one, "numPr/numId")) is not None), None)
        if num is None or num == "0":
            return ""
        level = _value(own, "numPr/ilvl")
        if level is None and _value(own, "numPr/numId") is None:
            by_style = self.numbering.level_of(num, [style.get(_W + "styleId", "") for style in chain])
            level = str(by_style) if by_style is not None else None
            level = level or next((one for each in holders if (one := _value(each, "numPr/ilvl")) is not None), None)
        return self.numbering.next(num, _whole(level))

    def _inline(self, parent: _Element, boxes: list[_Element], hidden: bool) -> Iterator[str]:
        """The text of whatever holds runs, and of the runs; text boxes on the way are put aside."""
        for child in parent:
            match _name(child):
                case "t" if child.tag == _W + "t":
                    yield child.text or ""
                case "tab" | "ptab":
                    yield "\t"
                case "br" if child.get(_W + "type") in (None, "textWrapping"):
                    yield "\n"
                case "cr":
                    yield "\n"
                case "noBreakHyphen":
                    yield "-"
                case "sym":
                    yield self._symbol(child)
                case "r" if child.tag == _W + "r" and self._vanishes(child, hidden):
                    self.counts["docx.hidden"] += sum(len(text.text or "") for text in child.iter(_W + "t"))
                case "ins" | "moveTo":
                    self.counts["insertions"] += 1
                    yield from self._inline(child, boxes, hidden)
                case name if name in _GONE:
                    self.counts["deletions"] += 1
                case "footnoteReference" | "endnoteReference" as name:
                    yield self._note((name.removesuffix("Reference"), child.get(_W + "id")))
                case "commentReference":
                    self.counts["docx.comments"] += 1
                case "instrText" if re.match(r"\s*eq\b", child.text or "", re.I):  # the text is in the formula
                    self.counts["docx.formulas"] += 1
                case "oMath":
                    self.counts["docx.formulas"] += 1
                    yield "".join(text.text or "" for text in child.iter(_M + "t"))
                case "object" | "chart" | "relIds" | "textpath":  # embedded files, charts, SmartArt, WordArt
                    self.counts["docx.objects"] += 1
                case "blip":
                    self._picture(child.get(_R + "embed"))
                case "imagedata":
                    self._picture(child.get(_R + "id"))
                case "txbxContent":
                    boxes.append(child)
                case "AlternateContent":
                    yield from self._inline(_choice(child), boxes, hidden)
                case "hyperlink":
                    text = "".join(self._inline(child, boxes, hidden))
                    kind, address, inside = self.relations.get(child.get(_R + "id", ""), ("", "", True))
                    self.counts["docx.links"] += kind == "hyperlink" and not inside and not _told(address, text)
                    yield text
                case "sdt" if _on(child, "sdtPr/showingPlcHdr"):
                    pass
                case name if name not in _SILENT:
                    yield from self._inline(child, boxes, hidden)

    def _vanishes(self, run: _Element, hidden: bool) -> bool:
        own = run.find(_W + "rPr")
        chain = self.styles.chain(_value(own, "rStyle"))
        said = [_on(own, "vanish"), *(_on(style, "rPr/vanish") for style in chain)]
        return next((on for on in said if on is not None), hidden)

    def _symbol(self, symbol: _Element) -> str:
        sign = _CHECK_BOXES.get((symbol.get(_W + "char") or "")[-2:].upper(), "")
        if "wingdings" not in (symbol.get(_W + "font") or "").lower() or not sign:
            self.counts["docx.symbols"] += 1
            return ""
        return sign

    def _note(self, key: tuple[str, str | None]) -> str:
        """A footnote in brackets, where it is referred to, once."""
        note = self.notes.pop(key, None)
        if note is None:
            return ""
        carried, self._carried = self._carried, ""
        text = " ".join(line.full for line in self._blocks(note) if line.text)
        self._carried = carried
        self.counts["docx.footnotes"] += bool(text)
        return f"（注：{text}）" if text else ""

    def _picture(self, id: str | None) -> None:
        kind, target, inside = self.relations.get(id or "", ("", "", False))
        if target in self.pictures:
            return
        suffix = PurePosixPath(target).suffix.lower()
        content = self.package.part(target) if kind == "image" and inside and suffix in _SHOWN else None
        if not content:
            self.counts["docx.pictures_left_out"] += 1
            return
        name = f"图{len(self.pictures) + 1}{suffix}"
        self.pictures[target] = File(name, mimetypes.guess_type(name)[0] or "application/octet-stream", content)

    def _table(self, table: _Element) -> Iterator[_Line]:
        """A table as `|` rows. A frame with one cell in each row is no table; a row above or below the others that is
        one cell, a caption or a remark, is a paragraph."""
        trs = [tr for tr in _held(table, "tr") if not self._deleted(tr, "trPr/del")]
        rows = [(tr, [tc for tc in _held(tr, "tc") if not self._deleted(tc, "tcPr/cellDel")]) for tr in trs]
        if self._cell and any(len(tcs) > 1 for _, tcs in rows):
            self.counts["docx.nested_tables"] += 1
        wide = [n for n, (_, tcs) in enumerate(rows) if len(tcs) > 1] or [len(rows)]
        for _, tcs in rows[: wide[0]]:
            yield from (line for tc in tcs for line in self._blocks(tc))
        cells = [self._row(tr, tcs) for tr, tcs in rows[wide[0] : wide[-1] + 1]]
        if any("gridSpan" in spans or "vMerge" in spans for _, spans in cells):
            self.counts["docx.merged_cells"] += 1
        texts = [row for row, _ in cells if any(row)]
        if self._cell or len(texts) < 2 or all(sum(map(bool, row)) < 2 for row in texts):
            yield from (_Line(text) for row in texts for text in row if text)
        else:
            yield _Line("\n".join(f"| {' | '.join(row)} |" for row in texts), table=True)
        for _, tcs in rows[wide[-1] + 1 :]:
            yield from (line for tc in tcs for line in self._blocks(tc))

    def _deleted(self, element: _Element, mark: str) -> bool:
        deleted = _on(element, mark) or False
        self.counts["deletions"] += deleted
        return deleted

    def _row(self, tr: _Element, tcs: Sequence[_Element]) -> tuple[list[str], set[str]]:
        """The cells of a row, with an empty one where a cell goes on to the right or comes from above; how it spans."""
        row, spans = [""] * _whole(_value(tr, "trPr/gridBefore"), most=WIDEST), set[str]()
        self._cell += 1
        for tc in tcs:
            merge = tc.find(f"{_W}tcPr/{_W}vMerge")
            span = max(_whole(_value(tc, "tcPr/gridSpan"), 1, WIDEST), 1)
            spans |= ({"gridSpan"} if span > 1 else set()) | ({"vMerge"} if merge is not None else set())
            goes_on = merge is not None and merge.get(_W + "val") != "restart"
            lines = () if goes_on else self._blocks(tc)
            text = " ".join(" ".join(line.full for line in lines).split()).replace("|", "｜")
            row += [text, *[""] * (span - 1)]
        self._cell -= 1
        return row, spans


def _held(parent: _Element, name: str) -> Iterator[_Element]:
    """Rows of a table or cells of a row, also where controls or tracked changes stand around them."""
    for child in parent:
        if child.tag == _W + name:
            yield child
        elif _name(child) in ("sdt", "sdtContent", "customXml", "ins"):
            yield from _held(child, name)


def _choice(alternate: _Element) -> _Element:
    """The same content twice, for new programs and for old ones: the first that says something."""
    for each in alternate:
        if any(_name(one) in ("t", "blip", "imagedata", "chart", "relIds") for one in each.iter(etree.Element)):
            return each
    return alternate[0] if len(alternate) else alternate


def _told(address: str, text: str) -> bool:
    """Does the text of a link say where it leads?"""
    bare = re.sub(r"^(https?://|mailto:)|/$", "", address)
    return bare in text


# The title

_RED_HEAD = re.compile(
    r".{0,40}文件|\S{0,12}[〔\[［（(]\d{4}[〕\]］）)]\s*第?\s*\d+\s*号.{0,30}|签发人.*|\d{6}|(?:特急|加急|平急|急件)|(?:绝密|机密|秘密).{0,10}"
)
_TITLED = re.compile(
    r".{0,80}(?:通知|公告|公示|通告|通报|报告|意见|方案|办法|规定|细则|指南|解读|决定|纪要|函|总结|计划|要点|清单|目录|公报|简报|说明"
    r"|批复|请示|规划|预案|制度|规则|章程|名单|讲话)(?:（[^（）]{1,20}）)?"
)
_SUBTITLE = re.compile(r"[（(].*[）)]|——.*|\d{4}年\d{1,2}月(?:\d{1,2}日)?")


def _take_title(lines: list[_Line]) -> tuple[str, list[_Line]]:
    """The title, and the lines without it: what stands in the style Title, else the first line below the red head
    (红头, 文号) that is centred, or a heading without a number, or ends as official titles do."""
    told = [n for n, line in enumerate(lines) if line.text]
    at = next((n for n in told[:10] if lines[n].titled), None)
    if at is None:
        at = next((n for n in told if not _RED_HEAD.fullmatch(lines[n].text)), None)
        if at is None or at == told[-1] or not _leads(lines[at]):
            return "", lines
    end = at + 1
    while end < len(lines) and _continues(lines[at:end], lines[end]):
        end += 1
    title = re.sub(r"\s*\n\s*", "", "".join(line.text for line in lines[at:end]))
    if len(title) > LONGEST_TITLE:
        return "", lines
    return title, lines[:at] + lines[end:]


def _leads(line: _Line) -> bool:
    if line.table or line.number or re.search("[。；]", line.text) or isinstance(parse(line.text)[0], Heading):
        return False
    return line.centred or line.heading or _TITLED.fullmatch(line.text.replace("\n", "")) is not None


def _continues(title: Sequence[_Line], line: _Line) -> bool:
    """A title may be set in several lines, but not across an empty one."""
    first = title[0]
    if not line.text or line.table or line.number or re.search("[。；]", line.text) or _SUBTITLE.fullmatch(line.text):
        return False
    if first.titled:
        return line.titled
    whole = _TITLED.fullmatch("".join(one.text for one in title)) is not None
    return first.centred and line.centred and not whole and not isinstance(parse(line.text)[0], Heading)
