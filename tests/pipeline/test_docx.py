"""What a .docx of Word or WPS becomes: what its reader sees, and nothing that was not meant for readers."""

import time
from io import BytesIO
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import docx as python_docx
import pytest

from channels.document import BadText, Heading, Paragraph, Table, clean, decode, parse
from pipeline import docx
from pipeline.docx import Body
from tests.pipeline.papers import (
    PNG,
    SPACES,
    abstract,
    cell,
    deleted,
    document,
    level,
    num,
    numbered,
    p,
    root,
    row,
    run,
    style,
    styled,
    table,
)

SEED = decode((Path(__file__).parents[1] / "channels" / "seed.txt").read_bytes())
MARGIN = "各单位要认真学习，抓好落实。"


def read(body: str, **parts: object) -> Body:
    return docx.read(document(body, **parts))  # type: ignore[arg-type]


def lines(body: Body) -> list[str]:
    return body.text.split("\n\n")


def found(body: Body) -> dict[str, dict[str, str]]:
    return {finding.code: dict(finding.facts) for finding in body.findings}


def refused(content: bytes) -> str:
    with pytest.raises(BadText) as caught:
        docx.read(content)
    return caught.value.code


# The seed


def test_the_seed_as_word_document_gives_the_same_blocks() -> None:
    paper = python_docx.Document()
    for line in SEED.split("\n"):
        if line.strip():
            paper.add_paragraph(line)
    file = BytesIO()
    paper.save(file)
    assert docx.read(file.getvalue()) == Body(docx.read(file.getvalue()).text)  # no title, nothing to look at
    assert parse(docx.read(file.getvalue()).text) == parse(SEED)


def test_the_seed_gives_the_same_blocks_where_wps_numbers_its_headings() -> None:
    levels = (level(0, "chineseCounting", "%1、"), level(1, "chineseCounting", "（%2）"), level(2, "decimal", "%3、"))
    body = ""
    for line in filter(None, SEED.splitlines()):
        [block] = parse(line)
        depth = block.level if isinstance(block, Heading) else 3 if line[:2] in ("1、", "2、", "3、") else 0
        mark = ("", "、", "）", "、")[depth]
        body += p(line.partition(mark)[2], numbered(1, depth - 1)) if depth else p(line)
    read_back = read(body, numbering=abstract(1, *levels) + num(1, 1))
    assert "一、" not in body and parse(read_back.text) == parse(SEED)


# Numbers


@pytest.mark.parametrize(
    ("format", "text", "numbers"),
    [
        ("chineseCounting", "%1、", {1: "一、", 10: "十、", 11: "十一、", 20: "二十、", 99: "九十九、"}),
        (
            "chineseCountingThousand",
            "（%1）",
            {2: "（二）", 101: "（一百零一）", 110: "（一百一十）", 120: "（一百二十）"},
        ),
        ("japaneseCounting", "第%1条", {3: "第三条", 12: "第十二条"}),
        ("chineseLegalSimplified", "%1、", {1: "壹、", 10: "壹拾、", 12: "壹拾贰、"}),
        ("ideographDigital", "%1", {10: "一〇"}),
        ("decimal", "%1.", {1: "1.", 12: "12."}),
        ("decimalZero", "%1", {1: "01", 10: "10"}),
        ("decimalFullWidth", "%1．", {12: "１２．"}),
        ("decimalEnclosedCircle", "%1", {1: "①", 20: "⑳", 21: "㉑", 36: "㊱", 51: "51"}),
        ("decimalEnclosedCircleChinese", "%1", {3: "③"}),
        ("decimalEnclosedParen", "%1", {4: "⑷"}),
        ("decimalEnclosedFullstop", "%1", {5: "⒌"}),
        ("ideographTraditional", "%1、", {1: "甲、", 10: "癸、"}),
        ("upperRoman", "%1.", {4: "IV.", 19: "XIX."}),
        ("lowerLetter", "%1)", {1: "a)", 27: "aa)"}),
        ("neverHeardOf", "%1.", {7: "7."}),
        ("none", "附：", {1: "附："}),
    ],
)
def test_a_number_is_printed_as_its_format_says(format: str, text: str, numbers: dict[int, str]) -> None:
    for value, printed in numbers.items():
        one = read(p("内容", numbered(1)), numbering=abstract(1, level(0, format, text, start=value)) + num(1, 1))
        assert one.text.replace(" ", "") == f"{printed}内容"


def test_lower_levels_begin_anew_below_a_higher_one() -> None:
    levels = (level(0, "chineseCounting", "%1、"), level(1, "chineseCounting", "（%2）"), level(2, "decimal", "%3．"))
    body = "".join(p("事", numbered(1, depth)) for depth in (0, 1, 2, 2, 1, 2, 0, 1, 2))
    assert lines(read(body, numbering=abstract(1, *levels) + num(1, 1))) == [
        "一、事", "（一）事", "1．事", "2．事", "（二）事", "1．事", "二、事", "（一）事", "1．事",
    ]  # fmt: skip


def test_a_level_that_is_told_not_to_begin_anew_counts_on() -> None:
    levels = (level(0, "chineseCounting", "%1、"), level(1, "decimal", "%2.", '<w:lvlRestart w:val="0"/>'))
    body = "".join(p("事", numbered(1, depth)) for depth in (0, 1, 0, 1))
    assert lines(read(body, numbering=abstract(1, *levels) + num(1, 1))) == ["一、事", "1.事", "二、事", "2.事"]


def test_a_number_may_hold_those_above_it_and_all_in_arabic_figures() -> None:
    levels = (level(0, "chineseCounting", "第%1章"), level(1, "decimal", "%1.%2", "<w:isLgl/>"))
    body = p("总则", numbered(1, 0)) + p("范围", numbered(1, 1)) + p("期限", numbered(1, 1))
    assert lines(read(body, numbering=abstract(1, *levels) + num(1, 1))) == ["第一章 总则", "1.1 范围", "1.2 期限"]


def test_two_lists_of_one_numbering_count_on_and_a_restart_begins_anew_once() -> None:
    again = '<w:lvlOverride w:ilvl="0"><w:startOverride w:val="1"/></w:lvlOverride>'
    numbering = abstract(1, level(0, "decimal", "%1.")) + num(1, 1) + num(2, 1) + num(3, 1, again)
    body = "".join(p("事", numbered(which)) for which in (1, 1, 2, 3, 3))
    assert lines(read(body, numbering=numbering)) == ["1.事", "2.事", "3.事", "1.事", "2.事"]


def test_a_list_may_have_levels_of_its_own() -> None:
    own = f'<w:lvlOverride w:ilvl="0">{level(0, "chineseCounting", "%1、")}</w:lvlOverride>'
    numbering = abstract(1, level(0, "decimal", "%1.")) + num(1, 1, own)
    assert read(p("事", numbered(1)), numbering=numbering).text == "一、事"


def test_numbers_come_from_the_style_and_from_the_style_it_is_based_on() -> None:
    levels = (
        level(0, "chineseCounting", "%1、", '<w:pStyle w:val="1"/>'),
        level(1, "chineseCounting", "（%2）", '<w:pStyle w:val="2"/>'),
    )
    styles = (
        style("1", "heading 1", paragraph=numbered(1))
        + style("2", "heading 2", paragraph=numbered(1))  # WPS: the level stands only in the numbering
        + style("mine", "公文一级", based_on="1")
        + style("bare", "无序号", based_on="1", paragraph=numbered(0))
    )
    body = (
        p("总则", styled("1"))
        + p("目的", styled("2"))
        + p("范围", styled("2"))
        + p("附则", styled("mine"))
        + p("说明", styled("bare"))
    )
    one = read(body, styles=styles, numbering=abstract(1, *levels) + num(1, 1))
    assert lines(one) == ["一、总则", "（一）目的", "（二）范围", "二、附则", "说明"]
    assert found(one) == {"docx.headings_plain": {"count": "1"}}  # the last: as a paragraph, and the clerk is told


def test_a_list_style_says_what_the_levels_are() -> None:
    numbering = (
        '<w:abstractNum w:abstractNumId="1"><w:numStyleLink w:val="公文"/></w:abstractNum>'
        f'<w:abstractNum w:abstractNumId="2"><w:styleLink w:val="公文"/>{level(0, "decimal", "%1）")}</w:abstractNum>'
    )
    assert read(p("事", numbered(1)), numbering=numbering + num(1, 1)).text == "1）事"


def test_a_number_of_one_and_an_amount_behind_it_stay_two() -> None:
    one = read(p("5万元以下的项目", numbered(1)), numbering=abstract(1, level(0, "decimal", "%1.")) + num(1, 1))
    assert one.text == "1. 5万元以下的项目"


def test_a_bullet_of_a_symbol_font_is_a_bullet_and_a_missing_numbering_is_none() -> None:
    numbering = abstract(1, level(0, "bullet", "\uf06c")) + num(1, 1) + num(5, 9)
    assert lines(read(p("甲", numbered(1)) + p("乙", numbered(2)) + p("丙", numbered(5)), numbering=numbering)) == [
        "• 甲", "乙", "丙",
    ]  # fmt: skip


def test_a_hidden_numbered_paragraph_does_not_count() -> None:
    numbering = abstract(1, level(0, "decimal", "%1.")) + num(1, 1)
    hidden = p("", numbered(1) + "<w:rPr><w:vanish/></w:rPr>", run("乙", "<w:vanish/>"))
    assert lines(read(p("甲", numbered(1)) + hidden + p("丙", numbered(1)), numbering=numbering)) == ["1.甲", "2.丙"]


def test_an_empty_numbered_paragraph_counts_as_it_does_in_word() -> None:
    numbering = abstract(1, level(0, "decimal", "%1.")) + num(1, 1)
    assert lines(read("".join(p(text, numbered(1)) for text in ("甲", "", "乙")), numbering=numbering)) == [
        "1.甲", "3.乙",
    ]  # fmt: skip


# What is not meant for readers

INS = '<w:ins w:id="1" w:author="王">'


def test_tracked_changes_are_taken_as_accepted_counted_and_deleted_text_never_appears() -> None:
    body = p("定于", inside=deleted("十二月三日举行") + INS + run("十二月四日举行。") + "</w:ins>") + p(
        inside=f"<w:moveFrom>{run('搬走的')}</w:moveFrom><w:moveTo>{run('搬来的。')}</w:moveTo>"
    )
    one = read(body)
    assert lines(one) == ["定于十二月四日举行。", "搬来的。"]
    assert found(one) == {"docx.tracked": {"insertions": "2", "deletions": "2"}}
    assert "李" not in str(one) and "三日" not in str(one)


def test_a_paragraph_whose_end_was_deleted_runs_into_the_next() -> None:
    gone = "<w:rPr><w:del w:id='1' w:author='李'/></w:rPr>"
    numbering = abstract(1, level(0, "decimal", "%1.")) + num(1, 1)
    body = (
        p("前一半，", numbered(1) + gone)
        + p("后一半。", numbered(1))
        + p(inside=deleted("全删"), properties=gone)
        + p("末段。")
    )
    one = read(body, numbering=numbering)
    assert lines(one) == ["1.前一半，后一半。", "末段。"]
    assert found(one)["docx.tracked"] == {"insertions": "0", "deletions": "2"}


def test_a_deleted_row_and_a_deleted_cell_are_left_out() -> None:
    body = table(
        row(cell(p("名称")), cell(p("数量")), cell(p("密")), properties=""),
        row(cell(p("删")), cell(p("1")), properties='<w:del w:id="1"/>'),
        row(cell(p("留")), cell(p("2")), cell(p("秘"), '<w:cellDel w:id="2"/>')),
    )
    one = read(body)
    assert one.text == "| 名称 | 数量 | 密 |\n| 留 | 2 |"
    assert found(one)["docx.tracked"]["deletions"] == "2"


def test_comments_are_counted_and_never_read() -> None:
    comments = root("comments", f'<w:comment w:id="0" w:author="陈">{p("这一段不能公开")}</w:comment>')
    body = p("正文。", inside='<w:commentRangeStart w:id="0"/><w:r><w:commentReference w:id="0"/></w:r>')
    one = read(body, related={"c": ("comments", "comments.xml")}, parts={"word/comments.xml": comments})
    assert one.text == "正文。" and found(one) == {"docx.comments": {"count": "1"}}
    assert "不能公开" not in str(one)


def test_hidden_text_is_left_out_however_it_is_hidden() -> None:
    styles = (
        style("h", "秘", text="<w:vanish/>", kind="character")
        + style("hh", "更秘", based_on="h", kind="character")
        + style("hp", "秘段", text="<w:vanish/>")
    )
    body = (
        p("公开。", inside=run("甲乙", "<w:vanish/>") + run("丙", '<w:rStyle w:val="hh"/>'))
        + p("丁戊己", styled("hp"))
        + p("不隐藏。", styled("hp")).replace("<w:rPr></w:rPr>", '<w:rPr><w:vanish w:val="0"/></w:rPr>')
        + p("照旧。", inside=run("可见。", '<w:vanish w:val="false"/>'))
    )
    one = read(body, styles=styles)
    assert lines(one) == ["公开。", "不隐藏。", "照旧。可见。"]
    assert found(one) == {"docx.hidden": {"count": "6"}}


def test_what_waits_to_be_filled_in_is_no_text() -> None:
    waiting = "<w:sdtPr><w:showingPlcHdr/></w:sdtPr>"
    body = f"<w:sdt>{waiting}<w:sdtContent>{p('单击此处输入')}</w:sdtContent></w:sdt>" + p(
        "甲：", inside=f"<w:sdt>{waiting}<w:sdtContent>{run('选择一项')}</w:sdtContent></w:sdt>"
    )
    assert read(body + f"<w:sdt><w:sdtContent>{p('已填。')}</w:sdtContent></w:sdt>").text == "甲：\n\n已填。"


# Inside a paragraph


def test_soft_breaks_fields_links_and_special_characters() -> None:
    field = (
        '<w:r><w:fldChar w:fldCharType="begin"/></w:r><w:r><w:instrText> DATE \\@ "yyyy" </w:instrText></w:r>'
        '<w:r><w:fldChar w:fldCharType="separate"/></w:r><w:r><w:t>2026</w:t></w:r>'
        '<w:r><w:fldChar w:fldCharType="end"/></w:r>'
    )
    box = '<w:r><w:sym w:font="Wingdings" w:char="F0FE"/></w:r><w:r><w:sym w:font="Webdings" w:char="F061"/></w:r>'
    body = p(
        "\u3000\u3000甲",
        inside='<w:r><w:br/><w:t>乙</w:t><w:br w:type="page"/><w:tab/><w:t>丙</w:t><w:noBreakHyphen/></w:r>' + field
        + f'<w:fldSimple w:instr="PAGE">{run("7")}</w:fldSimple><w:smartTag>{run("丁")}</w:smartTag>{box}',
    )  # fmt: skip
    one = read(body)
    assert one.text == "甲\n乙 丙-20267丁☑"
    assert found(one) == {"docx.symbols": {"count": "1"}}


def test_a_link_whose_address_stands_nowhere_is_told() -> None:
    body = "".join(p(inside=f'<w:hyperlink r:id="{id}">{run(text)}</w:hyperlink>')
                   for id, text in (("l1", "点这里"), ("l2", "www.example.gov.cn")))  # fmt: skip
    related = {
        "l1": ("hyperlink", "https://gk.example.gov.cn/1"),
        "l2": ("hyperlink", "https://www.example.gov.cn/"),
    }
    one = read(body, related=related)
    assert lines(one) == ["点这里", "www.example.gov.cn"] and found(one) == {"docx.links": {"count": "1"}}


def test_a_footnote_stands_in_brackets_where_it_is_referred_to() -> None:
    notes = f'<w:footnote w:id="2">{p("含派驻机构。")}</w:footnote><w:footnote w:id="3">{p("不用的")}</w:footnote>'
    body = p("各单位", inside='<w:r><w:footnoteReference w:id="2"/></w:r>' + run("要落实。"))
    one = read(body, footnotes=notes)
    assert one.text == "各单位（注：含派驻机构。）要落实。" and found(one) == {"docx.footnotes": {"count": "1"}}


def test_a_text_box_is_read_once_and_stands_below_its_paragraph() -> None:
    inside = f"<w:txbxContent>{p('框里的字。')}</w:txbxContent>"
    box = (
        "<w:r><mc:AlternateContent>"
        f'<mc:Choice Requires="wps"><w:drawing><wp:anchor><a:graphic><wps:wsp><wps:txbx>{inside}</wps:txbx></wps:wsp>'
        "</a:graphic></wp:anchor></w:drawing></mc:Choice>"
        f"<mc:Fallback><w:pict><v:shape><v:textbox>{inside}</v:textbox></v:shape></w:pict></mc:Fallback>"
        "</mc:AlternateContent></w:r>"
    )
    old = f"<w:r><w:pict><v:shape><v:textbox>{inside.replace('框', '旧框')}</v:textbox></v:shape></w:pict></w:r>"
    one = read(p("前。", inside=box) + p("后。", inside=old))
    assert lines(one) == ["前。", "框里的字。", "后。", "旧框里的字。"]
    assert found(one) == {"docx.text_boxes": {"count": "2"}}


def test_a_fallback_is_taken_where_the_choice_says_nothing() -> None:
    choice, fallback = "<mc:Choice Requires='x'><w:drawing/></mc:Choice>", "<w:t>有字。</w:t>"
    both = f"<mc:AlternateContent>{choice}<mc:Fallback>{fallback}</mc:Fallback></mc:AlternateContent>"
    one = f"<w:r>{both}</w:r>"
    assert read(p(inside=one)).text == "有字。"


def test_formulas_charts_and_embedded_files_are_told() -> None:
    body = p(
        "式", inside="<m:oMath><m:r><m:t>a+b</m:t></m:r></m:oMath><w:r><w:instrText>eq \\o\\ac(○,1)</w:instrText></w:r>"
    ) + p(
        "图",
        inside="<w:r><w:object><v:shape><v:imagedata r:id='x'/></v:shape></w:object></w:r>"
        "<w:r><w:drawing><c:chart/></w:drawing></w:r>",
    )
    one = read(body + "<w:altChunk r:id='y'/>")
    assert lines(one) == ["式a+b", "图"]
    assert found(one) == {"docx.formulas": {"count": "2"}, "docx.objects": {"count": "3"}}


def test_pictures_become_attachments_once_each_and_are_told() -> None:
    def shown(id: str) -> str:
        return f"<w:r><w:drawing><wp:inline><a:blip r:embed='{id}'/></wp:inline></w:drawing></w:r>"

    old = "<w:r><w:pict><v:shape><v:imagedata r:id='p2'/></v:shape></w:pict></w:r>"
    related = {"p1": ("image", "media/image1.png"), "p2": ("image", "/word/media/image7.JPG"),
               "p3": ("image", "media/image3.emf"), "p4": ("image", "https://example.com/a.png"),
               "p5": ("image", "media/gone.png")}  # fmt: skip
    parts: dict[str, bytes | str] = {
        "word/media/image1.png": PNG,
        "word/media/image7.JPG": b"\xff\xd8jpeg",
        "word/media/image3.emf": b"emf",
    }
    one = read(
        p("图：", inside=shown("p1") + shown("p1") + old + shown("p3") + shown("p4") + shown("p5") + shown("p9")),
        related=related, parts=parts,
    )  # fmt: skip
    assert [(file.name, file.media_type, file.content) for file in one.pictures] == [
        ("图1.png", "image/png", PNG), ("图2.jpg", "image/jpeg", b"\xff\xd8jpeg"),
    ]  # fmt: skip
    assert found(one) == {"docx.pictures": {"names": "图1.png、图2.jpg"}, "docx.pictures_left_out": {"count": "4"}}
    assert all(docx.PICTURE_NAME.fullmatch(file.name) for file in one.pictures)


# Tables


def test_a_table_becomes_rows_that_are_read_as_a_table() -> None:
    span, begin, on = '<w:gridSpan w:val="2"/>', '<w:vMerge w:val="restart"/>', "<w:vMerge/>"
    body = p(MARGIN) + table(
        row(cell(p("2026年考核结果"), '<w:gridSpan w:val="3"/>')),
        row(cell(p("部门")), cell(p("得分"), span)),
        row(cell(p("新闻部") + p("（含记者站）"), begin), cell(p("95|A")), cell(p("1"))),
        row(cell(p("隐去"), on), cell(p("90")), cell(p())),
        row(cell(p("备注：以上为初评结果。"), '<w:gridSpan w:val="3"/>')),
    ) + p("特此公示。")  # fmt: skip
    one = read(body)
    assert parse(clean(one.text)) == (
        Paragraph(MARGIN), Paragraph("2026年考核结果"),
        Table((("部门", "得分", ""), ("新闻部 （含记者站）", "95｜A", "1"), ("", "90", ""))),
        Paragraph("备注：以上为初评结果。"), Paragraph("特此公示。"),
    )  # fmt: skip
    assert found(one) == {"docx.merged_cells": {"count": "1"}} and "隐去" not in one.text


def test_numbers_in_a_tables_first_column_count_also_in_empty_cells() -> None:
    numbering = abstract(1, level(0, "decimal", "%1.")) + num(1, 1)
    body = table(*(row(cell(p("", numbered(1))), cell(p(name))) for name in ("甲", "乙")))
    one = read(
        table(row(cell(p("序号")), cell(p("单位")))).replace("</w:tbl>", body.split("<w:tblPr/>")[1]),
        numbering=numbering,
    )
    assert parse(one.text) == (Table((("序号", "单位"), ("1.", "甲"), ("2.", "乙"))),)


def test_a_frame_is_no_table_and_a_table_in_a_cell_becomes_its_text() -> None:
    inner = table(row(cell(p("子一")), cell(p("子二"))), row(cell(p("子三")), cell(p("子四"))))
    framed = table(row(cell(p("一、总则") + inner + p("框中第二段。"))))
    assert lines(read(framed)) == ["一、总则", "| 子一 | 子二 |\n| 子三 | 子四 |", "框中第二段。"]
    nested = read(table(row(cell(p("甲")), cell(p("乙"))), row(cell(inner + p()), cell(p("丙")))))
    assert nested.text == "| 甲 | 乙 |\n| 子一 子二 子三 子四 | 丙 |"
    assert found(nested) == {"docx.nested_tables": {"count": "1"}}


def test_a_single_row_of_cells_is_paragraphs() -> None:
    assert lines(read(table(row(cell(p("联系人：张科长")), cell(p("电话：0533-0000000")))))) == [
        "联系人：张科长", "电话：0533-0000000",
    ]  # fmt: skip


# The title

CENTRED = '<w:jc w:val="center"/>'
NUMBER = "张广发〔2026〕58号"


@pytest.mark.parametrize(
    ("body", "title", "first"),
    [
        (p("关于值班的通知", styled("t")) + p(MARGIN), "关于值班的通知", MARGIN),
        (p("关于做好2026年冬季", styled("t")) + p("安全播出工作的通知", styled("t")) + p(MARGIN),
         "关于做好2026年冬季安全播出工作的通知", MARGIN),
        (p("张店区广播电视局文件", CENTRED) + p(NUMBER, CENTRED) + p() + p("关于做好冬季", CENTRED)
         + p("值班工作的通知", CENTRED) + p() + p("各科室：") + p(MARGIN),
         "关于做好冬季值班工作的通知", "张店区广播电视局文件"),
        (p("在全区会议上的发言", CENTRED) + p("（2026年11月）", CENTRED) + p(MARGIN),
         "在全区会议上的发言", "（2026年11月）"),
        (p("工作动态", styled("h1")) + p(MARGIN), "工作动态", MARGIN),
        (p("关于停播检修的公告") + p(MARGIN), "关于停播检修的公告", MARGIN),
        (p("关于停播检修的", inside="<w:r><w:br/><w:t>公告</w:t></w:r>") + p(MARGIN), "关于停播检修的公告", MARGIN),
        (p("居中两行", CENTRED + styled("c")) + p(MARGIN), "居中两行", MARGIN),
    ],
)  # fmt: skip
def test_a_title_is_proposed_and_no_longer_in_the_text(body: str, title: str, first: str) -> None:
    styles = style("t", "Title") + style("h1", "heading 1") + style("c", "中", paragraph=CENTRED)
    one = read(body, styles=styles)
    assert (one.title, lines(one)[0]) == (title, first)


@pytest.mark.parametrize(
    "body",
    [
        p("2015年，按照区委、区政府信息公开工作的总体部署和要求。") + p(MARGIN),
        p("各科室：") + p(MARGIN),
        p("一、概述", styled("h1")) + p(MARGIN),
        p("一、概述", CENTRED) + p(MARGIN),
        p("长" * 101, CENTRED) + p(MARGIN),
        p("关于停播检修的公告"),  # the whole text
        table(row(cell(p("关于检修的通知")), cell(p("一"))), row(cell(p("二")), cell(p("三")))) + p(MARGIN),
        p("我局根据安排发布了报告。", CENTRED) + p(MARGIN),
    ],
)
def test_a_paragraph_a_heading_or_a_table_is_no_title(body: str) -> None:
    one = read(body, styles=style("h1", "heading 1"))
    assert one.title == "" and MARGIN.split("，")[0] in one.text + MARGIN


def test_the_table_of_contents_is_left_out() -> None:
    body = p("目录", styled("0")) + p("一、概述\t1", styled("10")) + p("一、概述", styled("h")) + p(MARGIN)
    one = read(body, styles=style("10", "toc 1") + style("0", "TOC Heading") + style("h", "heading 1"))
    assert lines(one) == ["一、概述", MARGIN] and found(one) == {"docx.contents": {"count": "2"}}


def test_a_document_that_word_made_is_read_as_word_shows_it() -> None:
    paper = python_docx.Document()
    paper.add_paragraph("关于试播的通知", style="Title")
    paper.add_heading("总体要求", 1)
    for text in ("甲", "乙"):
        paper.add_paragraph(text, style="List Number")
    made = paper.add_table(2, 2)
    for at, text in enumerate(("名称", "数量", "终端", "12")):
        made.cell(at // 2, at % 2).text = text
    paper.add_picture(BytesIO(PNG))
    file = BytesIO()
    paper.save(file)
    one = docx.read(file.getvalue())
    assert (one.title, lines(one)) == (
        "关于试播的通知",
        ["总体要求", "1.甲", "2.乙", "| 名称 | 数量 |\n| 终端 | 12 |"],
    )
    assert [file.content for file in one.pictures] == [PNG]
    assert found(one).keys() == {"docx.headings_plain", "docx.pictures"}


def test_a_document_in_the_strict_form_is_read_alike() -> None:
    body = p("事", numbered(1))
    numbering = abstract(1, level(0, "decimal", "%1.")) + num(1, 1)
    content = BytesIO(document(body, numbering=numbering))
    strict = BytesIO()
    with ZipFile(content) as before, ZipFile(strict, "w") as after:
        for name in before.namelist():
            data = before.read(name)
            for loose, tight in (
                (b"wordprocessingml/2006/main", b"wordprocessingml/main"),
                (b"officeDocument/2006", b"officeDocument"),
            ):
                data = data.replace(b"schemas.openxmlformats.org/" + loose, b"purl.oclc.org/ooxml/" + tight)
            after.writestr(name, data)
    assert b"purl" in ZipFile(strict).read("word/document.xml")
    assert docx.read(strict.getvalue()) == docx.read(content.getvalue())


# What is refused


def test_files_that_are_damaged_or_no_word_document_are_refused() -> None:
    whole = document(p(MARGIN))
    assert refused(whole[:-40]) == refused(b"PK\x03\x04") == refused(b"") == "docx.damaged"
    assert refused(document("<w:p>")) == "docx.damaged"  # not closed
    assert refused(document("<w:p>" * 300 + "</w:p>" * 300)) == "docx.damaged"
    assert refused(document("", parts={"word/document.xml": root("somethingElse", "")})) == "docx.not_word"
    other = BytesIO()
    with ZipFile(other, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    assert refused(other.getvalue()) == "docx.not_word"
    spoiled = bytearray(whole)
    at = whole.index(b"word/document.xml") + 40
    spoiled[at : at + 4] = b"\0\0\0\0"
    assert refused(bytes(spoiled)) == "docx.damaged"


@pytest.mark.parametrize(
    "parts",
    [
        {"word/vbaProject.bin": b"\0"},
        {"[Content_Types].xml": "<Types><Override ContentType='vnd.ms-word.document.macroEnabled.main+xml'/></Types>"},
    ],
)  # fmt: skip
def test_macros_are_refused_whatever_the_file_is_called(parts: dict[str, bytes | str]) -> None:
    assert refused(document(p(MARGIN), parts=parts)) == "docx.macros"


def test_no_entity_is_resolved_and_no_file_of_ours_is_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("机密")
    laughs = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
    for inside in (f'<!ENTITY x SYSTEM "{secret.as_uri()}">', f'<!ENTITY e0 "哈">{laughs}<!ENTITY x "&e9;">'):
        xml = f"<!DOCTYPE d [{inside}]><w:document {SPACES}><w:body>{p('&x;')}</w:body></w:document>"
        begun = time.monotonic()
        assert refused(document("", parts={"word/document.xml": xml})) == "docx.damaged"
        assert time.monotonic() - begun < 5


def bomb(name: str, size: int) -> bytes:
    file = BytesIO(document(p(MARGIN), related={"p": ("image", "media/a.png")}))
    with ZipFile(file, "a", ZIP_DEFLATED) as archive, archive.open(name, "w") as part:
        for _ in range(size // 1_000_000):
            part.write(b" " * 1_000_000)
    return file.getvalue()


def test_a_zip_bomb_is_refused_before_it_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docx, "LARGEST", 9_000_000)
    content = bomb("word/endnotes.xml", 30_000_000)
    assert len(content) < 100_000
    assert docx.read(content).text == MARGIN  # nobody refers to it: it is not even opened
    shown = p(MARGIN, inside="<w:r><a:blip r:embed='p'/></w:r>")
    big = document(shown, related={"p": ("image", "media/a.png")}, parts={"word/media/a.png": bytes(30_000_000)})
    assert refused(big) == "docx.too_large"
    assert refused(document("<w:p/>" * 1_100_000)) == "docx.too_large"  # 6 MB, but 300 of memory
    monkeypatch.setattr(docx, "MOST_PARTS", 20)
    assert refused(document(p(MARGIN), parts={f"x{n}": b"" for n in range(20)})) == "docx.too_large"


def test_small_documents_that_would_print_large_ones_are_held() -> None:
    note = f'<w:footnote w:id="2">{p("注" * 1000)}</w:footnote>'
    again = "<w:r><w:footnoteReference w:id='2'/></w:r>" * 1000
    assert read(p("文", inside=again), footnotes=note).text.count("注") == 1001  # once
    numbering = abstract(1, level(0, "upperRoman", "%1" * 1000, start=999_999_999)) + num(1, 1)
    assert len(read(p("文", numbered(1)), numbering=numbering).text) < 500
    wide = table(row(cell(p("甲"), '<w:gridSpan w:val="99999999"/>'), cell(p("乙"))), row(cell(p("丙")), cell(p("丁"))))
    assert len(read(wide).text) < 500


def test_a_style_based_on_itself_ends() -> None:
    styles = style("a", "甲", based_on="b") + style("b", "乙", based_on="a")
    assert read(p("文。", styled("a")), styles=styles).text == "文。"


def test_reading_takes_time_in_proportion() -> None:
    def seconds(paragraphs: int) -> float:
        content = document(
            p(MARGIN, numbered(1)) * paragraphs, numbering=abstract(1, level(0, "decimal", "%1.")) + num(1, 1)
        )
        begun = time.process_time()
        docx.read(content)
        return time.process_time() - begun

    seconds(10)
    assert seconds(8_000) < 10 * max(seconds(2_000), 0.02)
