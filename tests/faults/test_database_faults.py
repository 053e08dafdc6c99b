"""A database that is locked for a while, or restarted in the middle of a batch (fault 24)."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from pipeline import publish
from pipeline.states import State
from tests.channels.recording import Fault, set_faults
from tests.faults import stack
from tests.faults.stack import hands_of, numbers, rows, settled, states, times, until, until_begun
from tests.office import Bureau
from tests.parts import create_database, postgres


@contextmanager
def locked(bureau: Bureau) -> Iterator[None]:
    """Somebody else holds the one lock of the SQLite database."""
    other = sqlite3.connect(str(make_url(bureau.rt.settings.database_url).database), isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


def test_a_sqlite_database_that_is_locked_past_the_leases_loses_and_doubles_nothing(tmp_path: Path) -> None:
    bureau = stack.found(tmp_path / "bureau", f"sqlite:///{tmp_path / 'fabu.db'}", channels={"sms": {"senders": 2}})
    bureau.subscribe(*numbers(40))
    set_faults(bureau.rt.settings.data / "sms", Fault(seconds=0.02, times=None))
    bureau.publish("web", "sms")
    with hands_of(bureau) as hands:
        hands.start("web", "sms")
        hands.start("web", "sms")
        until_begun(bureau, 9)
        with locked(bureau):
            time.sleep(2.5)  # longer than the leases
        until(lambda: states(bureau, "web", "sms") == {"confirmed": 1, "accepted": 40})
    assert set(times(bureau.calls("sms")).values()) == {1}
    assert set(times(bureau.effects("web")).values()) == {1}


def test_what_a_channel_answered_is_kept_while_the_database_is_locked_and_a_decision_fails_cleanly(
    tmp_path: Path,
) -> None:
    bureau = stack.found(tmp_path / "bureau", f"sqlite:///{tmp_path / 'fabu.db'}")
    impatient(bureau)
    bureau.subscribe(*numbers(3))
    item = bureau.publish("sms")
    sending = threading.Thread(target=publish.deliver, args=(bureau.rt, "sms"))
    with ExitStack() as lock:
        with stack.hanging(bureau, "sms"):
            sending.start()
            until(lambda: len(bureau.calls("sms")) == 3)
            lock.enter_context(locked(bureau))
        until(lambda: len(bureau.effects("sms")) == 3)
        with pytest.raises(OperationalError, match="locked"):
            bureau.write()
    sending.join()
    assert bureau.cell(item, "sms").counts == {"accepted": 3}
    assert bureau.write() == item + 1  # the decision that failed left nothing behind


def test_a_postgresql_that_is_restarted_in_a_batch_loses_and_doubles_nothing(tmp_path: Path) -> None:
    with ExitStack() as working:
        with postgres(tmp_path / "cluster") as cluster:
            url = create_database(cluster, "fabu")
            bureau = stack.found(tmp_path / "bureau", url, channels={"sms": {"senders": 2, "batch": 10}})
            bureau.subscribe(*numbers(80))
            set_faults(bureau.rt.settings.data / "sms", Fault(seconds=0.02, times=None))
            bureau.publish("sms")
            for _ in range(10):
                bureau.publish("web")
            hands = working.enter_context(hands_of(bureau))
            hands.start("sms", "web")
            hands.start("web", "sms")
            until_begun(bureau, 20)
        assert 0 < len(bureau.calls("sms")) < 80
        working.enter_context(postgres(tmp_path / "cluster"))
        until(lambda: settled(bureau, "sms") and states(bureau, "web") == {"confirmed": 10})
        ledger, arrived = rows(bureau, "sms"), times(bureau.effects("sms"))
        assert len(ledger) == 80
        assert set(times(bureau.calls("sms")).values()) == {1}
        for row in ledger:
            if row.state is not State.IN_DOUBT:
                assert (row.state, arrived[f"sms/{row.item}", row.recipient]) == (State.ACCEPTED, 1)
        bureau.rt.engine.dispose()


def impatient(bureau: Bureau) -> None:
    """Let this process wait for the lock a moment only, not half a minute."""

    @event.listens_for(bureau.rt.engine, "connect", insert=False)
    def soon(connection: sqlite3.Connection, _: object) -> None:
        connection.execute("PRAGMA busy_timeout=100").close()

    bureau.rt.engine.dispose()
