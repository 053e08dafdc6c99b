"""Files become drafts: whole or not at all, once, and the clerk is told of each what became of it."""

import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from channels.contract import File
from channels.document import decode, parse
from pipeline import intake, review
from pipeline.decisions import Refused
from pipeline.docx import Body
from pipeline.drafts import Draft, latest_revision, read_draft
from pipeline.intake import Filing, Imported, Known, NotImported, TitleFrom
from pipeline.models import AuditLine, Blob, ImportedFile, Item
from tests.office import TEXT, Bureau
from tests.pipeline.papers import PNG, document, p, style, styled

SEED = decode((Path(__file__).parents[1] / "channels" / "seed.txt").read_bytes())
SHOWN = "<w:r><w:drawing><a:blip r:embed='p1'/></w:drawing></w:r>"
WORD = document(
    p("关于值班的公告", styled("t")) + p("各科室要值好班。", inside=SHOWN),
    styles=style("t", "Title"),
    related={"p1": ("image", "media/a.png")},
    parts={"word/media/a.png": PNG},
)


def taken(bureau: Bureau, name: str, content: bytes, person: str = "zhao", **more: Any) -> Imported:
    done = intake.import_file(bureau.rt, bureau.actor(person), name, content, **more)
    assert isinstance(done, Imported)
    return done


def refused(bureau: Bureau, name: str, content: bytes = TEXT.encode(), **more: Any) -> str:
    with pytest.raises(Refused) as caught:
        intake.import_file(bureau.rt, bureau.actor("zhao"), name, content, **more)
    return caught.value.code


def draft(bureau: Bureau, item: int) -> Draft:
    with bureau.rt.reading() as db:
        return read_draft(db, latest_revision(db, item))


def count(bureau: Bureau, table: type[Any]) -> int:
    with bureau.rt.reading() as db:
        return db.scalar(select(func.count()).select_from(table)) or 0


def fill(folder: Path, *names: str) -> Path:
    """A folder with these files, each a text of its own."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{name}：各科室要值好班。", "utf-8")
    return folder


def brought(bureau: Bureau, folder: Path, **filing: Any) -> list[Imported | Known | NotImported]:
    return list(intake.import_folder(bureau.rt, bureau.actor("zhao"), folder, Filing(**filing)))


# One file


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
def test_the_seed_gives_the_same_blocks_in_every_encoding(bureau: Bureau, encoding: str) -> None:
    done = taken(bureau, "2015年报告.txt", SEED.encode(encoding))
    assert parse(draft(bureau, done.item).text) == parse(SEED)
    assert (done.title, done.title_from) == ("2015年报告", TitleFrom.FILE_NAME)  # never its first paragraph


def test_a_word_document_becomes_a_draft_with_its_title_and_its_pictures(bureau: Bureau) -> None:
    done = taken(bureau, "01值班.docx", WORD)
    kept = draft(bureau, done.item)
    assert (done.title, done.title_from, done.item_type) == ("关于值班的公告", TitleFrom.DOCUMENT, "公告")
    assert (kept.title, kept.text, kept.department) == ("关于值班的公告", "各科室要值好班。", "news")
    assert [(file.name, file.content) for file in kept.files] == [("图1.png", PNG)] and done.attached == ("图1.png",)
    assert [finding.code for finding in done.findings] == ["docx.pictures"]


def test_what_the_person_says_of_the_items_goes_before_what_can_be_guessed(bureau: Bureau) -> None:
    said = Filing("意见", "tech", bureau.draft().formed_on)
    kept = draft(bureau, taken(bureau, "值班公告.txt", TEXT.encode(), "wang", filing=said).item)
    assert (kept.item_type, kept.department, kept.formed_on) == ("意见", "tech", bureau.draft().formed_on)


def test_a_word_document_under_another_name_is_still_one(bureau: Bureau) -> None:
    assert taken(bureau, "值班.txt", WORD).title == "关于值班的公告"


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("报告.doc", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1...", "intake.save_as_docx"),
        ("报告.docx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1...", "intake.save_as_docx"),  # renamed
        ("报告.docx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le"), "intake.password"),
        ("报告.wps", b"any", "intake.save_as_docx"),
        ("报告.ofd", b"PK\x03\x04", "intake.save_as_docx"),
        ("报告.pdf", b"%PDF-1.7", "intake.save_as_docx"),
        ("报告.txt", b"%PDF-1.7", "intake.save_as_docx"),
        ("报告.txt", b"{\\rtf1", "intake.save_as_docx"),
        ("报告.html", b"<p>x</p>", "intake.save_as_docx"),
        ("报告.docm", WORD, "docx.macros"),
        ("报告.docx", document(p("x"), parts={"word/vbaProject.bin": b"x"}), "docx.macros"),
        ("报告.docx", "不是文档".encode(), "docx.damaged"),
        ("报告.docx", WORD[:-50], "docx.damaged"),
        ("报告.docx", b"", "document.empty"),
        ("报告.txt", b"", "document.empty"),
        ("报告.txt", b" \n", "document.empty"),
        ("报告.txt", PNG, "document.not_text"),
        ("a/报告.txt", b"x", "intake.file_name"),
        ("..\\报告.txt", b"x", "intake.file_name"),
        ("..", b"x", "intake.file_name"),
        ("", b"x", "intake.file_name"),
        ("a\0.txt", b"x", "intake.file_name"),
        ("\udcb9\udcab.txt", b"x", "intake.file_name"),
        ("报告.txt", "转账给\u202e甲".encode(), "document.direction"),
    ],
)
def test_what_cannot_be_a_text_is_refused_and_leaves_nothing(
    bureau: Bureau, name: str, content: bytes, code: str
) -> None:
    assert refused(bureau, name, content) == code
    assert [count(bureau, table) for table in (Item, AuditLine, Blob, ImportedFile)] == [0] * 4


def test_a_file_beyond_the_limit_is_not_read_to_its_end(open_office: Callable[..., Bureau], tmp_path: Path) -> None:
    bureau = open_office(limits={"lease_seconds": 60, "looks": [0], "file_bytes": 1_000_000})
    assert refused(bureau, "大.txt", b"x" * 1_000_001) == "intake.too_large"
    with (tmp_path / "大.docx").open("wb") as file:
        file.truncate(50_000_000_000)  # would not go into memory
    done = intake.import_path(bureau.rt, bureau.actor("zhao"), tmp_path / "大.docx")
    assert isinstance(done, NotImported) and (done.code, done.facts["limit"]) == ("intake.too_large", "1")


def test_nobody_imports_who_may_not_write_and_an_author_only_for_their_own_department(bureau: Bureau) -> None:
    with pytest.raises(Refused, match="not_permitted"):
        intake.import_file(bureau.rt, bureau.actor("sun"), "通知.txt", TEXT.encode())
    assert refused(bureau, "通知.txt", filing=Filing(department="tech")) == "decision.other_department"
    assert refused(bureau, "通知.txt", filing=Filing(item_type="诗")) == "draft.unknown_type"


@pytest.mark.parametrize(
    ("stem", "title"),
    [
        ("01-关于值班的通知", "关于值班的通知"),
        ("3、值班通知", "值班通知"),
        ("（2）值班通知", "值班通知"),
        ("20261120 值班通知", "值班通知"),
        ("2026-11-20_值班通知", "值班通知"),
        ("2026年工作要点", "2026年工作要点"),
        ("59期节目安排", "59期节目安排"),
        ("值班通知(1)", "值班通知"),
        ("值班通知 - 副本", "值班通知"),
        ("值班办法（试行）", "值班办法（试行）"),
        ("12.", "12."),
        ("2026", "2026"),
    ],
)
def test_a_name_gives_a_title_without_its_number_and_its_copys_mark(stem: str, title: str) -> None:
    assert intake.title_of(stem) == title


# Once


def test_the_same_file_is_imported_once_under_whatever_name(bureau: Bureau) -> None:
    first = taken(bureau, "甲.txt", TEXT.encode())
    again = intake.import_file(bureau.rt, bureau.actor("wang"), "乙.txt", TEXT.encode())
    assert again == Known("乙.txt", first.item)
    other = Filing(item_type="诗")  # it is not looked at again, nor is what would be made of it
    assert intake.import_file(bureau.rt, bureau.actor("zhao"), "丙.txt", TEXT.encode(), filing=other) == Known(
        "丙.txt", first.item
    )
    assert taken(bureau, "甲.txt", TEXT.encode() + b"\n").item == first.item + 1  # other bytes are another file
    assert count(bureau, Item) == 2


def test_a_file_imported_by_two_at_once_becomes_one_item(bureau: Bureau) -> None:
    gate, done = threading.Barrier(4), list[Imported | Known]()

    def bring(person: str) -> None:
        gate.wait(10)
        done.append(intake.import_file(bureau.rt, bureau.actor(person), "同.txt", TEXT.encode()))

    threads = [threading.Thread(target=bring, args=(person,)) for person in ("zhao", "wang", "zhao", "wang")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(done) == 4 and sum(isinstance(one, Imported) for one in done) == 1
    assert len({one.item for one in done}) == 1 and count(bureau, Item) == count(bureau, AuditLine) == 1


def test_one_that_was_first_while_this_one_was_read_wins(bureau: Bureau, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = intake.body_of

    def overtaken(*given: Any) -> Body:
        monkeypatch.setattr(intake, "body_of", whole)
        taken(bureau, "先.txt", TEXT.encode(), "wang")
        return whole(*given)

    monkeypatch.setattr(intake, "body_of", overtaken)
    done = intake.import_file(bureau.rt, bureau.actor("zhao"), "后.txt", TEXT.encode())
    assert isinstance(done, Known) and count(bureau, Item) == count(bureau, AuditLine) == 1


def test_a_file_that_was_made_an_item_by_hand_is_known(bureau: Bureau, tmp_path: Path) -> None:
    path = fill(tmp_path, "通知.txt") / "通知.txt"
    made = [
        review.create(bureau.rt, bureau.actor("zhao"), bureau.draft(), intake.remember(bureau.rt, path)) for _ in "12"
    ]
    assert len(set(made)) == 2  # by hand, as often as somebody wants
    assert intake.import_path(bureau.rt, bureau.actor("zhao"), path) == Known("通知.txt", made[0])


def test_an_import_that_breaks_off_leaves_nothing_and_can_be_repeated(
    bureau: Bureau, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> bool:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(intake, "_remember", full)
        with pytest.raises(OSError, match="disk full"):
            taken(bureau, "值班.docx", WORD)
    assert [count(bureau, table) for table in (Item, AuditLine, Blob, ImportedFile)] == [0] * 4
    taken(bureau, "值班.docx", WORD)
    with bureau.rt.reading() as db:
        assert db.scalar(select(ImportedFile.sha256)) == hashlib.sha256(WORD).hexdigest()


# A folder


def test_a_folder_has_a_line_for_each_and_one_bad_file_stops_nobody(bureau: Bureau, tmp_path: Path) -> None:
    folder = fill(tmp_path / "in", "10-关于值班的通知.txt", "2-检修公告.txt", "坏.txt", "旧.doc", "表.xlsx")
    (folder / "坏.txt").write_bytes(PNG)
    (folder / "5.docx").write_bytes(WORD)
    for ours in ("~$5.docx", ".DS_Store", "Thumbs.db"):
        (folder / ours).write_bytes(b"x")
    done = brought(bureau, folder)
    assert [one.file for one in done] == [
        "2-检修公告.txt", "5.docx", "10-关于值班的通知.txt", "坏.txt", "旧.doc", "表.xlsx",
    ]  # fmt: skip
    assert [(one.title, one.item_type) for one in done if isinstance(one, Imported)] == [
        ("检修公告", "公告"), ("关于值班的公告", "公告"), ("关于值班的通知", "通知"),
    ]  # fmt: skip
    assert [one.code for one in done if isinstance(one, NotImported)] == [
        "document.not_text", "intake.save_as_docx", "intake.whose_attachment",
    ]  # fmt: skip
    assert count(bureau, Item) == 3


def test_the_same_folder_again_makes_nothing_twice_and_takes_what_is_new(bureau: Bureau, tmp_path: Path) -> None:
    folder = fill(tmp_path / "in", "甲.txt", "乙.txt")
    items = {one.file: one.item for one in brought(bureau, folder) if isinstance(one, Imported)}
    fill(folder, "丙.txt")
    again = brought(bureau, folder)
    assert {one.file: one.item for one in again if isinstance(one, Known)} == items
    assert [one.file for one in again if isinstance(one, Imported)] == ["丙.txt"] and count(bureau, Item) == 3


def test_attachments_are_named_after_their_text(bureau: Bureau, tmp_path: Path) -> None:
    folder = fill(
        tmp_path / "in",
        "值班通知.txt", "值班通知-附件1.xlsx", "值班通知 附件2：名单.docx", "值班通知附件10.pdf",
        "值班通知（二）.txt", "值班通知（二）_附件.zip", "值班通知附件管理办法.txt", "附件3.docx",
    )  # fmt: skip
    done = {one.file: one for one in brought(bureau, folder)}
    attached = {name: one.attached for name, one in done.items() if isinstance(one, Imported)}
    assert attached == {
        "值班通知.txt": ("值班通知 附件2：名单.docx", "值班通知-附件1.xlsx", "值班通知附件10.pdf"),
        "值班通知（二）.txt": ("值班通知（二）_附件.zip",),
        "值班通知附件管理办法.txt": (),  # a text on attachments
    }
    lost = done["附件3.docx"]
    assert isinstance(lost, NotImported) and lost.code == "intake.whose_attachment"
    assert {file.name for file in draft(bureau, 1).files} == set(attached["值班通知.txt"])


def test_a_folder_inside_is_one_item_with_its_attachments(bureau: Bureau, tmp_path: Path) -> None:
    folder = fill(
        tmp_path / "in",
        "1-检修公告/正文.txt", "1-检修公告/附件1.docx", "1-检修公告/线路.xlsx", "1-检修公告/扫描件.pdf",
        "2-空/名单.xlsx", "3-深/甲/正文.txt", "4-两份/甲.txt", "4-两份/乙.txt", "5-旧/正文.doc", "5-旧/图.jpg",
        "同名/同名.txt", "同名/说明.txt",
    )  # fmt: skip
    done = {one.file: one for one in brought(bureau, folder)}
    made = {name: one for name, one in done.items() if isinstance(one, Imported)}
    assert {name: (one.title, one.title_from, one.attached) for name, one in made.items()} == {
        "1-检修公告/正文.txt": ("检修公告", TitleFrom.FOLDER_NAME, ("扫描件.pdf", "线路.xlsx", "附件1.docx")),
        "同名/同名.txt": ("同名", TitleFrom.FOLDER_NAME, ("说明.txt",)),
    }
    assert {name: one.code for name, one in done.items() if isinstance(one, NotImported)} == {
        "2-空": "intake.no_text", "3-深": "intake.folder_in_folder", "4-两份": "intake.several_texts",
        "5-旧/正文.doc": "intake.save_as_docx",
    }  # fmt: skip


def test_an_attachment_that_cannot_be_kept_keeps_its_text_out(bureau: Bureau, tmp_path: Path) -> None:
    folder = fill(tmp_path / "in", "通知.txt", "通知-附件1.xlsx")
    (folder / "通知-附件1.xlsx").write_bytes(b"")
    [done] = brought(bureau, folder)
    assert isinstance(done, NotImported) and (done.code, done.facts["file"]) == ("draft.file_empty", "通知-附件1.xlsx")
    assert count(bureau, Item) == count(bureau, ImportedFile) == 0


def test_a_name_that_a_windows_zip_spoiled_is_shown_as_it_was(bureau: Bureau, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    Path(os.fsdecode(os.fsencode(folder) + b"/" + "公告.txt".encode("gb18030"))).write_text("文。", "utf-8")
    [done] = brought(bureau, folder)
    assert isinstance(done, NotImported) and (done.file, done.code) == ("公告.txt", "intake.file_name")


def test_a_folder_that_is_not_there_is_refused(bureau: Bureau, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="cannot_read"):
        brought(bureau, tmp_path / "没有")


# A new text for an item that is there


def test_a_new_word_document_brings_its_pictures_and_takes_the_old_ones_along(bureau: Bureau, tmp_path: Path) -> None:
    kept = draft(bureau, taken(bureau, "值班.docx", WORD, attachments=(File("表.csv", "text/csv", b"1"),)).item)
    body = intake.body_of(bureau.rt, "新.docx", document(p("新的正文。")))
    names = [file.name for file in intake.with_pictures(Path("新.docx"), body, kept.files)]
    assert names == ["表.csv"]
    assert intake.with_pictures(Path("新.txt"), Body("文"), kept.files) == kept.files


def test_a_title_that_was_not_taken_is_told(bureau: Bureau) -> None:
    body = intake.body_of(bureau.rt, "值班.docx", WORD)
    assert [one.code for one in intake.findings_of(body, "另一个")] == ["docx.pictures", "intake.title_replaced"]
    assert intake.findings_of(body, body.title) == body.findings
    assert intake.findings_of(Body("文"), "任何") == ()
