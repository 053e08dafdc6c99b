"""What an attachment holds beside what its reader sees at once: text, tables, comments, tracked changes, hidden parts,
who wrote it, where a photo was taken (domain: Secrecy review).

Office documents and PDF are read in a process of their own with limits of time and memory: a file that was made to
break its reader breaks nothing else. `python -m pipeline.attachments` is that process: a file on standard input, what
it holds as JSON on standard output.
"""

import json
import re
import resource
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from io import BytesIO
from typing import Literal
from zipfile import BadZipFile, ZipFile

from lxml import etree

from channels.contract import File
from channels.document import BadText, decode

SECONDS = 20  # for one file
MEMORY = 1_000_000_000  # bytes of address space
LARGEST = 100_000_000  # bytes that the parts of one file may unpack to
MOST_PAGES = 300
MOST_CHARACTERS = 1_000_000  # of text that is kept
MOST_KEPT = 48  # files whose contents are remembered: more than one item has

TraceKind = Literal[
    "comments", "tracked_changes", "hidden_text", "hidden_sheets", "annotations", "embedded_files", "script",
    "location", "author_data", "closed", "partly", "damaged",
]  # fmt: skip
# What programs write where nobody gave a name.
_NO_NAME = re.compile(
    r"\b(?:administrator|admin|user|owner|guest|windows|apple|microsoft|wps|lenovo|dell|hp|pc|asus|acer|huawei|openpyxl|"
    r"python-docx|apache|unknown|untitled|微软用户|用户|微软中国|未定义|匿名)(?:\b|_)",
    re.I,
)


@dataclass(frozen=True)
class Trace:
    """Something that its author may not know is there, or that we could not look at."""

    kind: TraceKind
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Inside:
    """What an attachment holds: its texts, whatever part they stand in, its tables as rows of cells, and traces."""

    texts: tuple[str, ...] = ()
    tables: tuple[tuple[tuple[str, ...], ...], ...] = ()
    traces: tuple[Trace, ...] = ()


_kept: OrderedDict[str, Inside] = OrderedDict()
_looking: set[str] = set()
_news = threading.Condition()


def look(file: File) -> Inside:
    """What this attachment holds. Never raises: a file that cannot be read, or not in time, is a trace."""
    with _news:
        if file.sha256 in _kept:
            _kept.move_to_end(file.sha256)
            return _kept[file.sha256]
    return _keep(file.sha256, _look(file.content))


def look_within(files: Mapping[str, Callable[[], bytes]], seconds: float) -> dict[str, Inside]:
    """What these attachments hold, by SHA-256, as far as it is known after so many seconds. What takes longer is looked
    at to its end by itself, and known when asked again. Each value gives the bytes of one, if it must be read."""
    with _news:
        mine = [sha256 for sha256 in files if sha256 not in _kept and sha256 not in _looking]
        _looking.update(mine)
    if mine:
        threading.Thread(target=_look_all, args=({one: files[one] for one in mine},), daemon=True).start()
    until = time.monotonic() + seconds
    with _news:
        while not files.keys() <= _kept.keys() and (left := until - time.monotonic()) > 0:
            _news.wait(left)
        return {sha256: _kept[sha256] for sha256 in files if sha256 in _kept}


def _look_all(files: Mapping[str, Callable[[], bytes]]) -> None:
    for sha256, read in files.items():
        inside = Inside(traces=(Trace("damaged"),))
        try:
            inside = _look(read())
        finally:
            _keep(sha256, inside)


def _keep(sha256: str, inside: Inside) -> Inside:
    with _news:
        _looking.discard(sha256)
        _kept[sha256] = inside
        while len(_kept) > MOST_KEPT:
            _kept.popitem(last=False)
        _news.notify_all()
    return inside


def _look(content: bytes) -> Inside:
    if content.startswith((b"PK\x03\x04", b"%PDF")) or b"%PDF-" in content[:1024]:
        return _apart(content)
    if content.startswith((b"\xff\xd8\xff", b"\x89PNG", b"II*\0", b"MM\0*", b"RIFF", b"GIF8", b"BM")):
        return Inside(traces=(Trace("location"),) if _tells_place(content) else ())
    if content.startswith(_SOUND_OR_FILM) or content[4:8] == b"ftyp":
        return Inside()
    try:
        text = decode(content)
    except BadText:
        return Inside(traces=(Trace("closed"),))
    return Inside((text[:MOST_CHARACTERS],), (_rows(text),), (Trace("partly"),) * (len(text) > MOST_CHARACTERS))


_SOUND_OR_FILM = (b"ID3", b"\xff\xfb", b"\xff\xf3", b"fLaC", b"OggS", b"\x1aE\xdf\xa3", b"\0\0\1\xba")


def _rows(text: str) -> tuple[tuple[str, ...], ...]:
    """A text that may be a table: cells between commas, tabs or bars."""
    return tuple(
        tuple(cell.strip(' "') for cell in re.split(r"[,，\t|]", line)) for line in text[:200_000].splitlines()
    )


def _apart(content: bytes) -> Inside:
    """Read it in a process of its own."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pipeline.attachments"], input=content, capture_output=True, timeout=SECONDS + 5
        )
        told = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError, OSError):
        return Inside(traces=(Trace("damaged"),))
    tables = tuple(tuple(tuple(row) for row in rows) for rows in told["tables"])
    return Inside(tuple(told["texts"]), tables, tuple(Trace(**one) for one in told["traces"]))


def main() -> None:
    """The process of its own: limits first, then the file."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    content = sys.stdin.buffer.read()
    try:
        gathered = _Gathered()
        (_read_pdf if b"%PDF-" in content[:1024] else _read_package)(content, gathered)
        inside = gathered.inside()
    except Exception:  # a broken file may raise anything at all
        inside = Inside(traces=(Trace("damaged"),))
    sys.stdout.write(json.dumps(asdict(inside)))


class _Gathered:
    """What is found on the way through a file."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.counts: dict[TraceKind, int] = {}
        self.names: dict[str, None] = {}  # in order, once each
        self.sheets: list[str] = []
        self.left = MOST_CHARACTERS
        self.partly = False

    def text(self, text: str) -> None:
        if not (text := text.strip()):
            return
        if len(text) > self.left:
            self.partly = True
        if self.left > 0:
            self.texts.append(text[: self.left])
            self.left -= len(text)

    def count(self, kind: TraceKind, times: int = 1) -> None:
        if times:
            self.counts[kind] = self.counts.get(kind, 0) + times

    def name(self, name: str | None) -> None:
        name = re.sub(r"\s+", " ", str(name or "")).strip()[:60]
        if name and not _NO_NAME.search(name):
            self.names[name] = None

    def inside(self) -> Inside:
        traces = [Trace(kind, {"count": str(count)}) for kind, count in self.counts.items()]
        if self.sheets:
            traces.append(Trace("hidden_sheets", {"count": str(len(self.sheets)), "names": "、".join(self.sheets[:8])}))
        if self.names:
            traces.append(Trace("author_data", {"names": "、".join(list(self.names)[:4])}))
        if self.partly:
            traces.append(Trace("partly"))
        tables = tuple(tuple(tuple(row) for row in rows) for rows in self.tables)
        return Inside(tuple(self.texts), tables, tuple(traces))


# ── docx, xlsx, pptx (ECMA-376) ──────────────────────────────────────────────────────────────────────────────────────


class _Package:
    """The parts of a zip file; what its directory says of their sizes is not believed."""

    def __init__(self, content: bytes) -> None:
        self._zip = ZipFile(BytesIO(content))
        self.names = self._zip.namelist()
        self._left = LARGEST

    def part(self, name: str) -> bytes:
        with self._zip.open(name) as part:
            data = part.read(self._left + 1)
        self._left -= len(data)
        if self._left < 0:
            raise ValueError("too large")
        return data

    def elements(self, name: str, *ends: str) -> "Iterator[etree._Element]":
        """These elements of a part by their local names, each given up after it was looked at."""
        if name not in self.names:
            return
        wanted = [f"{{*}}{end}" for end in ends]
        for _, element in etree.iterparse(
            BytesIO(self.part(name)), events=("end",), tag=wanted, resolve_entities=False, no_network=True
        ):
            yield element
            element.clear()

    def matching(self, pattern: str) -> list[str]:
        return [name for name in self.names if re.fullmatch(pattern, name)]


def _local(element: "etree._Element") -> str:
    return etree.QName(element).localname


def _attribute(element: "etree._Element", name: str) -> str | None:
    """An attribute by its local name, whatever its namespace."""
    return next((str(value) for key, value in element.attrib.items() if str(key).rpartition("}")[2] == name), None)


def _read_package(content: bytes, gathered: _Gathered) -> None:
    try:
        package = _Package(content)
    except BadZipFile as error:
        raise ValueError("damaged") from error
    if "word/document.xml" in package.names:
        _read_word(package, gathered)
    elif "xl/workbook.xml" in package.names:
        _read_sheets(package, gathered)
    elif "ppt/presentation.xml" in package.names:
        _read_slides(package, gathered)
    else:
        gathered.counts["closed"] = 1
        return
    gathered.count("script", len(package.matching(r".*/vbaProject\.bin")))
    gathered.count("embedded_files", len(package.matching(r".*/embeddings/.+")))
    for part, tags in (
        ("docProps/core.xml", ("creator", "lastModifiedBy")),
        ("docProps/app.xml", ("Company", "Manager")),
    ):
        for element in package.elements(part, *tags):
            gathered.name(element.text)
    for part in ("docProps/custom.xml", *package.matching(r"customXml/item\d+\.xml")):
        with_text = (str(text) for element in package.elements(part, "*") for text in element.itertext())
        gathered.text(" ".join(with_text))
    for name in package.matching(r"(?:word|ppt|xl)/media/.+\.jpe?g"):
        gathered.count("location", int(_tells_place(package.part(name))))


_CHANGES = ("ins", "del", "moveFrom", "moveTo", "rPrChange", "pPrChange")


def _read_word(package: _Package, gathered: _Gathered) -> None:
    body = r"word/(?:document|header\d*|footer\d*|footnotes|endnotes)\.xml"
    for name in package.matching(body):
        root = _tree(package, name)
        for paragraph in root.iter("{*}p"):
            gathered.text(_word_text(paragraph))
        for table in root.iter("{*}tbl"):
            rows = [[_word_text(cell) for cell in row.iter("{*}tc")] for row in table.iter("{*}tr")]
            gathered.tables.append(rows)
        gathered.count("tracked_changes", sum(1 for _ in root.iter(*(f"{{*}}{one}" for one in _CHANGES))))
        for mark in root.iter("{*}vanish", "{*}webHidden"):
            run = mark.getparent()
            run = run.getparent() if run is not None else None
            on = _attribute(mark, "val") not in ("0", "false", "off")
            if on and _local(mark) == "vanish" and run is not None and _word_text(run).strip():
                gathered.count("hidden_text")
    for name in package.matching(r"word/comments\.xml"):
        for comment in package.elements(name, "comment"):
            gathered.count("comments")
            gathered.name(_attribute(comment, "author"))
            gathered.text(_word_text(comment))


def _tree(package: _Package, name: str) -> "etree._Element":
    return etree.fromstring(package.part(name), etree.XMLParser(resolve_entities=False, no_network=True))


def _word_text(element: "etree._Element") -> str:
    return "".join(one.text or "" for one in element.iter("{*}t", "{*}delText"))


def _read_slides(package: _Package, gathered: _Gathered) -> None:
    for name in package.matching(r"ppt/(?:slides|notesSlides)/[^/]+\.xml"):
        root = _tree(package, name)
        gathered.count("hidden_text", int(root.get("show") in ("0", "false")))
        for paragraph in root.iter("{*}p"):
            gathered.text(_word_text(paragraph))
    for name in package.matching(r"ppt/comments/[^/]+\.xml"):
        for comment in package.elements(name, "cm"):
            gathered.count("comments")
            gathered.text("".join(str(text) for text in comment.itertext()))


def _read_sheets(package: _Package, gathered: _Gathered) -> None:
    shared = [
        "".join(one.text or "" for one in item.iter("{*}t")) for item in package.elements("xl/sharedStrings.xml", "si")
    ]
    for element in package.elements("xl/workbook.xml", "sheet", "definedName"):
        if _local(element) == "definedName":
            gathered.text(element.text or "")
        elif element.get("state") in ("hidden", "veryHidden"):
            gathered.sheets.append(str(element.get("name"))[:40])
    for name in package.matching(r"xl/worksheets/[^/]+\.xml"):
        rows = []
        hidden = 0
        for element in package.elements(name, "row", "col"):
            hidden += element.get("hidden") in ("1", "true")
            if _local(element) == "row" and (cells := [_cell(cell, shared) for cell in element.iter("{*}c")]):
                rows.append(cells)
                gathered.text("  |  ".join(cells))
        gathered.count("hidden_text", hidden)
        gathered.tables.append(rows[:5000])
    for name in package.matching(r"xl/(?:comments\d*|comments/[^/]+|threadedComments/[^/]+)\.xml"):
        for element in package.elements(name, "comment", "threadedComment", "author"):
            if _local(element) == "author":
                gathered.name(element.text)
                continue
            gathered.count("comments")
            gathered.text("".join(str(text) for text in element.itertext()))


def _cell(cell: "etree._Element", shared: list[str]) -> str:
    value = next((one.text or "" for one in cell.iter("{*}v")), "")
    if cell.get("t") == "s":
        return shared[int(value)] if value.isdigit() and int(value) < len(shared) else ""
    if cell.get("t") == "inlineStr":
        return "".join(one.text or "" for one in cell.iter("{*}t"))
    if re.fullmatch(r"\d(?:\.\d+)?[eE]\+?\d{1,2}", value):  # a long number that was typed without being marked as text
        return f"{float(value):.0f}"
    return value


# ── PDF (ISO 32000) ──────────────────────────────────────────────────────────────────────────────────────────────────


def _read_pdf(content: bytes, gathered: _Gathered) -> None:
    import logging

    from pypdf import PdfReader

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    until = time.monotonic() + SECONDS / 2
    pdf = PdfReader(BytesIO(content))
    if pdf.is_encrypted and not pdf.decrypt(""):
        gathered.counts["closed"] = 1
        return
    seen = 0
    for number, page in enumerate(pdf.pages):
        if number >= MOST_PAGES or time.monotonic() > until:
            gathered.partly = True
            break
        text = page.extract_text()
        seen += len(text.strip())
        gathered.text(text)
        for one in page.get("/Annots") or ():
            note = one.get_object()
            kind = note.get("/Subtype")
            if kind == "/FileAttachment":
                gathered.count("embedded_files")
            elif kind not in ("/Link", "/Widget", "/Popup") and note.get("/Contents"):
                gathered.count("annotations")
                gathered.name(note.get("/T"))
                gathered.text(str(note["/Contents"]))
    if not seen:
        gathered.counts["closed"] = 1  # scanned pages: pictures without a text
    gathered.count("embedded_files", len(pdf.attachments))
    gathered.count("script", int(_has_script(pdf.trailer["/Root"])))
    about = pdf.metadata
    if about is not None:
        gathered.name(about.author)
        for value in (about.title, about.subject, about.get("/Keywords")):
            gathered.text(str(value or ""))


def _has_script(root: object) -> bool:
    """JavaScript that runs by itself: a name tree of scripts, or an action at opening."""
    from pypdf.generic import DictionaryObject

    if not isinstance(root, DictionaryObject):
        return False
    names = root.get("/Names")
    names = names.get_object() if names is not None else None
    action = root.get("/OpenAction")
    action = action.get_object() if action is not None else None
    in_names = isinstance(names, DictionaryObject) and "/JavaScript" in names
    return in_names or (isinstance(action, DictionaryObject) and action.get("/S") == "/JavaScript")


# ── photos (CIPA DC-008, "Exif"; TIFF 6.0) ───────────────────────────────────────────────────────────────────────────

_GPS = 0x8825  # the tag that leads to a place's coordinates


def _tells_place(content: bytes) -> bool:
    """Does a picture say where it was taken? Reads the first directory of its Exif data."""
    begin = content.find(b"Exif\0\0", 0, 1_000_000)
    tiff = content[begin + 6 :] if begin >= 0 else content
    if begin < 0 and content.startswith(b"\x89PNG"):
        chunk = content.find(b"eXIf", 0, 1_000_000)
        tiff = content[chunk + 4 :] if chunk >= 0 else b""
    order: Literal["little", "big"] = "little" if tiff[:2] == b"II" else "big"
    if tiff[:4] not in (b"II*\0", b"MM\0*"):
        return False
    first = int.from_bytes(tiff[4:8], order)
    entries = int.from_bytes(tiff[first : first + 2], order)
    tags = (tiff[first + 2 + 12 * place : first + 4 + 12 * place] for place in range(entries))
    return any(int.from_bytes(tag, order) == _GPS for tag in tags)


if __name__ == "__main__":
    main()
