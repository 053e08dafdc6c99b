"""The seed document is the acceptance text: the 2015 annual disclosure report the product began with."""

import random
import re
import time
import tomllib
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from channels.document import (
    BadText,
    Block,
    Closing,
    Heading,
    Paragraph,
    Table,
    clean,
    decode,
    parse,
    to_html,
    to_text,
)

SEED = decode(Path(__file__).with_name("seed.txt").read_bytes())
SAMPLES = Path(__file__).parents[2] / "config" / "samples"


def squeezed(text: str) -> str:
    return "".join(text.split())


def samples() -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = tomllib.loads((SAMPLES / "samples.toml").read_text("utf-8"))["sample"]
    return listed


def headings(blocks: tuple[Block, ...], level: int) -> list[str]:
    return [block.text for block in blocks if isinstance(block, Heading) and block.level == level]


# The seed


def test_the_seed_has_exactly_its_ten_headings() -> None:
    assert headings(parse(SEED), 1) == [
        "一、概述",
        "二、政府信息公开的组织领导和制度建设情况",
        "三、重点领域政府信息公开工作推进情况",
        "四、主动公开政府信息以及公开平台建设情况",
        "五、政府信息公开申请的办理情况",
        "六、政府信息公开的收费及减免情况",
        "七、因政府信息公开申请提起行政复议、行政诉讼的情况",
        "八、政府信息公开保密审查及监督检查情况",
        "九、所属事业单位信息公开推进情况",
        "十、政府信息公开工作存在的主要问题及改进情况",
    ]


def test_the_seeds_second_and_third_levels_are_found() -> None:
    blocks = parse(SEED)
    assert [text[:3] for text in headings(blocks, 2)] == ["（一）", "（二）", "（三）"]
    assert "1、狠抓政务信息公开。" in headings(blocks, 3)
    assert "3、建立了政务公开监督保障机制。" in headings(blocks, 3)


def test_the_words_the_seed_breaks_across_an_empty_line_are_whole_again() -> None:
    texts = to_text(parse(SEED)).split("\n")
    assert any("先进典型，为推动全区政府信息公开工作的深入开展营造浓厚的氛围。" in text for text in texts)
    assert any("对于保障各项工作的健康、稳定、持续发展发挥着重要作用。" in text for text in texts)
    assert len(texts) == 40 - 2  # forty paragraphs in the file, two of them halves


def test_the_seeds_first_paragraph_is_text_and_not_a_title() -> None:
    first = parse(SEED)[0]
    assert isinstance(first, Paragraph)
    assert first.text.startswith("2015年，按照区委、区政府")


def test_every_number_of_the_seed_keeps_its_qualifier() -> None:
    text = to_text(parse(SEED))
    assert re.findall(r"\d+", text) == re.findall(r"\d+", SEED)
    for number in ("1000余个", "95%以上", "100余个", "59期", "43个", "36个", "40万元"):
        assert number in text


def test_the_seed_comes_back_character_for_character() -> None:
    assert squeezed(to_text(parse(SEED))) == squeezed(SEED)


def test_the_seed_reads_the_same_hard_wrapped_at_a_printed_line() -> None:
    pages: list[str] = []
    for line in to_text(parse(SEED)).split("\n"):
        pages += re.findall(".{1,36}", "\u3000\u3000" + line)
    assert parse("\n".join(pages)) == parse(SEED)


def test_the_seed_reads_the_same_with_every_line_indented_by_an_editor() -> None:
    assert parse("\n".join("\u3000\u3000" + line for line in SEED.split("\n"))) == parse(SEED)


# Headings


@pytest.mark.parametrize(
    ("text", "block"),
    [
        ("一、概述", Heading(1, "一、概述")),
        ("十二、附则", Heading(1, "十二、附则")),
        ("（一）总体要求", Heading(2, "（一）总体要求")),
        ("(三)总体要求", Heading(2, "(三)总体要求")),
        ("1.总体要求", Heading(3, "1.总体要求")),
        ("1．总体要求", Heading(3, "1．总体要求")),
        ("1、总体要求", Heading(3, "1、总体要求")),
        ("１．总体要求", Heading(3, "１．总体要求")),
        ("12. 总体要求", Heading(3, "12. 总体要求")),
        ("1.2026年工作打算", Heading(3, "1.2026年工作打算")),
        ("（1）总体要求", Heading(4, "（1）总体要求")),
        ("(2)总体要求", Heading(4, "(2)总体要求")),
        ("\u3000\u3000一、概述\u3000", Heading(1, "一、概述")),
        ("二、申请材料：", Heading(1, "二、申请材料：")),
        (
            "（一）开展“您有什么建议？”主题征集",
            Heading(2, "（一）开展“您有什么建议？”主题征集"),
        ),
        ("一、目标。到年底完成改造。验收合格。", Heading(1, "一、目标。", "到年底完成改造。验收合格。")),
        ("（二）压实责任。层层签订责任书。", Heading(2, "（二）压实责任。", "层层签订责任书。")),
        ("1、压实责任。层层签订责任书。", Heading(3, "1、压实责任。", "层层签订责任书。")),
        ("（1）压实责任。层层签订责任书。", Heading(4, "（1）压实责任。", "层层签订责任书。")),
    ],
)
def test_a_numbered_line_is_a_heading(text: str, block: Block) -> None:
    assert parse(text) == (block,)


@pytest.mark.parametrize(
    "text",
    [
        "三、本公告自发布之日起施行。",
        "（一）营业执照复印件1份；",
        "1.5万元以下的项目由业务科审核",
        "1、2号演播室已完成改造",
        "一、二、三等奖各若干名",
        "2026.11.16前报局办公室",
        "1、" + "成立了领导小组，建立了分工协作机制，" * 3 + "抓落实。同时明确专人。",
    ],
)
def test_a_number_that_heads_nothing_stays_in_its_paragraph(text: str) -> None:
    assert parse(text) == (Paragraph(text),)


# Broken lines

LONG = "各部室要充分认识做好冬季安全播出工作的重要意义，加强组织领导，为推"


@pytest.mark.parametrize("between", ["\n", "\n\n", "\r\n\r\n", "\n\u3000\n\n", "\n\n\n\n"])
def test_a_word_broken_by_a_line_or_an_empty_line_is_rejoined(between: str) -> None:
    text = f"{LONG}{between}动全局工作再上新台阶打下坚实基础。"
    assert parse(clean(text)) == (Paragraph(f"{LONG}动全局工作再上新台阶打下坚实基础。"),)


@pytest.mark.parametrize(
    "begins",
    [
        "一、工作目标",
        "（一）工作目标",
        "1.工作目标",
        "（1）工作目标",
        "附件：会议回执",
        "附件1",
        "联系电话：0533-0000000",
        "会议地点：局三楼会议室",
        "特此通知",
        "①局办公室",
        "——坚持便民高效",
        "• 局办公室",
        "第三条 本办法所称终端，是指接收设备。",
    ],
)
def test_what_begins_anew_is_never_swallowed(begins: str) -> None:
    blocks = parse(f"{LONG}\n{begins}")
    assert len(blocks) == 2
    assert to_text(blocks[1:]) == begins


@pytest.mark.parametrize(
    "lines",
    [
        ["各部室，各镇（街道）广播站：", "现将有关事项通知如下。"],
        ["关于做好张店区广播电视和网络视听行业2026年冬季安全播出保障有关工作的通知", "各部室：", "现通知如下。"],
        ["关于做好张店区广播电视和网络视听行业2026年冬季安全播出保障有关工作的通知", "根据要求，现通知如下。"],
        ["一、概述", "我局高度重视。"],
        ["（一）加强领导，健全机制，确保政务公开工作有效开展", "近年来，我局始终重视。"],
        ["时间：2026年11月18日", "地点：局三楼会议室", "参加人员：各部室信息员"],
        ["局办公室", "新闻部", "技术部"],
        ["凝心聚力，共谋发展", "近年来，我局始终重视。"],
        ["工作取得了明显成效。", "下一步，我局将继续努力。"],
    ],
)
@pytest.mark.parametrize("between", ["\n", "\n\n"])
def test_lines_that_are_whole_stay_apart(lines: list[str], between: str) -> None:
    assert to_text(parse(between.join(lines))).split("\n") == lines


def test_hard_wrapped_paragraphs_join_and_part_at_their_indents() -> None:
    text = """\u3000\u3000为进一步规范全区应急广播终端的日常维护管理，保障应急信息及时准确传递，根据
上级有关要求，结合我区实际，制定本办法。各镇、街道要明确一名维护人员，每月巡检。
每次巡检如实填写记录，发现故障在四十八小时内修复。
\u3000\u3000本办法由业务科负责解释。
\u3000\u3000（一）坚持日常巡检与集中检修相结合，保证各类应急广播终端始终处于良好的工
作状态
\u3000\u3000各部室要抓好落实。"""
    assert to_text(parse(text)).split("\n") == [
        "为进一步规范全区应急广播终端的日常维护管理，保障应急信息及时准确传递，根据"
        "上级有关要求，结合我区实际，制定本办法。各镇、街道要明确一名维护人员，每月巡检。"
        "每次巡检如实填写记录，发现故障在四十八小时内修复。",
        "本办法由业务科负责解释。",
        "（一）坚持日常巡检与集中检修相结合，保证各类应急广播终端始终处于良好的工作状态",
        "各部室要抓好落实。",
    ]


@pytest.mark.parametrize(
    ("left", "right"),
    [("坚持公开，", "坚持便民。"), ("设置公开栏、", "印发资料。"), ("工作取得成效", "。"), ("（见附件", "）。")],
)
def test_a_line_that_cannot_end_or_begin_with_its_mark_is_broken_however_short(left: str, right: str) -> None:
    assert parse(f"{left}\n\n{right}") == (Paragraph(left + right),)


def test_a_paragraph_without_its_full_stop_does_not_swallow_the_next_indented_one() -> None:
    wrapped = (
        "\u3000\u3000" + "我局高度重视安全播出工作，层层压实责任，逐项排查隐患，逐岗落实值班制度，确保万\n无一失。"
    )
    first = "各部室要按时报送自查情况，逾期不报的在全局范围内予以通报批评"
    texts = to_text(parse(f"{wrapped}\n\u3000\u3000{first}\n\u3000\u3000下一步工作安排如下。")).split("\n")
    assert texts[1:] == [first, "下一步工作安排如下。"]


def test_a_latin_sentence_ends_with_its_full_stop() -> None:
    lines = ["本标准的英文名称见下，全称为Digital Video Broadcasting.", "各单位应当执行。"]
    assert to_text(parse("\n".join(lines))).split("\n") == lines


@pytest.mark.parametrize(
    ("left", "right", "joined"),
    [
        ("Digital Video", "Broadcasting系统", "Digital Video Broadcasting系统"),
        ("监督电话0533-000", "0000，工作日", "监督电话0533-0000000，工作日"),
        ("网址为http://www.example.gov", "cn，", "网址为http://www.example.govcn，"),
        ("采用DVB", "标准", "采用DVB标准"),
        ("共接听群众热线1000", "余个", "共接听群众热线1000余个"),
        ("回复率达到了95%", "以上", "回复率达到了95%以上"),
    ],
)
def test_broken_latin_words_join_with_a_space_and_numbers_without(left: str, right: str, joined: str) -> None:
    start = "根据国家广播电视总局的有关技术要求，我局相关系统"
    assert parse(f"{start}{left}\n{right}实现。") == (Paragraph(f"{start}{joined}实现。"),)


def test_the_list_under_an_attachment_line_has_no_headings() -> None:
    blocks = parse("附件：1.会议回执\n      2.参会人员登记表\n\n一、概述")
    assert blocks == (Paragraph("附件：1.会议回执"), Paragraph("2.参会人员登记表"), Heading(1, "一、概述"))


# Tables


def test_rows_of_cells_become_a_table_and_short_rows_are_padded() -> None:
    text = "情况如下：\n栏目\t期数\t备注\n新闻\t31\n热线\t5\t含特别节目\n以上为10月数据。"
    assert parse(text) == (
        Paragraph("情况如下："),
        Table((("栏目", "期数", "备注"), ("新闻", "31", ""), ("热线", "5", "含特别节目"))),
        Paragraph("以上为10月数据。"),
    )


def test_a_table_drawn_with_bars_is_read() -> None:
    assert parse("| 栏目 | 期数 |\n|---|---:|\n| 热线 | 5 |") == (Table((("栏目", "期数"), ("热线", "5"))),)


def test_a_table_may_have_an_empty_corner() -> None:
    assert parse("\t9月\t10月\n热线\t4\t5") == (Table((("", "9月", "10月"), ("热线", "4", "5"))),)


@pytest.mark.parametrize(
    "lines",
    [
        ["\t各部室要认真抓好落实。", "\t要按时报送。"],
        ["1.\t公开范围", "2.\t公开时限"],
        ["局办公室\t0533-0000000"],
    ],
)
def test_a_tab_alone_makes_no_table(lines: list[str]) -> None:
    assert not any(isinstance(block, Table) for block in parse("\n".join(lines)))


def test_a_paragraph_indented_with_a_tab_is_not_the_header_of_the_table_below() -> None:
    blocks = parse("\t各部室情况统计如下。\n栏目\t期数\n热线\t5")
    assert blocks == (Paragraph("各部室情况统计如下。"), Table((("栏目", "期数"), ("热线", "5"))))


# Closings


@pytest.mark.parametrize(
    ("end", "closing"),
    [
        ("张店区广播电视局\n2026年11月16日", Closing("张店区广播电视局", "2026年11月16日")),
        ("　　　张店区广播电视局　\n\n　　2026 年 11 月 16 日", Closing("张店区广播电视局", "2026 年 11 月 16 日")),
        ("张店区广播电视局\n二〇二六年十一月十六日", Closing("张店区广播电视局", "二〇二六年十一月十六日")),
        ("张店区广播电视局　2026年11月16日", Closing("张店区广播电视局", "2026年11月16日")),
        ("2026年11月16日", Closing("", "2026年11月16日")),
        ("张店区广播电视局", Closing("张店区广播电视局", "")),
        (
            "张店区广播电视局\n张店区教育和体育局\n2026年11月16日",
            Closing("张店区广播电视局　张店区教育和体育局", "2026年11月16日"),
        ),
    ],
)
def test_signature_and_date_close_the_text(end: str, closing: Closing) -> None:
    assert parse(f"特此通知。\n{end}") == (Paragraph("特此通知。"), closing)


def test_notes_and_attachments_may_follow_the_date() -> None:
    text = "请遵照执行\n张店区广播电视局\n2026年11月16日\n（此件公开发布）\n附件1\n申请表"
    assert parse(text)[1:] == (
        Closing("张店区广播电视局", "2026年11月16日"),
        Paragraph("（此件公开发布）"),
        Paragraph("附件1"),
        Paragraph("申请表"),
    )


def test_a_date_in_the_middle_of_a_chronicle_closes_nothing() -> None:
    text = "大事记如下。\n2026年11月2日\n召开例会。\n2026年11月3日\n开展巡检。"
    assert not any(isinstance(block, Closing) for block in parse(text))


def test_the_last_line_of_a_broken_sentence_is_no_signature() -> None:
    text = "申请材料请于工作日报送至广电大厦三楼的张店区广播电视局，逾期不再受理，由申请人自行承担后果，送交\n局办公室"
    assert parse(text) == (Paragraph(text.replace("\n", "")),)


def test_the_end_of_a_broken_sentence_above_the_date_is_no_signature() -> None:
    text = "各单位要倒排工期、挂图作战，加快推进应急广播终端建设，确保在规定时间内"
    assert parse(f"{text}\n全部完成\n2026年11月16日") == (Paragraph(f"{text}全部完成"), Closing("", "2026年11月16日"))


# Nothing lost, in linear time


def some_text(dice: random.Random) -> str:
    marks = [
        "一、",
        "（一）",
        "1.",
        "（1）",
        "附件：",
        "联系人：",
        "特此通知",
        "•",
        "-",
        "2026年11月16日",
        "张店区广播电视局",
    ]
    breaks = ["\n", "\n\n", "\n\u3000\u3000", "\t", " ", "\u2028"]
    words = [
        "为推动全区广播电视工作健康持续发展营造浓厚的社会氛围",
        "工作",
        "DVB",
        "95%以上",
        "1000余",
        "𠮷",
        "😀",
        "é",
    ]
    pieces = marks + 2 * breaks + words + list("。，：”“（）.")
    return "".join(dice.choices(pieces, k=dice.randrange(1, 60)))


def test_no_text_loses_or_changes_a_character() -> None:
    dice = random.Random(20261116)
    for _ in range(3000):
        text = some_text(dice)
        blocks = parse(text)
        assert squeezed(to_text(blocks)) == squeezed(text)
        for block in blocks:
            assert not isinstance(block, Table) or len({len(row) for row in block.rows}) == 1


@pytest.mark.parametrize(
    "piece",
    [
        "工作，",
        "一、",
        "“（",
        "”",
        "通知（",
        "\t",
        "a\t",
        "a\n",
        "\ta\n",
        "a\tb\n",
        "a|b\n",
        "附件：1\n",
        "2026年11月16日\n",
        "局办公室\n",
        "2026 年 ",
        "为推动全区广播电视工作健康持续发展营造浓厚的社会氛围，\n",
        "\u3000" * 20 + "a\n",
        "1.",
        "\n",
    ],
)
def test_a_long_monotonous_text_takes_linear_time(piece: str) -> None:
    text = piece * (200_000 // len(piece))
    start = time.process_time()
    blocks = parse(text)
    to_html(blocks), to_text(blocks)
    assert time.process_time() - start < 5  # a quadratic step takes minutes
    if "|" not in piece:
        assert squeezed(to_text(blocks)) == squeezed(text)


def test_one_wide_row_does_not_blow_up_a_long_table() -> None:
    blocks = parse("\t".join("a" * 50) + "\n" + "a\tb\n" * 20_000)
    assert [len(block.rows[0]) for block in blocks if isinstance(block, Table)] == [50, 2]


# Out


def test_html_is_the_safe_subset_with_everything_escaped() -> None:
    blocks = (
        Heading(1, "一、<b>", "正文&。"),
        Heading(2, "（一）"),
        Heading(3, "1.头。", "尾。"),
        Heading(3, "1.头"),
        Heading(4, "（1）头"),
        Paragraph("<script>alert('x')</script>"),
        Table((("栏目", '"数"'), ("<i>", "5"))),
        Closing("<局>", ""),
    )
    assert to_html(blocks) == (
        "<h2>一、&lt;b&gt;</h2>\n<p>正文&amp;。</p>\n<h3>（一）</h3>\n<p>1.头。尾。</p>\n<h4>1.头</h4>\n<h5>（1）头</h5>\n"
        "<p>&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;</p>\n"
        '<table>\n<thead><tr><th scope="col">栏目</th><th scope="col">&quot;数&quot;</th></tr></thead>\n<tbody>\n'
        "<tr><td>&lt;i&gt;</td><td>5</td></tr>\n</tbody>\n</table>\n"
        '<p class="closing">&lt;局&gt;</p>'
    )


# In


def test_clean_normalises_line_ends_and_drops_what_nobody_sees() -> None:
    assert clean("\ufeff一\r\n二\r三\x0b四\u2028五\u200b六\t七\x07八") == "一\n二\n三\n四\n五六\t七八"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "document.empty"),
        (" \u3000\n\ufeff\u200b", "document.empty"),
        ("第一行\n张\0店", "document.nul"),
        ("第一行\n张\ud800店", "document.surrogate"),
        ("第一行\n张\u202e店", "document.direction"),
        ("第一行\n张\u2067店", "document.direction"),
    ],
)
def test_bad_text_is_refused_and_its_line_named(text: str, code: str) -> None:
    with pytest.raises(BadText) as caught:
        clean(text)
    assert caught.value.code == code
    assert caught.value.facts.get("line") == (None if code == "document.empty" else "2")


MARKED_BIG_END = "\ufeff".encode("utf-16-be")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030", "gbk", "gb2312"])
def test_a_file_is_read_in_every_encoding_that_offices_save(encoding: str) -> None:
    assert decode(SEED.encode(encoding)) == SEED
    assert decode("张店".encode(encoding)) == "张店"


def test_utf16_is_read_from_either_end_and_gb18030_to_its_rarest_characters() -> None:
    assert decode(MARKED_BIG_END + "张店".encode("utf-16-be")) == "张店"
    assert decode("㑇𠀀镕".encode("gb18030")) == "㑇𠀀镕"


@pytest.mark.parametrize("broken", [0, 1, 400])
def test_utf8_with_a_broken_byte_is_not_read_as_other_characters(broken: int) -> None:
    data = bytearray(SEED.strip().encode())
    at = next(n for n in range(broken, len(data)) if data[n] > 0x7F)
    data[at] = 0x41
    with pytest.raises(BadText) as caught:
        decode(bytes(data))
    assert caught.value.code == "document.not_utf8" and abs(int(caught.value.facts["offset"]) - at) < 3


@pytest.mark.parametrize(
    "data",
    [
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        b"\xff\xfea",  # half a character
        "\ufeff张\0".encode("utf-16-le"),
        "事项\0".encode("gb18030"),
        b"\xff\xd8\xff\xe0JFIF",
    ],
)
def test_what_is_no_text_is_not_read_as_one(data: bytes) -> None:
    with pytest.raises(BadText) as caught:
        decode(data)
    assert caught.value.code == "document.not_text"


def test_a_table_drawn_on_both_sides_holds_numbers_and_sentences() -> None:
    text = "| 序号 | 事项 |\n| 1. | 公开指南 |\n| （一） | 目录 |\n| 以上事项由局办公室负责，逾期不报的通报批评。 |  |"
    (table,) = parse(text)
    assert isinstance(table, Table) and [row[0] for row in table.rows][1:3] == ["1.", "（一）"]


# The samples: what the demo publishes, read as the office would read it


def test_every_sample_is_listed_once_and_every_listed_file_is_there() -> None:
    listed = samples()
    assert sorted(sample["file"] for sample in listed) == sorted(path.name for path in SAMPLES.glob("[0-9]*.txt"))
    attached = [name for sample in listed for name in sample.get("attachments", ())]
    assert sorted(attached) == sorted(path.name for path in (SAMPLES / "attachments").iterdir())


@pytest.mark.parametrize("sample", samples(), ids=lambda sample: sample["file"])
def test_a_sample_is_in_order(sample: dict[str, Any]) -> None:
    text = decode((SAMPLES / sample["file"]).read_bytes())
    blocks = parse(text)
    formed = sample["formed_on"]
    assert clean(text) == text
    assert squeezed(to_text(blocks)) == squeezed(text)
    assert all(
        block.date == f"{formed.year}年{formed.month}月{formed.day}日" for block in blocks if isinstance(block, Closing)
    )
    assert formed.weekday() < 5
    assert not text.startswith(sample["title"])
    assert sample["title"] not in sample["summary"]
    assert len(sample["summary"]) <= 100
    assert len(sample["short_title"]) <= 20
    assert not set("【】") & set(sample.get("sms_text", ""))
    assert ("period" in sample) == ("objection_contact" in sample) == (sample["item_type"] == "公示")
    # What the secrecy review would stop (domain: Secrecy review): marks, mobile numbers, ID and card numbers.
    assert not re.search("绝密|机密★|秘密★|内部资料|内部文件|不予公开|征求意见稿|花名册", text)
    assert not re.search(r"(?<!\d)1[3-9]\d{9}(?!\d)|\d{15,}", text)
    assert all(phone.startswith("0533-0000") for phone in re.findall(r"0533-\d+", text))


@pytest.mark.parametrize("sample", samples(), ids=lambda sample: sample["file"])
def test_a_samples_weekdays_are_those_of_the_calendar(sample: dict[str, Any]) -> None:
    text = decode((SAMPLES / sample["file"]).read_bytes())
    for month, day, weekday in re.findall(r"(\d{1,2})月(\d{1,2})日（星期(.)）", text + sample.get("sms_text", "")):
        assert "一二三四五六日"[date(2026, int(month), int(day)).weekday()] == weekday


def test_the_sample_with_a_broken_word_is_read_whole() -> None:
    text = decode((SAMPLES / "14-huimin-shequ.txt").read_bytes())
    assert "为推\n\n动" in text
    assert len(parse(text)) == 5


def test_the_long_sample_has_the_ten_headings_of_an_annual_report() -> None:
    text = decode((SAMPLES / "13-niandu-baogao.txt").read_bytes())
    assert len(text) > 4000
    assert headings(parse(text), 1) == headings(parse(SEED), 1)
