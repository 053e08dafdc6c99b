"""What is looked for in attachments: real files of Word, Excel, PDF and cameras, and files made to do harm."""

import io
import struct
import time
import zipfile
from datetime import date
from functools import cache
from pathlib import Path

import docx
import pytest
import typst
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls
from pypdf import PdfWriter
from pypdf.actions import JavaScript
from pypdf.annotations import FreeText

from channels.contract import File, Severity
from channels.typst import SUBSTITUTES
from pipeline import attachments, checks
from pipeline.attachments import Inside
from pipeline.checks import Found, Rules
from pipeline.drafts import Draft
from tests.office import Bureau

ID = "370303198001010012"
W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
X = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'


def look(content: bytes, name: str = "附件1.docx") -> Inside:
    return attachments.look(File(name, "application/octet-stream", content))


def found(content: bytes, name: str = "附件1.docx") -> dict[str, Found]:
    file = File(name, "application/octet-stream", content)
    draft = Draft("标题", "正文。", "通知", "news", date(2026, 11, 20), files=(file,))
    listed = checks.find(draft, Rules(), {file.sha256: attachments.look(file)})
    assert all(one.place == "attachments" and one.facts["file"] == name for one in listed)
    assert len(listed) == len({one.code for one in listed})
    return {one.code.removeprefix("check.file_"): one for one in listed}


def word(fill: object = None, **parts: str) -> bytes:
    """A .docx; `fill` writes in it, `parts` are added as they are."""
    document = docx.Document()
    document.core_properties.author = ""
    if callable(fill):
        fill(document)
    kept = io.BytesIO()
    document.save(kept)
    with zipfile.ZipFile(kept, "a") as package:
        for name, content in parts.items():
            package.writestr(name.replace("__", "/").replace("_xml", ".xml"), content)
    return kept.getvalue()


def sheets(workbook: str, *pages: str, **parts: str) -> bytes:
    """An .xlsx with these sheets' data."""
    kept = io.BytesIO()
    with zipfile.ZipFile(kept, "w", zipfile.ZIP_DEFLATED) as package:
        package.writestr("xl/workbook.xml", f"<workbook {X}>{workbook}</workbook>")
        for number, page in enumerate(pages, 1):
            package.writestr(f"xl/worksheets/sheet{number}.xml", f"<worksheet {X}>{page}</worksheet>")
        for name, content in parts.items():
            package.writestr(name.replace("__", "/").replace("_xml", ".xml"), content)
    return kept.getvalue()


def row(*cells: str, hidden: bool = False) -> str:
    return (
        f'<row hidden="{int(hidden)}">'
        + "".join(f'<c t="inlineStr"><is><t>{cell}</t></is></c>' for cell in cells)
        + "</row>"
    )


def pdf(**how: bool) -> bytes:
    writer = PdfWriter(clone_from=io.BytesIO(_printed()))
    if how.get("note"):
        writer.add_annotation(0, FreeText(text=f"请改 {ID}", rect=(50, 50, 200, 100)))
    if how.get("attached"):
        writer.add_attachment("底稿.txt", b"x")
    if how.get("script"):
        writer.add_open_action(JavaScript("app.alert(1)"))
    if how.get("author"):
        writer.add_metadata({"/Author": "钱某某"})
    if how.get("locked"):
        writer.encrypt("secret")
    kept = io.BytesIO()
    writer.write(kept)
    return kept.getvalue()


@cache
def _printed() -> bytes:
    """A page as a notice is printed."""
    fonts = typst.Fonts(font_paths=[SUBSTITUTES], include_system_fonts=False)
    return typst.compile(
        '#set text(font: "FabuFangsong")\n根据工作安排，现将有关事项通知如下。'.encode(), font_paths=fonts
    )


# ── Word ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_identity_number_in_an_attachment_stops_the_submission_as_in_the_text() -> None:
    one = found(word(lambda document: document.add_paragraph(f"张三 {ID}")))["id_number"]
    assert (one.severity, one.facts["count"], one.facts["excerpt"]) == (Severity.BLOCK, "1", "370303********0012")


def test_a_plain_document_raises_no_question() -> None:
    assert found(word(lambda document: document.add_paragraph("关于报送材料的通知"))) == {}


def test_what_a_clerk_does_not_see_in_word_is_told() -> None:
    def fill(document: docx.document.Document) -> None:
        document.add_paragraph().add_run("藏起来的话").font.hidden = True
        body = document.element.body
        body.insert(0, parse_xml(f'<w:p {nsdecls("w")}><w:del w:author="某"><w:r><w:delText>13800001234</w:delText>'
                                 "</w:r></w:del></w:p>"))  # fmt: skip
        document.core_properties.author = "张撰稿"
        document.core_properties.last_modified_by = "WPS_1603851512"

    comments = (
        f'<w:comments {W}><w:comment w:author="李审核"><w:p><w:r><w:t>{ID}</w:t></w:r></w:p></w:comment></w:comments>'
    )
    told = found(word(fill, word__comments_xml=comments))
    assert told.keys() == {"hidden_text", "tracked_changes", "comments", "author_data", "mobile", "id_number"}
    assert told["author_data"].facts["names"] == "李审核、张撰稿" and not told["author_data"].needs_reason
    assert told["comments"].needs_reason


def test_what_word_and_wps_write_by_themselves_is_nothing_to_ask_about() -> None:
    properties = (
        '<Properties xmlns="http://schemas.openxmlformats.org/officeDocument/2006/custom-properties" xmlns:vt="v">'
        "<property><vt:lpwstr>2052-11.8.2.10972</vt:lpwstr></property></Properties>"
    )

    def fill(document: docx.document.Document) -> None:
        document.core_properties.author = "Administrator"
        document.core_properties.last_modified_by = "WPS_1603851512"

    assert found(word(fill, docProps__custom_xml=properties)) == {}


def test_a_list_of_names_in_a_word_table_is_told() -> None:
    def fill(document: docx.document.Document) -> None:
        table = document.add_table(7, 2)
        for place, cells in enumerate([("姓名", "住址"), *[(f"王小{n}", "某路") for n in "一二三四五六"]]):
            for column, cell in enumerate(cells):
                table.cell(place, column).text = cell

    assert found(word(fill))["name_list"].facts["count"] == "6"


# ── Excel ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_hidden_sheets_rows_and_comments_of_a_workbook_are_told() -> None:
    book = '<sheets><sheet name="公示"/><sheet name="底表" state="hidden"/></sheets>'
    first = f"<sheetData>{row('获奖单位')}{row('备用 13800001234', hidden=True)}</sheetData>"
    second = f"<sheetData>{row('证件号', ID)}</sheetData>"
    notes = (
        f"<comments {X}><authors><author>赵某</author></authors><comment><text><t>待核</t></text></comment></comments>"
    )
    told = found(sheets(book, first, second, xl__comments1_xml=notes), "汇总.xlsx")
    assert told.keys() == {"hidden_sheets", "hidden_text", "comments", "author_data", "mobile", "id_number"}
    assert told["hidden_sheets"].facts["names"] == "底表"


def test_a_roster_in_a_workbook_is_told_with_its_number_of_persons() -> None:
    rows = row("序号", "姓名", "手机") + "".join(
        row(str(n), f"李晓{n}".replace(str(n), "明"), "未填") for n in range(8)
    )
    told = found(sheets("<sheets/>", f"<sheetData>{rows}</sheetData>"), "花名册.xlsx")
    assert (told["name_list"].facts["count"], told["name_list"].facts["columns"]) == ("8", "手机")


# ── PDF, pictures, others ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_printed_pdf_raises_no_question() -> None:
    assert found(pdf(), "通知.pdf") == {}


def test_what_a_reader_of_a_pdf_does_not_see_is_told() -> None:
    told = found(pdf(note=True, attached=True, script=True, author=True), "通知.pdf")
    assert told.keys() == {"annotations", "id_number", "embedded_files", "script", "author_data"}


def test_a_pdf_with_a_password_or_of_pictures_only_cannot_be_looked_into() -> None:
    scanned, kept = PdfWriter(), io.BytesIO()
    scanned.add_blank_page(595, 842)
    scanned.write(kept)
    assert found(pdf(locked=True), "通知.pdf").keys() == found(kept.getvalue(), "扫描.pdf").keys() == {"closed"}


def photo(*tags: int) -> bytes:
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, 0) for tag in tags)
    tiff = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + b"\0\0\0\0"
    return b"\xff\xd8\xff\xe1" + struct.pack(">H", len(tiff) + 8) + b"Exif\0\0" + tiff + b"\xff\xd9"


def test_a_photo_that_tells_its_place_is_told_and_another_is_not() -> None:
    assert found(photo(0x010F, 0x8825), "现场.jpg").keys() == {"location"}
    assert found(photo(0x010F), "现场.jpg") == found(b"\xff\xd8\xff\xe0" + b"\0" * 50, "现场.jpg") == {}


def test_a_text_or_a_table_in_any_encoding_is_read() -> None:
    table = "姓名,身份证号\n" + "".join(f"王小{n},{ID}\n" for n in "一二三四五")
    for encoding in ("utf-8-sig", "gb18030"):
        told = found(table.encode(encoding), "名单.csv")
        assert told.keys() == {"id_number", "name_list"} and told["id_number"].facts["count"] == "5"


def test_the_name_of_an_attachment_is_looked_at_too() -> None:
    assert found("正文".encode(), f"张三{ID}.txt").keys() == {"id_number"}


@pytest.mark.parametrize("content", [b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600, b"Rar!\x1a\x07" + b"\xff" * 9])
def test_what_cannot_be_looked_into_needs_a_word_of_who_did(content: bytes) -> None:
    closed = found(content, "登记表.doc")["closed"]
    assert (closed.severity, closed.needs_reason) == (Severity.WARN, True)


# ── files made to do harm ────────────────────────────────────────────────────────────────────────────────────────────


def bomb(inside: bytes) -> bytes:
    kept = io.BytesIO()
    with zipfile.ZipFile(kept, "w", zipfile.ZIP_DEFLATED) as package:
        package.writestr("word/document.xml", inside)
    return kept.getvalue()


HARMFUL = {
    "cut off": lambda: word()[:2000],
    "no zip": lambda: b"PK\x03\x04" + b"x" * 100,
    "no PDF": lambda: b"%PDF-1.7\n" + b"x" * 100,
    "200 MB of blanks": lambda: bomb(b"<w>" + b" " * 200_000_000 + b"</w>"),
    "no end of tags": lambda: bomb(b"<w>" + b"<p>" * 3_000_000),
    "an endless entity": lambda: bomb(
        b'<!DOCTYPE w [<!ENTITY a "aaaaaaaaaa">'
        + b"".join(b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(12))
        + b"]><w><t>&m;</t></w>"
    ),
}


@pytest.mark.parametrize("kind", HARMFUL)
def test_a_broken_or_harmful_file_is_a_warning_and_takes_no_longer(kind: str) -> None:
    content, begun = HARMFUL[kind](), time.monotonic()
    told = found(content)
    assert told.keys() <= {"damaged", "partly"} and time.monotonic() - begun < attachments.SECONDS + 10


def test_a_reader_that_dies_or_hangs_breaks_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for number, script in enumerate(
        ("import os; os.kill(os.getpid(), 11)", "import time; time.sleep(60)", "print('{')")
    ):
        program = tmp_path / f"python{number}"
        program.write_text(f"#!/usr/bin/env python3\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setattr("pipeline.attachments.sys.executable", str(program))
        monkeypatch.setattr(attachments, "SECONDS", -4.5)
        assert [one.kind for one in look(word() + bytes([number])).traces] == ["damaged"]


def test_a_file_is_looked_into_once(bureau: Bureau, monkeypatch: pytest.MonkeyPatch) -> None:
    content = word(lambda document: document.add_paragraph(ID)) + b"\0"
    first = look(content)
    monkeypatch.setattr(attachments, "_look", lambda content: pytest.fail("looked again"))
    assert look(content, "别的名字.docx") is first
