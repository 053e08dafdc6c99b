"""What citizens see: the pages of a real portal process, read over HTTP."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import html5lib
import pytest
import requests
from lxml import html

from channels.contract import Call, Message
from channels.portal import Portal
from tests.channels.rig_portal import KEY, message, portal_process
from tests.web import public
from web.portal import pages, words
from web.portal.view import View

SITE = {
    "PORTAL_SITE_NAME": "张店区广播电视局政府信息公开",
    "PORTAL_SITE_ID_CODE": "3703030001",
    "PORTAL_ORGANISER": "张店区广播电视局",
    "PORTAL_CONTACT": "0533-2860000",
    "PORTAL_ICP": "鲁ICP备00000000号",
    "PORTAL_POLICE_RECORD": "鲁公网安备37030302000000号",
    "PORTAL_AGENCY_MARK_URL": "https://bszs.example/mark",
    "PORTAL_REPORT_ERROR_URL": "https://zfwzgl.example/report",
    "PORTAL_SUBSCRIBE_URL": "https://fw.example.gov.cn/subscribe",
}
LISTS = ("/", "/catalogue", "/columns/notices", "/columns/newsletter", "/columns/annual-reports", "/guide", "/apply")
PAGES = (*LISTS, "/catalogue?type=通知&validity=有效", "/search?q=应急广播", "/search?q=没有的词",
         "/i/1", "/i/2", "/i/3", "/i/4", "/i/5", "/i/6", "/i/7", "/i/8", "/i/10", "/i/99", "/nowhere")  # fmt: skip
STATIC = Path(pages.__file__).parent / "static"


class Public:
    """A portal that a citizen looks at."""

    def __init__(self, url: str, published: dict[int, Message]) -> None:
        self.url = url
        self.published = published

    def get(self, path: str, status: int = 200, **headers: str) -> requests.Response:
        answer = requests.get(self.url + path, headers=headers, timeout=20)
        assert answer.status_code == status, (path, answer.status_code)
        return answer

    def look(self, path: str, status: int = 200) -> Any:
        return tree(self.get(path, status))


@pytest.fixture(scope="module")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Public]:
    """Only looked at."""
    with portal_process(tmp_path_factory.mktemp("pages") / "portal", **SITE) as process:
        yield Public(process.url, public.believable(process.url, words.today(datetime.now(UTC))))


def meta(page: Any) -> dict[str, str]:
    return {one.get("name"): one.get("content") for one in page.iterfind(".//meta[@name]")}


def tree(answer: requests.Response) -> Any:
    return html.document_fromstring(answer.content, parser=html.HTMLParser(encoding="utf-8"))


def text(element: Any) -> str:
    return " ".join(element.text_content().split())


def data(page: Any) -> list[dict[str, Any]]:
    return [json.loads(one.text) for one in page.iterfind(".//script[@type='application/ld+json']")]


@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_valid_says_whose_it_is_and_ends_with_the_foot_of_a_government_site(
    portal: Public, path: str
) -> None:
    answer = requests.get(portal.url + path, timeout=20)
    html5lib.HTMLParser(strict=True).parse(answer.text)
    page = tree(answer)
    ids = page.xpath("//@id")
    assert len(ids) == len(set(ids))
    assert len(page.xpath("//h1")) == 1
    said = meta(page)
    assert (said["SiteName"], said["SiteDomain"], said["SiteIDCode"]) == (
        SITE["PORTAL_SITE_NAME"], "zd.gov.cn", "3703030001",
    )  # fmt: skip
    foot = page.find(".//footer")
    for name, value in SITE.items():
        assert value in text(foot) or value in foot.xpath(".//@href") or name == "PORTAL_SITE_NAME", name
    for word in ("主办单位：", "网站标识码：", "党政机关网站标识", "我为政府网站找错"):
        assert word in text(foot)
    canonical = page.xpath("//link[@rel='canonical']/@href")
    found_by = answer.status_code == 200 and not urlsplit(path).query
    assert canonical == ([portal.url + path] if found_by else [])
    assert page.xpath("//a[@class='skip']/@href") == ["#content"] and page.get_element_by_id("content").tag == "main"


@pytest.mark.parametrize("path", LISTS)
def test_list_pages_name_their_column_and_articles_their_date_and_source(portal: Public, path: str) -> None:
    said = meta(portal.look(path))
    assert all(said[f"Column{part}"] for part in ("Name", "Description", "Keywords", "Type"))


def test_an_article_is_described_to_the_inspection_and_to_search_engines(portal: Public) -> None:
    page = portal.look("/i/1")
    said, item = meta(page), portal.published[1]
    assert said["ArticleTitle"] == item.title
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d", said["PubDate"])
    assert said["ContentSource"] == "本局"
    assert said["Keywords"] == "安全播出,值班"
    assert said["Url"] == f"{portal.url}/i/1"
    article, way = data(page)
    assert (article["headline"], article["identifier"]) == (item.title, "370303/2015-00001")
    assert article["datePublished"] <= article["dateModified"]
    assert [step["item"] for step in way["itemListElement"]] == [
        f"{portal.url}{path}" for path in ("/", "/columns/notices", "/i/1")
    ]
    assert meta(portal.look("/i/7"))["Image"].startswith(f"{portal.url}/files/")


def test_no_title_can_end_the_data_that_it_stands_in(tmp_path: Path) -> None:
    title = "</script><script>alert(1)</script><!--"
    with portal_process(tmp_path / "portal") as process:
        channel = Portal(process.url, KEY)
        channel.deliver(channel.render(message(1, title)), Call("portal/1", 1))
        page = tree(requests.get(f"{process.url}/i/1", timeout=5))
        assert data(page)[0]["headline"] == title
        assert len(page.xpath("//script")) == 3  # the module, the article, the way to it


def test_the_home_page_leads_to_all_that_the_law_asks_for(portal: Public) -> None:
    page = portal.look("/")
    main = text(page.find(".//main"))
    for word in ("政府信息公开指南", "依申请公开", "政府信息公开年度报告", "《广电通讯》", "最新公开", "正在公示"):
        assert word in main
    assert "还剩5天（含今天）" in main
    assert "期限已满" not in main
    assert "一条后来撤下的公告" not in main
    links = page.xpath("//main//@href")
    for path in ("/guide", "/apply", "/catalogue", "/columns/annual-reports", "/columns/newsletter", "/i/4"):
        assert path in links


def test_filters_join_and_each_can_be_let_go_again(portal: Public) -> None:
    def titles(path: str) -> list[str]:
        return [text(one) for one in portal.look(path).xpath("//ol[@class='list']//h2/a")]

    assert titles("/catalogue?type=通知") == [portal.published[n].title for n in (12, 2, 1)]
    assert titles("/catalogue?type=通知&department=技术科") == [portal.published[n].title for n in (12, 2)]
    assert titles("/catalogue?type=通知&department=技术科&year=2019") == [portal.published[12].title]
    assert titles("/catalogue?validity=废止") == [portal.published[12].title]
    assert titles("/catalogue?order=formed")[:2] == [portal.published[n].title for n in (9, 10)]
    page = portal.look("/catalogue?type=通知&department=技术科")
    assert meta(page)["robots"] == "noindex"
    chosen = {text(one): one.get("href") for one in page.xpath("//div[@class='chosen']/a")}
    assert list(chosen) == ["取消体裁：通知", "取消公开部门：技术科"]
    assert titles(chosen["取消公开部门：技术科"]) == titles("/catalogue?type=通知")
    for path in page.xpath("//aside//@href"):
        assert portal.get(path)  # no choice leads nowhere
    portal.get("/catalogue?year=x", 404)
    portal.get("/columns/nowhere", 404)
    assert "没有符合条件的信息" in portal.get("/catalogue?theme=没有").text


def test_what_was_looked_for_is_marked_and_the_filters_stay(portal: Public) -> None:
    page_url = portal.get("/search?q=应急广播&type=统计信息").url
    page = portal.look("/search?q=应急广播&type=统计信息")
    assert [text(one) for one in page.xpath("//ol[@class='list']//h2")] == ["应急广播终端运行情况"]
    assert page.xpath("//ol[@class='list']//h2//mark/text()") == ["应急广播"]
    form = page.find(".//form[@role='search']")
    assert dict(form.form_values()) == {"q": "应急广播", "type": "统计信息"}
    assert "应急广播" in portal.look("/search?q=应急广播").xpath("//ol[@class='list']//p/mark/text()")  # in the text
    number = portal.look("/search?q=370303/2015-00001")
    assert number.xpath("//dd/mark/text()")[:1] == ["370303"]
    assert portal.get("/catalogue?q=应急广播&type=统计信息").url == page_url
    assert portal.get("/search?q=%20&type=通知").url == f"{portal.url}/catalogue?type=%E9%80%9A%E7%9F%A5"
    assert "没有找到与“没有的词”有关的信息" in portal.get("/search?q=没有的词").text


@pytest.mark.parametrize("path", ["/", "/catalogue", "/columns/notices", "/search?q=应急广播"])
def test_only_the_item_s_own_page_shows_fields_that_are_compared(portal: Public, path: str) -> None:
    assert not portal.look(path).xpath("//@data-field")


@pytest.mark.parametrize(
    ("day", "said"),
    [
        (date(2026, 11, 15), "2026年11月16日开始"),
        (date(2026, 11, 16), "还剩5天（含今天）"),
        (date(2026, 11, 19), "还剩2天（含今天）"),
        (date(2026, 11, 20), "今天是最后一天"),
        (date(2026, 11, 21), "期限已满"),
    ],
)
def test_a_public_notice_says_how_long_one_may_still_object(day: date, said: str) -> None:
    assert words.days_left((date(2026, 11, 16), date(2026, 11, 20)), day) == said


def test_a_public_notice_names_its_days_and_who_takes_objections(portal: Public) -> None:
    running, ended = portal.look("/i/4"), portal.look("/i/5")
    assert text(running.xpath("//*[@class='left']")[0]) == "还剩5天（含今天）"
    assert "监督小组 0533-2860001" in text(running.find(".//main"))
    assert text(ended.xpath("//*[@class='left over']")[0]) == "期限已满"
    states = portal.look("/columns/public-notices").xpath("//*[contains(@class, 'state')]/text()")
    assert states == ["期限已满", "公示中"]


def test_a_correction_notice_and_what_it_corrects_lead_to_each_other(portal: Public) -> None:
    assert portal.look("/i/6").xpath("//p[@class='told']/a/@href") == ["/i/4"]
    assert portal.look("/i/4").xpath("//p[@class='told']/a/@href") == ["/i/6"]
    assert not portal.look("/i/1").xpath("//p[@class='told']")
    assert "本文件已废止" in text(portal.look("/i/12").find(".//main"))


def test_the_history_of_an_item_stands_on_its_page(portal: Public) -> None:
    record = [text(one) for one in portal.look("/i/1").xpath("//section[contains(@class, 'record')]//li")]
    assert [re.sub(r"[-\d: ]", "", line) for line in record] == ["发布", "更正"]
    assert not portal.look("/i/2").xpath("//section[contains(@class, 'record')]")


def test_a_withdrawn_item_leaves_a_sentence_and_nothing_else(portal: Public) -> None:
    page = portal.get("/i/3", 410).text
    assert "该信息已撤下" in page
    assert "一条后来撤下的公告" not in page
    portal.get("/i/3/qr.svg", 404)


def test_pictures_are_shown_and_other_files_say_what_they_are(portal: Public) -> None:
    page = portal.look("/i/7")
    (shown,) = page.xpath("//figure")
    image = shown.find("img")
    assert (image.get("alt"), image.get("width"), image.get("height")) == ("现场 & 观众", "120", "80")
    assert portal.get(image.get("src")).content == portal.published[7].files[0].content
    assert text(page.xpath("//section[contains(@class, 'attached')]//li")[0]) == "活动方案.docxWord 文档，47 KB"


@pytest.mark.parametrize(
    ("name", "kind"), [("a.PDF", "PDF 文件"), ("表.et", "WPS 表格"), ("x.dwg", "DWG 文件"), ("无", "文件")]
)
def test_a_file_is_called_what_an_office_calls_it(name: str, kind: str) -> None:
    assert words.kind_of_file(name) == kind
    assert [words.size(count) for count in (999, 48_000, 1_572_864)] == ["999 字节", "47 KB", "1.5 MB"]


def test_the_permanent_address_can_be_taken_along_as_a_picture(portal: Public) -> None:
    page = portal.look("/i/1")
    source = page.xpath("//section[@class='permanent']/img/@src")[0]
    answer = portal.get(source)
    assert answer.headers["Content-Type"] == "image/svg+xml"
    assert b"<path" in answer.content and b"style=" not in answer.content


def test_a_table_can_be_scrolled_by_keyboard(portal: Public) -> None:
    boxes = portal.look("/i/8").xpath("//div[@data-field='html']/div[@class='scroll']")
    assert len(boxes) == 10
    assert {(box.get("tabindex"), bool(box.get("aria-label")), box[0].tag) for box in boxes} == {("0", True, "table")}


def test_the_newsletter_is_an_archive_by_year(portal: Public) -> None:
    page = portal.look("/columns/newsletter")
    assert page.xpath("//h2[@class='year']/text()") == ["2026年", "2025年"]
    assert len(page.xpath("//ol[@class='list']/li")) == 2
    issue = portal.look("/i/10").xpath("//p[@class='issue']/a")
    assert [text(one) for one in issue] == ["阅读本期 PDF 版"]
    assert portal.get(issue[0].get("href")).headers["Content-Disposition"].startswith("inline")


def test_guide_and_applying_say_who_where_when_and_how_long(portal: Public) -> None:
    guide, apply = text(portal.look("/guide").find(".//main")), text(portal.look("/apply").find(".//main"))
    for words_ in (guide, apply):
        for label in ("名称", "地址", "办公时间", "电话", "传真", "电子邮箱"):
            assert label in words_
    assert apply.count("20个工作日") == 2 and "第三十三条" in apply
    form = portal.get("/apply/form")
    assert form.headers["Content-Disposition"].startswith("attachment; filename*=UTF-8''%E6%94%BF")
    assert form.content.startswith(b"PK")


def test_a_portal_without_a_form_offers_none(tmp_path: Path) -> None:
    own = (tmp_path / "portal" / "portal.toml").resolve()
    own.parent.mkdir()
    told = (Path(pages.__file__).parent / "portal.toml").read_text("utf-8")
    own.write_text(re.sub("^form = .*$", 'form = ""', told, flags=re.MULTILINE), "utf-8")
    with portal_process(tmp_path / "portal") as process:
        assert requests.get(f"{process.url}/apply/form", timeout=5).status_code == 404
        assert "下载" not in requests.get(f"{process.url}/apply", timeout=5).text
        home = requests.get(f"{process.url}/", timeout=5).text
        assert home.count("暂时没有信息") == 1  # an empty column is no ornament
        assert "订阅公开信息" not in home  # nobody said where


def test_long_lists_have_pages_and_tell_programs_their_neighbours(tmp_path: Path) -> None:
    with portal_process(tmp_path / "portal") as process:
        channel = Portal(process.url, KEY)
        for number in range(1, 46):
            channel.deliver(channel.render(message(number)), Call(f"portal/{number}", 1))
        page = tree(requests.get(f"{process.url}/catalogue?page=2", timeout=5))
        links = {one.get("rel"): one.get("href") for one in page.xpath("//head/link[@rel]")}
        assert links["prev"] == f"{process.url}/catalogue"
        assert links["next"] == f"{process.url}/catalogue?page=3"
        assert links["canonical"] == f"{process.url}/catalogue?page=2"
        assert page.xpath("//nav[@class='pages']/a/@href") == [
            "/catalogue", "/catalogue", "/catalogue?page=3", "/catalogue?page=3",
        ]  # fmt: skip
        assert requests.get(f"{process.url}/catalogue?page=4", timeout=5).status_code == 404


def test_the_view_is_a_style_sheet_of_its_own_and_the_pages_stay_the_same(portal: Public) -> None:
    session = requests.Session()

    def press(wish: str, back: str = "/i/1") -> requests.Response:
        return session.post(f"{portal.url}/view", {"set": wish, "back": back}, timeout=5)

    def css() -> str:
        return session.get(f"{portal.url}/view.css", timeout=5).text

    before, plain = session.get(f"{portal.url}/i/1", timeout=5).content, css()
    assert "font-size: 112.5" in plain
    assert press("elder").url == f"{portal.url}/i/1"
    assert "60px" in css() and "font-size: 137.5" in css()
    press("larger"), press("larger"), press("larger")
    assert "font-size: 187.5" in css()  # 30 px
    press("contrast")
    assert "#ffe600" in css() and "60px" in css()
    press("standard"), press("plain")
    assert css() == plain
    assert session.get(f"{portal.url}/i/1", timeout=5).content == before
    assert session.get(f"{portal.url}/view.css", timeout=5).headers["Vary"] == "Cookie"


@pytest.mark.parametrize(
    "back", ["https://elsewhere.example/", "//elsewhere.example/", "/\\elsewhere.example", "", "/\r\nSet-Cookie: x=1"]
)
def test_a_button_never_leads_to_another_site(portal: Public, back: str) -> None:
    answer = requests.post(
        f"{portal.url}/view", {"set": "elder", "back": back}, timeout=5, allow_redirects=False
    )  # fmt: skip
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    assert "x=1" not in answer.headers["Set-Cookie"]
    assert requests.post(f"{portal.url}/view", b"x" * 9000, timeout=5).status_code == 404


@pytest.mark.parametrize("cookie", ["", "9", "1ee", "elder", "0" * 500])
def test_a_cookie_that_is_not_ours_changes_nothing(cookie: str) -> None:
    assert View.read(cookie) == View()
    assert View().after("anything") == View()


def test_a_portal_below_a_path_stays_below_it(tmp_path: Path) -> None:
    with portal_process(tmp_path / "portal", PORTAL_BASE_PATH="/gk") as process:
        public.believable(process.url, date(2026, 11, 20))
        for path in ("/", "/catalogue?type=通知", "/i/7", "/guide", "/apply"):
            page = tree(requests.get(f"{process.url}/gk{path}", timeout=5))
            for address in page.xpath(
                "//body//@href | //body//@src | //body//@action | //head/link[not(@rel='alternate')]/@href"
            ):
                own = not re.match("https?:|mailto:|tel:|#", address)
                assert not own or address.startswith("/gk/"), address
        answer = requests.post(f"{process.url}/gk/view", {"set": "elder", "back": "/i/1"}, timeout=5)
        assert answer.url == f"{process.url}/gk/"


NEWER = {  # than Chromium 86, and what breaks without it
    ".css": r":has\(|:is\(|:where\(|aspect-ratio|@container|@layer|\binset:|\d[dsl]v[hw]\b|text-wrap|accent-color|"
    r"text-underline-offset|text-decoration-thickness|color-mix|overflow:\s*clip|&[ :.]|content-visibility",
    ".js": r"\.at\(|\?\?=|\|\|=|&&=|replaceAll\(|structuredClone|Object\.hasOwn|\.findLast|static \{|#\w+ =|\.any\(",
}


@pytest.mark.parametrize("file", sorted(STATIC.iterdir()), ids=lambda file: file.name)
def test_nothing_is_newer_than_the_browsers_of_the_offices(file: Path) -> None:
    if pattern := NEWER.get(file.suffix):
        code = re.sub(r"/\*.*?\*/|^\s*//.*$", "", file.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
        assert re.findall(pattern, code) == []
    assert "http" not in file.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")  # nothing from elsewhere


def test_the_day_ends_where_the_readers_are() -> None:
    now = datetime(2026, 11, 20, 15, 59, tzinfo=UTC)  # 23:59 in Shanghai
    assert words.today(now) == date(2026, 11, 20)
    assert words.today(now + timedelta(minutes=1)) == date(2026, 11, 21)
