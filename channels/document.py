"""Text in official style → blocks; blocks → HTML, plain text, data for Typst.

Levels of an official text (GB/T 9704-2012, 7.3.3): 一、 then （一） then 1. 1． or 1、 then （1） or (1).

What comes in is pasted from Word, PDF or a web page: paragraphs broken in the middle of a word, across a line break or
an empty line. A line that ends without a mark that ends a sentence goes on in the next one. Headings, lists, 附件
lines, table rows, signature and date always begin anew. No character is changed and none is lost, except white space
and the bars of a table drawn with |.
"""

import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby, pairwise


@dataclass(frozen=True)
class Heading:
    """A numbered heading. `level` 1–4; `text` with its number; `run_in`: body text following in the same paragraph."""

    level: int
    text: str
    run_in: str = ""


@dataclass(frozen=True)
class Paragraph:
    text: str


@dataclass(frozen=True)
class Table:
    """Rows of cells, all rows equally long; the first row is the header."""

    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Closing:
    """Signature (署名) and date (成文日期) that close a text, either may be empty."""

    name: str
    date: str


Block = Heading | Paragraph | Table | Closing


class BadText(Exception):
    """This is not a text we can publish. `code` and `facts` are put in words at the edge."""

    def __init__(self, code: str, **facts: str) -> None:
        super().__init__(code, facts)
        self.code = code
        self.facts = facts

    def __str__(self) -> str:
        return " ".join([self.code, *(f"{name}={value}" for name, value in self.facts.items())])


# Reading

_LINE_ENDS = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")  # \x0b is Word's soft break, \x0c its page break
_INVISIBLE = re.compile(
    "[\x01-\x08\x0e-\x1f\x7f-\x9f\u00ad\u034f\u061c\u180e\u200b-\u200f\u2060-\u2064\u206a-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff]"
)
# Overrides make a reviewer read another text than the one that is sent (CVE-2021-42574).
_REFUSED = re.compile("(?P<nul>\0)|(?P<surrogate>[\ud800-\udfff])|(?P<direction>[\u202a-\u202e\u2066-\u2069])")


def decode(data: bytes) -> str:
    """The text of a file in UTF-8, in UTF-16 with its byte order mark, or in GB18030, which holds GBK and GB2312.

    Raises BadText: `document.not_utf8` with the `offset` of the first byte that is wrong, when the rest is UTF-8: read
    as GB18030 it would be other characters; `document.not_text`.
    """
    if data.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        encoding = "utf-16"
    else:
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            if _means_utf8(data):
                raise BadText("document.not_utf8", offset=str(error.start)) from error
        encoding = "gb18030"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise BadText("document.not_text") from error
    if "\0" in text:
        raise BadText("document.not_text")
    return text


def _means_utf8(data: bytes) -> bool:
    """More of it is whole characters of UTF-8 than not. Of GB18030 about a seventh looks like UTF-8 by chance."""
    text = data.decode("utf-8", "replace")
    wrong = text.count("\ufffd")
    return sum(char > "\x7f" for char in text) - wrong > wrong


def clean(text: str) -> str:
    """The text with line ends as \\n and without invisible characters; tabs and visible characters stay.

    Raises BadText: `document.nul`, `document.surrogate`, `document.direction` (each with its `line`), `document.empty`.
    """
    text = _LINE_ENDS.sub("\n", text)
    if refused := _REFUSED.search(text):
        line = text.count("\n", 0, refused.start()) + 1
        raise BadText(f"document.{refused.lastgroup}", line=str(line), character=f"U+{ord(refused[0]):04X}")
    text = _INVISIBLE.sub("", text)
    if not text.strip():
        raise BadText("document.empty")
    return text


# Marks

_N = "〇零一二三四五六七八九十百"
_MARKERS = (
    re.compile(rf"[{_N}]{{1,4}}、(?![{_N}]、)"),  # not 一、二、三等奖
    re.compile(rf"[（(][{_N}]{{1,4}}[）)]"),
    # not 1.5万元, not 1、2号; but 1.2026年…
    re.compile(r"\d{1,2}(?:[.．](?!\d(?!\d{3}年))|、(?!\d{1,3}[、和及号期]))"),
    re.compile(r"[（(]\d{1,2}[）)]"),
)
_LIST = re.compile(rf"[•●○■□◆◇▲△★☆※·①-⑳]|[-*]\s|——|\d{{1,2}}[)）]|第[{_N}\d]{{1,5}}[章节条部篇]\s")
_LABEL = re.compile(
    r"(?:[问答注]|[\u4e00-\u9fff]{0,8}(?:时间|日期|期限|时限|地点|地址|范围|单位|部门|机构|对象|人|人员|电话|热线|传真|邮箱|邮编|网址"
    r"|网站|方式|渠道|编号|文号|名称|主题|议题|内容|要求|条件|材料|依据|流程|标准|金额|结果|来源|备注|说明|记者|编辑|审核))[：:]"
)
_ATTACHMENT = re.compile(rf"附件?[{_N}\d]{{0,3}}\s*(?:[：:]|$)")
_SET_PHRASE = re.compile(r"特此|抄送")
_AFTER_NOTE = re.compile(rf"[（(](?![{_N}\d]+[）)])|附件|抄送")  # what may follow the date: （此件公开发布）
_GENRE = re.compile(
    r"(?:通知|公告|公示|通告|通报|报告|意见|方案|办法|规定|细则|指南|解读|名单|决定|纪要|函)(?:（[^（）]*）)?$"
)
_ORGANISATION = re.compile(r"[局部办室委会府组处队站台院科厅社所]$|中心$|公司$")
_HAN_DAY = "[一二三四五六七八九十]{1,3}"
_DATE = (
    rf"(?:\d{{4}}|[〇○零一二三四五六七八九]{{4}})\s*年\s*(?:\d{{1,2}}|{_HAN_DAY})\s*月\s*(?:\d{{1,2}}|{_HAN_DAY})\s*日"
)
_DATE_LINE = re.compile(_DATE)
_SIGNED_DATE = re.compile(rf"(\S.{{0,29}}?)\s*({_DATE})")
_RULE = re.compile(r":?-{2,}:?")

_CLOSERS = "”’\"'）)》」』】〕"
_SENTENCE_ENDS = "。！？!?；;…"
_PAIRS = dict(zip("“‘（(《「『【〔", "”’）)》」』】〕", strict=True))

_LINE = 25  # a printed line has 28 characters, two of them indent: a shorter line was not broken by a page or a margin
_LONGEST_HEADING = 50
_LONGEST_SIGNATURE = 30
_WIDEST_TABLE = 50


@dataclass(slots=True)
class _Line:
    text: str
    raw: str
    indented: bool
    gap: bool  # an empty line stands before it
    full: bool = False  # reaches the margin of hard-wrapped text

    @property
    def level(self) -> int:
        return next((level for level, mark in enumerate(_MARKERS, 1) if mark.match(self.text)), 0)

    @property
    def begins(self) -> bool:
        """It begins something new, whatever stands before it."""
        marks = (_LIST, _ATTACHMENT, _SET_PHRASE)
        return self.level > 0 or any(mark.match(self.text) for mark in marks)

    @property
    def broken(self) -> bool:
        """Its sentence does not end in it, and it is long enough to have been broken at a margin."""
        return len(self.text) >= _LINE and not _ended(self.text)


def _ended(text: str, marks: str = _SENTENCE_ENDS) -> bool:
    bare = text.rstrip(_CLOSERS) or text
    return bare[-1] in marks or (bare[-1] == "." and not bare[-2:-1].isdigit())


def _lines(text: str) -> list[_Line]:
    lines: list[_Line] = []
    gap = True
    for raw in text.split("\n"):
        if body := raw.strip():
            lines.append(_Line(body, raw, indented=raw[0] in "\u3000\t" or raw.startswith("  "), gap=gap))
        gap = not body
    start = 0
    for end in range(1, len(lines) + 1):
        if end == len(lines) or lines[end].gap:
            _mark_full(lines[start:end])
            start = end
    return lines


def _mark_full(block: Sequence[_Line]) -> None:
    """A line is full when it reaches the widest of its block, less what cannot stand at a line's end."""
    widths = [sum(2 if char > "\u2e7f" else 1 for char in line.raw[:200].rstrip()) for line in block]
    widest = max(widths)
    for line, width in zip(block, widths, strict=True):
        line.full = 40 <= widest <= 120 and width >= max(widest - 8, 40)


# Tables and closings: found first, each in one pass


def _cells(line: _Line, separator: str) -> tuple[str, ...]:
    """The cells of a line that may be a table's row; none if it cannot be one."""
    text = line.raw if separator == "\t" else line.text.removeprefix("|").removesuffix("|")
    count = text.count(separator) + 1
    if not 2 <= count <= _WIDEST_TABLE:
        return ()
    cells = tuple(cell.strip() for cell in text.split(separator))
    if line.text[0] == line.text[-1] == separator:
        return cells  # drawn on both sides, it is one whatever it holds
    filled = [cell for cell in cells if cell]
    if filled and any(mark.fullmatch(filled[0]) for mark in (*_MARKERS, _LIST)):
        return ()  # "1.⇥text" is a list pasted from Word
    if len(filled) == 1 and (len(filled[0]) > 30 or _ended(filled[0])):
        return ()  # a paragraph indented with a tab
    return cells


def _tables(lines: Sequence[_Line]) -> dict[int, tuple[list[Table], int]]:
    """Where tables begin, and the line after them."""
    found: dict[int, tuple[list[Table], int]] = {}
    start = 0
    while start < len(lines):
        end = start
        separator = "\t" if "\t" in lines[start].raw.rstrip() else "|"
        rows: list[tuple[str, ...]] = []
        while end < len(lines) and (end == start or not lines[end].gap) and (row := _cells(lines[end], separator)):
            rows.append(row)
            end += 1
        if len(rows) > 1 and any(sum(map(bool, row)) > 1 for row in rows):
            found[start] = list(_table(rows)), end
        start = max(end, start + 1)
    return found


def _table(rows: list[tuple[str, ...]]) -> Iterator[Table]:
    if len(rows) > 2 and all(_RULE.fullmatch(cell) for cell in rows[1]):
        del rows[1]
    columns = max(map(len, rows))
    if len(rows) * columns > 3 * sum(map(len, rows)) + 1000:  # one wide row must not blow up a million narrow ones
        groups = [list(group) for _, group in groupby(rows, len)]
    else:
        groups = [rows]
    for group in groups:
        columns = max(map(len, group))
        padded = [row + ("",) * (columns - len(row)) for row in group]
        kept = [n for n in range(columns) if any(row[n] for row in padded)]
        yield Table(tuple(tuple(row[n] for n in kept) for row in padded))


def _is_signature(lines: Sequence[_Line], at: int, *, organisation: bool) -> bool:
    line = lines[at]
    if len(line.text) > _LONGEST_SIGNATURE or line.begins or re.search(r"[，。；：！？,;:!?\t|]", line.text):
        return False
    if _DATE_LINE.fullmatch(line.text):
        return False
    if _ORGANISATION.search(line.text):
        return True
    # Any other short line signs only if it is not the end of a broken sentence.
    return not organisation and not (at > 0 and not line.gap and lines[at - 1].broken)


def _closings(lines: Sequence[_Line]) -> dict[int, tuple[Closing, int]]:
    """Where closings begin, and the line after them: a date line at the end of the text or under an organisation."""
    found: dict[int, tuple[Closing, int]] = {}
    for at, line in enumerate(lines):
        if len(line.text) > 70:
            continue
        last = at + 1 == len(lines) or _AFTER_NOTE.match(lines[at + 1].text) is not None
        if _DATE_LINE.fullmatch(line.text):
            start = at
            while start > 0 and at - start < 4 and _is_signature(lines, start - 1, organisation=start < at or not last):
                start -= 1
            if last or start < at:
                name = "\u3000".join(line.text for line in lines[start:at])
                found[start] = Closing(name, line.text), at + 1
        elif last and (signed := _SIGNED_DATE.fullmatch(line.text)):
            if _is_signature([_Line(signed[1], signed[1], False, True)], 0, organisation=True):
                found[at] = Closing(signed[1], signed[2]), at + 1
        elif 0 < at == len(lines) - 1 and len(line.text) > 3 and _is_signature(lines, at, organisation=True):
            above = lines[at - 1].text
            if _ended(above) or _ATTACHMENT.match(above) or _LABEL.match(above):
                found[at] = Closing(line.text, ""), at + 1
    return found


# Paragraphs


class _Open:
    """A paragraph being put together."""

    def __init__(self, line: _Line, *, attachment: bool) -> None:
        self.first = self.last = line
        self.parts = [line.text]
        self.attachment = attachment
        self.level = 0 if attachment else line.level
        self.clause = self.sentence = False
        self._note(line)

    def _note(self, line: _Line) -> None:
        self.last = line
        self.sentence = self.sentence or any(mark in line.text for mark in "。！？；")
        self.clause = self.clause or self.sentence or "，" in line.text

    def add(self, line: _Line) -> None:
        self.parts += [_joint(self.last.text, line.text), line.text]
        self._note(line)

    def goes_on(self, line: _Line, *, indent_tells: bool) -> bool:
        """Does `line` go on with this paragraph?"""
        above = self.last.text
        if line.text[0] in "，。；、！？：）”’》】":  # cannot begin a line
            return True
        if line.begins or self.attachment:
            return False
        label = _LABEL.match(line.text) is not None
        wrapped = self.first.indented and self.last.full and not line.gap and not line.indented
        if _ended(above, _SENTENCE_ENDS + "：:"):
            return wrapped and not label
        if above[-1] in "，、（“《":
            return True
        if label:
            return wrapped
        if self.level and not self.sentence:  # a heading, unless it is too long for one of a low level
            return wrapped or (self.level > 2 and self.clause and len(above) >= 40)
        if line.indented and indent_tells:
            return False
        if self.clause:
            return wrapped or len(above) >= _LINE
        # Without a comma it may be a title: only text broken at a margin goes on.
        title = len(above) <= 100 and (_GENRE.search(above) is not None or line.text[-1] in "：:")
        return wrapped or (not line.gap and len(above) >= _LINE and not title)

    def block(self) -> Block:
        text = "".join(self.parts)
        if not self.level:
            return Paragraph(text)
        end = _sentence_end(text)
        if end and (rest := text[end:].lstrip()):
            return Heading(self.level, text[:end], rest)
        if _ended(text) or len(text) > _LONGEST_HEADING:
            return Paragraph(text)
        return Heading(self.level, text)


def _joint(left: str, right: str) -> str:
    """What stands between two lines joined: a space between Latin words, nothing inside a number or an address."""
    if not _latin(right[0]) or not (_latin(left[-1]) or left[-1] in ",.;:!?)"):
        return ""
    word = left[-100:].split()[-1]
    inside = (left[-1] + right[0]).isdigit() or "://" in word or "@" in word or word.startswith("www.")
    return "" if inside else " "


def _latin(char: str) -> bool:
    return char.isalnum() and char < "\u0250"


def _sentence_end(text: str) -> int:
    """Where the first sentence ends, outside quotes and brackets; 0 if it is too long for a heading."""
    waiting: list[str] = []
    for at, char in enumerate(text[:_LONGEST_HEADING], 1):
        if char in _PAIRS:
            waiting.append(_PAIRS[char])
        elif waiting and char == waiting[-1]:
            waiting.pop()
        elif not waiting and char in "。！？":
            return at
    return 0


def parse(text: str) -> tuple[Block, ...]:
    """The blocks of a text in official style, in linear time. There is no title in it: the first paragraph is text.

    A numbered line without the end of a sentence is a heading. Where a short first sentence (up to 50 characters) is
    followed by others it is `Heading.text` and they are `run_in`; a numbered paragraph that is one sentence, or begins
    with a long one, is a Paragraph: such a number counts, it heads nothing.
    """
    lines = _lines(text)
    tables, closings = _tables(lines), _closings(lines)
    # Where every line is indented an indent does not tell a new paragraph from a broken one.
    indent_tells = any(
        not line.indented and (len(line.text) >= _LINE or (above.broken and not line.gap))
        for above, line in pairwise(lines)
    )
    blocks: list[Block] = []
    at = 0
    attachments = False
    while at < len(lines):
        if at in tables:
            some, at = tables[at]
            blocks += some
        elif at in closings:
            closing, at = closings[at]
            blocks.append(closing)
        else:
            line = lines[at]
            opens = _ATTACHMENT.match(line.text)
            attachments = opens[0][-1] in "：:" if opens else attachments and line.level == 3
            paragraph = _Open(line, attachment=bool(opens) or attachments)
            at += 1
            while at < len(lines) and at not in tables and at not in closings:
                if not paragraph.goes_on(lines[at], indent_tells=indent_tells):
                    break
                paragraph.add(lines[at])
                at += 1
            blocks.append(paragraph.block())
    return tuple(blocks)


# Writing


def to_html(blocks: Iterable[Block]) -> str:
    """h2–h5, p, table and p.closing, everything escaped; indents and faces are the style sheet's.

    Levels 3 and 4 are set like the text (GB/T 9704-2012, 7.3.3), so a run-in heading of theirs is one paragraph with it
    and looks like its neighbours that are whole sentences.
    """
    return "\n".join(_html(block) for block in blocks)


def _html(block: Block) -> str:
    match block:
        case Heading(level, text, run_in) if run_in and level > 2:
            return _element("p", text + run_in)
        case Heading(level, text, run_in):
            heading = _element(f"h{level + 1}", text)
            return f"{heading}\n{_element('p', run_in)}" if run_in else heading
        case Paragraph(text):
            return _element("p", text)
        case Table((header, *rows)):
            head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
            body = "\n".join(f"<tr>{''.join(_element('td', cell) for cell in row)}</tr>" for row in rows)
            return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"
        case Closing(name, date):
            return "\n".join(f'<p class="closing">{escape(line)}</p>' for line in (name, date) if line)
    return ""


def _element(name: str, text: str) -> str:
    return f"<{name}>{escape(text)}</{name}>"


def to_text(blocks: Iterable[Block]) -> str:
    """Plain text: a paragraph a line, cells separated by tabs."""
    return "\n".join(line for block in blocks for line in _text(block))


def _text(block: Block) -> list[str]:
    match block:
        case Heading(_, text, run_in):
            return [text + run_in]
        case Paragraph(text):
            return [text]
        case Table(rows):
            return ["\t".join(row) for row in rows]
        case Closing(name, date):
            return [line for line in (name, date) if line]
