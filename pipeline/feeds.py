"""The bytes of a feed (RSS, Atom) → its entries, whatever state it is in.

`read` is pure. `read_apart` does the same in a process of its own that is ended when it takes too long or too much: a
feed is written by somebody else, ten megabytes of nonsense take a parser half a minute, and the workers have texts to
send meanwhile.
"""

import codecs
import json
import re
import resource
import subprocess
import sys
from calendar import timegm
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime
from html import unescape
from typing import Any
from zoneinfo import ZoneInfo

import feedparser
from lxml import etree

from channels.document import BadText
from pipeline import html_text

SECONDS = 30.0  # to read one feed
MEMORY = 2 * 1024**3  # bytes of address space
ACCEPT = (
    "application/atom+xml, application/rss+xml, application/rdf+xml, application/xml;q=0.9, text/xml;q=0.9, */*;q=0.1"
)


class FeedError(Exception):
    """This cannot be read as a feed. `code` and `facts` are put in words at the edge."""

    def __init__(self, code: str, /, **facts: str) -> None:
        super().__init__(code, facts)
        self.code = code
        self.facts = facts


@dataclass(frozen=True)
class Entry:
    """One entry. `guid` and `link` may be empty; `on`: the date it carries (ISO 8601) in the office's zone, empty if it
    carries none that can be read; `wrong`: why its text could not be read (a code)."""

    guid: str
    link: str
    title: str
    text: str
    on: str = ""
    pictures: int = 0
    enclosures: int = 0
    wrong: str = ""


@dataclass(frozen=True)
class FeedText:
    """A feed as far as it could be read. `broken`: its XML is, so more may have stood in it."""

    title: str
    entries: tuple[Entry, ...]
    broken: bool = False


def read_apart(content: bytes, content_type: str, url: str, zone: str, seconds: float = SECONDS) -> FeedText:
    """`read` in a process of its own. Raises FeedError, also `feed.too_much` when the process was ended."""
    command = (sys.executable, "-P", "-m", "pipeline.feeds", content_type, url, zone, f"{seconds:g}")
    try:
        done = subprocess.run(command, input=content, capture_output=True, timeout=seconds)
    except subprocess.TimeoutExpired as error:
        raise FeedError("feed.too_much") from error
    try:
        answer = json.loads(done.stdout)
    except ValueError as error:  # out of memory, or ended by the kernel
        raise FeedError("feed.too_much") from error
    if "code" in answer:
        raise FeedError(answer["code"], **answer["facts"])
    return FeedText(answer["title"], tuple(Entry(**one) for one in answer["entries"]), answer["broken"])


def main() -> None:
    """The process of `read_apart`: bytes in, JSON out."""
    content_type, url, zone, seconds = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    limit = int(float(seconds)) + 1  # should whoever waits for us be gone
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
    try:
        answer: dict[str, Any] = asdict(read(sys.stdin.buffer.read(), content_type, url, ZoneInfo(zone)))
    except FeedError as error:
        answer = {"code": error.code, "facts": error.facts}
    sys.stdout.write(json.dumps(answer))


def read(content: bytes, content_type: str, url: str, zone: ZoneInfo) -> FeedText:
    """The feed in these bytes, with the Content-Type they came with from `url`. Raises FeedError: `feed.empty`,
    `feed.web_page` (naming the `feeds` that the page names), `feed.not_a_feed`, `feed.broken`."""
    text = _decode(content, content_type)
    if not text.strip():
        raise FeedError("feed.empty")
    if not re.search(r"<(?:\w+:)?(?:rss|feed|RDF|channel)[\s>]", text[:100_000]):
        raise _not_a_feed(content, text, url)
    # Told so, feedparser takes no other encoding for it than the one it now has.
    headers = {"content-type": "application/xml; charset=utf-8"}
    text = re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]", "", text)  # no XML (XML 1.0, 2.2), but seen in feeds
    found = feedparser.parse(
        text.encode("utf-8", "replace"), response_headers=headers, sanitize_html=False, resolve_relative_uris=False
    )
    broken = bool(found.get("bozo"))
    entries = list(_entries(found.entries, url, zone))
    if broken and entries and not re.search(r"</(?:\w+:)?(?:rss|feed|RDF)>\s*$", text[-100:]):
        entries[-1] = replace(entries[-1], wrong="collect.cut_short")  # it may be half of one
    if not found.entries and broken:
        raise FeedError("feed.broken")
    if not found.entries and not found.get("version"):
        raise _not_a_feed(content, text, url)
    return FeedText(_plain(found.feed.get("title", "")), tuple(entries), broken)


def _not_a_feed(content: bytes, text: str, url: str) -> FeedError:
    if not re.search(r"<(?:!doctype\s+)?html", text[:100_000], re.I):
        return FeedError("feed.not_a_feed")
    root = etree.fromstring(content[:1_000_000], etree.HTMLParser(no_network=True))
    links = root.iter("link") if root is not None else ()
    types = ("application/rss+xml", "application/atom+xml")
    feeds = [
        html_text.absolute(url, link.get("href", ""))
        for link in links
        if link.get("type") in types and link.get("href")
    ]
    return FeedError("feed.web_page_with_feeds", feeds="　".join(feeds[:5])) if feeds else FeedError("feed.web_page")


def _decode(content: bytes, content_type: str) -> str:
    """The text of an XML file whose declarations of encoding may be missing or wrong, as they often are for GBK."""
    declared = re.search(rb"<\?xml[^>]{0,100}encoding=[\"']([\w.:-]+)", content[:300])
    sent = re.search(r"charset=[\"']?([\w.:-]+)", content_type, re.I)
    named = [declared[1].decode("ascii", "replace")] if declared else []
    named += [sent[1]] if sent else []
    # Latin declarations are a server's default; they would fit any bytes, so they come last.
    told = [name for name in map(_codec, named) if name]
    latin = [name for name in told if name.startswith(("iso8859", "cp125", "ascii"))]
    boms = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
    marked = [name for bom, name in boms.items() if content.startswith(bom)]
    for name in (*marked, "utf-8", *(one for one in told if one not in latin), "gb18030", *latin):
        try:
            text = content.decode(name)
        except (UnicodeDecodeError, LookupError):
            continue
        if "\0" not in text:
            return text
    return content.decode(next(iter([*marked, *told]), "utf-8"), "replace")


def _codec(name: str) -> str:
    """Python's name of an encoding; GB18030 for those it holds, which are declared for it."""
    try:
        codec = codecs.lookup(name)
    except LookupError:
        return ""
    return "gb18030" if codec.name in ("gb2312", "gbk") else codec.name


def _entries(entries: list[Any], url: str, zone: ZoneInfo) -> Iterator[Entry]:
    for entry in entries:
        link = html_text.absolute(url, str(entry.get("link", "")))
        told = Entry(
            guid=str(entry.get("id", "")).strip(),
            link=link if link.startswith(("http://", "https://")) else "",
            title="",
            text="",
        )
        try:
            title, words = _plain(entry.get("title", "")), _words(entry, link or url)
        except BadText as error:
            yield replace(told, title=str(entry.get("title", ""))[:200], wrong=error.code)
            continue
        yield replace(
            told,
            title=title,
            text=words.text,
            on=_date(entry, zone),
            pictures=words.pictures,
            enclosures=len(entry.get("enclosures", ())),
            wrong="collect.damaged" if "\ufffd" in title + words.text else "",  # bytes of it are lost
        )


def _words(entry: Any, base: str) -> html_text.Text:
    """The text of an entry: its content, else its description."""
    given = [*entry.get("content", ()), *([entry.summary_detail] if "summary_detail" in entry else [])]
    for one in given:
        value = str(one.get("value", ""))
        if not value.strip():
            continue
        if one.get("type") == "text/plain" or not re.search(
            r"<[a-zA-Z!/]", value
        ):  # descriptions say HTML, and are none
            return html_text.Text(value if one.get("type") == "text/plain" else unescape(value))
        return html_text.read(value, one.get("base") or base)
    return html_text.Text("")


def _plain(title: Any) -> str:
    """A title on one line, without tags."""
    text = str(title)
    if re.search(r"<[a-zA-Z!/]|&#?\w+;", text):
        text = html_text.read(text).text
    return re.sub(r"\s+", " ", text).strip()


_CLOCK = r"[T\s]*\d{1,2}[:：时]\d{1,2}(?:[:：分](?:\d{1,2}(?:\.\d+)?秒?)?)?"
_LOCAL = re.compile(rf"(\d{{4}})[-/.年](\d{{1,2}})[-/.月](\d{{1,2}})日?(?:{_CLOCK})?")


def _date(entry: Any, zone: ZoneInfo) -> str:
    """The date that an entry carries, in the office's zone; a time that names no zone is the office's."""
    for name in ("published", "updated", "created"):
        raw, parsed = str(dict.get(entry, name, "")).strip(), dict.get(entry, f"{name}_parsed")
        try:
            if local := _LOCAL.fullmatch(raw):
                return date(*map(int, local.groups())).isoformat()
            if parsed is not None and "年" not in raw:
                return datetime.fromtimestamp(timegm(parsed), UTC).astimezone(zone).date().isoformat()
        except (ValueError, OverflowError, OSError):
            pass
    return ""


if __name__ == "__main__":
    main()
