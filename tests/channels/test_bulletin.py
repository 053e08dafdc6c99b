"""The notice board, read back from the PDF that a person would print."""

import ctypes
import os
import re
import resource
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

import pypdfium2  # type: ignore[import-untyped]
import pypdfium2.raw as pdfium  # type: ignore[import-untyped]
import pytest
import segno

from channels.bulletin import BLANK_DATE, MEDIA_TYPE, Bulletin
from channels.contract import Call, File, Message, Office, Rejected, Rendition, Seen, Unavailable, Unrenderable
from channels.document import Block, Closing, Heading, Paragraph, Table
from channels.typst import SUBSTITUTES, CannotTypeset, Role, fonts, title_lines, typeset
from tests.channels.paper import MM, Glyph, glyphs, lines, text_of, words
from tests.channels.rig_bulletin import bulletin_rig

OFFICE = Office("张店区广播电视局", "000014349", phone="0533-2860000")
POSTED = Call("bulletin/1234", 1, facts={"posting_date": "2026-11-23"})


def notice(*blocks: Block, title: str = "关于做好政府信息公开工作的通知") -> Message:
    return Message(
        number=1234,
        index_number="000014349/2026-00110",
        title=title,
        blocks=blocks or (Paragraph("特此通知。"),),
        item_type="通知",
        department="办公室",
        office=OFFICE,
        address="https://www.example.gov.cn/i/1234",
        formed_on=date(2026, 11, 20),
    )


@pytest.fixture
def board(tmp_path: Path) -> Bulletin:
    return Bulletin(tmp_path / "spool")


def pages(board: Bulletin, message: Message) -> list[list[Glyph]]:
    """Every glyph where it really stands, page by page."""
    return glyphs(board.preview(board.render(message), "2026-11-23"))


# --- the grid of GB/T 9704-2012


def test_a_full_page_holds_22_lines_of_28_characters(board: Bulletin) -> None:
    _, second, *_ = pages(board, notice(Paragraph("政府信息公开工作年度报告" * 150)))
    *body, number = lines(second)
    assert words(number) == "—2—"
    assert [len(line) for line in body] == [28] * 22
    pitches = {round(b.x - a.x, 2) for line in body for a, b in pairwise(line)}
    assert max(pitches) - min(pitches) < 0.05
    assert (body[0][-1].x - body[0][0].x + 16) / MM == pytest.approx(156, abs=0.1)
    assert (body[-1][0].y - body[0][0].y + 16) / MM == pytest.approx(225, abs=0.1)
    assert (body[0][0].y - 0.88 * 16) / MM == pytest.approx(37, abs=0.1)


def test_the_binding_margin_changes_sides_for_duplex_print(board: Bulletin) -> None:
    _, second, third, *_ = pages(board, notice(Paragraph("政府信息公开工作年度报告" * 200)))
    assert lines(second)[0][0].x / MM == pytest.approx(26, abs=0.2)
    assert lines(third)[0][0].x / MM == pytest.approx(28, abs=0.2)


def test_page_numbers_stand_right_on_odd_and_left_on_even_pages(board: Bulletin) -> None:
    first, second, *_ = pages(board, notice(Paragraph("政府信息公开工作年度报告" * 100)))
    odd, even = lines(first)[-1], lines(second)[-1]
    assert (words(odd), words(even)) == ("—1—", "—2—")
    assert even[0].x / MM == pytest.approx(26 + 14 / MM, abs=0.5)
    assert odd[-1].x / MM == pytest.approx(210 - 26 - 2 * 14 / MM, abs=2)  # the dash is narrower than a character
    assert (odd[0].y - 0.88 * 14) / MM == pytest.approx(37 + 225 + 7, abs=0.2)


def test_a_notice_of_one_page_has_no_number_unless_the_office_wants_it(board: Bulletin) -> None:
    (page,) = pages(board, notice())
    assert "—1—" not in words(lines(page)[-1])
    (page,) = pages(replace(board, number_single_page=True), notice())
    assert words(lines(page)[-1]) == "—1—"


def test_paragraphs_and_headings_begin_two_characters_in(board: Bulletin) -> None:
    (page,) = pages(
        board, notice(Heading(1, "一、总体情况"), Heading(2, "（一）制度。", "不断完善。"), Paragraph("正文。"))
    )
    starts = {words(line): line[0].x / MM for line in lines(page)}
    for start in ("一、总体情况", "（一）制度。不断完善。", "正文。"):
        assert starts[start] == pytest.approx(28 + 2 * 15.785 / MM, abs=2)  # an opening bracket leans left


def test_without_a_seal_the_date_begins_two_characters_after_the_signature(board: Bulletin) -> None:
    (page,) = pages(board, notice(Paragraph("特此通知。"), Closing("张店区广播电视局办公室", "2026年11月20日")))
    found = lines(page)
    at = [words(line) for line in found].index("张店区广播电视局办公室")
    signature, day = found[at], found[at + 1]
    assert day[0].x - signature[0].x == pytest.approx(2 * 15.785, abs=1)
    assert (210 - 26) * MM - signature[-1].x - 16 == pytest.approx(2 * 15.785, abs=1)


def test_a_date_longer_than_the_signature_stands_two_characters_in(board: Bulletin) -> None:
    (page,) = pages(board, notice(Closing("广电局", "2026年11月20日")))
    found = {words(line): line for line in lines(page)}
    signature, day = found["广电局"], found["2026年11月20日"]
    assert (210 - 26) * MM - day[-1].x - 16 == pytest.approx(2 * 15.785, abs=1)
    assert day[0].x - signature[0].x == pytest.approx(2 * 15.785, abs=1)


def test_with_a_seal_the_signature_is_centred_over_a_date_four_characters_in(board: Bulletin) -> None:
    (page,) = pages(replace(board, seal=True), notice(Closing("张店区广播电视局", "2026年11月20日")))
    found = {words(line): line for line in lines(page)}
    signature, day = found["张店区广播电视局"], found["2026年11月20日"]
    assert (210 - 26) * MM - day[-1].x - 16 == pytest.approx(4 * 15.785, abs=1)
    assert signature[0].x + signature[-1].x == pytest.approx(day[0].x + day[-1].x, abs=2)


@pytest.mark.parametrize(
    "tail",
    [[], ["特此通知。"], ["政" * 300], ["1.第一项。", "2.第二项。", "3.第三项。"], ["a1b2" * 90]],
    ids=["one long paragraph", "a set phrase", "a long end", "a list", "Latin"],
)
def test_a_signature_takes_two_lines_of_text_along_to_a_new_page(board: Bulletin, tail: list[str]) -> None:
    for filling in range(300, 300 + 28 * 22, 53):
        text = ["信" * filling, *tail]
        last = [words(line) for line in lines(pages(board, notice(*map(Paragraph, text)))[-1])]
        assert last.index("张店区广播电视局") >= 2


@pytest.mark.parametrize("shift", range(5))
def test_a_paragraph_that_is_cut_for_the_signature_keeps_its_text_and_its_lines(board: Bulletin, shift: int) -> None:
    sentence = "全年共播出《政风行风热线》59期，接听群众来电1000余个，按时回复率达到95%以上，做到“件件有回音”。"
    text = "9" * shift + sentence * 16
    found = pages(board, notice(Paragraph(text)))
    shown = "".join(words(line) for page in found for line in lines(page))
    assert text in re.sub(r"—\d+—", "", shown)
    cut = lines(found[-2])[-2]  # below it the page number
    assert cut[-1].x > (210 - 26) * MM - 17  # the last character stands at the margin, as in any line
    assert lines(found[-1])[0][0].character not in "，。”》"


def test_a_corrected_notice_says_so_above_its_title_and_among_its_facts(board: Bulletin) -> None:
    (page,) = pages(board, replace(notice(), corrected=True))
    assert words(lines(page)[0]) == "更正"
    assert "更正：本件更正此前发布的内容，以本件为准。" in "".join(map(words, lines(page)))
    (plain,) = pages(board, notice())
    assert "更正" not in "".join(map(words, lines(plain)))
    title = "关于做好政府信息公开工作的通知"
    heights = [next(line[0].y for line in lines(one) if words(line) == title) for one in (page, plain)]
    assert heights[0] == heights[1]  # the grid stays


# --- the text


def test_text_read_back_is_the_text_that_went_in(board: Bulletin) -> None:
    odd = (
        "1. 这一段以数字开头。",
        "# 不是标题 $x^2$ *不加粗* _不斜_ \\ // 不是注释 @引用 <标签> [内容] `代码` ~ -- --- ...",
        "- 不是列表\n+ 也不是",
        "= 等号开头 /* 也留着 */ \"直引号\" '单' office",
        "https://www.example.gov.cn/" + "0123456789abcdef" * 6,
    )
    document = text_of(board.preview(board.render(notice(*map(Paragraph, odd)))))
    for text in odd:
        assert "".join(text.split()) in document


def test_the_number_of_a_heading_of_the_third_level_stays(board: Bulletin) -> None:
    blocks = (
        Heading(3, "1. 推送短信。"),
        Heading(4, "（1）审核", "，逐条。"),
        Heading(2, "（二）其他"),
        Heading(1, "二、总结"),
    )
    document = text_of(board.preview(board.render(notice(*blocks))))
    assert "1.推送短信。（1）审核，逐条。（二）其他二、总结" in document


def test_a_line_of_latin_longer_than_the_paper_stays_on_the_paper(board: Bulletin) -> None:
    (page,) = pages(board, notice(Paragraph("0123456789abcdef" * 20)))
    assert max(glyph.x for glyph in page) < (210 - 26) * MM


@pytest.mark.parametrize(("character", "code_point"), [("😀", "U+1F600"), ("𠀀", "U+20000"), ("\u202e", "U+202E")])
def test_a_character_that_no_font_has_is_found_once_with_its_place(
    board: Bulletin, character: str, code_point: str
) -> None:
    with pytest.raises(Unrenderable) as refusal:
        board.render(notice(Paragraph(f"公开栏设在{character}一楼大厅。{character}")))
    (finding,) = refusal.value.findings
    assert finding.code == "bulletin.no_glyph"
    assert finding.facts == {"character": character, "code_point": code_point}
    assert finding.place == f"公开栏设在{character}一楼大厅。{character}"


def test_every_missing_character_of_title_table_and_attachment_is_found(board: Bulletin) -> None:
    table = Table((("姓名", "😀"), ("𠀀", "乙")))
    message = replace(notice(table, title="关于😃的公示"), files=(File("😄.pdf", "application/pdf", b""),))
    with pytest.raises(Unrenderable) as refusal:
        board.render(message)
    assert {finding.facts["character"] for finding in refusal.value.findings} == {"😀", "𠀀", "😃", "😄"}


def test_our_fonts_write_every_character_of_gb_2312() -> None:
    pairs = (bytes((row, cell)).decode("gb2312", "ignore") for row in range(0xA1, 0xF8) for cell in range(0xA1, 0xFF))
    every = "".join(pairs)
    assert len(every) > 7400
    for role in Role:
        assert fonts().missing(role, every) == []


def embedded_fonts(pdf: bytes) -> dict[str, bool]:
    """The fonts of the first page, and whether each is in the file."""
    found = {}
    for thing in pypdfium2.PdfDocument(pdf)[0].get_objects(filter=[pdfium.FPDF_PAGEOBJ_TEXT]):
        font = pdfium.FPDFTextObj_GetFont(thing)
        name = ctypes.create_string_buffer(100)
        pdfium.FPDFFont_GetBaseFontName(font, name, 100)
        found[name.value.decode().rpartition("+")[2]] = bool(pdfium.FPDFFont_GetIsEmbedded(font))
    return found


def test_the_offices_own_font_is_used_for_its_role_and_ours_for_the_rest(board: Bulletin, tmp_path: Path) -> None:
    own = tmp_path / "fonts"
    own.mkdir()
    (own / "小标宋.ttf").write_bytes((SUBSTITUTES / "FabuKaiti.ttf").read_bytes())
    theirs = replace(board, fonts_dir=own)
    message = notice(Heading(1, "一、黑体"))
    assert set(embedded_fonts(theirs.preview(theirs.render(message)))) == {"FabuKaiti", "FabuHeiti", "FabuFangsong"}


def test_every_font_is_embedded(board: Bulletin) -> None:
    blocks = Heading(1, "一、黑体"), Heading(2, "（一）楷体"), Paragraph("仿宋")
    found = embedded_fonts(board.preview(board.render(notice(*blocks))))
    assert found == dict.fromkeys(("FabuXiaobiaosong", "FabuHeiti", "FabuKaiti", "FabuFangsong"), True)


# --- titles


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("停播公告", ["停播公告"]),
        (
            "关于进一步做好2026年冬季安全播出保障工作的紧急通知",
            ["关于进一步做好2026年冬季", "安全播出保障工作的紧急通知"],
        ),
        (
            "关于2026年度张店区广播电视局公开招聘事业单位工作人员拟聘用人员名单的公示",
            ["关于2026年度张店区广播电视局公开招聘", "事业单位工作人员拟聘用人员名单的公示"],
        ),
    ],
)
def test_a_title_breaks_into_balanced_lines_between_words(title: str, expected: list[str]) -> None:
    assert title_lines(title, 20) == expected


def test_no_title_leaves_a_single_character_on_its_last_line() -> None:
    for length in range(1, 130):
        title = ("关于印发张店区二〇二六年信息公开工作要点的通知" * 6)[:length]
        found = title_lines(title, 20)
        assert "".join(found) == title
        assert all(len(line) <= 20 for line in found)
        assert len(found) == 1 or len(found[-1]) > 3


def test_a_title_of_ten_thousand_characters_still_prints(board: Bulletin) -> None:
    title = "关于张店区广播电视局政府信息公开工作有关事项的通知" * 400
    document = text_of(board.preview(board.render(notice(title=title))))
    assert title in re.sub(r"—\d+—", "", document)


# --- tables


def test_a_long_table_repeats_its_header_on_the_next_page(board: Bulletin) -> None:
    rows = [(str(n), f"单位{n}", "广播电视编辑岗位", "81.32") for n in range(1, 61)]
    found = pages(board, notice(Table((("序号", "工作单位", "报考岗位", "总成绩"), *rows))))
    texts = ["".join(map(words, lines(page))) for page in found]
    assert sum("序号工作单位报考岗位总成绩" in text for text in texts) >= 2
    assert all(any(f"{n}单位{n}广播电视编辑岗位81.32" in text for text in texts) for n in range(1, 61))


def test_a_wide_table_stays_within_the_text_block(board: Bulletin) -> None:
    head = tuple(f"第{n}栏名称" for n in range(12))
    for cell in ("内容", "这里是一段比较长的说明文字，需要回行", "12370303MB289196XT"):
        page = pages(board, notice(Table((head, (cell,) * 12))))[0]
        assert max(glyph.x for glyph in page) < (210 - 26) * MM


# --- the facts of a notice


def test_a_public_notice_carries_all_its_facts(board: Bulletin) -> None:
    message = replace(
        notice(),
        item_type="公示",
        document_number="张广发〔2026〕12号",
        period=(date(2026, 11, 23), date(2026, 11, 27)),
        objection_contact="局办公室，0533-2861234",
        files=(
            File("拟聘用人员名单.xlsx", "application/vnd.ms-excel", b"x"),
            File("说明.pdf", "application/pdf", b"y"),
        ),
    )
    document = text_of(board.preview(board.render(message), "2026-11-23"))
    for fact in (
        "公示时间：2026年11月23日至2026年11月27日",
        "异议受理：局办公室，0533-2861234",
        "监督电话：0533-2860000",
        "张贴日期：2026年11月23日",
        "体裁：公示",
        "索引号：000014349/2026-00110",
        "文号：张广发〔2026〕12号",
        "网址：https://www.example.gov.cn/i/1234",
        "附件：1.拟聘用人员名单2.说明",
        "张店区广播电视局2026年11月20日",
    ):
        assert fact in document


def test_an_announcement_shows_no_period_and_no_objection_contact(board: Bulletin) -> None:
    document = text_of(board.preview(board.render(notice())))
    assert "公示时间" not in document
    assert "异议受理" not in document


def test_a_text_that_signs_itself_is_not_signed_again(board: Bulletin) -> None:
    document = text_of(board.preview(board.render(notice(Closing("张店区广电局办公室", "2026年11月19日")))))
    assert "张店区广播电视局" not in document
    assert "2026年11月20日" not in document


def test_the_posting_date_is_left_blank_for_a_pen_until_it_is_known(board: Bulletin) -> None:
    assert f"张贴日期：{''.join(BLANK_DATE.split())}" in text_of(board.preview(board.render(notice())))


def test_the_qr_code_on_paper_is_the_public_address(board: Bulletin) -> None:
    matrix = segno.make("https://www.example.gov.cn/i/1234", error="m", micro=False).matrix
    scale, size = 4, len(matrix)
    bitmap = pypdfium2.PdfDocument(board.preview(board.render(notice())))[0].render(scale=scale, grayscale=True)
    pixels, stride = bytes(bitmap.buffer), int(bitmap.stride)
    module = 28 * MM * scale / (size + 4)  # 28 mm with a quiet zone of two modules on each side

    def dark(x: float, y: float) -> bool:
        return pixels[int(y) * stride + int(x)] < 128

    # its upper left corner: the first dark row under the rule of the box, and that row's first dark point
    columns = range(int(150 * MM * scale), int(176 * MM * scale))
    rows = [y for y in range(bitmap.height // 2, bitmap.height) if any(dark(x, y) for x in columns)]
    top = next(below for above, below in pairwise(rows) if below > above + 1)
    left = next(x for x in columns if dark(x, top + 1))
    read = [[dark(left + (x + 0.5) * module, top + (y + 0.5) * module) for x in range(size)] for y in range(size)]
    assert read == [[bool(cell) for cell in row] for row in matrix]


def test_the_pdf_says_its_title_and_language_to_a_screen_reader(board: Bulletin) -> None:
    pdf = board.preview(board.render(notice()))
    assert pypdfium2.PdfDocument(pdf).get_metadata_value("Title") == "关于做好政府信息公开工作的通知"
    assert b"/Lang(zh-CN)" in pdf.replace(b"/Lang (", b"/Lang(")
    assert b"pdfuaid" in pdf


# --- rendering and delivering


def test_notices_are_set_in_many_threads_at_once(board: Bulletin) -> None:
    def compose(number: int) -> bytes:
        return board.preview(board.render(notice(title=f"第{number}号公告")))

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(compose, range(24)))
    assert all(f"第{number}号公告" in text_of(pdf) for number, pdf in enumerate(found))


def test_a_process_forked_after_the_first_notice_refuses_instead_of_hanging(board: Bulletin) -> None:
    rendition = board.render(notice())
    child = os.fork()
    if not child:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # pytest's time limit is not for the child
        signal.alarm(10)
        try:
            board.preview(rendition)
        except RuntimeError:
            os._exit(42)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42


def test_the_same_message_renders_to_the_same_bytes(board: Bulletin) -> None:
    first, again = board.render(notice()), board.render(notice())
    assert first == again
    assert first.media_type == MEDIA_TYPE
    assert board.preview(first) == board.preview(again)


def test_a_notice_approved_in_another_layout_is_not_printed(board: Bulletin) -> None:
    rendition = board.render(notice())
    older = Rendition(MEDIA_TYPE, rendition.body.replace(b'"notice/2"', b'"notice/0"'))
    with pytest.raises(Rejected, match=r"bulletin\.other_template"):
        board.deliver(older, POSTED)


def test_a_warning_of_the_typesetter_is_an_error() -> None:
    with pytest.raises(CannotTypeset, match=r"typst\.cannot_typeset"):
        typeset("notice", {"title": "缺数据"})


def test_a_second_delivery_of_the_same_call_prints_nothing_new(board: Bulletin) -> None:
    rendition = board.render(notice())
    first = board.deliver(rendition, POSTED)
    before = (board.directory / first.reference).read_bytes()
    assert board.deliver(rendition, POSTED) == first
    assert [path.name for path in board.directory.iterdir()] == [first.reference]
    assert (board.directory / first.reference).read_bytes() == before == board.preview(rendition, "2026-11-23")


def test_a_correction_is_another_file_and_leaves_the_printed_one(tmp_path: Path) -> None:
    channel, effects = bulletin_rig(tmp_path)
    channel.deliver(channel.render(notice()), POSTED)
    channel.deliver(channel.render(notice(title="更正后的通知")), Call("bulletin/1234", 2))
    assert effects() == 2


def test_a_withdrawal_asks_for_the_notice_to_be_taken_down(board: Bulletin) -> None:
    receipt = board.withdraw(Call("bulletin/1234", 2))
    assert board.withdraw(Call("bulletin/1234", 2)) == receipt
    assert receipt.reference == "1234-2-takedown.pdf"
    document = text_of((board.directory / receipt.reference).read_bytes())
    assert "撤下通知" in document
    assert "/i/1234" in document


@contextmanager
def full_disk() -> Iterator[None]:
    """No file may grow past 4 KiB: a write breaks off in the middle, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_no_partial_notice_and_the_next_try_succeeds(board: Bulletin) -> None:
    rendition = board.render(notice())
    board.directory.mkdir()
    with full_disk(), pytest.raises(Unavailable, match=r"bulletin\.cannot_write"):
        board.deliver(rendition, POSTED)
    assert list(board.directory.iterdir()) == []
    assert (board.directory / board.deliver(rendition, POSTED).reference).exists()


def test_a_folder_that_cannot_be_written_is_unavailable(board: Bulletin, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(*_: object) -> NoReturn:
        raise OSError(30, "Read-only file system")

    rendition = board.render(notice())
    monkeypatch.setattr(Path, "replace", read_only)
    for attempt in (lambda: board.deliver(rendition, POSTED), lambda: board.withdraw(POSTED), board.check):
        with pytest.raises(Unavailable) as failure:
            attempt()
        assert failure.value.facts == {"reason": "EROFS"}
    assert list(board.directory.iterdir()) == []


def test_a_check_leaves_nothing_on_the_board(board: Bulletin) -> None:
    assert board.check() == "ok"
    assert list(board.directory.iterdir()) == []


def test_only_a_person_can_see_the_board(board: Bulletin) -> None:
    rendition = board.render(notice())
    assert board.verify([(rendition, POSTED), (None, POSTED)]) == [Seen.UNKNOWN, Seen.UNKNOWN]
    assert board.read_report({}) is None
