"""What is typed and not saved yet: kept for its writer alone, and the same as what is saved and submitted later."""

from dataclasses import replace

import pytest
from sqlalchemy import select

from channels.contract import File
from pipeline import drafts, previews, review, working_copy
from pipeline.decisions import Refused
from pipeline.models import StoredRendition
from pipeline.proposals import propose
from pipeline.suggestions import suggestions
from pipeline.working_copy import Place, Sheet
from tests.office import Bureau


def keep(bureau: Bureau, person: str, place: Place, text: str) -> working_copy.Copy:
    return working_copy.save(bureau.rt, bureau.actor(person), place, Sheet(title="通知", text=text))


def test_everybody_has_one_copy_of_an_item_and_as_many_new_ones_as_they_began(bureau: Bureau) -> None:
    item = bureau.write()
    place = Place(item, based_on=1, window="a")
    first = keep(bureau, "zhao", place, "一")
    assert keep(bureau, "zhao", place, "二").id == first.id
    assert keep(bureau, "wang", place, "三").id != first.id
    assert {keep(bureau, "zhao", Place(window=name), name).id for name in "bc"} & {first.id} == set()
    assert [one.sheet.text for one in working_copy.begun(bureau.rt, "zhao")] == ["c", "b"]
    kept = working_copy.read(bureau.rt, "zhao", item)
    assert kept is not None and (kept.sheet.text, kept.based_on) == ("二", 1)
    working_copy.discard(bureau.rt, "wang", first.id)
    assert working_copy.read(bureau.rt, "zhao", item) is not None
    working_copy.discard(bureau.rt, "zhao", first.id)
    assert working_copy.read(bureau.rt, "zhao", item) is None


def test_others_are_told_of_those_who_wrote_lately_only(bureau: Bureau) -> None:
    item = bureau.write()
    keep(bureau, "wang", Place(item, window="a"), "一")
    assert [one.person for one in working_copy.others_at(bureau.rt, "zhao", item)] == ["wang"]
    assert working_copy.others_at(bureau.rt, "wang", item) == []
    bureau.clock.forward(hours=13)
    assert working_copy.others_at(bureau.rt, "zhao", item) == []


def test_nobody_fills_the_ledger_with_copies(bureau: Bureau) -> None:
    for number in range(working_copy.MOST_NEW):
        keep(bureau, "zhao", Place(window=str(number)), "x")
    with pytest.raises(Refused, match="writing.too_many"):
        keep(bureau, "zhao", Place(window="one more"), "x")
    with pytest.raises(Refused, match="draft.text_too_long"):
        keep(bureau, "wang", Place(window="long"), "长" * working_copy.LARGEST)
    with pytest.raises(Refused, match="decision.not_permitted"):
        keep(bureau, "sun", Place(window="auditor"), "x")


def test_attachments_of_the_latest_revision_and_of_the_copy_may_be_named(bureau: Bureau) -> None:
    there = File("甲.pdf", "application/pdf", b"there")
    item = bureau.write(files=(there,))
    place = Place(item, based_on=1, window="a")
    sheet = working_copy.add_files(bureau.rt, Sheet(), [File("乙.pdf", "application/pdf", b"added")])
    working_copy.save(bureau.rt, bureau.actor("zhao"), place, sheet)
    known = working_copy.known_files(bureau.rt, "zhao", place)
    assert sorted((file.name, file.size) for file in known.values()) == [("乙.pdf", 5), ("甲.pdf", 5)]
    assert [file.name for file in working_copy.known_files(bureau.rt, "wang", place).values()] == ["甲.pdf"]
    again = working_copy.add_files(bureau.rt, sheet, [File("乙.pdf", "application/pdf", b"newer")])
    assert [file.name for file in again.files] == ["乙.pdf"] and again.files != sheet.files


def test_words_are_suggested_from_what_a_person_may_see(bureau: Bureau) -> None:
    bureau.write("wang", department="tech", theme="机要", keywords=("内部",))
    bureau.write(theme="广播电视", keywords=("试播", "安全"), document_number="张广发〔2026〕12号")
    bureau.write(theme="广播电视")
    seen = suggestions(bureau.rt, bureau.actor("zhao").person)
    assert (seen.themes, set(seen.keywords), seen.document_number) == (
        ("广播电视",), {"试播", "安全"}, "张广发〔2026〕12号",
    )  # fmt: skip
    assert suggestions(bureau.rt, bureau.actor("wang").person).themes == ("广播电视", "机要")


def test_a_correction_keeps_the_channels_in_force(bureau: Bureau) -> None:
    item = bureau.publish("web", "board")
    review.correct(bureau.rt, bureau.actor("zhao"), item, bureau.draft(summary="更正"))
    proposal = propose(bureau.rt, item)
    assert proposal.channels == proposal.fixed == {"web", "board"} and proposal.revision == 2
    bureau.submit(item)
    with pytest.raises(Refused, match="review.already_submitted"):
        propose(bureau.rt, item)


def test_what_was_previewed_is_what_is_submitted(bureau: Bureau) -> None:
    draft = drafts.checked(bureau.rt, bureau.draft())
    before = drafts.compose_unsubmitted(bureau.rt, None, draft)
    item = bureau.write()
    bureau.submit(item, "web")
    with bureau.rt.reading() as db:
        digest = db.scalars(select(StoredRendition.digest)).one()
    assert bureau.rt.channels["web"].adapter.render(before).digest == digest
    assert previews.of_message(bureau.rt, before, ["web"])[0].view is not None


def test_a_revision_written_from_an_older_one_is_refused_at_its_commit(bureau: Bureau) -> None:
    item = bureau.write()
    review.edit(bureau.rt, bureau.actor("wang"), item, bureau.draft(summary="二"), based_on=1)
    with pytest.raises(Refused, match="review.newer_revision"):
        review.edit(bureau.rt, bureau.actor("zhao"), item, bureau.draft(summary="三"), based_on=1)
    assert propose(bureau.rt, item).draft.summary == "二"


def test_a_sheet_and_its_draft_say_the_same(bureau: Bureau) -> None:
    draft = drafts.checked(bureau.rt, bureau.draft(keywords=("甲", "乙"), theme="广播"))
    again = working_copy.draft_of(bureau.rt, working_copy.sheet_of(draft))
    assert again == replace(draft, files=())
