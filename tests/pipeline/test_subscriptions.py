"""Citizens come onto a list and leave it by themselves: only with their own yes, and at once."""

import base64
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import func, select, text

from pipeline import operate, previews, proposals, replies, review, subscribers, subscriptions
from pipeline.decisions import Refused
from pipeline.models import OptIn, Subscriber, SubscriberGroup, Suppression
from pipeline.subscriptions import Leaving
from tests.channels.recording import Fault, set_faults
from tests.office import Bureau
from tests.pipeline.letters import code_in, is_out, letters, open_town, path_in, way_out

MAIL, PHONE = "zhang@example.cn", "13800000001"


@pytest.fixture
def town(open_office: Callable[..., Bureau], tmp_path: Path) -> Bureau:
    return open_town(open_office, tmp_path)


def ask(town: Bureau, network: str = "203.0.113.7", groups: tuple[str, ...] = ("policy",), **to: str) -> None:
    subscriptions.ask(town.rt, to, groups, network)


def told(town: Bureau, channel: str) -> list[str]:
    """Who would be told on a channel."""
    with town.rt.reading() as db:
        barred = select(Suppression.address).where(Suppression.channel == channel)
        chosen = select(Subscriber.address).where(Subscriber.channel == channel, Subscriber.address.not_in(barred))
        return sorted(db.scalars(chosen))


def kept(town: Bureau) -> int:
    with town.rt.reading() as db:
        return db.scalar(select(func.count()).select_from(OptIn)) or 0


def token_of(letter: str) -> str:
    return path_in(letter).rsplit("/", 1)[1]


def test_an_address_that_was_typed_is_asked_and_not_yet_told(town: Bureau) -> None:
    ask(town, mail=MAIL, sms=PHONE)
    assert subscriptions.invite(town.rt) == 2
    assert [to for to, _ in letters(town, "mail")] == [MAIL]
    assert [to for to, _ in letters(town, "sms")] == [PHONE]
    assert told(town, "mail") == told(town, "sms") == []


def test_the_link_makes_a_subscriber_with_date_and_source_of_consent_and_groups(town: Bureau) -> None:
    ask(town, mail=" Zhang@Example.cn ", groups=("policy", "newsletter"))
    subscriptions.invite(town.rt)
    token = token_of(letters(town, "mail")[0][1])
    assert not subscriptions.invited(town.rt, token).done
    assert told(town, "mail") == []  # looking is no yes
    for _ in range(2):  # twice is once
        assert subscriptions.confirm(town.rt, token).groups == ("政策文件", "广电通讯")
    [one] = subscribers.listed(town.rt, town.actor("wang"), "mail", whole=True)
    assert (one.address, one.consent_source, str(one.consent_on)) == (MAIL, subscriptions.SOURCE, "2026-11-23")
    assert one.groups == ("newsletter", "policy")


def test_the_code_makes_a_subscriber_and_works_once(town: Bureau) -> None:
    [asked] = subscriptions.ask(town.rt, {"sms": PHONE}, ["policy"], "203.0.113.7")
    subscriptions.invite(town.rt)
    code = code_in(letters(town, "sms")[0][1])
    assert len(code) == 6 and code.isdigit()
    full_width = "".join(chr(ord(digit) + 0xFEE0) for digit in code)
    subscriptions.confirm_code(town.rt, asked.token, f" {full_width} ")
    assert told(town, "sms") == [PHONE]
    with pytest.raises(Refused, match="bad_code"):
        subscriptions.confirm_code(town.rt, asked.token, code)


def test_a_code_may_be_tried_five_times_and_holds_an_hour(town: Bureau) -> None:
    [asked] = subscriptions.ask(town.rt, {"sms": PHONE}, ["policy"], "203.0.113.7")
    subscriptions.invite(town.rt)
    right = code_in(letters(town, "sms")[0][1])
    for wrong in range(5):
        with pytest.raises(Refused, match="bad_code"):
            subscriptions.confirm_code(town.rt, asked.token, f"{(int(right) + 1 + wrong) % 1_000_000:06d}")
    with pytest.raises(Refused, match="bad_code"):
        subscriptions.confirm_code(town.rt, asked.token, right)
    assert told(town, "sms") == []
    town.clock.forward(hours=1, seconds=1)
    ask(town, sms=PHONE)
    subscriptions.invite(town.rt)
    fresh = code_in(letters(town, "sms")[1][1])
    town.clock.forward(hours=1, seconds=1)
    with pytest.raises(Refused, match="bad_code"):
        subscriptions.confirm_code(town.rt, asked.token, fresh)


def test_nobody_is_molested_through_us(town: Bureau) -> None:
    for network in range(20):
        ask(town, f"203.0.113.{network}", mail=MAIL)
    assert subscriptions.invite(town.rt) == 1
    for _ in range(5):
        town.clock.forward(hours=1, seconds=1)
        ask(town, mail=MAIL)
        subscriptions.invite(town.rt)
    assert len(letters(town, "mail")) == subscriptions.MOST_INVITATIONS


def test_one_network_and_all_together_are_bounded(open_office: Callable[..., Bureau], tmp_path: Path) -> None:
    town = open_town(open_office, tmp_path, hourly=4, hourly_network=2)
    for number in range(2):
        ask(town, "2001:db8::1", sms=f"1380000000{number}")
    with pytest.raises(Refused, match="busy"):
        ask(town, "2001:db8::ffff", sms="13800000009")  # the same household
    ask(town, "2001:db8:0:1::1", sms="13800000003")
    ask(town, "::ffff:203.0.113.7", sms="13800000004")
    with pytest.raises(Refused, match="busy"):
        ask(town, "198.51.100.1", sms="13800000005")
    assert kept(town) == 4
    town.clock.forward(hours=1, seconds=1)
    ask(town, "198.51.100.1", sms="13800000005")


def test_many_at_once_are_still_one_invitation(town: Bureau) -> None:
    with ThreadPoolExecutor(8) as crowd:
        list(crowd.map(lambda _: ask(town, mail=MAIL), range(16)))
    with ThreadPoolExecutor(4) as workers:
        sent = sum(workers.map(lambda _: subscriptions.invite(town.rt), range(4)))
    assert sent == len(letters(town, "mail")) == 1


def test_the_answer_is_the_same_for_known_and_unknown_addresses(town: Bureau) -> None:
    town.subscribe(PHONE)
    subscriptions.opt_out(town.rt, "sms", "13800000002")
    subscriptions.ask(town.rt, {"sms": "13800000003"}, ["policy"], "203.0.113.7")
    answers = [
        subscriptions.ask(town.rt, {"sms": number}, ["policy"], "203.0.113.7")
        for number in (PHONE, "13800000002", "13800000003", "13800000004")
    ]
    assert len({(one.by_code, len(one.token), one.address[:7]) for [one] in answers}) == 1
    for [one] in answers:
        with pytest.raises(Refused, match="bad_code"):
            subscriptions.confirm_code(town.rt, one.token, "000000x")


def test_a_stranger_is_forgotten_after_two_days(town: Bureau) -> None:
    ask(town, mail=MAIL)
    subscriptions.invite(town.rt)
    token = token_of(letters(town, "mail")[0][1])
    town.clock.forward(hours=47)
    assert subscriptions.forget(town.rt) == 0
    town.clock.forward(hours=1, seconds=1)
    with pytest.raises(Refused, match="link_gone"):
        subscriptions.confirm(town.rt, token)
    assert subscriptions.forget(town.rt) == 1 and kept(town) == 0


@pytest.mark.parametrize("broken", ["in_doubt", "in_doubt_after_effect", "rejected"])
def test_an_invitation_that_may_have_gone_out_is_not_sent_again(town: Bureau, broken: str) -> None:
    set_faults(town.rt.settings.data / "mail", Fault(broken))  # type: ignore[arg-type]
    ask(town, mail=MAIL)
    subscriptions.invite(town.rt)
    town.clock.forward(minutes=10)
    subscriptions.invite(town.rt)
    assert len(town.calls("mail")) == 1


def test_an_invitation_that_surely_did_not_go_out_is_sent_a_little_later(town: Bureau) -> None:
    set_faults(town.rt.settings.data / "mail", Fault("unavailable", times=2))
    ask(town, mail=MAIL)
    assert subscriptions.invite(town.rt) == 0
    assert subscriptions.invite(town.rt) == 0 and len(town.calls("mail")) == 1  # not at once
    for _ in range(3):
        town.clock.forward(minutes=2)
        subscriptions.invite(town.rt)
    assert len(letters(town, "mail")) == 1


def test_a_worker_that_dies_while_it_sends_leaves_none_sent_twice(town: Bureau) -> None:
    ask(town, mail=MAIL)

    class Died(BaseException):
        pass

    opened = town.rt.channels["mail"]

    class Dying(type(opened.adapter)):  # type: ignore[misc]
        def deliver(self, rendition: object, call: object) -> None:
            super().deliver(rendition, call)
            raise Died

    dying = replace(opened, adapter=Dying(opened.adapter.directory))  # type: ignore[attr-defined]
    with pytest.raises(Died):
        subscriptions.invite(replace(town.rt, channels={**town.rt.channels, "mail": dying}))
    subscriptions.invite(town.rt)
    assert len(letters(town, "mail")) == 1


def test_a_paused_channel_invites_nobody(town: Bureau) -> None:
    operate.pause(town.rt, town.actor("wang"), "mail", "检修")
    ask(town, mail=MAIL)
    assert subscriptions.invite(town.rt) == 0
    operate.resume(town.rt, town.actor("wang"), "mail")
    assert subscriptions.invite(town.rt) == 1


def test_an_invitation_that_comes_too_late_is_not_sent(town: Bureau) -> None:
    ask(town, mail=MAIL)
    town.clock.forward(hours=1, seconds=1)
    assert subscriptions.invite(town.rt) == 0


@pytest.mark.parametrize(
    ("to", "groups", "code"),
    [
        ({}, ("policy",), "no_address"),
        ({"mail": "zhang"}, ("policy",), "bad_address"),
        ({"mail": MAIL}, (), "no_group"),
        ({"sms": PHONE}, ("newsletter",), "no_group"),  # only by mail
        ({"web": MAIL}, ("policy",), "no_channel"),
    ],
)
def test_what_cannot_be_is_refused_and_not_kept(
    town: Bureau, to: dict[str, str], groups: tuple[str, ...], code: str
) -> None:
    with pytest.raises(Refused, match=code):
        ask(town, groups=groups, **to)
    assert kept(town) == 0


def test_without_the_section_there_is_no_form(bureau: Bureau) -> None:
    with pytest.raises(Refused, match="closed"):
        subscriptions.ask(bureau.rt, {"sms": PHONE}, [], "203.0.113.7")


# ── leaving ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def token(town: Bureau, channel: str, address: str) -> str:
    return subscriptions.unsubscribe_address(town.rt, channel, address).rsplit("/", 1)[1]


def test_an_unsubscribe_address_hides_and_names_its_address(town: Bureau) -> None:
    given = token(town, "mail", MAIL)
    assert subscriptions.unsubscribe_address(town.rt, "mail", MAIL).startswith("http://inbound.example/u/")
    assert subscriptions.read_token(town.rt, given) == ("mail", MAIL, None)
    assert token(town, "mail", MAIL) == given != token(town, "mail", "zhang@example.com")
    raw = base64.urlsafe_b64decode(given + "==")
    assert b"zhang" not in raw and b"example" not in raw and "zhang" not in given
    assert len(token(town, "mail", "a@b.cn")) == len(token(town, "mail", "wu@b.cn"))
    for address in ("王@例子.cn", "a" * 180 + "@example.cn"):
        assert subscriptions.read_token(town.rt, token(town, "mail", address)) == ("mail", address, None)


def test_no_token_can_be_made_up(town: Bureau) -> None:
    given = token(town, "mail", MAIL)
    raw = bytearray(base64.urlsafe_b64decode(given + "=="))
    for place in range(len(raw)):
        raw[place] ^= 1
        assert subscriptions.read_token(town.rt, base64.urlsafe_b64encode(raw).decode().rstrip("=")) is None
        raw[place] ^= 1
    for bad in ("", "x", given[:-1], given + "A", given.swapcase(), "退订", "a" * 2000, given.replace("_", "/") + "/"):
        assert subscriptions.read_token(town.rt, bad) is None, bad
    other = replace(town.rt, settings=town.rt.settings.model_copy(update={"secret": "t" * 40}))
    assert subscriptions.read_token(other, given) is None
    [asked] = subscriptions.ask(town.rt, {"mail": MAIL}, ["policy"], "203.0.113.7")
    assert subscriptions.read_token(town.rt, asked.token) is None  # sealed for another purpose


def test_whoever_leaves_is_told_no_more_and_twice_is_once(town: Bureau) -> None:
    town.subscribe(PHONE, "13800000002")
    item = town.publish("web", "sms")
    town.work("web")
    for _ in range(2):
        subscriptions.opt_out(town.rt, "sms", PHONE)
    town.work()
    assert [call.recipient for call in town.effects("sms")] == ["13800000002"]
    assert town.cell(item, "sms").counts == {"accepted": 1}
    assert subscribers.search(town.rt, town.actor("wang"), "sms", PHONE).barred is not None
    with town.rt.reading() as db:  # nothing else is kept of them
        assert db.scalar(select(func.count()).where(Subscriber.address == PHONE)) == 0


def subscribed(town: Bureau, *groups: str) -> str:
    """Somebody who chose these groups was told of an item of 政策文件; the token of that message."""
    [asked] = subscriptions.ask(town.rt, {"sms": PHONE}, groups, "203.0.113.7")
    subscriptions.invite(town.rt)
    subscriptions.confirm_code(town.rt, asked.token, code_in(letters(town, "sms")[-1][1]))
    return told_of_policy(town)


def told_of_policy(town: Bureau) -> str:
    town.publish("web", "sms", draft={"item_type": "通知"})
    town.work("web", "sms")
    return way_out(town, "sms")


def groups_kept(town: Bureau) -> list[str]:
    with town.rt.reading() as db:
        return sorted(db.scalars(select(SubscriberGroup.group_id)))


def test_one_click_leaves_the_group_that_sent_it_and_the_others_go_on(town: Bureau) -> None:
    given = subscribed(town, "policy", "outage")
    found = subscriptions.leaving(town.rt, given)
    assert found == Leaving("sms", "138****0001", ("政策文件",), ("停电停水播出安排",), done=False)
    for _ in range(2):
        left = subscriptions.leave(town.rt, given)
        assert (left.groups, left.others, left.done) == (("政策文件",), ("停电停水播出安排",), True)
    assert groups_kept(town) == ["outage"] and told(town, "sms") == [PHONE]
    assert not is_out(town, "sms", PHONE)
    assert subscriptions.leaving(town.rt, given).done
    assert not subscriptions.leave(town.rt, given, everything=True).others
    assert told(town, "sms") == [] and is_out(town, "sms", PHONE)


def test_who_leaves_their_only_group_is_told_of_nothing_and_not_of_everything(town: Bureau) -> None:
    left = subscriptions.leave(town.rt, subscribed(town, "policy"))
    assert (left.groups, left.others, left.done) == ((), (), True)
    assert told(town, "sms") == [] and is_out(town, "sms", PHONE)


def test_who_is_told_of_everything_leaves_everything(town: Bureau) -> None:
    town.subscribe(PHONE)
    subscriptions.leave(town.rt, told_of_policy(town))
    assert told(town, "sms") == [] and is_out(town, "sms", PHONE)


def test_whoever_leaves_while_texts_go_out_is_skipped_at_the_moment_of_sending(town: Bureau) -> None:
    town.subscribe(PHONE)
    item = town.publish("web", "sms")
    town.work("web")
    set_faults(town.rt.settings.data / "sms", Fault("unavailable"))
    town.work("sms")
    subscriptions.opt_out(town.rt, "sms", PHONE)
    town.clock.forward(minutes=5)
    town.work("sms")
    assert town.effects("sms") == [] and town.cell(item, "sms").counts == {"skipped": 1}


def test_only_the_holders_own_yes_brings_a_barred_address_back(town: Bureau) -> None:
    subscriptions.opt_out(town.rt, "mail", MAIL)
    listed = f"address,consent_source,consent_on\n{MAIL},登记表,2026-11-01\n"
    assert subscribers.import_csv(town.rt, town.actor("wang"), "mail", listed).bad == (
        (2, "subscribers.on_suppression_list"),
    )
    ask(town, mail=MAIL)
    assert told(town, "mail") == []
    subscriptions.invite(town.rt)
    subscriptions.confirm(town.rt, token_of(letters(town, "mail")[0][1]))
    assert told(town, "mail") == [MAIL]
    assert not is_out(town, "mail", MAIL)


@pytest.mark.parametrize(
    ("content", "out"),
    [
        (b"R", True), (b" td ", True), (b"T.", True), ("退订".encode(), True), ("ｔｄ".encode(), True),
        ("退订".encode("utf-16-be"), True), ("退订".encode("gb18030"), True), (b"\0R", True),
        ("退订吗".encode(), False), (b"", False), (b"Road closed?", False), ("请问何时开通".encode("gb18030"), False),
        (b"\xff\xfe\xfd", False),
    ],
)  # fmt: skip
def test_r_t_td_and_tuiding_end_it_in_whatever_charset(town: Bureau, content: bytes, out: bool) -> None:
    town.subscribe(PHONE)
    secret = subscriptions.message_address(town.rt, "sms").rsplit("/", 1)[1]
    assert subscriptions.take_message(town.rt, "sms", secret, PHONE, content) is out
    assert told(town, "sms") == ([] if out else [PHONE])


def sent_back(town: Bureau, content: bytes, number: str = PHONE) -> list[replies.Reply]:
    secret = subscriptions.message_address(town.rt, "sms").rsplit("/", 1)[1]
    subscriptions.take_message(town.rt, "sms", secret, number, content)
    return replies.received(town.rt, town.actor("wang"), "sms")[0]


@pytest.mark.parametrize("charset", ["utf-8", "utf-16-be", "gb18030"])
def test_a_citizens_reply_is_kept_with_what_it_answers_and_without_the_number(town: Bureau, charset: str) -> None:
    town.subscribe(PHONE)
    told_of_policy(town)
    [kept] = sent_back(town, "请问何时恢复播出？山区信号一直不好。".encode(charset))
    assert (kept.address, kept.text) == ("138****0001", "请问何时恢复播出？山区信号一直不好。")
    assert (kept.item_id, kept.title, kept.received_at) == (1, town.draft().title, town.clock())
    assert told(town, "sms") == [PHONE]  # they go on being told
    with town.rt.reading() as db:
        assert PHONE not in " ".join(map(str, db.execute(text("SELECT * FROM reply")).one()))


def test_a_reply_of_somebody_whom_nobody_told_anything_is_kept_as_well(town: Bureau) -> None:
    [kept] = sent_back(town, b"Road closed?\0", "13800000009")
    assert (kept.text, kept.item_id, kept.title) == ("Road closed?", None, "")


def test_opting_out_and_saying_nothing_are_no_replies(town: Bureau) -> None:
    assert sent_back(town, b"TD") == sent_back(town, b" ") == []


def test_replies_are_for_those_in_charge_and_forgotten_in_time(town: Bureau) -> None:
    assert len(sent_back(town, "谢谢".encode())) == 1
    with pytest.raises(Refused, match="not_permitted"):
        replies.received(town.rt, town.actor("li"), "sms")
    town.clock.forward(days=replies.KEPT.days)
    assert replies.forget(town.rt) == 0
    town.clock.forward(minutes=1)
    assert replies.forget(town.rt) == 1
    assert replies.received(town.rt, town.actor("wang"), "sms") == ([], 0)


def test_a_message_counts_only_from_our_gateway_and_from_a_phone(town: Bureau) -> None:
    town.subscribe(PHONE)
    secret = subscriptions.message_address(town.rt, "sms").rsplit("/", 1)[1]
    assert subscriptions.take_message(town.rt, "sms", secret[:-2] + "AA", PHONE, b"R") is None
    assert subscriptions.take_message(town.rt, "mail", secret, PHONE, b"R") is None
    assert subscriptions.take_message(town.rt, "web", secret, PHONE, b"R") is None
    assert subscriptions.take_message(town.rt, "sms", secret, "10086", b"R") is None
    assert told(town, "sms") == [PHONE]


def test_the_database_holds_no_code_and_no_network_address(town: Bureau) -> None:
    ask(town, "203.0.113.7", sms=PHONE)
    subscriptions.invite(town.rt)
    code = code_in(letters(town, "sms")[0][1])
    with town.rt.reading() as db:
        row = " ".join(map(str, db.execute(text("SELECT * FROM opt_in")).one()))
    assert code not in row and "203.0.113" not in row


# ── groups ───────────────────────────────────────────────────────────────────────────────────────────────────────────

LIST = """手机号,姓名,同意来源,同意日期,类别
13800000001,甲,登记表,2026-11-01,政策文件
13800000002,乙,登记表,2026-11-01,outage、政策文件
13800000003,丙,登记表,2026-11-01,停电停水播出安排
13800000004,丁,登记表,2026-11-01,
13800000005,戊,登记表,2026-11-01,天气
"""


def test_an_item_goes_to_those_who_chose_its_groups_and_to_those_who_chose_none(town: Bureau) -> None:
    done = subscribers.import_csv(town.rt, town.actor("wang"), "sms", LIST)
    assert (done.new, done.bad) == (4, ((6, "subscribers.unknown_group"),))
    town.publish("web", "sms")  # 通知: political documents
    town.work()
    assert sorted(call.recipient[-1] for call in town.effects("sms")) == ["1", "2", "4"]
    assert subscribers.count(town.rt, "sms", ["policy"]) == 3 and subscribers.count(town.rt, "sms") == 4


def test_an_item_of_no_group_goes_only_to_those_who_agreed_to_everything(town: Bureau) -> None:
    subscribers.import_csv(town.rt, town.actor("wang"), "sms", LIST)
    town.publish("web", "sms", draft={"item_type": "报告"})
    town.work()
    assert [call.recipient[-1] for call in town.effects("sms")] == ["4"]


def test_a_submission_may_name_other_groups_and_the_approval_holds_for_these(town: Bureau) -> None:
    subscribers.import_csv(town.rt, town.actor("wang"), "sms", LIST)
    item = town.write()
    first = town.submit(item, "web", "sms")
    review.return_(town.rt, town.actor("li"), item, "改发")
    second = town.submit(item, "web", "sms", groups=["停电停水播出安排"])
    assert first != second
    with pytest.raises(Refused, match="no_such_group"):
        town.submit(town.write(), "web", "sms", groups=["天气"])
    town.approve(item, second)
    town.work()
    assert sorted(call.recipient[-1] for call in town.effects("sms")) == ["2", "3", "4"]


def test_what_leaves_the_office_as_a_list_comes_back_the_same(town: Bureau) -> None:
    wang = town.actor("wang")
    subscribers.import_csv(town.rt, wang, "sms", LIST)
    exported = subscribers.export(town.rt, wang, "sms")
    assert "13800000002,乙,登记表,2026-11-01,,政策文件、停电停水播出安排\r\n" in exported
    for number in range(1, 5):
        subscribers.remove(town.rt, wang, "sms", f"1380000000{number}")
    with town.rt.reading() as db:
        assert db.scalar(text("SELECT count(*) FROM subscriber_group")) == 0
    assert subscribers.import_csv(town.rt, wang, "sms", exported).new == 4
    assert subscribers.export(town.rt, wang, "sms") == exported


def test_a_list_adds_groups_to_those_who_are_on_it_already(town: Bureau) -> None:
    wang = town.actor("wang")
    subscribers.import_csv(town.rt, wang, "sms", LIST)
    more = "手机号,同意来源,同意日期,类别\n13800000001,来电,2026-11-20,停电停水播出安排\n"
    assert subscribers.import_csv(town.rt, wang, "sms", more).known == 1
    found = subscribers.search(town.rt, wang, "sms", "13800000001").lines[0]
    assert (found.groups, found.consent_source) == (("outage", "policy"), "登记表")
    assert subscribers.search(town.rt, wang, "sms", group="outage").total == 4
    assert subscribers.search(town.rt, wang, "sms", group="newsletter").total == 1


def test_a_new_choice_takes_the_place_of_the_old_one(town: Bureau) -> None:
    for groups in (("policy",), ("outage", "newsletter")):
        ask(town, mail=MAIL, groups=groups)
        subscriptions.invite(town.rt)
        subscriptions.confirm(town.rt, token_of(letters(town, "mail")[-1][1]))
        town.clock.forward(hours=2)
    [one] = subscribers.listed(town.rt, town.actor("wang"), "mail")
    assert one.groups == ("newsletter", "outage")


def test_an_item_may_go_to_no_group_and_then_only_to_those_who_agreed_to_everything(town: Bureau) -> None:
    subscribers.import_csv(town.rt, town.actor("wang"), "sms", LIST)
    town.publish("web", "sms", groups=[])
    town.work()
    assert [call.recipient[-1] for call in town.effects("sms")] == ["4"]


def test_what_reviewers_see_says_how_many_are_told_and_which_groups(town: Bureau) -> None:
    subscribers.import_csv(town.rt, town.actor("wang"), "sms", LIST)
    item = town.write()
    hash = town.submit(item, "web", "sms", groups=["outage"])
    shown = {one.channel: one for one in previews.of_submission(town.rt, item, hash)}
    assert (shown["sms"].recipients, shown["sms"].groups) == (3, ("停电停水播出安排",))
    assert proposals.propose(town.rt, town.write()).groups == ("policy",)
    review.return_(town.rt, town.actor("li"), item, "改")
    assert proposals.propose(town.rt, item).groups == ("outage",)
