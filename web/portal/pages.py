"""What a citizen sees: the list, an item at its permanent address, its attachments. No script anywhere."""

import hashlib
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from web.portal import words
from web.portal.content import Item
from web.portal.state import Portal, State
from web.portal.storage import LARGEST_NUMBER, Kind

PAGE = 20
HERE = Path(__file__).parent
STATIC = {  # read once; the hash in the address lets browsers keep them for a year
    name: ((HERE / "static" / name).read_bytes(), media_type)
    for name, media_type in (("portal.css", "text/css; charset=utf-8"), ("icon.svg", "image/svg+xml"))
}
SHOWN_IN_BROWSER = {"application/pdf", "image/png", "image/jpeg", "image/gif", "text/plain"}
SECURITY = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "strict-origin-when-cross-origin",
}

routes = APIRouter()
_templates = Environment(
    loader=FileSystemLoader(HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters |= {"minute": words.minute, "day": words.day, "file_path": words.file_path}
_templates.globals["version"] = hashlib.sha256(b"".join(content for content, _ in STATIC.values())).hexdigest()[:12]


@routes.api_route("/", methods=["GET", "HEAD"])
def home(portal: Portal, page: int = Query(default=1, ge=1, le=1_000_000)) -> Response:
    slots, count = portal.storage.newest(page, PAGE)
    last = max(1, -(-count // PAGE))
    if page > last:
        return missing(portal)
    rows = [(slot, Item.model_validate_json(slot.body)) for slot in slots if slot.body is not None]
    return _page(portal, "list.html", rows=rows, count=count, page=page, last=last)


@routes.api_route("/i/{number:int}", methods=["GET", "HEAD"])
def item(portal: Portal, number: int) -> Response:
    slot = portal.storage.slot(Kind.ITEM, number) if number <= LARGEST_NUMBER else None
    if slot is None:
        return missing(portal)
    if slot.body is None:
        return _page(portal, "notice.html", status=410, title=words.WITHDRAWN.rstrip("。"), sentence=words.WITHDRAWN)
    return _page(portal, "item.html", slot=slot, item=Item.model_validate_json(slot.body))


@routes.api_route("/files/{sha256}/{name}", methods=["GET", "HEAD"])
def file(portal: Portal, sha256: str, name: str) -> Response:
    found = portal.storage.file(sha256, name) if "\0" not in sha256 + name else None
    if found is None:
        return missing(portal)
    media_type, content = found
    way = "inline" if media_type in SHOWN_IN_BROWSER else "attachment"
    headers = {
        "Content-Disposition": f"{way}; filename*=UTF-8''{quote(name, safe='')}",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-cache",  # it may be taken down
    }
    return Response(content, media_type=media_type, headers=headers)


@routes.api_route("/static/{name}", methods=["GET", "HEAD"])
def static(portal: Portal, name: str) -> Response:
    if name not in STATIC:
        return missing(portal)
    content, media_type = STATIC[name]
    headers = SECURITY | {"Cache-Control": "public, max-age=31536000, immutable"}
    return Response(content, media_type=media_type, headers=headers)


def missing(portal: State) -> Response:
    return _page(
        portal, "notice.html", status=404, title="没有找到这个页面", sentence="请核对网址，或从首页的目录中查找。"
    )


def _page(portal: State, template: str, status: int = 200, **values: Any) -> Response:
    html = _templates.get_template(template).render(site=portal.settings, base=portal.settings.base_path, **values)
    return HTMLResponse(html, status, headers=SECURITY | {"Cache-Control": "no-cache"})
