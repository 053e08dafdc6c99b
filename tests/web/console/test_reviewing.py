"""Reviews in the console: seen exactly as it will go out, decided by whose turn it is, one after another."""

import re
from collections.abc import Callable

from pipeline import review
from tests.web.console.conftest import Office

BOTH = ("web", "board")


def hash_on(page: str) -> str:
    found = re.search(r'name="hash" value="(\w{64})"', page)
    assert found, "no approval is offered"
    return found[1]


def test_an_item_goes_through_both_reviews_one_after_another(office: Office) -> None:
    first, second = office.bureau.write(title="第一条"), office.bureau.write(title="第二条")
    for item in (first, second):
        office.bureau.submit(item, *BOTH)
    li, chen = office.sign_in("li"), office.sign_in("chen")
    page = li.get(f"/items/{first}/review")
    after = li.post(f"/items/{first}/approve", {"hash": hash_on(page)})
    assert "初审通过" in after and "还有 1 件" in after and "第二条" in after  # the next one opens by itself
    after = li.post(f"/items/{second}/approve", {"hash": hash_on(after)})
    assert "现在没有等您办的事" in after
    after = chen.post(f"/items/{first}/approve", {"hash": hash_on(chen.get("/reviews/next"))})
    assert "审查通过，开始发布" in after
    office.bureau.work("web")
    assert office.bureau.state(first, "web") == "confirmed"


def test_a_reviewer_sees_what_goes_out_and_what_changed(office: Office) -> None:
    item = office.bureau.publish(*BOTH, draft={"title": "关于试播的通知"})
    office.bureau.work("web")
    chen = office.sign_in("chen")
    text = office.bureau.draft().text.replace("一、", "一、调整后的")
    review.correct(office.bureau.rt, office.bureau.actor("zhao"), item, office.bureau.draft(text=text, summary="新"))
    office.bureau.submit(item)
    page = chen.get(f"/items/{item}/review")
    assert "<ins>调整后的</ins>" in page
    assert "试播安排</del>" in page and "新</ins>" in page  # the summary
    assert "网站" in page and "公开栏" in page
    assert 'name="hash"' not in page  # it is the officer's turn


def test_what_is_not_ones_turn_can_be_seen_but_not_decided(office: Office) -> None:
    item = office.bureau.write()
    hash = office.bureau.submit(item, *BOTH)
    for person in ("chen", "sun", "wang"):
        visitor = office.sign_in(person)
        assert "不由您决定" in visitor.get(f"/items/{item}/review")
        answer = visitor.post(f"/items/{item}/approve", {"hash": hash}, 409)
        assert 'role="alert"' in answer
    assert office.bureau.state_of(item) == "reviewing"


def test_an_edit_voids_what_a_reviewer_is_looking_at(office: Office) -> None:
    item = office.bureau.write()
    office.bureau.submit(item, *BOTH)
    li = office.sign_in("li")
    seen = hash_on(li.get(f"/items/{item}/review"))
    review.edit(office.bureau.rt, office.bureau.actor("zhao"), item, office.bureau.draft(title="改过的标题"))
    assert "没有在等待审查" in li.get(f"/items/{item}/review", 409)
    office.bureau.submit(item, *BOTH)
    assert "又有修改" in li.post(f"/items/{item}/approve", {"hash": seen}, 409)


def test_a_return_needs_a_reason_and_keeps_what_was_typed(office: Office) -> None:
    item = office.bureau.write()
    office.bureau.submit(item, *BOTH)
    li = office.sign_in("li")
    assert "请写明理由" in li.post(f"/items/{item}/return", {"reason": "  "}, 409)
    assert "已退回" in li.post(f"/items/{item}/return", {"reason": "缺少附件<b>"})
    zhao = office.sign_in("zhao")
    assert "缺少附件&lt;b&gt;" in zhao.get("/")  # on the author's desk


def test_not_public_needs_its_legal_ground(office: Office) -> None:
    item = office.bureau.write()
    office.bureau.submit(item, *BOTH)
    li = office.sign_in("li")
    assert "请选择法定理由" in li.post(f"/items/{item}/refuse", {"ground": "because", "reason": "不宜"}, 409)
    li.post(f"/items/{item}/refuse", {"ground": "16_internal_affairs", "reason": "属于内部事务"})
    assert "内部事务信息（第十六条）：属于内部事务" in li.get(f"/items/{item}")


def test_the_list_tells_mine_from_others(office: Office) -> None:
    mine, others = office.bureau.write(title="等初审的"), office.bureau.write(title="等复核的")
    office.bureau.submit(mine, *BOTH)
    seen = office.bureau.submit(others, *BOTH)
    review.approve(office.bureau.rt, office.bureau.actor("li"), others, seen)
    page = office.sign_in("li").get("/reviews")
    assert page.index("等初审的") < page.index("其他人正在审查") < page.index("等复核的")
    assert "没有信息在审查中" not in page


def test_an_author_of_another_department_is_shown_nothing(office: Office) -> None:
    item = office.bureau.write("wang", department="tech", title="别的部门的")
    office.bureau.submit(item, *BOTH, person="wang")
    zhao = office.sign_in("zhao")
    assert "别的部门的" not in zhao.get("/reviews")
    zhao.get(f"/items/{item}/review", 404)


SCAN = {"scan": ("审查单.pdf", b"%PDF-1.7 scan", "application/pdf")}


def test_what_was_signed_on_paper_is_entered_whatever_was_ticked(office: Office) -> None:
    first, second, third = (office.bureau.write(title=f"第{n}条") for n in "一二三")
    hashes = {item: office.bureau.submit(item, *BOTH) for item in (first, second, third)}
    wang = office.sign_in("wang")

    def enter(item: int, status: int = 200, **given: str) -> str:
        form = {"person": "li", "hash": hashes[item][:12], **given}
        return wang.post(f"/items/{item}/paper", form, status, files=SCAN)

    assert "请选择审查单上签署的意见" in enter(first, 409)
    assert "纸质通过意见已登记" in enter(first, signed="approve")
    assert "请写明理由" in enter(second, 409, signed="return")
    assert "纸质审查意见已登记（代录）" in enter(second, signed="return", reason="缺少附件")
    assert "须写明法定理由" in enter(third, 409, signed="refuse", reason="内部台账")
    enter(third, signed="refuse", reason="内部台账", ground="16_internal_affairs")
    page = wang.get(f"/items/{second}")
    assert "李信息员" in page and "王编辑代录" in page and "缺少附件" in page
    scan = re.search(rf'href="(/items/{second}/scans/\w{{64}})"', page)
    assert scan
    answer = wang.session.get(wang.url + scan[1], timeout=10)
    assert answer.content == SCAN["scan"][1] and answer.headers["Content-Disposition"].startswith("attachment;")
    assert "李信息员 退回" in office.sign_in("zhao").get("/") and office.bureau.state_of(third) == "refused"


def test_a_mail_is_reviewed_as_it_will_look_in_a_frame_that_can_do_nothing(open_console: Callable[..., Office]) -> None:
    mail = {"kind": "mail", "label": "邮件", "host": "127.0.0.1", "security": "none", "sender": "gd@gd.example"}
    office = open_console(channels={"mail": mail})
    item = office.bureau.write(title="试播<b>通知")
    hash = office.bureau.submit(item, "web", "mail")
    li = office.sign_in("li")
    page = li.get(f"/items/{item}/review")
    address = f"/items/{item}/frame/mail?hash={hash}"
    assert page.count(f'<iframe class="phone-frame" sandbox title="手机上" src="{address}"') == 1
    answer = li.session.get(li.url + address, timeout=10)
    policy = answer.headers["Content-Security-Policy"]
    assert "试播&lt;b&gt;通知" in answer.text and "unsubscribe}}" not in answer.text
    assert "default-src 'none'" in policy and policy.endswith("sandbox")
    li.get(f"/items/{item}/frame/web", 404)
    li.get(f"/items/{item}/frame/mail?hash=0000", 404)
    assert "iframe" in office.sign_in("zhao").get(f"/items/{item}/preview/mail")
