"""The feed that the mobile app reads. Fenced; read back as an app would read it, page by page."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import quote, urlsplit

import feedparser
from lxml import etree

from channels import newsletter
from channels.contract import (
    Call,
    DeliveryError,
    Finding,
    Message,
    Receipt,
    Rendition,
    Seen,
    Severity,
    Unrenderable,
    require_public,
)
from channels.document import to_html
from channels.readback import ROUND_SECONDS, look
from channels.signing import LARGEST_DOCUMENT, Signed, article_texts, plain

MOST_PAGES = 200  # of a look; what stands further back is not looked at, and so unknown

_EXTENSION = ("index_number", "short_title", "publisher", "department", "item_type", "formed_on")  # fabu: elements
_Shown = dict[int, tuple[str, ...] | None]  # what a feed shows: number → content, None where it was withdrawn
_Page = tuple[_Shown, str]  # and the address of the next page, or nothing


@dataclass(frozen=True)
class AppFeed(Signed):
    """Writes entries of a feed; `public_url` is where the app reads it."""

    slots: ClassVar[str] = "feed"
    shown: ClassVar[str] = "/feed.atom#"

    def render(self, message: Message) -> Rendition:
        require_public(message)
        document = {
            "number": message.number,
            "index_number": message.index_number,
            "title": message.title,
            "short_title": message.short_title,
            "summary": message.summary,
            "html": to_html(message.blocks),
            "publisher": message.office.name,
            "department": message.department,
            "item_type": message.item_type,
            "formed_on": message.formed_on.isoformat(),
            "address": message.address,
            # their bytes stand on the portal; here only names and hashes
            "files": [
                {"name": f.name, "media_type": f.media_type, "sha256": f.sha256} for f in newsletter.files(message)
            ],
        }
        body = json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
        if len(body) > LARGEST_DOCUMENT:
            raise Unrenderable(Finding("portal.text_too_large", Severity.BLOCK, facts={"limit": "2 MB"}))
        return Rendition("application/vnd.fabu.entry+json", body)

    def deliver(self, rendition: Rendition, call: Call) -> Receipt:
        return self._change("PUT", call, rendition.body)

    def verify(self, wanted: Sequence[tuple[Rendition | None, Call]]) -> list[Seen]:
        """Live rows from the Atom feed, the others from the JSON feed: feed readers keep one Atom tombstone of many."""
        live = self._walk("atom", _read_atom, {call.number for rendition, call in wanted if rendition})
        gone = self._walk("json", _read_json, {call.number for rendition, call in wanted if not rendition})
        return [_judge(rendition, call.number, *(live if rendition else gone)) for rendition, call in wanted]

    def _walk(self, kind: str, read: Callable[[bytes], _Page], numbers: set[int]) -> tuple[_Shown, bool]:
        """What the feed shows, newest change first, until every number was met; and whether all of it was seen."""
        shown: _Shown = {}
        until = time.monotonic() + ROUND_SECONDS
        try:
            query = ""
            for _ in range(MOST_PAGES if numbers else 0):
                page, query = self._page(kind, query, read)
                shown = page | shown
                if numbers <= shown.keys():
                    return shown, True
                if not query:  # the end; what changed while we walked now stands at the top
                    return shown | self._page(kind, "", read)[0], True
                if time.monotonic() > until:
                    break
        except (DeliveryError, ValueError, LookupError, TypeError, AttributeError, etree.LxmlError):
            pass  # the line broke, or this is no feed of ours: what was seen until here counts
        return shown, False

    def _page(self, kind: str, query: str, read: Callable[[bytes], _Page]) -> _Page:
        status, body = look(f"{self._base()}/feed.{kind}{query}", self.seconds)
        if status != 200:
            raise ValueError(status)
        page, following = read(body)
        return page, f"?{urlsplit(following).query}" if following else ""


def _judge(rendition: Rendition | None, number: int, shown: _Shown, complete: bool) -> Seen:
    if number not in shown:
        return Seen.NOTHING if complete else Seen.UNKNOWN
    content = shown[number]
    if content is None:
        return Seen.NOTHING
    return Seen.SAME if rendition and content == _expected(rendition) else Seen.OTHER


def _read_json(body: bytes) -> _Page:
    feed = json.loads(body)
    ours = [item["_fabu"] for item in feed["items"]]
    return {mark["number"]: None if mark.get("withdrawn") else () for mark in ours}, feed.get("next_url", "")


def _read_atom(body: bytes) -> _Page:
    feed = feedparser.parse(body, sanitize_html=False, resolve_relative_uris=False)
    if feed.bozo:
        raise ValueError("not well-formed")
    following = next((link.href for link in feed.feed.get("links", ()) if link.rel == "next"), "")
    return {int(entry.id.rpartition("/")[2]): _content(entry) for entry in feed.entries}, following


def _content(entry: Any) -> tuple[str, ...]:
    article = entry.content[0].value
    files = sorted(link.href.partition("/files/")[2] for link in entry.links if link.rel == "enclosure")
    summary = entry.get("summary", "")
    return (
        plain(entry.title),
        entry.link,
        plain("" if summary == article else summary),  # feedparser puts the content where there is no summary
        *(plain(entry.get(f"fabu_{name}", "")) for name in _EXTENSION),
        *article_texts(article),
        *files,
    )


def _expected(rendition: Rendition) -> tuple[str, ...]:
    fields = json.loads(rendition.body)
    return (
        plain(fields["title"]),
        fields["address"],
        plain(fields["summary"]),
        *(plain(fields[name]) for name in _EXTENSION),
        *article_texts(fields["html"]),
        *sorted(f"{file['sha256']}/{quote(file['name'], safe='')}" for file in fields["files"]),
    )
