"""HTML → text in official style, as `channels.document` reads it: a block a paragraph, tables as `|` rows.

Pure. What a reader of the page sees is taken as text; scripts, styles, forms and what is hidden are not. Links keep
their address behind their words: 文字（网址）. Pictures are counted, for somebody must look at them.
"""

import re
from dataclasses import dataclass, field
from urllib.parse import urljoin

from lxml import etree

from channels.document import BadText

_Element = etree._Element

WIDEST = 50  # columns that `channels.document` takes for a table
MOST_CELLS = 100_000

_DROPPED = {"script", "style", "head", "template", "noscript", "iframe", "frame", "object", "embed", "applet", "svg",
            "math", "canvas", "audio", "video", "map", "button", "input", "select", "textarea", "rt", "rp"}  # fmt: skip
_BLOCKS = {"address", "article", "aside", "blockquote", "body", "caption", "center", "dd", "details", "dialog", "div",
           "dl", "dt", "fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6",
           "header", "hr", "html", "legend", "li", "main", "menu", "nav", "ol", "p", "pre", "section", "summary",
           "table", "tbody", "td", "tfoot", "th", "thead", "tr", "ul"}  # fmt: skip
_HIDDEN = re.compile(r"(?:^|;)\s*(?:display\s*:\s*none|visibility\s*:\s*hidden)", re.I)
_MARKED = re.compile(r"[(（]?[\d一二三四五六七八九十]{1,3}[)）.．、]|[•●○■□◆◇▲△★☆※·①-⑳—-]|第.{1,4}[章节条]")
_BLANK = re.compile(r"[ \t\r\n\f\xa0]+")
_INDENT = re.compile(r"\s*(?:\u3000{2}|\xa0{4})")


@dataclass(frozen=True)
class Text:
    """What the HTML says, and how many pictures stand in it."""

    text: str
    pictures: int = 0


def read(html: str, base: str = "") -> Text:
    """The text of a page or a piece of one. `base`: the address that relative links count from. Raises BadText
    `html.too_deep` when it is nested so that not all of it can be read."""
    whole = re.sub("[\ud800-\udfff]", "\ufffd", html).replace("\0", "")
    parser = etree.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True, no_network=True)
    root = etree.fromstring(f"<html><body>{whole}</body></html>".encode(), parser)
    if any(error.type_name == "ERR_RESOURCE_LIMIT" for error in parser.error_log):  # 256 elements: nobody writes that
        raise BadText("html.too_deep")
    writer = _Writer(base)
    if root is not None:
        writer.element(root)
    return Text("\n\n".join(writer.paragraphs()), writer.pictures)


def absolute(base: str, link: str) -> str:
    """Where a link leads, counted from `base`; empty when that is nowhere."""
    try:
        return urljoin(base, link.strip())
    except ValueError:
        return ""


@dataclass
class _Writer:
    """Text being put together: blocks, each of lines, each of pieces."""

    base: str
    pictures: int = 0
    _blocks: list[str] = field(default_factory=list)
    _pieces: list[str] = field(default_factory=list)
    _mark: str = ""  # of the list item that begins with the next words
    _lists: list[int | None] = field(default_factory=list)  # the number of the last item; None: not numbered

    def paragraphs(self) -> list[str]:
        self._end()
        return self._blocks

    def element(self, one: _Element) -> None:
        """An element with what is in it, but not what follows it."""
        name = one.tag if isinstance(one.tag, str) else ""
        if not name or name in _DROPPED or "hidden" in one.attrib or _HIDDEN.search(one.get("style", "")):
            return
        if name in _BLOCKS:
            self._end()
        match name:
            case "br":
                self._pieces.append("\n")
            case "img":
                self.pictures += 1
            case "table" if rows := self._rows(one):
                self._table(one, rows)
            case "pre":
                self._pieces.append("\n".join(line.strip() for line in "".join(map(str, one.itertext())).splitlines()))
            case "a":
                self._link(one)
            case "ol" | "ul" | "menu":
                self._lists.append(_number(one.get("start"), 1) - 1 if name == "ol" else None)
                self._inside(one)
                self._end()
                self._lists.pop()
            case "li":
                self._item(one)
                self._inside(one)
            case _:
                self._inside(one)
        if name in _BLOCKS:
            self._end()

    def _inside(self, one: _Element) -> None:
        self._say(one.text)
        for child in one:
            self.element(child)
            self._say(child.tail)

    def _say(self, text: str | None) -> None:
        if not text:
            return
        if self._pieces and self._pieces[-1] == "\n" and _INDENT.match(text):
            self._end()  # paragraphs that are only broken and indented, as many editors of websites make them
        self._pieces.append(_BLANK.sub(" ", text))

    def _end(self) -> None:
        """The end of a block. Two breaks in a row are one, too."""
        text = re.sub(r" *\n *", "\n", "".join(self._pieces))
        self._pieces.clear()
        for block in re.split(r"\n{2,}", text):
            lines = [line.strip() for line in block.split("\n")]
            if told := "\n".join(line for line in lines if line):
                self._blocks.append(self._marked(told))

    def _item(self, one: _Element) -> None:
        last = self._lists[-1] if self._lists else None
        if last is None:
            self._mark = "•"
        else:
            self._lists[-1] = _number(one.get("value"), last + 1)
            self._mark = f"{self._lists[-1]}."

    def _marked(self, text: str) -> str:
        """The text behind the mark of its list item, unless it has one of its own."""
        mark, self._mark = self._mark, ""
        if not mark or _MARKED.match(text):
            return text
        return f"{mark} {text}" if mark == "•" or (text[0].isascii() and text[0].isalnum()) else mark + text

    def _link(self, one: _Element) -> None:
        before = len(self._pieces)
        self._inside(one)
        words = "".join(self._pieces[before:]).strip()
        href = one.get("href", "").strip()
        address = absolute(self.base, href) if href and not href.startswith("#") else ""
        scheme = address.partition(":")[0].lower()
        bare = re.sub(r"^(https?://|mailto:)|/$", "", address)
        if words and scheme in ("http", "https", "mailto") and bare not in words:
            self._pieces.append(f"（{address}）")

    def _rows(self, table: _Element) -> list[list[_Element]]:
        """The rows of a table that holds data; none when it only arranges a page."""
        if table.find(".//table") is not None:
            return []
        rows = [[cell for cell in row if cell.tag in ("td", "th")] for row in table.iter("tr")]
        cells = sum(_span(cell, "colspan") * _span(cell, "rowspan") for row in rows for cell in row)
        return rows if len(rows) > 1 and any(len(row) > 1 for row in rows) and cells <= MOST_CELLS else []

    def _table(self, table: _Element, rows: list[list[_Element]]) -> None:
        """A row above or below the others that is one cell, a caption or a remark, is a paragraph."""
        for caption in table.iter("caption"):
            self._inside(caption)
            self._end()
        wide, reached = list[int](), 0  # `reached`: the row to which a cell from above reaches
        for number, row in enumerate(rows):
            wide += [number] if len(row) > 1 or number < reached else []
            reached = max([reached, *(number + _span(cell, "rowspan") for cell in row)])
        self._remarks(rows[: wide[0]])
        held: dict[int, int] = {}  # columns that a cell from above still fills, and for how many rows
        lines = []
        for row in rows[wide[0] : wide[-1] + 1]:
            texts: list[str] = []
            for cell in row:
                while held.get(len(texts), 0) > 0:
                    texts.append("")
                at, down = len(texts), _span(cell, "rowspan")
                texts += [self._cell(cell), *[""] * (_span(cell, "colspan") - 1)]
                held.update({column: down for column in range(at, len(texts)) if down > 1})
            while held.get(len(texts), 0) > 0:
                texts.append("")
            held = {column: rest - 1 for column, rest in held.items()}
            if any(texts):
                lines.append(f"| {' | '.join(texts)} |")
        if lines:
            self._blocks.append("\n".join(lines))
        self._remarks(rows[wide[-1] + 1 :])

    def _remarks(self, rows: list[list[_Element]]) -> None:
        for cell in (cell for row in rows for cell in row):
            self.element(cell)

    def _cell(self, cell: _Element) -> str:
        inner = _Writer(self.base)
        inner.element(cell)
        text = " ".join(" ".join(inner.paragraphs()).split()).replace("|", "｜")
        self.pictures += inner.pictures
        return text


def _span(cell: _Element, name: str) -> int:
    return min(max(_number(cell.get(name), 1), 1), WIDEST)


def _number(text: str | None, otherwise: int) -> int:
    return int(text) if text is not None and re.fullmatch(r"\d{1,4}", text.strip()) else otherwise
