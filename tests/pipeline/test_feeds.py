"""Feeds in every state, and web pages as text: what can be read is read, and the rest is said."""

from zoneinfo import ZoneInfo

import pytest

from channels.document import BadText, Heading, Paragraph, Table, parse
from pipeline import html_text
from pipeline.feeds import Entry, FeedError, FeedText, read, read_apart

ZONE = ZoneInfo("Asia/Shanghai")
URL = "https://gd.example.gov.cn/rss/index.xml"


def rss(*items: str, declaration: str = "") -> str:
    return f'{declaration}<rss version="2.0"><channel><title>市局</title>{"".join(items)}</channel></rss>'


def item(title: str = "通知", text: str = "正文。", more: str = "<guid>1</guid>") -> str:
    return f"<item><title>{title}</title><description><![CDATA[{text}]]></description>{more}</item>"


def opened(content: str | bytes, content_type: str = "text/xml") -> FeedText:
    return read(content.encode() if isinstance(content, str) else content, content_type, URL, ZONE)


def only(content: str | bytes, content_type: str = "text/xml") -> Entry:
    (entry,) = opened(content, content_type).entries
    return entry


def refused(content: bytes) -> FeedError:
    with pytest.raises(FeedError) as error:
        read(content, "text/html", URL, ZONE)
    return error.value


# ── encodings ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("declared", ["", "gb2312", "GBK", "gb18030", "utf-8", "iso-8859-1", "x-unknown"])
@pytest.mark.parametrize("sent", ["text/xml", "text/xml; charset=iso-8859-1", "text/xml; charset=utf-8", "text/html"])
def test_a_feed_in_gbk_is_read_whatever_it_says_it_is(declared: str, sent: str) -> None:
    declaration = f'<?xml version="1.0" encoding="{declared}"?>' if declared else ""
    entry = only(rss(item("镕基广场改造公示", "瑢、喆、镕三字。"), declaration=declaration).encode("gb18030"), sent)
    assert (entry.title, entry.text, entry.wrong) == ("镕基广场改造公示", "瑢、喆、镕三字。", "")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("declared", ["", "gbk", "utf-8"])
def test_a_feed_in_unicode_is_read_whatever_it_says_it_is(encoding: str, declared: str) -> None:
    declaration = f'<?xml version="1.0" encoding="{declared}"?>' if declared else ""
    assert only(rss(item("试播通知"), declaration=declaration).encode(encoding)).title == "试播通知"


def test_an_entry_with_damaged_bytes_is_named_and_its_neighbours_are_read() -> None:
    content = rss(item("甲", "完好。"), item("乙", "损X坏。", "<guid>2</guid>")).encode().replace(b"X", b"\xe6\xad")
    first, second = opened(content).entries
    assert (first.wrong, first.text, second.title, second.wrong) == ("", "完好。", "乙", "collect.damaged")


# ── what is no feed, or half of one ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "feed.empty"), (b" \r\n ", "feed.empty"), (b"hello", "feed.not_a_feed"), (b"{}", "feed.not_a_feed"),
        (bytes(range(256)), "feed.not_a_feed"), (b"<a/>", "feed.not_a_feed"), (b"<rss><channel>", "feed.broken"),
        (b"<!DOCTYPE html><html><body><p>x", "feed.web_page"), (b"<HTML>", "feed.web_page"),
    ],
)  # fmt: skip
def test_what_is_no_feed_is_refused_and_said(content: bytes, code: str) -> None:
    assert refused(content).code == code


def test_a_web_page_says_where_its_feed_is() -> None:
    page = '<html><head><link rel="alternate" type="application/rss+xml" href="/rss.xml"></head></html>'
    error = refused(page.encode())
    assert (error.code, error.facts) == ("feed.web_page_with_feeds", {"feeds": "https://gd.example.gov.cn/rss.xml"})


def test_a_feed_without_entries_is_one() -> None:
    assert opened(rss()) == FeedText("市局", ())


def test_of_a_feed_that_breaks_off_the_whole_entries_are_read_and_the_last_is_not_trusted() -> None:
    whole = rss(item("甲"), item("乙", "很长的正文，" * 20, "<guid>2</guid>"))
    found = opened(whole[: whole.index("很长") + 30])
    assert found.broken and [(one.title, one.wrong) for one in found.entries] == [
        ("甲", ""),
        ("乙", "collect.cut_short"),
    ]


def test_characters_that_are_no_xml_do_not_spoil_a_feed() -> None:
    found = opened(rss(item("甲\x0b", "正\x00文。")))
    assert not found.broken and (found.entries[0].title, found.entries[0].text) == ("甲", "正文。")


def test_entities_of_a_feed_reach_no_file_and_blow_nothing_up() -> None:
    declared = '<!DOCTYPE r [<!ENTITY f SYSTEM "file:///etc/passwd"><!ENTITY a "哈哈哈哈">'
    declared += "".join(f'<!ENTITY {b} "{f"&{a};" * 20}">' for a, b in zip("abcdef", "bcdefg", strict=False)) + "]>"
    found = opened(rss(item("甲&g;&f;"), declaration=f'<?xml version="1.0"?>{declared}'))
    assert "root:" not in str(found) and len(str(found)) < 1000


def test_a_feed_that_takes_too_long_is_ended() -> None:
    nonsense = b"<rss><channel>" + b"<a " * 3_000_000
    with pytest.raises(FeedError, match=r"feed.too_much"):
        read_apart(nonsense, "text/xml", URL, "Asia/Shanghai", seconds=0.5)


def test_read_in_a_process_of_its_own_a_feed_says_the_same() -> None:
    content = rss(item("镕", "<p>一</p><p>二</p>")).encode()
    assert read_apart(content, "text/xml", URL, "Asia/Shanghai") == read(content, "text/xml", URL, ZONE)
    with pytest.raises(FeedError, match=r"feed.web_page"):
        read_apart(b"<html>", "text/html", URL, "Asia/Shanghai")


# ── entries ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("written", "on"),
    [
        ("Mon, 23 Nov 2026 09:00:00 +0800", "2026-11-23"), ("Mon, 23 Nov 2026 20:00:00 GMT", "2026-11-24"),
        ("2026-11-23T23:30:00Z", "2026-11-24"), ("2026-11-23 23:30:00", "2026-11-23"), ("2026-11-23", "2026-11-23"),
        ("2026/11/3 8:05", "2026-11-03"), ("2026年11月23日", "2026-11-23"), ("2026年11月23日 18时30分", "2026-11-23"),
        ("", ""), ("昨天", ""), ("0000-00-00", ""), ("2026-13-45", ""), ("0000-00-00 00:00:00", ""),
    ],
)  # fmt: skip
def test_a_date_is_read_in_the_offices_zone(written: str, on: str) -> None:
    assert only(rss(item(more=f"<guid>1</guid><pubDate>{written}</pubDate>"))).on == on


def test_an_atom_entry_gives_its_content_and_not_its_summary() -> None:
    entry = only(
        '<feed xmlns="http://www.w3.org/2005/Atom"><title>市局</title><entry><id>tag:1</id><title type="html">'
        '&lt;b&gt;试播&lt;/b&gt;</title><link href="/n/1"/>'
        "<updated>2026-11-20T09:00:00+08:00</updated><summary>摘要</summary>"
        '<content type="xhtml"><div xmlns="http://www.w3.org/1999/xhtml"><p>第一段</p><p>第二段</p></div></content>'
        "</entry></feed>"
    )
    assert entry == Entry("tag:1", "https://gd.example.gov.cn/n/1", "试播", "第一段\n\n第二段", "2026-11-20")


def test_text_that_is_not_html_keeps_its_lines() -> None:
    assert only(rss(item(text="第一段。\n第二段 A&amp;B。"))).text == "第一段。\n第二段 A&B。"


def test_pictures_and_enclosures_are_counted() -> None:
    more = '<guid>1</guid><enclosure url="https://a.example/1.pdf" length="1" type="application/pdf"/>'
    entry = only(rss(item(text="<p>正文<img src=a.png></p><img src=b.png>", more=more)))
    assert (entry.pictures, entry.enclosures) == (2, 1)


def test_a_link_that_is_none_spoils_nothing() -> None:
    entry = only(rss(item(text='<a href="http://[">甲</a>', more="<guid>1</guid><link>javascript:alert(1)</link>")))
    assert (entry.text, entry.link) == ("甲", "")
    assert only(rss(item(more="<guid>1</guid><link>http://[</link>"))).link == ""


# ── HTML ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>第一段</p><div>第二<b>段</b></div>尾", "第一段\n\n第二段\n\n尾"),
        ("甲<script>alert(1)</script><style>p{}</style><!-- 注 -->乙", "甲乙"),
        ("甲<p style='color:red;DISPLAY: none'>隐藏</p><p hidden>藏</p>", "甲"),
        ("  甲 \n 乙&nbsp;&nbsp;丙  ", "甲 乙 丙"),
        ("地点：局一楼<br>电话：0533", "地点：局一楼\n电话：0533"),
        ("　　第一段。<br>　　第二段。<br/><br/>第三段。", "第一段。\n\n第二段。\n\n第三段。"),
        ("<ul><li>甲</li><li>乙</li></ul>", "• 甲\n\n• 乙"),
        ("<ul><li>1、甲</li><li>（二）乙</li></ul>", "1、甲\n\n（二）乙"),
        ("<ol><li>甲</li><li>5万元</li></ol>", "1.甲\n\n2. 5万元"),
        ("<ol start=3><li>甲</li><li value=7>乙<ul><li>内</li></ul></li><li>丙</li></ol>",
         "3.甲\n\n7.乙\n\n• 内\n\n8.丙"),
        ('见<a href="/f/1.pdf">方案</a>。', "见方案（https://gd.example.gov.cn/f/1.pdf）。"),
        ('<a href="https://a.example/">https://a.example</a>', "https://a.example"),
        ('<a href="javascript:alert(1)">甲</a><a href="#top">乙</a><a>丙</a>', "甲乙丙"),
        ("<pre>第一行\n  第二行</pre>", "第一行\n第二行"),
        ("<ruby>镕<rt>róng</rt></ruby>基", "镕基"),
        ("1 < 2 &amp; 3", "1 < 2 & 3"),
        ("", ""), ("<img src=a.png>", ""), ("<p>未完", "未完"), ("</div></p>甲", "甲"),
    ],
)  # fmt: skip
def test_html_becomes_text_as_a_reader_sees_it(html: str, text: str) -> None:
    assert html_text.read(html, URL).text == text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<tr><th>单位</th><th>电|话</th></tr><tr><td>张店</td><td>1<br>2</td></tr>",
         "| 单位 | 电｜话 |\n| 张店 | 1 2 |"),
        ("<tr><td colspan=2>甲</td><td>乙</td></tr><tr><td>1</td><td>2</td><td>3</td></tr>",
         "| 甲 |  | 乙 |\n| 1 | 2 | 3 |"),
        ("<tr><td rowspan=2>甲</td><td>1</td></tr><tr><td>2</td></tr>", "| 甲 | 1 |\n|  | 2 |"),
        ("<tr><td>1</td><td rowspan=3>甲</td></tr><tr><td>2</td></tr><tr><td>3</td></tr><tr><td>4</td><td>乙</td></tr>",
         "| 1 | 甲 |\n| 2 |  |\n| 3 |  |\n| 4 | 乙 |"),
        ("<caption>名单</caption><tr><td>a</td><td>b</td></tr><tr><td>c</td><td>d</td></tr>"
         "<tr><td colspan=2>注：完</td></tr>",
         "名单\n\n| a | b |\n| c | d |\n\n注：完"),
        ("<tr><td><p>一</p></td></tr><tr><td><p>二</p></td></tr>", "一\n\n二"),
        ("<tr><td>左</td><td><table><tr><td>a</td><td>b</td></tr><tr><td>c</td><td>d</td></tr></table></td></tr>",
         "左\n\n| a | b |\n| c | d |"),
    ],
)  # fmt: skip
def test_a_table_with_data_becomes_rows_and_one_that_only_arranges_does_not(html: str, text: str) -> None:
    assert html_text.read(f"<table>{html}</table>", URL).text == text


def test_the_text_is_read_as_official_style() -> None:
    html = "<h3>一、加强值班</h3><p>严格执行制度。</p>"
    html += "<table><tr><th>单位</th><th>电话</th></tr><tr><td>张店</td><td>1</td></tr></table>"
    blocks = parse(html_text.read(html, URL).text)
    assert blocks == (Heading(1, "一、加强值班"), Paragraph("严格执行制度。"), Table((("单位", "电话"), ("张店", "1"))))


def test_a_page_nested_too_deeply_is_refused_and_never_cut() -> None:
    assert html_text.read("<div>" * 200 + "深" + "</div>" * 200 + "尾").text == "深\n\n尾"
    with pytest.raises(BadText, match=r"html.too_deep"):
        html_text.read("头" + "<div>" * 5000 + "深")
    assert only(rss(item("甲", "头" + "<div>" * 5000 + "深"))).wrong == "html.too_deep"


def test_a_table_that_says_it_is_huge_stays_small() -> None:
    html = f"<table>{'<tr><td rowspan=9999 colspan=9999>甲</td><td>乙</td></tr>' * 500}</table>"
    assert len(html_text.read(html).text) < 100_000
