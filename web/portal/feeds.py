"""The feed of the app, newest change first: JSON Feed 1.1, and Atom (RFC 4287) with tombstones (RFC 6721) and
paging (RFC 5005)."""

import hashlib
import json
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

from fastapi import APIRouter, Query, Request, Response
from lxml import etree

from web.portal.content import Entry
from web.portal.settings import Settings
from web.portal.state import Portal
from web.portal.storage import LARGEST_NUMBER, Slot
from web.portal.words import WITHDRAWN, file_path

PAGE = 50
ATOM = "http://www.w3.org/2005/Atom"
FABU = "tag:fabu,2026:feed"
TOMBSTONES = "http://purl.org/atompub/tombstones/1.0"
NEVER = datetime(1970, 1, 1, tzinfo=UTC)

routes = APIRouter()
Before = Query(default=None, ge=1, le=LARGEST_NUMBER)


@routes.api_route("/feed.json", methods=["GET", "HEAD"])
def json_feed(request: Request, portal: Portal, before: int | None = Before) -> Response:
    return _answer(request, portal, before, "feed.json", "application/feed+json", _json)


@routes.api_route("/feed.atom", methods=["GET", "HEAD"])
def atom_feed(request: Request, portal: Portal, before: int | None = Before) -> Response:
    return _answer(request, portal, before, "feed.atom", "application/atom+xml", _atom)


def _answer(request: Request, portal: Portal, before: int | None, name: str, media_type: str, write: Any) -> Response:
    changes, more = portal.storage.changes(before, PAGE)
    facts = f"{portal.settings!r} {name} {changes} {more}"  # all that the bytes depend on
    headers = {"ETag": f'"{hashlib.sha256(facts.encode()).hexdigest()[:32]}"', "Cache-Control": "no-cache"}
    if headers["ETag"] in request.headers.get("If-None-Match", ""):
        return Response(status_code=304, headers=headers)
    slots = portal.storage.changed(changes)
    changed_at = max((slot.changed_at for slot in slots), default=NEVER)
    headers["Last-Modified"] = format_datetime(changed_at, usegmt=True)
    address = f"{portal.settings.public_url}/{name}"
    following = f"{address}?before={changes[-1]}" if more else ""
    return Response(
        write(portal.settings, slots, address, following, changed_at), media_type=media_type, headers=headers
    )


def _json(settings: Settings, slots: list[Slot], address: str, following: str, _changed_at: datetime) -> bytes:
    feed = {
        "version": "https://jsonfeed.org/version/1.1",
        "title": settings.site_name,
        "home_page_url": f"{settings.public_url}/",
        "feed_url": address,
        "language": "zh-CN",
        **({"next_url": following} if following else {}),
        "items": [_json_item(settings, slot) for slot in slots],
    }
    return json.dumps(feed, ensure_ascii=False).encode()


def _json_item(settings: Settings, slot: Slot) -> dict[str, Any]:
    fixed = {"id": _id(settings, slot), "date_modified": _moment(slot.changed_at)}
    if slot.body is None or slot.first_published_at is None:
        return fixed | {"content_text": WITHDRAWN, "_fabu": {"number": slot.number, "withdrawn": True}}
    entry = Entry.model_validate_json(slot.body)
    return fixed | {
        "url": entry.address,
        "title": entry.title,
        "content_html": entry.html,
        "summary": entry.summary,
        "date_published": _moment(slot.first_published_at),
        "authors": [{"name": entry.publisher}],
        "tags": [entry.item_type] if entry.item_type else [],
        "attachments": [
            {"url": settings.public_url + file_path(file), "mime_type": file.media_type, "title": file.name}
            for file in entry.files
        ],
        "_fabu": {
            "number": slot.number,
            "generation": slot.generation,
            "index_number": entry.index_number,
            "short_title": entry.short_title,
            "department": entry.department,
            "formed_on": entry.formed_on.isoformat(),
        },
    }


def _atom(settings: Settings, slots: list[Slot], address: str, following: str, changed_at: datetime) -> bytes:
    prefixes: dict[Any, str] = {None: ATOM, "at": TOMBSTONES, "fabu": FABU}
    feed = etree.Element(f"{{{ATOM}}}feed", nsmap=prefixes)
    feed.set("{http://www.w3.org/XML/1998/namespace}lang", "zh-CN")
    _add(feed, "id", f"{settings.public_url}/feed.atom")
    _add(feed, "title", settings.site_name)
    _add(feed, "updated", _moment(changed_at))
    _add(_add(feed, "author"), "name", settings.organiser or settings.site_name)
    _add(feed, "link", rel="self", type="application/atom+xml", href=address)
    _add(feed, "link", rel="alternate", type="text/html", href=f"{settings.public_url}/")
    if following:
        _add(feed, "link", rel="next", type="application/atom+xml", href=following)
    for slot in slots:
        _atom_entry(settings, feed, slot)
    return etree.tostring(feed, xml_declaration=True, encoding="utf-8")


def _atom_entry(settings: Settings, feed: etree._Element, slot: Slot) -> None:
    if slot.body is None or slot.first_published_at is None:
        tombstone = etree.SubElement(feed, f"{{{TOMBSTONES}}}deleted-entry")
        tombstone.set("ref", _id(settings, slot))
        tombstone.set("when", _moment(slot.changed_at))
        return
    published = Entry.model_validate_json(slot.body)
    entry = _add(feed, "entry")
    _add(entry, "id", _id(settings, slot))
    _add(entry, "title", published.title)
    _add(entry, "link", rel="alternate", type="text/html", href=published.address)
    for file in published.files:
        _add(entry, "link", rel="enclosure", type=file.media_type, href=settings.public_url + file_path(file))
    _add(entry, "published", _moment(slot.first_published_at))
    _add(entry, "updated", _moment(slot.changed_at))
    _add(_add(entry, "author"), "name", published.publisher)
    if published.item_type:
        _add(entry, "category", term=published.item_type)
    if published.summary:
        _add(entry, "summary", published.summary)
    _add(entry, "content", published.html, type="html")
    for name in ("index_number", "short_title", "publisher", "department", "item_type", "formed_on"):
        if value := getattr(published, name):
            etree.SubElement(entry, f"{{{FABU}}}{name}").text = str(value)


def _add(parent: etree._Element, name: str, text: str | None = None, /, **attributes: str) -> etree._Element:
    element = etree.SubElement(parent, f"{{{ATOM}}}{name}", attributes)
    element.text = text
    return element


def _id(settings: Settings, slot: Slot) -> str:
    """A tag URI (RFC 4151): stays when the site moves to another address."""
    return f"tag:{settings.site_domain},2026:i/{slot.number}"


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
