"""Dead links on our public site are found before an inspection finds them, and without doing harm to anybody."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from pipeline import fetch as fetching
from pipeline import links
from pipeline.fetch import FetchError, probe
from pipeline.links import Bounds, Report
from tests.channels.fault_server import answers, serving
from tests.office import Bureau
from tests.pipeline.sites import Page, Site, website

QUICK = Bounds(own_pause=0.0, pause=0.0, each_seconds=5.0)
HTML = {"Content-Type": "text/html; charset=utf-8"}


def page(*links: str, status: int = 200) -> Page:
    carried = "".join(f'<a href="{one}">链接</a>' for one in links)
    return Page(f"<!DOCTYPE html><title>页</title><body>{carried}".encode(), status, HTML)


@pytest.fixture
def site() -> Iterator[Site]:
    with website() as one:
        yield one


@pytest.fixture
def town(open_office: Callable[..., Bureau], site: Site) -> Bureau:
    return open_office(public_url=site.url)


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Another website, on what passes for the internet: `elsewhere.example` with its port."""
    monkeypatch.setattr(fetching, "is_public", lambda address: True)
    with website() as one:
        yield one


def look_up(host: str, port: int) -> list[str]:
    if host == "gone.example":
        raise fetching.socket.gaierror("no such name")
    return ["127.0.0.1"]


def walk(town: Bureau, **bounds: object) -> Report:
    return links.walk(town.rt, replace(QUICK, **bounds), look_up)  # type: ignore[arg-type]


def dead(found: Report) -> dict[str, str]:
    return {one.url.split("/", 3)[-1]: one.error["code"] for one in found.dead}


def test_a_link_that_leads_nowhere_is_named_with_the_page_that_carries_it(town: Bureau, site: Site) -> None:
    site.pages |= {"/": page("/i/1", "i/2#part", "mailto:a@b.cn", "tel:110", "javascript:void(0)"),
                   "/i/1": page("/", "/files/old.pdf"), "/i/2": page("/files/old.pdf")}  # fmt: skip
    found = walk(town)
    [one] = found.dead
    assert (one.url, one.page, one.pages) == (f"{site.url}/files/old.pdf", f"{site.url}/i/1", 2)
    assert one.error == {"code": "links.status", "facts": {"status": "404"}}
    assert found.complete and found.pages == 4


def test_pages_that_only_the_sitemap_names_are_seen(town: Bureau, site: Site) -> None:
    index = f'<sitemapindex xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"><sitemap><loc>{site.url}/s1.xml</loc></sitemap></sitemapindex>'
    listed = (
        f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"><url><loc>{site.url}/i/9</loc></url></urlset>'
    )
    site.pages |= {"/": page(), "/sitemap.xml": Page(index.encode()), "/s1.xml": Page(listed.encode()),
                   "/i/9": page("/lost")}  # fmt: skip
    assert dead(walk(town)) == {"lost": "links.status"}


def test_each_address_is_asked_once_and_attachments_are_not_downloaded(town: Bureau, site: Site) -> None:
    pdf = Page(b"%PDF" + bytes(100_000), headers={"Content-Type": "application/pdf"})
    site.pages |= {"/": page("/i/1", "/i/2"), "/i/1": page("/a.pdf", "/"), "/i/2": page("/a.pdf", "/i/1"),
                   "/a.pdf": pdf}  # fmt: skip
    walk(town)
    assert sorted(site.paths) == ["/", "/i/1", "/i/2", "/sitemap.xml"]
    assert sorted(site.heads) == ["/", "/a.pdf", "/i/1", "/i/2"]


def test_filters_do_not_lead_round_and_round(town: Bureau, site: Site) -> None:
    site.pages |= {"/": page("/catalogue"), "/catalogue": page("/catalogue?year=2026", "/catalogue?theme=1"),
                   "/catalogue?year=2026": page("/catalogue?year=2026&theme=1"),
                   "/catalogue?theme=1": page("/catalogue?year=2026&theme=1")}  # fmt: skip
    found = walk(town)
    assert found.pages == 4 and found.dead == ()


def test_other_websites_are_asked_once_and_not_read(town: Bureau, site: Site, elsewhere: Site) -> None:
    base = f"http://elsewhere.example:{elsewhere.port}"
    elsewhere.pages |= {"/": page("/deeper"), "/shut": page(status=403), "/busy": page(status=503)}
    site.pages |= {"/": page("/i/1", f"{base}/"), "/i/1": page(f"{base}/", f"{base}/shut", f"{base}/busy",
                                                             f"{base}/lost", "http://gone.example/")}  # fmt: skip
    found = walk(town)
    assert dead(found) == {"lost": "links.status", "": "links.unknown_host"}  # what is shut to programs is not dead
    assert elsewhere.heads.count("/") == 1 and "/" not in elsewhere.paths and "/deeper" not in elsewhere.heads


def test_nothing_in_the_own_network_is_asked_and_a_link_there_is_dead(town: Bureau, site: Site) -> None:
    with website() as intranet:
        site.pages |= {"/": page(f"{intranet.url}/oa", "http://169.254.169.254/latest"), "/moved": page()}
        site.pages["/i/1"] = Page(status=302, headers={"Location": f"{intranet.url}/oa"})
        site.pages["/"] = page(f"{intranet.url}/oa", "/i/1")
        found = walk(town)
        assert intranet.asked == [] and intranet.heads == []
    assert dead(found) == {"oa": "links.private", "i/1": "links.private"}


def test_a_server_without_head_is_asked_again_with_get() -> None:
    with serving(answers(405)) as server:
        with pytest.raises(FetchError):
            probe(server.url, private=True)
        assert [request[:5] for request in server.requests] == [b"HEAD ", b"GET /"]
    with website() as site:
        site.pages["/"] = Page(b"x" * 1000, headers={"Content-Type": "text/plain"})
        assert probe(site.url, private=True) == "text/plain"
        site.pages["/"] = Page(status=204, headers={"Content-Type": "image/png"})
        assert probe(site.url, private=True) == "image/png"


def test_what_was_only_restarting_is_not_dead(town: Bureau, site: Site) -> None:
    class Once(dict[str, Page]):
        def get(self, path: str, default: Page | None = None) -> Page | None:  # type: ignore[override]
            if path == "/i/1" and (seen := site.heads.count("/i/1")) <= 1 and seen:
                return Page(status=502)
            return super().get(path, default)

    site.pages = Once({"/": page("/i/1"), "/i/1": page()})
    assert walk(town).dead == ()


def test_a_link_that_is_mended_is_named_no_more_and_the_others_keep_their_day(town: Bureau, site: Site) -> None:
    site.pages["/"] = page("/a", "/b")
    first = walk(town)
    assert len(first.dead) == 2
    town.clock.forward(days=7)
    site.pages["/a"] = page()
    [left] = walk(town).dead
    assert left.url.endswith("/b") and left.since == first.at


def test_a_walk_that_is_cut_short_says_so_and_forgets_nothing(town: Bureau, site: Site) -> None:
    site.pages |= {"/": page("/i/1", "/i/2"), "/i/2": page("/lost"), "/i/1": page()}
    assert dead(walk(town)) == {"lost": "links.status"}
    found = walk(town, pages=2)
    assert not found.complete and found.pages == 2 and dead(found) == {"lost": "links.status"}
    assert not walk(town, seconds=0.0).complete


def test_it_walks_once_a_week_and_again_when_a_walk_died(town: Bureau, site: Site) -> None:
    site.pages["/"] = page()

    def walked() -> bool:
        before = len(site.heads)
        links.weekly(town.rt)
        return len(site.heads) > before

    assert walked() and not walked()
    town.clock.forward(days=6)
    assert not walked()
    town.clock.forward(days=1)
    assert walked()
    town.clock.forward(days=7)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(links._Walk, "run", _die)
        with pytest.raises(KeyboardInterrupt):
            links.weekly(town.rt)
    assert not walked()
    town.clock.forward(hours=4)
    assert walked()


def _die(_: object) -> None:
    raise KeyboardInterrupt


def test_a_site_that_is_down_is_itself_the_dead_link(open_office: Callable[..., Bureau]) -> None:
    town = open_office(public_url="http://127.0.0.1:1")
    assert dead(walk(town)) == {"": "links.silent"}
