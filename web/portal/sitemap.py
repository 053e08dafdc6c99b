"""What search engines are told: every page that may be found, with the day it last changed, and where that list is."""

from collections.abc import Iterable
from datetime import UTC, datetime

from fastapi import APIRouter, HTTPException, Path, Response
from lxml import etree
from sqlalchemy import func, select

from web.portal.answers import answer, reading
from web.portal.state import Portal
from web.portal.storage import LARGEST_NUMBER, Storage
from web.portal.tables import catalogue

NAMESPACE = "http://www.sitemaps.org/schemas/sitemap/0.9"
LARGEST = 10_000  # addresses in one file. The protocol allows 50,000; a file of so many is still kept in memory

routes = APIRouter()


@reading(routes, "/robots.txt")
def robots(portal: Portal) -> Response:
    site = portal.settings
    told = ("User-agent: *", f"Disallow: {site.base_path}/api/", f"Sitemap: {site.public_url}/sitemap.xml")
    return answer("".join(f"{line}\n" for line in told).encode(), "text/plain; charset=utf-8")


@reading(routes, "/sitemap.xml")
def index(portal: Portal) -> Response:
    base = portal.settings.public_url
    parts: list[tuple[str, datetime | None]] = [(f"{base}/sitemap-pages.xml", None)]
    parts += [(f"{base}/sitemap-{part}.xml", changed_at) for part, changed_at in _parts(portal.storage)]
    return _xml("sitemapindex", "sitemap", parts)


@reading(routes, "/sitemap-pages.xml")
def standing_pages(portal: Portal) -> Response:
    paths = ["/", "/catalogue", *(f"/columns/{column.id}" for column in portal.office.columns), "/guide", "/apply"]
    return _xml("urlset", "url", [(portal.settings.public_url + path, None) for path in paths])


@reading(routes, "/sitemap-{part:int}.xml")
def items(portal: Portal, part: int = Path(ge=1, le=LARGEST_NUMBER // LARGEST + 1)) -> Response:
    """By number, so many numbers in each: an old part only changes when one of its items does."""
    base = portal.settings.public_url
    shown = [(f"{base}/i/{number}", changed_at) for number, changed_at in _items(portal.storage, part)]
    if not shown:
        raise HTTPException(404)
    return _xml("urlset", "url", shown)


def _parts(storage: Storage) -> list[tuple[int, datetime]]:
    part = (catalogue.c.number - 1) // LARGEST + 1
    query = select(part, func.max(catalogue.c.changed_at)).where(catalogue.c.published_at.is_not(None))
    with storage.engine.connect() as connection:
        return [(number, changed_at) for number, changed_at in connection.execute(query.group_by(part).order_by(part))]


def _items(storage: Storage, part: int) -> list[tuple[int, datetime]]:
    live = catalogue.c.published_at.is_not(None)
    numbers = catalogue.c.number.between((part - 1) * LARGEST + 1, part * LARGEST)
    query = select(catalogue.c.number, catalogue.c.changed_at).where(live, numbers).order_by(catalogue.c.number)
    with storage.engine.connect() as connection:
        return [(number, changed_at) for number, changed_at in connection.execute(query)]


def _xml(root: str, each: str, addresses: Iterable[tuple[str, datetime | None]]) -> Response:
    document = etree.Element(root, xmlns=NAMESPACE)
    for address, changed_at in addresses:
        place = etree.SubElement(document, each)
        etree.SubElement(place, "loc").text = address
        if changed_at is not None:
            etree.SubElement(place, "lastmod").text = changed_at.astimezone(UTC).isoformat(timespec="seconds")
    return answer(etree.tostring(document, xml_declaration=True, encoding="utf-8"), "application/xml; charset=utf-8")
