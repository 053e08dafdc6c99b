"""Dead links: a walk through our own public site as a citizen would take it, once a week, and what leads nowhere.

Pages of ours are read, from the sitemap and from page to page; links that lead elsewhere are only asked for, once each,
one host at a time. Nothing in the own network is asked but our own sites (`pipeline.fetch`); a link that leads there is
dead for every citizen.
"""

import hashlib
import json
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urldefrag, urljoin, urlsplit

from lxml import etree, html
from sqlalchemy import delete, select

from pipeline.fetch import Fetched, FetchError, Resolve, fetch, look_up, probe
from pipeline.models import Crawl, DeadLink
from pipeline.runtime import Runtime

WEEKLY = timedelta(days=6, hours=20)  # a beat asks every hour
GIVEN_UP = timedelta(hours=3)  # a walk that has no end by then died
CLOSED_DOORS = frozenset({"401", "403", "405", "406", "408", "429", "503"})  # elsewhere: for programs, not for people
THERE = frozenset({"fetch.too_large", "fetch.encoding"})  # not for us, but there
LONGEST_ADDRESS = 2000
_CARRIERS = (("a", "href"), ("area", "href"), ("link", "href"), ("img", "src"), ("script", "src"), ("iframe", "src"))


@dataclass(frozen=True)
class Bounds:
    """How far a walk goes at most, and how politely: seconds between two requests to one host."""

    pages: int = 5_000
    links: int = 20_000  # that lead elsewhere
    seconds: float = 1_800.0
    own_pause: float = 0.02
    pause: float = 1.0
    each_seconds: float = 20.0
    hosts_at_once: int = 4


@dataclass(frozen=True)
class Dead:
    """A link that leads nowhere: a page that carries it, how many do, and why (code and facts)."""

    url: str
    page: str
    pages: int
    error: Mapping[str, Any]
    since: datetime


@dataclass(frozen=True)
class Report:
    """The last walk that came to an end. `complete`: it saw everything that it found."""

    at: datetime
    pages: int
    links: int
    complete: bool
    dead: tuple[Dead, ...]


def report(rt: Runtime) -> Report | None:
    """What the last walk found, the longest dead first; None when there was none."""
    with rt.reading() as db:
        last = db.scalar(select(Crawl).where(Crawl.finished_at.is_not(None)).order_by(Crawl.id.desc()).limit(1))
        if last is None or last.finished_at is None:
            return None
        dead = tuple(
            Dead(row.url, row.page, row.pages, json.loads(row.error), row.since)
            for row in db.scalars(select(DeadLink).order_by(DeadLink.since, DeadLink.url))
        )
        return Report(last.finished_at, last.pages, last.links, last.complete, dead)


def weekly(rt: Runtime) -> None:
    """Walk, when the last walk began a week ago."""
    if _due(rt):
        walk(rt)


def _due(rt: Runtime) -> bool:
    with rt.reading() as db:
        last = db.scalar(select(Crawl).order_by(Crawl.id.desc()).limit(1))
    if last is None:
        return True
    age = rt.now() - last.started_at
    return age > (WEEKLY if last.finished_at is not None else GIVEN_UP)


def walk(rt: Runtime, bounds: Bounds = Bounds(), resolve: Resolve = look_up) -> Report:
    """Walk now, and keep what was found."""
    with rt.writing() as db:
        crawl = Crawl(started_at=rt.now())
        db.add(crawl)
        db.flush()
        id = crawl.id
    found = _Walk(rt.settings.public_url, rt.settings.inbound_url, bounds, resolve)
    found.run()
    with rt.writing() as db:
        known = {row.sha256: row.since for row in db.scalars(select(DeadLink))}
        seen = {_digest(url) for url in found.checked}
        gone = list(known) if found.complete else [one for one in known if one in seen]
        for some in _slices(gone):
            db.execute(delete(DeadLink).where(DeadLink.sha256.in_(some)))
        for url, error in found.failed.items():
            pages = found.carried.get(url, [found.start])
            db.add(
                DeadLink(
                    sha256=_digest(url), url=url, page=pages[0], pages=len(pages),
                    error=json.dumps(_why(error), ensure_ascii=False),
                    since=known.get(_digest(url), rt.now()),
                )
            )  # fmt: skip
        crawl = db.get_one(Crawl, id)
        crawl.finished_at, crawl.pages, crawl.links = rt.now(), found.pages, len(found.checked)
        crawl.complete = found.complete
    kept = report(rt)
    assert kept is not None
    return kept


_SAID = {
    "fetch.status": "links.status",
    "fetch.unknown_host": "links.unknown_host",
    "fetch.private_address": "links.private",
    "fetch.certificate": "links.certificate",
    "fetch.redirects": "links.redirects",
    **dict.fromkeys(("fetch.unreachable", "fetch.too_slow", "fetch.silent", "fetch.broke_off"), "links.silent"),
}


def _why(error: FetchError) -> dict[str, Any]:
    """The same for whoever looks after the pages, not the program."""
    return {"code": _SAID.get(error.code, "links.bad_address"), "facts": error.facts}


def _digest(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()


def _slices(many: list[str], size: int = 500) -> Iterator[list[str]]:
    return (many[begin : begin + size] for begin in range(0, len(many), size))


# ── the walk ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class _Walk:
    """One walk. `carried`: by link, the pages that carry it; `failed`: what is surely dead."""

    site: str
    inbound: str
    bounds: Bounds
    resolve: Resolve
    carried: dict[str, list[str]] = field(default_factory=dict)
    checked: set[str] = field(default_factory=set)
    failed: dict[str, FetchError] = field(default_factory=dict)
    pages: int = 0
    complete: bool = True

    def run(self) -> None:
        self.start = self.site.rstrip("/") + "/"
        self._until = time.monotonic() + self.bounds.seconds
        self._elsewhere: dict[str, list[str]] = {}  # by host
        self._waiting = deque([self.start])
        self._found = {self.start}
        for url in self._sitemap(urljoin(self.start, "sitemap.xml")):
            self._add(url, self.start)
        while self._waiting and self._room(self.pages < self.bounds.pages):
            self._visit(self._waiting.popleft())
            time.sleep(self.bounds.own_pause)
        with ThreadPoolExecutor(self.bounds.hosts_at_once, thread_name_prefix="links") as hosts:
            list(hosts.map(self._ask_host, self._elsewhere.values()))
        self._try_again()

    def _room(self, enough: bool = True) -> bool:
        """May it go on? Else it is cut short."""
        room = enough and time.monotonic() < self._until
        self.complete = self.complete and room
        return room

    def _visit(self, url: str) -> None:
        """Look at one address of ours, and follow what a page carries. A list with a query (another page, a filter) is
        only looked at: its items stand in the sitemap, and its filters lead round and round."""
        self.checked.add(url)
        self.pages += 1
        try:
            kind = probe(url, private=True, seconds=self.bounds.each_seconds, resolve=self.resolve)
            if not kind.startswith("text/html") or urlsplit(url).query:
                return
            page = fetch(url, private=True, seconds=self.bounds.each_seconds, resolve=self.resolve)
        except FetchError as error:
            if error.code not in THERE:
                self.failed[url] = error
            return
        if isinstance(page, Fetched) and _origin(page.url) == _origin(self.start):
            for link in _links(page):
                self._add(link, url)

    def _add(self, url: str, page: str) -> None:
        pages = self.carried.setdefault(url, [])
        if page not in pages[-1:]:
            pages.append(page)
        if url in self._found:
            return
        self._found.add(url)
        if _origin(url) == _origin(self.start):
            self._waiting.append(url)
        elif sum(map(len, self._elsewhere.values())) < self.bounds.links:
            self._elsewhere.setdefault(urlsplit(url).netloc, []).append(url)
        else:
            self.complete = False

    def _ask_host(self, urls: Iterable[str]) -> None:
        for place, url in enumerate(urls):
            if not self._room():
                return
            if place:
                time.sleep(self.bounds.pause)
            self._ask(url)

    def _ask(self, url: str) -> None:
        """Ask for an address elsewhere."""
        self.checked.add(url)
        own = _origin(url) == _origin(self.inbound)
        try:
            probe(url, private=own, seconds=self.bounds.each_seconds, resolve=self.resolve)
            self.failed.pop(url, None)
        except FetchError as error:
            if error.code in THERE or (error.code == "fetch.status" and error.facts["status"] in CLOSED_DOORS):
                self.failed.pop(url, None)
            else:
                self.failed[url] = error

    def _try_again(self) -> None:
        """What failed is asked once more: a server may just have been restarting."""
        for url in list(self.failed):
            if time.monotonic() > self._until:
                del self.failed[url]  # not sure
                self.checked.discard(url)
                self.complete = False
                continue
            time.sleep(self.bounds.own_pause)
            if _origin(url) != _origin(self.start):
                self._ask(url)
                continue
            try:
                probe(url, private=True, seconds=self.bounds.each_seconds, resolve=self.resolve)
                del self.failed[url]
            except FetchError as error:
                self.failed[url] = error

    def _sitemap(self, url: str, deep: int = 2) -> Iterator[str]:
        """The pages of ours that a sitemap names (sitemaps.org 0.9), also through an index."""
        try:
            found = fetch(url, private=True, seconds=self.bounds.each_seconds, resolve=self.resolve)
            safe = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
            root = etree.fromstring(found.content if isinstance(found, Fetched) else b"", safe)
        except (FetchError, etree.XMLSyntaxError, ValueError):
            return  # the pages are found from each other as well
        named = [(one.text or "").strip() for one in root.iter("{*}loc")]
        index = etree.QName(root).localname == "sitemapindex"
        for place in named:
            if _origin(place) != _origin(self.start):
                continue
            if index and deep:
                yield from self._sitemap(place, deep - 1)
            elif not index:
                yield place


def _origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port; of what is no address something that none has."""
    try:
        parts = urlsplit(url)
        usual = {"http": 80, "https": 443}.get(parts.scheme)
        return parts.scheme, (parts.hostname or "").lower(), parts.port or usual
    except ValueError:
        return "", url, None


def _links(page: Fetched) -> Iterator[str]:
    """The http addresses that a page carries, without their fragments."""
    try:
        tree = html.document_fromstring(page.content, parser=html.HTMLParser(encoding="utf-8"))
    except (etree.LxmlError, ValueError):
        return
    base = tree.find(".//base[@href]")
    start = urljoin(page.url, base.get("href", "")) if base is not None else page.url
    for tag, attribute in _CARRIERS:
        for carrier in tree.iterfind(f".//{tag}[@{attribute}]"):
            try:
                url = urldefrag(urljoin(start, (carrier.get(attribute) or "").strip())).url
                known = urlsplit(url).scheme in ("http", "https")
            except ValueError:
                continue
            if known and len(url) <= LONGEST_ADDRESS:
                yield url
