"""Asking outside before deciding, decisions signed on paper, and the sheet they are signed on."""

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace

import pypdfium2
import pytest
from sqlalchemy import select

from channels.contract import File
from pipeline import desk, items, proof, referrals, review, review_sheet
from pipeline.decisions import Decision, Refused
from pipeline.models import AuditLine, ReferralKind
from pipeline.review import Paper
from pipeline.states import Ground
from tests.office import Bureau

SCAN = File("审查单.pdf", "application/pdf", b"%PDF-1.7 scan")


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(Refused) as caught:
        act()
    return caught.value.code


def test_what_was_referred_is_not_approved_before_the_answer(bureau: Bureau) -> None:
    item = bureau.write()
    hash = bureau.submit(item, "web")
    li = bureau.actor("li")
    asked = referrals.refer(bureau.rt, li, item, ReferralKind.SECRECY, "区国家保密局", "是否涉及国家秘密")
    assert refusal(lambda: review.approve(bureau.rt, li, item, hash)) == "referral.open"
    referrals.answer(bureau.rt, bureau.actor("wang"), item, asked, "不涉及")
    assert refusal(lambda: referrals.answer(bureau.rt, li, item, asked, "再答")) == "referral.unknown"
    assert review.approve(bureau.rt, li, item, hash) is False
    (one,) = referrals.asked(bureau.rt, item)
    assert (one.answer, one.answered_by) == ("不涉及", "wang")


def test_a_referred_item_can_be_returned_and_an_edit_takes_the_question_along(bureau: Bureau) -> None:
    item = bureau.write()
    bureau.submit(item, "web")
    referrals.refer(bureau.rt, bureau.actor("li"), item, ReferralKind.THIRD_PARTY, "某公司", "是否同意公开")
    review.edit(bureau.rt, bureau.actor("zhao"), item, bureau.draft(title="删去了该公司的名称"))
    bureau.approve(item, bureau.submit(item, "web"))
    assert referrals.asked(bureau.rt, item) == []


def test_only_reviewers_refer_and_they_say_whom_and_what(bureau: Bureau) -> None:
    item = bureau.write()
    bureau.submit(item, "web")

    def refer(person: str, to_whom: str = "保密局", question: str = "是否涉密") -> str:
        actor = bureau.actor(person)
        return refusal(lambda: referrals.refer(bureau.rt, actor, item, ReferralKind.SECRECY, to_whom, question))

    assert refer("zhao") == "decision.not_permitted"
    assert refer("li", to_whom=" ") == "referral.to_whom"
    assert refer("li", question="") == "decision.reason_missing"


def test_a_signature_on_paper_counts_as_the_signers_and_names_who_recorded_it(bureau: Bureau) -> None:
    item = bureau.write()
    hash = bureau.submit(item, "web")
    wang = bureau.actor("wang")
    assert review.record_paper(bureau.rt, wang, item, Paper("li", hash[:12], SCAN)) is False
    assert review.record_paper(bureau.rt, wang, item, Paper("chen", hash, SCAN)) is True
    bureau.work("web")
    assert bureau.state(item, "web") == "confirmed"
    given = items.history(bureau.rt, item).rounds[0].approvals
    assert [(one.person, one.recorded_by) for one in given] == [("li", "wang"), ("chen", "wang")]
    with bureau.rt.reading() as db:
        told = db.execute(select(AuditLine.person, AuditLine.decision).where(AuditLine.decision == "record")).all()
    assert [tuple(one) for one in told] == [("wang", "record")] * 2
    with zipfile.ZipFile(io.BytesIO(proof.of(bureau.rt, item, "zh"))) as archive:
        assert "纸质签字，王编辑代录" in archive.read("发布证明.txt").decode()


def test_paper_never_breaks_the_separation_of_reviews(bureau: Bureau) -> None:
    item = bureau.write()
    hash = bureau.submit(item, "web")

    def record(recorder: str, signer: str, scan: File = SCAN, seen: str = hash) -> str:
        actor = bureau.actor(recorder)
        return refusal(lambda: review.record_paper(bureau.rt, actor, item, Paper(signer, seen, scan)))

    assert record("li", "li") == "paper.own_decision"
    assert record("zhao", "li") == "decision.not_permitted"  # an author records nothing
    assert record("wang", "chen") == "decision.not_permitted"  # it is the officer's turn
    assert record("wang", "li", File("x.pdf", "application/pdf", b"MZ\x90")) == "paper.no_scan"
    assert record("wang", "li", seen="0" * 64) == "review.wrong_hash"
    own = bureau.write("both", department="office")
    seen = bureau.submit(own, "web", person="both")
    actor = bureau.actor("wang")
    assert refusal(lambda: review.record_paper(bureau.rt, actor, own, Paper("both", seen, SCAN))) == "review.own_item"


def test_a_return_signed_on_paper_goes_back_to_the_author_with_the_sheet(bureau: Bureau) -> None:
    item = bureau.write()
    hash = bureau.submit(item, "web")
    wang = bureau.actor("wang")
    back = Paper("li", hash[:12], SCAN, Decision.RETURN, "缺少附件")
    assert refusal(lambda: review.record_paper(bureau.rt, wang, item, replace(back, reason=" "))) == (
        "decision.reason_missing"
    )
    assert refusal(lambda: review.record_paper(bureau.rt, wang, item, replace(back, hash="0" * 64))) == (
        "review.wrong_hash"
    )
    assert review.record_paper(bureau.rt, wang, item, back) is False
    (round,) = items.history(bureau.rt, item).rounds
    assert (round.stage, round.closed_by, round.recorded_by, round.scan) == ("returned", "li", "wang", SCAN.sha256)
    (mine,) = desk.desk(bureau.rt, bureau.actor("zhao").person).drafts
    assert (mine.reason, mine.returned_by) == ("缺少附件", "li")
    with zipfile.ZipFile(io.BytesIO(proof.of(bureau.rt, item, "zh"))) as archive:
        assert archive.read(f"scans/{SCAN.sha256}.pdf") == SCAN.content
        assert "已退回：李信息员（纸质签字，王编辑代录）" in archive.read("发布证明.txt").decode()


def test_a_refusal_signed_on_paper_names_its_legal_ground(bureau: Bureau) -> None:
    item = bureau.write()
    no = Paper("li", bureau.submit(item, "web"), SCAN, Decision.REFUSE, "内部台账")
    wang = bureau.actor("wang")
    assert refusal(lambda: review.record_paper(bureau.rt, wang, item, no)) == "paper.ground_missing"
    assert review.record_paper(bureau.rt, wang, item, replace(no, ground=Ground.INTERNAL_AFFAIRS)) is False
    (round,) = items.history(bureau.rt, item).rounds
    assert (round.stage, round.reason) == ("refused", "16_internal_affairs: 内部台账")
    with bureau.rt.reading() as db:
        (line,) = db.scalars(select(AuditLine).where(AuditLine.decision == "record"))
    told = json.loads(line.facts)
    assert (line.person, told["for_person"], told["signed"]) == ("wang", "li", "refuse")


def test_the_review_sheet_of_an_ordinary_item_is_one_page(bureau: Bureau) -> None:
    item = bureau.write(title="关于做好2026年冬季广播电视安全播出工作的通知", summary="部署值班、排查和应急演练。" * 6)
    bureau.submit(item, "web", "board")
    assert len(pypdfium2.PdfDocument(review_sheet.of(bureau.rt, item))) == 1


def test_the_review_sheet_tells_what_is_signed(bureau: Bureau) -> None:
    item = bureau.write(title="关于#试播*的_通知" * 12)
    hash = bureau.submit(item, "web", "board")
    document = pypdfium2.PdfDocument(review_sheet.of(bureau.rt, item))
    text = "".join(page.get_textpage().get_text_bounded() for page in document)
    for words in (
        "保密审查单",
        "初审",
        "复核",
        "网站、公开栏",
        "通过后立即",
        *(hash[n : n + 8] for n in range(0, 64, 8)),
    ):
        assert words in text, words
    assert text.count("#试播*") == 12
