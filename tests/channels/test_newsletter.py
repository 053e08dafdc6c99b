"""The forms of 《广电通讯》, read back as paper, mail and page show them."""

import hashlib
import io
import json
import re
from dataclasses import replace
from datetime import date
from pathlib import Path

import pypdfium2  # type: ignore[import-untyped]
import pypdfium2.raw as pdfium  # type: ignore[import-untyped]
import pytest
from lxml import html
from PIL import Image

from channels import newsletter
from channels.app_feed import AppFeed
from channels.bulletin import Bulletin
from channels.contract import Call, Channel, File, Message, Rejected, Rendition, Unrenderable
from channels.document import Closing, Heading, Paragraph, Table
from channels.issue import Column, Issue
from channels.portal import Portal
from channels.sms import Sms
from channels.typst import typeset
from channels.webhook import Webhook
from tests.channels.issues import DAY, IMPRINT, SITE, entry, number, photo
from tests.channels.paper import Glyph, glyphs, lines, text_of, words

PORTAL = Portal("http://127.0.0.1:1", "key")
FEED = AppFeed("http://127.0.0.1:1", "key")


def issue_of(message: Message) -> Issue:
    assert message.issue is not None
    return message.issue


def changed(message: Message, **changes: object) -> Message:
    return replace(message, issue=replace(issue_of(message), **changes))  # type: ignore[arg-type]


def printed(message: Message) -> bytes:
    return typeset("newsletter", newsletter.page(newsletter.printed(message)))


def squeezed(text: str) -> str:
    return "".join(text.split())


def columns_of(page: list[Glyph]) -> tuple[str, str]:
    """What stands in the text column of a page, without its head and foot, and what stands beside it."""
    body = [[glyph for glyph in line if 75 < glyph.y < 775] for line in lines(page)]
    text, beside = ([[g for g in line if (g.x < 415) is left] for line in body] for left in (True, False))
    return "".join(map(words, text)), "".join(map(words, beside))


def page_texts(pdf: bytes) -> list[str]:
    return ["".join(words(line) for line in lines(page)) for page in glyphs(pdf)]


# ── print ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_everything_of_an_issue_stands_on_paper() -> None:
    message = number(10, editorial=[Paragraph("1. 卷首的话。"), Closing("编者", "2026年11月15日")])
    pdf = printed(message)
    document, column = text_of(pdf), "".join(columns_of(page)[0] for page in glyphs(pdf))
    for text in (
        "广电通讯",
        "2026年第22期（总第332期）",
        "2026年11月15日",
        "张店区广播电视局",
        "1.卷首的话。",
        "责任编辑：李明",
    ):
        assert text in document
    for part in issue_of(message).columns:
        assert document.count(part.name) >= 2  # in the contents, and where it begins
        for one in part.entries:
            assert document.count(squeezed(one.title)) == 2
            for block in one.blocks:
                if isinstance(block, Paragraph):
                    assert block.text in column
                elif isinstance(block, Table):
                    assert all(squeezed(cell) in document for row in block.rows for cell in row)


def test_the_contents_name_the_page_on_which_each_item_begins() -> None:
    message = number(24)
    pdf = printed(message)
    contents, bodies = text_of(pdf), [columns_of(page)[0] for page in glyphs(pdf)]
    for column in issue_of(message).columns:
        for one in column.entries:
            title = squeezed(one.title)
            named = int(re.search(re.escape(title) + r"\.*(\d{1,2})", contents)[1])  # type: ignore[index]
            assert title in bodies[named - 1], title


def test_every_page_but_the_first_says_which_issue_it_is_of_and_its_number() -> None:
    first, *others = page_texts(printed(number(10)))
    assert not re.search(r"—\d—", first)
    for at, text in enumerate(others, 2):
        assert text.startswith("《广电通讯》2026年第22期（总第332期）")
        assert text.endswith(f"—{at}—")


@pytest.mark.parametrize("paragraphs", [1, 2, 3, 5, 8])
def test_no_title_stands_alone_at_the_end_of_a_page(paragraphs: int) -> None:
    message = number(16, paragraphs=paragraphs, photos=3)
    titles = {squeezed(one.title) for column in issue_of(message).columns for one in column.entries}
    names = {column.name for column in issue_of(message).columns}
    for page in glyphs(printed(message))[1:]:
        *body, _ = lines(page)  # its number
        last = words([glyph for glyph in body[-1] if glyph.x < 410])  # beside the text stands the way to the original
        assert not any(last and last in title for title in titles), last
        assert last not in names


@pytest.mark.parametrize("paragraphs", [3, 8])
def test_no_name_and_date_stand_alone_at_the_head_of_a_page(paragraphs: int) -> None:
    message = number(14, paragraphs=paragraphs)
    for page in glyphs(printed(message))[1:]:
        head, first, *_ = lines(page)
        assert words(head).startswith("《广电通讯》")
        assert not words([glyph for glyph in first if glyph.x < 410]).startswith("张店区广播电视局")


def test_no_rule_runs_through_a_line_of_text() -> None:
    pdf = printed(number(12, photos=2))
    for page, shown in zip(pypdfium2.PdfDocument(pdf), glyphs(pdf), strict=True):
        boxes = [thing.get_bounds() for thing in page.get_objects(filter=[pdfium.FPDF_PAGEOBJ_PATH])]
        rules = [page.get_height() - (low + high) / 2 for left, low, right, high in boxes
                 if right - left > 300 and high - low < 4]  # fmt: skip
        assert rules
        for glyph in shown:
            assert not any(glyph.y - 5 < rule < glyph.y + 1 for rule in rules), glyph


def test_each_item_has_its_way_to_the_original_beside_its_title() -> None:
    message = number(6)
    rendition = newsletter.printed(message)
    pages = [columns_of(page) for page in glyphs(printed(message))]
    for column in issue_of(message).columns:
        for one in column.entries:
            (text,) = [text for text, beside in pages if one.address.partition("//")[2] in beside]
            assert squeezed(one.title) in text
    found = [one for column in newsletter.page(rendition)["columns"] for one in column["entries"]]
    assert all(one["qr"].startswith("<?xml") for one in found)


def test_an_item_without_an_address_has_no_way_to_an_original() -> None:
    message = changed(number(1), columns=(Column("要闻", (replace(entry(1), address=""),)),))
    document = text_of(printed(message))
    assert "扫码看原文" not in document
    assert "（1）" in document


@pytest.mark.parametrize("entries", [1, 4, 60])
def test_an_issue_of_any_length_is_set_without_a_word_of_complaint(entries: int) -> None:
    document = text_of(printed(number(entries, editorial=(), photos=min(2, entries))))
    assert "卷首语" not in document
    assert document.count("扫码看原文") == entries


def test_internal_material_says_so_and_carries_its_whole_imprint_but_no_public_address() -> None:
    document = text_of(printed(number(3, internal=True)))
    assert document.startswith("内部资料免费交流准印证号：（鲁）字第0300012号")
    for label, value in IMPRINT:
        assert f"{label}：{value}" in document
    assert "扫码看网页版" not in document
    assert "/i/900" not in document


def test_a_line_about_what_was_withdrawn_stands_in_every_form() -> None:
    message = changed(number(2), note="（本期有一则信息已撤下。）")
    parts = newsletter.mail_parts(message)
    for text in (text_of(printed(message)), parts.text, parts.html):
        assert "（本期有一则信息已撤下。）" in text


def test_headings_of_any_rank_in_editorial_and_items_are_set_in_order_for_screen_readers() -> None:
    skipping = (
        Heading(3, "1.先出现第三级"),
        Paragraph("甲。"),
        Heading(1, "一、再出现第一级"),
        Heading(4, "（1）第四级"),
        Paragraph("乙。"),
    )
    message = changed(number(2), editorial=skipping)
    columns = (Column("要闻", tuple(replace(entry(n), blocks=skipping) for n in (1, 2))),)
    document = text_of(printed(changed(message, columns=columns)))
    assert document.count("1.先出现第三级甲。一、再出现第一级（1）第四级乙。") == 3
    assert document.count("先出现第三级") == 3  # not in the contents


def test_text_that_looks_like_markup_is_text() -> None:
    odd = (
        "1. 数字开头。",
        "# 不是标题 $x^2$ *不加粗* @引用 <标签> [内容] `代码`",
        "= 等号 /* 留着 */",
        "{{unsubscribe}}",
    )
    one = replace(entry(1), title="= 标题 *星号* #let", blocks=tuple(map(Paragraph, odd)))
    document = text_of(printed(changed(number(1), columns=(Column("要闻", (one,)),))))
    for text in (*odd, one.title):
        assert squeezed(text) in document


def test_a_wide_table_and_a_long_word_stay_on_the_paper() -> None:
    cells = tuple("12370303MB289196XT" for _ in range(11))
    blocks = (Table((cells, cells)), Paragraph("长" * 500), Table((cells, cells)), Paragraph("0123456789abcdef" * 20))
    message = changed(number(1), columns=(Column("要闻", (replace(entry(1), blocks=blocks),)),))
    assert all(20 < glyph.x < 575 for page in glyphs(printed(message)) for glyph in page)


def test_the_pdf_is_for_screen_readers_with_bookmarks_language_and_the_day_of_the_issue() -> None:
    pdf = printed(number(5))
    document = pypdfium2.PdfDocument(pdf)
    assert document.get_metadata_value("Title") == "广电通讯 2026年第22期（总第332期）"
    assert document.get_metadata_value("CreationDate").startswith("D:20261115")
    assert b"pdfuaid" in pdf
    assert b"/Lang(zh-CN)" in pdf.replace(b"/Lang (", b"/Lang(")
    marks = [(mark.level, mark.get_title()) for mark in document.get_toc()]
    assert marks[:3] == [(0, "卷首语"), (0, "要闻"), (1, "关于做好冬季广播电视安全播出保障工作的通知（1）")]
    assert len([level for level, _ in marks if level == 1]) == 5


def test_the_same_issue_is_the_same_bytes() -> None:
    assert newsletter.pdf(number(4, photos=1)) == newsletter.pdf(number(4, photos=1))
    other = newsletter.pdf(changed(number(4, photos=1), day=date(2026, 11, 16)))
    assert other.content != newsletter.pdf(number(4, photos=1)).content


def test_a_character_that_no_font_has_is_found_wherever_it_stands() -> None:
    def with_entry(**changes: object) -> Message:
        return changed(number(1), columns=(Column("要闻", (replace(entry(1), **changes),)),))  # type: ignore[arg-type]

    for message in (
        with_entry(title="喜讯😀"),
        with_entry(blocks=(Paragraph("喜讯😀"),)),
        with_entry(blocks=(Table((("甲", "乙"), ("丙", "喜讯😀"))),)),
        with_entry(blocks=(Heading(1, "喜讯😀"),)),
        changed(number(1), columns=(Column("喜讯😀", (entry(1),)),)),
        changed(number(1), editorial=(Paragraph("喜讯😀"),)),
        changed(number(1), imprint=(("编辑", "喜讯😀"),)),
    ):
        with pytest.raises(Unrenderable) as refusal:
            newsletter.printed(message)
        (finding,) = refusal.value.findings
        assert finding.code == "bulletin.no_glyph"
        assert finding.facts == {"character": "😀", "code_point": "U+1F600"}
        assert "喜讯" in finding.place


# ── pictures ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def with_picture(name: str, content: bytes) -> Message:
    message = changed(number(1), columns=(Column("要闻", (replace(entry(1), picture=name),)),))
    return replace(message, files=(File(name, "image/jpeg", content),))


def test_a_picture_is_printed_with_its_name_as_caption_unless_a_camera_gave_it() -> None:
    assert "检查现场" in text_of(printed(with_picture("检查现场.jpg", photo())))
    camera = with_picture("IMG_2041.jpg", photo())
    assert "IMG" not in text_of(printed(camera))
    (picture,) = newsletter.printed(camera).files
    assert picture.name == "IMG_2041.jpg"


def test_a_picture_leaves_without_the_place_where_it_was_taken_upright_and_no_larger_than_needed() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    exif.get_ifd(0x8825)[1] = "N"  # GPS
    taken = photo(4000, 3000, exif)
    assert b"Exif" in taken
    for made in (
        newsletter.printed(with_picture("检查.jpg", taken)).files,
        newsletter.mail_parts(with_picture("检查.jpg", taken)).pictures,
    ):
        (picture,) = made
        with Image.open(io.BytesIO(picture.content)) as opened:
            assert not opened.getexif()
            assert opened.height > opened.width
            assert max(opened.size) <= 1600
        assert b"Exif" not in picture.content


@pytest.mark.parametrize("content", [b"no picture", photo()[:5000], b"<svg/>", b""])
def test_a_picture_that_cannot_be_read_is_a_finding_that_names_it(content: bytes) -> None:
    for render in (newsletter.printed, newsletter.mail_parts):
        with pytest.raises(Unrenderable) as refusal:
            render(with_picture("坏图.jpg", content))
        assert refusal.value.findings[0].facts == {"file": "坏图.jpg"}


def test_a_picture_that_is_not_among_the_attachments_is_a_finding() -> None:
    with pytest.raises(Unrenderable, match=r"newsletter\.no_picture file=检查\.jpg"):
        newsletter.printed(replace(with_picture("检查.jpg", photo()), files=()))


def test_a_drawing_with_a_clear_background_is_printed_on_white() -> None:
    out = io.BytesIO()
    Image.new("RGBA", (300, 200), (200, 0, 0, 0)).save(out, "PNG")
    (picture,) = newsletter.printed(with_picture("图示.png", out.getvalue())).files
    assert picture.media_type == "image/png"
    with Image.open(io.BytesIO(picture.content)) as opened:
        assert opened.getpixel((5, 5)) == (255, 255, 255)


# ── mail ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_both_parts_of_a_mail_say_what_is_in_the_issue_and_where_it_is() -> None:
    message = number(10, editorial=[Paragraph("卷首的话。")])
    parts = newsletter.mail_parts(message)
    assert parts.subject == "广电通讯 2026年第22期（总第332期）"
    shown = squeezed(html.document_fromstring(parts.html).text_content())
    for text in (shown, squeezed(parts.text)):
        assert "卷首的话。" in text
        assert "2026年第22期（总第332期）" in text
        for column in issue_of(message).columns:
            assert column.name in text
            assert all(squeezed(one.title) in text for one in column.entries)
    links = html.document_fromstring(parts.html).xpath("//a/@href")
    for column in issue_of(message).columns:
        for one in column.entries:
            assert links.count(one.address) == 2  # on the title and below the text
            assert f"：{one.address}\n" in parts.text
    assert f"{SITE}900" in links
    assert f"网页版：{SITE}900" in parts.text


def test_a_mail_has_one_place_for_the_way_out_after_everything_else() -> None:
    message = changed(number(2), editorial=(Paragraph("正文里写着{{unsubscribe}}。"),))
    for part in (newsletter.mail_parts(message).html, newsletter.mail_parts(message).text):
        before, slot, after = part.rpartition(newsletter.UNSUBSCRIBE)
        assert slot
        assert "责任编辑" in before
        assert "责任编辑" not in after
        assert "正文里写着" in before


def test_a_mail_fetches_nothing_and_runs_nothing() -> None:
    page = html.document_fromstring(newsletter.mail_parts(number(4, photos=2)).html)
    assert [address[:4] for address in page.xpath("//img/@src")] == ["cid:", "cid:"]
    assert all(page.xpath("//img/@alt"))
    assert not page.xpath("//script | //link | //iframe | //form | //@onclick")
    assert "url(" not in html.tostring(page, encoding="unicode")


def test_text_in_a_mail_is_escaped() -> None:
    one = replace(entry(1), title="<b>粗</b>&amp;", blocks=(Paragraph("<script>alert(1)</script>"),))
    parts = newsletter.mail_parts(changed(number(1), columns=(Column("要<闻", (one,)),)))
    page = html.document_fromstring(parts.html)
    assert not page.xpath("//script | //b")
    assert "<script>alert(1)</script>" in page.text_content()
    assert "<b>粗</b>&amp;" in parts.text


def test_a_short_item_stands_whole_in_a_mail_and_a_long_one_begins_there() -> None:
    short = replace(entry(1), blocks=(Paragraph("停播一小时。"), Closing("广电局", "2026年11月9日")))
    long = replace(entry(2), blocks=(Paragraph("全年播出59期。" * 10), Paragraph("第二段。" * 100)))
    endless = replace(entry(3), blocks=(Paragraph("没有句号" * 200),))
    parts = newsletter.mail_parts(changed(number(1), columns=(Column("要闻", (short, long, endless)),)))
    assert "停播一小时。\n广电局\n2026年11月9日\n查看原文：" in parts.text
    assert "全年播出59期。" in parts.text
    assert parts.text.count("阅读全文") == 2
    assert parts.text.count("第二段") < 40
    assert "句号没有…" in parts.text
    assert len(parts.text) < 1000


def test_an_item_without_an_original_stands_whole_in_a_mail() -> None:
    one = replace(entry(1), address="", blocks=(Paragraph("全文" * 400),))
    parts = newsletter.mail_parts(changed(number(1, internal=True), columns=(Column("要闻", (one,)),)))
    assert "全文" * 400 in parts.text
    assert "阅读全文" not in parts.text


def test_the_mail_of_internal_material_says_so_and_names_no_web_page() -> None:
    parts = newsletter.mail_parts(number(2, internal=True))
    assert parts.text.startswith("内部资料　免费交流　准印证号：（鲁）字第0300012号")
    assert "内部资料　免费交流" in parts.html
    for part in (parts.html, parts.text):
        assert "网页版" not in part
        assert "/i/900" not in part


def test_pictures_come_along_until_a_mail_is_large_enough() -> None:
    def noisy() -> bytes:
        out = io.BytesIO()
        Image.effect_noise((1600, 1000), 120).save(out, "JPEG", quality=95)
        return out.getvalue()

    message = number(6, photos=6)
    message = replace(message, files=tuple(replace(file, content=noisy()) for file in message.files))
    parts = newsletter.mail_parts(message)
    assert 1 <= len(parts.pictures) < 6
    assert sum(len(file.content) for file in parts.pictures) <= newsletter.MAIL_BYTES
    shown = html.document_fromstring(parts.html).xpath("//img/@src")
    assert shown == [f"cid:{file.name}" for file in parts.pictures]


def test_the_mail_of_another_item_is_the_whole_item_with_its_facts() -> None:
    item = replace(
        number(1), issue=None, title="关于拟聘用人员的公示", item_type="公示",
        blocks=(Heading(1, "一、名单"), Table((("姓名", "岗位"), ("王某", "编辑"))), Paragraph("特此公示。")),
        period=(date(2026, 11, 23), date(2026, 11, 27)), objection_contact="局办公室",
        files=(File("名单.xlsx", "application/x", b"x"),),
    )  # fmt: skip
    parts = newsletter.mail_parts(item)
    assert parts.subject == "关于拟聘用人员的公示"
    shown = squeezed(html.document_fromstring(parts.html).text_content())
    for text in (shown, squeezed(parts.text)):
        for words_ in (
            "一、名单",
            "王某",
            "特此公示。",
            "公示时间：2026年11月23日至2026年11月27日",
            "异议受理：局办公室",
            "1.名单.xlsx",
        ):
            assert words_ in text
    assert parts.pictures == ()


# ── the channels ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "channel",
    [
        PORTAL, FEED, Bulletin(Path("/nowhere")),
        Sms("http://127.0.0.1:1/cgi-bin/sendsms", "user", "password", "张店区广电局"),
        Webhook("https://127.0.0.1:1/hook", "whsec_" + "A" * 40),
    ],
    ids=lambda channel: type(channel).__name__,
)  # fmt: skip
def test_internal_material_is_refused_by_every_channel_that_the_public_reads(channel: Channel) -> None:
    with pytest.raises(Unrenderable, match=r"newsletter\.internal"):
        channel.render(number(2, internal=True))


def test_the_portal_offers_the_pdf_first_and_the_feed_names_the_same_file() -> None:
    message = number(4, photos=1)
    message = replace(message, files=(*message.files, File("订阅表.docx", "application/x", b"x")))
    rendition = PORTAL.render(message)
    pdf, picture, form = rendition.files
    assert (pdf.name, pdf.media_type) == ("广电通讯2026年第22期（总第332期）.pdf", "application/pdf")
    assert "广电通讯" in text_of(pdf.content)
    assert picture.name == "检查组查看机房设备1.jpg"
    assert picture.content != message.files[0].content  # as it is printed: without place and camera
    assert form.name == "订阅表.docx"
    page, card = json.loads(rendition.body), json.loads(FEED.render(message).body)
    assert page["item_type"] == card["item_type"] == "通讯"
    assert page["files"] == card["files"]
    assert page["files"][0]["sha256"] == hashlib.sha256(pdf.content).hexdigest()
    assert page["html"] == card["html"]


def test_the_board_prints_the_issue_and_shows_its_pages(tmp_path: Path) -> None:
    board, message = Bulletin(tmp_path), number(4, photos=1)
    rendition = board.render(message)
    receipt = board.deliver(rendition, Call("bulletin/900", 1, facts={"posting_date": "2026-11-15"}))
    pdf = (tmp_path / receipt.reference).read_bytes()
    assert pdf == printed(message)
    assert len(board.view(rendition).pages) == len(pypdfium2.PdfDocument(pdf))


def test_an_issue_approved_in_another_layout_is_not_printed(tmp_path: Path) -> None:
    rendition = newsletter.printed(number(1))
    older = Rendition(rendition.media_type, rendition.body.replace(b'"newsletter/2"', b'"newsletter/1"'))
    with pytest.raises(Rejected, match=r"newsletter\.other_template"):
        Bulletin(tmp_path).deliver(older, Call("bulletin/900", 1))


def test_the_day_on_paper_is_the_day_of_the_issue() -> None:
    assert DAY.isoformat() == "2026-11-15"
    assert "2026年11月15日" in page_texts(printed(number(1)))[0]
