"""Feeds in three forms: JSON Feed 1.1, Atom (RFC 4287, with paging as of RFC 5005) and RSS 2.0.

`/feed.json` and `/feed.atom` are the app's: entries that the office put there, newest change first, withdrawn ones as
tombstones (RFC 6721). `/feeds/…` are everybody's: the catalogue, one column of it, one department; newest first.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from enum import StrEnum
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, HTTPException, Query, Response
from lxml import etree

from web.portal import listing
from web.portal.answers import answer, reading
from web.portal.catalogue import Wanted
from web.portal.content import Entry, Item, Publication
from web.portal.settings import Settings
from web.portal.state import Portal, State
from web.portal.storage import LARGEST_NUMBER, LARGEST_PAGE, Slot
from web.portal.words import WITHDRAWN, file_path

PAGE = 50
ATOM = "http://www.w3.org/2005/Atom"
CONTENT = "http://purl.org/rss/1.0/modules/content/"
DUBLIN_CORE = "http://purl.org/dc/elements/1.1/"
FABU = "tag:fabu,2026:feed"
TOMBSTONES = "http://purl.org/atompub/tombstones/1.0"
NEVER = datetime(1970, 1, 1, tzinfo=UTC)

routes = APIRouter()
Before = Query(default=None, ge=0, le=LARGEST_NUMBER)


class Form(StrEnum):
    ATOM = "atom"
    JSON = "json"
    RSS = "rss"

    @property
    def media_type(self) -> str:
        return "application/feed+json" if self is Form.JSON else f"application/{self}+xml"


@dataclass(frozen=True)
class Feed:
    """One page of a feed. `path`: below the base address, without the ending of the form."""

    path: str
    title: str
    home: str
    form: Form
    slots: list[Slot]
    following: int | None  # from where on its next page goes
    document: type[Publication] = Item


@dataclass(frozen=True)
class Link:
    """An autodiscovery link, for `<link rel="alternate">`."""

    address: str
    media_type: str
    title: str


def feed_links(portal: State, column: str = "", department: str = "") -> list[Link]:
    """Where the feeds are of the whole catalogue, or of a column (its id) or a department."""
    path, title = "feeds/all", portal.settings.site_name
    if column:
        path, title = f"feeds/columns/{column}", portal.office.by_id[column].name
    elif department:
        path, title = f"feeds/departments/{quote(department, safe='')}", department
    base = portal.settings.public_url
    return [Link(f"{base}/{path}.{form}", form.media_type, f"{title}（{form.name}）") for form in Form]


@reading(routes, "/feed.json")
def json_feed(portal: Portal, before: int | None = Before) -> Response:
    return _app_feed(portal, before, Form.JSON)


@reading(routes, "/feed.atom")
def atom_feed(portal: Portal, before: int | None = Before) -> Response:
    return _app_feed(portal, before, Form.ATOM)


@reading(routes, "/feeds/all.{form}")
def everything(portal: Portal, form: Form, before: int | None = Before) -> Response:
    return _catalogue(portal, Wanted(), "feeds/all", "", "/", form, before)


@reading(routes, "/feeds/columns/{column}.{form}")
def of_column(portal: Portal, column: str, form: Form, before: int | None = Before) -> Response:
    if (told := portal.office.by_id.get(column)) is None:
        raise HTTPException(404)
    path = f"/columns/{column}"
    return _catalogue(portal, Wanted(column=column), f"feeds{path}", told.name, path, form, before)


@reading(routes, "/feeds/departments/{department:path}.{form}")
def of_department(portal: Portal, department: str, form: Form, before: int | None = Before) -> Response:
    wanted, name = Wanted(department=department), quote(department, safe="")
    if not any(value == department for value, _ in portal.storage.facets(Wanted())["department"]):
        raise HTTPException(404)
    home = f"/catalogue?department={name}"
    return _catalogue(portal, wanted, f"feeds/departments/{name}", department, home, form, before)


def _app_feed(portal: State, before: int | None, form: Form) -> Response:
    changes, more = portal.storage.changes(before, PAGE)
    slots = portal.storage.changed(changes)
    following = changes[-1] if more else None
    return _answer(portal, Feed("feed", portal.settings.site_name, "/", form, slots, following, Entry))


def _catalogue(
    portal: State, wanted: Wanted, path: str, name: str, home: str, form: Form, before: int | None
) -> Response:
    slots, following = listing.bodies(portal.storage, wanted, before, PAGE, LARGEST_PAGE)
    title = f"{name} - {portal.settings.site_name}" if name else portal.settings.site_name
    return _answer(portal, Feed(path, title, home, form, slots, following))


def _answer(portal: State, feed: Feed) -> Response:
    shown = [(slot, _read(feed, slot)) for slot in feed.slots]
    hashes = [file.sha256 for _, document in shown if document for file in document.files]
    write = Writer(portal.settings, feed, shown, listing.sizes(portal.storage, hashes))
    # The whole portal's, so that it also moves when something is taken from the feed.
    _, changed_at = listing.newest_change(portal.storage)
    headers = {"Last-Modified": format_datetime(changed_at.replace(microsecond=0), usegmt=True)}
    media_type = feed.form.media_type + ("" if feed.form is Form.JSON else "; charset=utf-8")
    return answer(getattr(write, feed.form)(), media_type, headers)


def _read(feed: Feed, slot: Slot) -> Publication | None:
    if slot.body is None or slot.first_published_at is None:
        return None
    return feed.document.model_validate_json(slot.body)


@dataclass(frozen=True)
class Writer:
    """Puts one page of a feed into a form. `sizes`: bytes of the files, by hash."""

    settings: Settings
    feed: Feed
    shown: list[tuple[Slot, Publication | None]]
    sizes: dict[str, int]

    def json(self) -> bytes:
        feed = {
            "version": "https://jsonfeed.org/version/1.1",
            "title": self.feed.title,
            "home_page_url": self._home(),
            "feed_url": self._address(),
            "language": "zh-CN",
            **({"next_url": self._next()} if self._next() else {}),
            "items": [self._json_item(slot, document) for slot, document in self.shown],
        }
        return json.dumps(feed, ensure_ascii=False).encode()

    def atom(self) -> bytes:
        prefixes: dict[Any, str] = {None: ATOM, "at": TOMBSTONES, "fabu": FABU}
        feed = etree.Element(f"{{{ATOM}}}feed", nsmap=prefixes)
        feed.set("{http://www.w3.org/XML/1998/namespace}lang", "zh-CN")
        _atom(feed, "id", f"{self.settings.public_url}/{self.feed.path}.atom")
        _atom(feed, "title", self.feed.title)
        _atom(feed, "updated", _moment(self._updated()))
        _atom(_atom(feed, "author"), "name", self.settings.organiser or self.settings.site_name)
        _atom(feed, "link", rel="self", type="application/atom+xml", href=self._address())
        _atom(feed, "link", rel="alternate", type="text/html", href=self._home())
        if following := self._next():
            _atom(feed, "link", rel="next", type="application/atom+xml", href=following)
        for slot, document in self.shown:
            self._atom_entry(feed, slot, document)
        return etree.tostring(feed, xml_declaration=True, encoding="utf-8")

    def rss(self) -> bytes:
        """RSS 2.0.11; an item may have one enclosure only, so the others stand in its text's page."""
        prefixes: dict[Any, str] = {"atom": ATOM, "content": CONTENT, "dc": DUBLIN_CORE}
        root = etree.Element("rss", version="2.0", nsmap=prefixes)
        channel = etree.SubElement(root, "channel")
        _add(channel, "title", self.feed.title)
        _add(channel, "link", self._home())
        _add(channel, "description", f"{self.settings.organiser or self.settings.site_name}主动公开的政府信息")
        _add(channel, "language", "zh-CN")
        _add(channel, "lastBuildDate", format_datetime(self._updated().astimezone(UTC), usegmt=True))
        _atom(channel, "link", rel="self", type="application/rss+xml", href=self._address())
        if following := self._next():
            _atom(channel, "link", rel="next", type="application/rss+xml", href=following)
        for slot, document in self.shown:
            if document is not None and slot.first_published_at is not None:
                self._rss_item(channel, slot, document, slot.first_published_at)
        return etree.tostring(root, xml_declaration=True, encoding="utf-8")

    def _json_item(self, slot: Slot, document: Publication | None) -> dict[str, Any]:
        fixed = {"id": self._id(slot), "date_modified": _moment(slot.changed_at)}
        if document is None or slot.first_published_at is None:
            return fixed | {"content_text": WITHDRAWN, "_fabu": {"number": slot.number, "withdrawn": True}}
        return fixed | {
            "url": document.address,
            "title": document.title,
            "content_html": document.html,
            "summary": document.summary,
            "date_published": _moment(slot.first_published_at),
            "authors": [{"name": document.publisher}],
            "tags": [document.item_type] if document.item_type else [],
            "attachments": [
                {"url": address, "mime_type": media_type, "title": name, **({"size_in_bytes": size} if size else {})}
                for address, media_type, name, size in self._files(document)
            ],
            "_fabu": {
                "number": slot.number,
                "generation": slot.generation,
                "index_number": document.index_number,
                "short_title": getattr(document, "short_title", ""),
                "department": document.department,
                "formed_on": document.formed_on.isoformat(),
            },
        }

    def _atom_entry(self, feed: etree._Element, slot: Slot, document: Publication | None) -> None:
        if document is None or slot.first_published_at is None:
            tombstone = etree.SubElement(feed, f"{{{TOMBSTONES}}}deleted-entry")
            tombstone.set("ref", self._id(slot))
            tombstone.set("when", _moment(slot.changed_at))
            return
        entry = _atom(feed, "entry")
        _atom(entry, "id", self._id(slot))
        _atom(entry, "title", document.title)
        _atom(entry, "link", rel="alternate", type="text/html", href=document.address)
        for address, media_type, name, size in self._files(document):
            length = {"length": str(size)} if size else {}
            _atom(entry, "link", rel="enclosure", type=media_type, href=address, title=name, **length)
        _atom(entry, "published", _moment(slot.first_published_at))
        _atom(entry, "updated", _moment(slot.changed_at))
        _atom(_atom(entry, "author"), "name", document.publisher)
        if document.item_type:
            _atom(entry, "category", term=document.item_type)
        if document.summary:
            _atom(entry, "summary", document.summary)
        _atom(entry, "content", document.html, type="html")
        for name in ("index_number", "short_title", "publisher", "department", "item_type", "formed_on"):
            if value := getattr(document, name, ""):
                _add(entry, f"{{{FABU}}}{name}", str(value))

    def _rss_item(self, channel: etree._Element, slot: Slot, document: Publication, published_at: datetime) -> None:
        item = _add(channel, "item")
        _add(item, "title", document.title)
        _add(item, "link", document.address)
        _add(item, "guid", self._id(slot), isPermaLink="false")
        _add(item, "pubDate", format_datetime(published_at.astimezone(UTC), usegmt=True))
        _add(item, f"{{{DUBLIN_CORE}}}creator", document.publisher)
        if document.item_type:
            _add(item, "category", document.item_type)
        _add(item, "description", document.summary or document.title)
        _add(item, f"{{{CONTENT}}}encoded", document.html)
        for address, media_type, _, size in self._files(document):
            if size:  # whose length has to be told
                _add(item, "enclosure", url=address, type=media_type, length=str(size))
                break

    def _files(self, document: Publication) -> Iterator[tuple[str, str, str, int]]:
        """Address, media type, name and bytes; 0 where these are not known."""
        for file in document.files:
            address = self.settings.public_url + file_path(file)
            yield address, file.media_type, file.name, self.sizes.get(file.sha256, 0)

    def _address(self) -> str:
        return f"{self.settings.public_url}/{self.feed.path}.{self.feed.form}"

    def _next(self) -> str:
        return "" if self.feed.following is None else f"{self._address()}?before={self.feed.following}"

    def _home(self) -> str:
        return self.settings.public_url + self.feed.home

    def _updated(self) -> datetime:
        return max((slot.changed_at for slot in self.feed.slots), default=NEVER)

    def _id(self, slot: Slot) -> str:
        """A tag URI (RFC 4151): stays when the site moves to another address."""
        return f"tag:{self.settings.site_domain},2026:i/{slot.number}"


def _atom(parent: etree._Element, name: str, text: str | None = None, /, **attributes: str) -> etree._Element:
    return _add(parent, f"{{{ATOM}}}{name}", text, **attributes)


def _add(parent: etree._Element, name: str, text: str | None = None, /, **attributes: str) -> etree._Element:
    element = etree.SubElement(parent, name, attributes)
    element.text = text
    return element


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
