"""Everything is lost and a backup comes back: with the real portal, nothing goes back silently, nobody is told twice,
and the ledger says the truth again."""

import itertools
import os
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import create_engine, make_url, text

from channels.contract import Call, Kept, Unavailable
from channels.portal import Portal
from config import settings as config
from config.settings import ConfigError
from pipeline import confirm, operate, publish, review
from pipeline.decisions import Refused
from pipeline.rescue import archive, backup, compare, restore
from pipeline.rescue.hold import unfinished
from pipeline.runtime import open_runtime
from pipeline.states import State
from tests.channels import recording
from tests.channels.recording import Fault, set_faults
from tests.channels.rig_portal import KEY, Process, message, portal_process
from tests.faults import stack
from tests.faults.stack import now, rows, states, times
from tests.faults.test_portal_faults import channels
from tests.office import Bureau, open_bureau
from workers import doctor, embedded

PHONES = stack.numbers(3)
Found = Callable[..., Bureau]
PEOPLE = [
    {"id": id, "name": id, "department": "news", "roles": roles}
    for id, roles in (
        ("zhao", ["author"]), ("wang", ["editor"]), ("li", ["officer"]), ("chen", ["leader"]), ("sun", ["admin"]),
    )
]  # fmt: skip


@pytest.fixture
def portal(tmp_path: Path) -> Iterator[Process]:
    with portal_process(tmp_path / "portal") as process:
        yield process


@pytest.fixture
def office(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Found]:
    """Founds a bureau that a restore finds again by its environment."""
    opened: list[Bureau] = []

    def found(**changes: Any) -> Bureau:
        bureau = stack.found(tmp_path / "bureau", database_url, people=PEOPLE, **changes)
        for name, value in stack.environment(bureau.rt.settings).items():
            monkeypatch.setenv(name, value)
        opened.append(bureau)
        return bureau

    yield found
    for bureau in opened:
        bureau.rt.engine.dispose()


def lose(bureau: Bureau) -> None:
    """The ledger is gone; the data directory's other files stay."""
    bureau.rt.engine.dispose()
    url = make_url(bureau.rt.settings.database_url)
    if url.drivername == "sqlite":
        for file in Path(str(url.database)).parent.glob(f"{Path(str(url.database)).name}*"):
            file.unlink()
        return
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()


def bring_back(bureau: Bureau, file: Path, again: bool = False) -> Bureau:
    bureau.rt.engine.dispose()
    restore.restore(file, bureau.rt.settings.data, "sun", "tester", again)
    fresh = open_bureau(config.load(bureau.rt.settings.data), now)
    bureau.rt = replace(bureau.rt, engine=fresh.rt.engine)
    return bureau


def work(bureau: Bureau) -> None:
    """What workers do until nothing moves any more, with every look brought forward."""
    for _ in range(4):
        bureau.work()
        confirm.verify(bureau.rt)


def page(portal: Process, item: int) -> int:
    return requests.get(f"{portal.url}/i/{item}", timeout=5).status_code


def test_the_drill_after_everything_was_lost(office: Found, portal: Process, tmp_path: Path) -> None:
    bureau = office(channels=channels(portal.url))
    bureau.subscribe(*PHONES)
    kept = bureau.publish("portal", "feed", "sms")
    corrected = bureau.publish("portal", draft={"title": "旧标题"})
    withdrawn = bureau.publish("portal", "feed")
    work(bureau)
    late = bureau.write()
    late_hash = bureau.submit(late, "portal", "sms")
    due = bureau.publish("sms")
    backup.take(bureau.rt, tmp_path / "fabu.zip")

    bureau.correct(corrected, title="新标题")
    review.withdraw(bureau.rt, bureau.actor("li"), withdrawn, "数据有误")
    bureau.approve(late, late_hash)
    stranger = bureau.publish("portal", draft={"title": "备份之后公开的通知"})
    work(bureau)
    sent = times(bureau.effects("sms"))
    assert len(sent) == 9 and set(sent.values()) == {1}
    index_number = bureau.cell(stranger, "portal").index_number

    lose(bureau)
    bring_back(bureau, tmp_path / "fabu.zip")
    before = portal.requests()
    work(bureau)  # not compared yet: nothing is claimed
    assert (portal.requests(), times(bureau.effects("sms"))) == (before, sent)

    found = compare.resume(bureau.rt)
    assert found is not None
    assert [(one.number, one.title) for one in found.strangers] == [(stranger, "备份之后公开的通知")]
    work(bureau)
    assert portal.requests() == before, "a ledger that was restored put something on the portal by itself"
    assert times(bureau.effects("sms")) == sent
    assert [page(portal, item) for item in (kept, corrected, withdrawn, late, stranger)] == [200, 200, 410, 200, 200]
    assert "新标题" in requests.get(f"{portal.url}/i/{corrected}", timeout=5).text
    assert bureau.state(kept, "portal") == bureau.state(kept, "feed") == "confirmed"
    for item, channel in ((corrected, "portal"), (withdrawn, "portal"), (withdrawn, "feed"), (late, "portal"),
                          (stranger, "portal"), (due, "sms")):  # fmt: skip
        cell = bureau.cell(item, channel)
        assert (cell.state, cell.held_known) == ("on_hold", False), (item, channel)
    assert {row.state for row in rows(bureau, "sms") if row.item == due and row.recipient} == {State.ON_HOLD}

    # People do again what they had done, and say what they know.
    operate.settle(bureau.rt, bureau.actor("wang"), due, "sms", True, "平台记录为已发")
    bureau.correct(corrected, title="新标题")
    review.withdraw(bureau.rt, bureau.actor("li"), withdrawn, "数据有误")
    bureau.approve(late, late_hash)
    assert bureau.state(late, "sms") == "on_hold"
    operate.settle(bureau.rt, bureau.actor("wang"), late, "sms", True, "平台记录为已发")
    operate.retry(bureau.rt, bureau.actor("li"), stranger)
    work(bureau)
    assert times(bureau.effects("sms")) == sent
    assert [page(portal, item) for item in (kept, corrected, withdrawn, late, stranger)] == [200, 200, 410, 200, 410]
    assert states(bureau, "portal", "feed") == {"confirmed": 7}
    new = bureau.publish("portal", "sms")
    work(bureau)
    assert new > stranger and bureau.cell(new, "portal").index_number != index_number
    assert bureau.state(new, "portal") == "confirmed" and len(times(bureau.effects("sms"))) == 12


def test_while_the_portal_is_silent_a_restored_ledger_claims_nothing(
    office: Found, portal: Process, tmp_path: Path
) -> None:
    bureau = office(channels=channels(portal.url))
    item = bureau.publish("portal")
    backup.take(bureau.rt, tmp_path / "fabu.zip")
    lose(bureau)
    bring_back(bureau, tmp_path / "fabu.zip")
    portal.stop()
    with pytest.raises(Unavailable):
        compare.resume(bureau.rt)
    work(bureau)
    assert [row.attempts for row in rows(bureau, "portal") if row.item == item] == [0]
    with bureau.rt.reading() as db:
        assert unfinished(bureau.rt, db)


@pytest.mark.parametrize("seed", range(4))
def test_whatever_was_done_before_and_after_a_backup_no_recipient_is_told_twice(
    office: Found, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    bureau = office(channels={"web": {}})
    bureau.subscribe(*PHONES)
    items = list[int]()

    def anything() -> None:
        match chance.randrange(6):
            case 0 | 1:
                items.append(bureau.publish("web", "sms"))
            case 2:
                bureau.work()
            case 3:
                kinds = ("unavailable", "in_doubt_after_effect", "in_doubt")
                set_faults(bureau.rt.settings.data / "sms", Fault(raises=chance.choice(kinds)))  # type: ignore[arg-type]
                bureau.work("sms")
            case 4 if items:
                _try(lambda: bureau.correct(chance.choice(items), title=f"更正{chance.random()}"))
            case 5 if items:
                _try(lambda: review.withdraw(bureau.rt, bureau.actor("li"), chance.choice(items), "有误"))

    for _ in range(8):
        anything()
    backup.take(bureau.rt, tmp_path / "fabu.zip")
    for _ in range(8):
        anything()
    bureau.work()
    before = times(bureau.effects("sms"))
    lose(bureau)
    bring_back(bureau, tmp_path / "fabu.zip")
    compare.resume(bureau.rt)
    set_faults(bureau.rt.settings.data / "sms")
    work(bureau)
    assert times(bureau.effects("sms")) == before
    told = {recipient for _, recipient in before}
    for row in rows(bureau, "sms"):
        if row.state in (State.ON_HOLD, State.IN_DOUBT):  # a person asks the gateway
            gone = bool(before[f"sms/{row.item}", row.recipient]) if row.recipient else bool(told)
            how = (bureau.actor("wang"), row.item, "sms", gone, "平台记录", row.recipient)
            operate.settle(bureau.rt, *how)
    work(bureau)
    assert set(times(bureau.effects("sms")).values()) <= {1}


def test_what_was_unsent_or_had_failed_at_the_backup_may_have_gone_out_since(office: Found, tmp_path: Path) -> None:
    bureau = office(channels={"web": {}})
    bureau.subscribe(*PHONES)
    sms = bureau.rt.settings.data / "sms"
    set_faults(sms, Fault("unavailable", recipient=PHONES[0]), Fault("rejected", recipient=PHONES[1]))
    item = bureau.publish("sms")
    bureau.work("sms")
    assert states(bureau, "sms") == {"due": 1, "failed": 1, "accepted": 1}
    backup.take(bureau.rt, tmp_path / "fabu.zip")
    operate.retry(bureau.rt, bureau.actor("wang"), item)
    in_an_hour = replace(bureau.rt, now=lambda: now() + timedelta(hours=1))  # past every back-off
    replace(bureau, rt=in_an_hour).work("sms")
    sent = times(bureau.effects("sms"))
    assert sorted(sent.values()) == [1, 1, 1]
    lose(bureau)
    bring_back(bureau, tmp_path / "fabu.zip")
    assert states(bureau, "sms") == {"on_hold": 2, "accepted": 1}
    later = replace(bureau, rt=replace(bureau.rt, now=in_an_hour.now))
    compare.resume(later.rt)
    work(later)
    assert times(bureau.effects("sms")) == sent


def _try(decision: Callable[[], object]) -> None:
    with suppress(Refused):
        decision()


def test_a_machine_that_is_lost_comes_back_with_its_portal_files_and_notices(
    office: Found, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bureau = office(channels={"web": {}})
    data = bureau.rt.settings.data
    with portal_process(data / "portal"):
        (data / "notices" / "公示").mkdir(parents=True)
        (data / "notices" / "公示" / "一.pdf").write_bytes(b"%PDF")
        (data / "secrets.json").write_text('{"secret": "kept"}')
        backup.take(bureau.rt, tmp_path / "fabu.zip")
    toml = (data / "fabu.toml").read_bytes()
    bureau.rt.engine.dispose()
    lose(bureau)
    shutil.rmtree(data)
    done = restore.restore(tmp_path / "fabu.zip", data, "sun", "tester")
    assert done.portal and not done.aside
    assert (data / "notices" / "公示" / "一.pdf").read_bytes() == b"%PDF"
    assert (data / "fabu.toml").read_bytes() == toml
    assert (data / "secrets.json").stat().st_mode & 0o777 == 0o600
    with portal_process(data / "portal") as again:
        assert again.requests() == {}


class Unlisted(recording.Recall):
    """Fenced, and cannot be asked for all that it keeps, like a webhook's receiver."""

    def kept(self) -> None:  # type: ignore[override]
        return None


def test_where_the_other_side_cannot_be_listed_a_look_decides_what_waits_for_a_person(
    office: Found, tmp_path: Path
) -> None:
    bureau = office(channels={"web": {"kind": f"{__name__}:Unlisted"}})
    same, gone = bureau.publish("web"), bureau.publish("web")
    work(bureau)
    backup.take(bureau.rt, tmp_path / "fabu.zip")
    review.withdraw(bureau.rt, bureau.actor("li"), gone, "数据有误")
    work(bureau)
    effects = bureau.effects("web")
    lose(bureau)
    bring_back(bureau, tmp_path / "fabu.zip")
    compare.resume(bureau.rt)
    work(bureau)
    assert (bureau.state(same, "web"), bureau.state(gone, "web")) == ("confirmed", "on_hold")
    assert bureau.effects("web") == effects, "what was withdrawn was put up again"
    review.withdraw(bureau.rt, bureau.actor("li"), gone, "数据有误")
    bureau.correct(same, title="更正后的标题")
    work(bureau)
    assert (bureau.state(same, "web"), bureau.state(gone, "web")) == ("confirmed", "confirmed")


def test_the_portal_lists_all_that_it_keeps_page_by_page_to_us_only(portal: Process) -> None:
    channel = Portal(portal.url, KEY)
    for number in range(1, 121):
        channel.withdraw(Call(f"portal/{number}", number % 7 + 1))
    channel.deliver(channel.render(message(121)), Call("portal/121", 3))
    kept = channel.kept()
    assert {number: one.generation for number, one in kept.items()} == {n: n % 7 + 1 for n in range(1, 121)} | {121: 3}
    assert kept[1] == Kept(2, False) and kept[121] == Kept(3, True, "370303/2015-00121", message().title)
    assert requests.get(f"{portal.url}/api/items?after=0", timeout=5).status_code == 401


# ── killed in the middle ─────────────────────────────────────────────────────────────────────────────────────────────

MAKING: list[tuple[Any, str, int | str]] = [(archive, "extract", 1), (restore, "_load", 5), (restore, "_close", 1)]
MOVING: list[tuple[Any, str, int | str]] = [(restore, "_move_away", 2), (restore, "_move_in", 2), (os, "sync", 2)]
EXCHANGING: list[tuple[Any, str, int | str]] = [(restore, "text", "DROP SCHEMA restoring")]


def killed_at(bureau: Bureau, file: Path, where: Any, name: str, when: int | str) -> None:
    """A restore in a process of its own, which dies by SIGKILL as it calls this for the n-th time, or with this."""
    bureau.rt.engine.dispose()
    if (child := os.fork()) == 0:
        calls, real = itertools.count(1), getattr(where, name)

        def die(*how: Any, **named: Any) -> Any:
            if when in (next(calls), *how):
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*how, **named)

        setattr(where, name, die)
        try:
            restore.restore(file, bureau.rt.settings.data, "sun", "tester", again=True)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL, name


def told(data: Path) -> set[str]:
    """What fabu doctor says of a restore; workers let all be meanwhile."""
    rt = open_runtime(config.load(data))
    try:
        assert publish.deliver(rt, "web") == publish.deliver(rt, "sms") == 0
        return {one.code for one in doctor.restoring(rt)}
    finally:
        rt.engine.dispose()


def test_a_restore_that_is_killed_again_and_again_claims_nothing_and_ends_well(office: Found, tmp_path: Path) -> None:
    bureau, file = office(channels={"web": {}}), tmp_path / "fabu.zip"
    bureau.subscribe(PHONES[0])
    data, is_file = bureau.rt.settings.data, bureau.rt.engine.dialect.name == "sqlite"
    bureau.publish("web", "sms")
    work(bureau)
    backup.take(bureau.rt, file)
    later = bureau.publish("web", "sms")
    before = times(bureau.effects("web")), times(bureau.effects("sms"))

    for point in MAKING if is_file else MAKING[1:]:  # beside PostgreSQL, files that are there stay
        killed_at(bureau, file, *point)
        assert told(data) == {"doctor.restore_begun"}
    for point in MOVING if is_file else EXCHANGING:
        killed_at(bureau, file, *point)
        for opening in (told, embedded.prepare) if is_file else ():
            with pytest.raises(ConfigError, match="half_way"):
                opening(data)
    done = restore.restore(file, data, "sun", "tester", again=True)
    assert told(data) == {"doctor.restore_not_compared"}
    assert not (data / ".restoring").exists()
    engine = create_engine(f"sqlite:///{done.aside}/fabu.db" if is_file else bureau.rt.settings.database_url)
    with engine.connect() as connection:  # what was there before the first try
        table = "item" if is_file else f"{done.aside}.item"
        assert connection.scalar(text(f"SELECT max(id) FROM {table}")) == later
    engine.dispose()

    bureau.rt = replace(bureau.rt, engine=open_bureau(config.load(data), now).rt.engine)
    compare.resume(bureau.rt)
    work(bureau)
    assert told(data) == set()
    assert (times(bureau.effects("web")), times(bureau.effects("sms"))) == before
    assert bureau.publish("web") > later


def test_a_restore_that_was_killed_is_given_up_only_while_the_old_ledger_is_there(
    office: Found, tmp_path: Path
) -> None:
    bureau, file = office(channels={"web": {}}), tmp_path / "fabu.zip"
    data = bureau.rt.settings.data
    backup.take(bureau.rt, file)
    item = bureau.publish("web")
    assert not restore.give_up(data)
    killed_at(bureau, file, restore, "_load", 2)
    assert told(data) == {"doctor.restore_begun"}
    assert restore.give_up(data)
    work(bureau)
    assert bureau.state(item, "web") == "confirmed"
    if bureau.rt.engine.dialect.name == "sqlite":
        killed_at(bureau, file, restore, "_move_in", 1)
        with pytest.raises(ConfigError, match="half_way"):
            restore.give_up(data)
