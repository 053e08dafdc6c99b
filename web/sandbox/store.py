"""What reached the network, on disk: it survives `kill -9`, and nothing is ever deduplicated."""

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from threading import Lock

_TABLES = """
CREATE TABLE IF NOT EXISTS requests (
    id INTEGER PRIMARY KEY, at REAL NOT NULL, recipient TEXT NOT NULL, outcome TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY, at REAL NOT NULL, recipient TEXT NOT NULL, sender TEXT NOT NULL, text TEXT NOT NULL,
    parts INTEGER NOT NULL, received INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS messages_of_phone ON messages (recipient, id);
CREATE TABLE IF NOT EXISTS reports (
    id INTEGER PRIMARY KEY, message INTEGER NOT NULL REFERENCES messages, status INTEGER NOT NULL, url TEXT NOT NULL,
    due REAL NOT NULL, tries INTEGER NOT NULL DEFAULT 0, handed_over REAL
);
CREATE INDEX IF NOT EXISTS reports_due ON reports (due) WHERE handed_over IS NULL;
CREATE INDEX IF NOT EXISTS reports_of_message ON reports (message);
CREATE TABLE IF NOT EXISTS mails (
    id INTEGER PRIMARY KEY, at REAL NOT NULL, sender TEXT NOT NULL, recipient TEXT NOT NULL, subject TEXT NOT NULL,
    content BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS mails_of_box ON mails (recipient, id);
"""
TRIES = 8


class Outcome(StrEnum):
    """What became of a request."""

    ACCEPTED = "accepted"
    REFUSED = "refused"  # 4xx
    FAULT = "fault"  # the status that was ordered; nothing reached a phone
    CLOSED = "closed"  # accepted, and the line broken instead of an answer


@dataclass(frozen=True)
class Sending:
    """One SMS of a request; `reports`: (Kannel's status, seconds from now, address)."""

    recipient: str
    sender: str
    text: str
    parts: int
    received: bool
    reports: Sequence[tuple[int, float, str]]


@dataclass(frozen=True)
class DueReport:
    id: int
    url: str
    tries: int


@dataclass(frozen=True)
class SentReport:
    status: int
    tries: int
    handed_over: float | None


@dataclass(frozen=True)
class Sms:
    id: int
    at: float
    recipient: str
    sender: str
    text: str
    parts: int
    received: bool
    reports: tuple[SentReport, ...]

    @property
    def state(self) -> str:
        """`silent`: no report will come; `waiting`: one will; else the last that was handed over."""
        handed = [report for report in self.reports if report.handed_over is not None]
        if not handed:
            return "waiting" if self.reports else "silent"
        last = max(handed, key=lambda report: report.handed_over or 0.0)
        return {1: "delivered", 2: "failed", 16: "failed"}.get(last.status, "pending")


@dataclass(frozen=True)
class Mail:
    """A mail in a mailbox. `sender`: of the envelope; `content`: as it came; empty on a list."""

    id: int
    at: float
    sender: str
    recipient: str
    subject: str
    content: bytes = b""


class Store:
    """One connection behind a lock. `synchronous=NORMAL`: safe against a killed process, which is what is promised."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = Lock()
        self._db = sqlite3.connect(folder / "sandbox.sqlite3", check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_TABLES)

    def close(self) -> None:
        self._db.close()

    def record(self, recipient: str, outcome: Outcome, sendings: Sequence[Sending] = ()) -> list[int]:
        """Count a request and what it sends, committed on return; answers the ids of the messages."""
        now = time.time()
        ids = []
        with self._transaction() as db:
            db.execute("INSERT INTO requests (at, recipient, outcome) VALUES (?, ?, ?)", (now, recipient, outcome))
            for sending in sendings:
                message = db.execute(
                    "INSERT INTO messages (at, recipient, sender, text, parts, received) VALUES (?, ?, ?, ?, ?, ?)",
                    (now, sending.recipient, sending.sender, sending.text, sending.parts, sending.received),
                ).lastrowid
                assert message is not None
                db.executemany(
                    "INSERT INTO reports (message, status, url, due) VALUES (?, ?, ?, ?)",
                    [(message, status, url, now + wait) for status, wait, url in sending.reports],
                )
                ids.append(message)
        return ids

    def due(self, limit: int = 50) -> list[DueReport]:
        return self._reports(
            "due <= ? AND tries < ? AND handed_over IS NULL ORDER BY due LIMIT ?", (time.time(), TRIES, limit)
        )

    def first_reports(self, messages: Sequence[int]) -> list[DueReport]:
        """The reports of these messages, whether due or not."""
        marks = ",".join("?" * len(messages))
        return self._reports(f"message IN ({marks}) AND handed_over IS NULL ORDER BY id", tuple(messages))

    def handed_over(self, report: int) -> None:
        with self._transaction() as db:
            db.execute("UPDATE reports SET handed_over = ?, tries = tries + 1 WHERE id = ?", (time.time(), report))

    def again(self, report: int, wait: float) -> None:
        with self._transaction() as db:
            db.execute("UPDATE reports SET due = ?, tries = tries + 1 WHERE id = ?", (time.time() + wait, report))

    def messages(self, recipient: str | None = None, since: int = 0) -> list[Sms]:
        """In the order of arrival, after the message `since`."""
        if recipient:
            return self._messages("id > ? AND recipient = ? ORDER BY id", (since, recipient))
        return self._messages("id > ? ORDER BY id", (since,))

    def newest(self, limit: int) -> list[Sms]:
        return self._messages("id > 0 ORDER BY id DESC LIMIT ?", (limit,))

    def totals(self) -> tuple[int, int]:
        """Messages, and phones they were for."""
        with self._transaction() as db:
            row: tuple[int, int] = db.execute("SELECT count(*), count(DISTINCT recipient) FROM messages").fetchone()
        return row

    def counts(self, recipient: str | None = None) -> dict[Outcome, int]:
        where, values = ("WHERE recipient = ?", (recipient,)) if recipient else ("", ())
        with self._transaction() as db:
            rows = dict(db.execute(f"SELECT outcome, count(*) FROM requests {where} GROUP BY outcome", values))
        return {outcome: rows.get(outcome, 0) for outcome in Outcome}

    def take_mail(self, sender: str, recipient: str, subject: str, content: bytes) -> None:
        row = (time.time(), sender, recipient, subject, content)
        with self._transaction() as db:
            db.execute("INSERT INTO mails (at, sender, recipient, subject, content) VALUES (?, ?, ?, ?, ?)", row)

    def mail(self, id: int) -> Mail | None:
        with self._transaction() as db:
            row = db.execute(
                "SELECT id, at, sender, recipient, subject, content FROM mails WHERE id = ?", (id,)
            ).fetchone()
        return Mail(*row) if row else None

    def mails(self, recipient: str | None = None, since: int = 0, newest: int | None = None) -> list[Mail]:
        """Without their contents, in the order of arrival after the mail `since`; or the `newest` so many, the last
        first."""
        where, values = ("id > ? AND recipient = ?", [since, recipient]) if recipient else ("id > ?", [since])
        order = "id" if newest is None else f"id DESC LIMIT {newest}"
        with self._transaction() as db:
            rows = db.execute(
                f"SELECT id, at, sender, recipient, subject FROM mails WHERE {where} ORDER BY {order}", values
            ).fetchall()
        return [Mail(*row) for row in rows]

    def mail_totals(self) -> tuple[int, int]:
        """Mails, and mailboxes they are in."""
        with self._transaction() as db:
            row: tuple[int, int] = db.execute("SELECT count(*), count(DISTINCT recipient) FROM mails").fetchone()
        return row

    def _messages(self, where: str, values: tuple[object, ...]) -> list[Sms]:
        with self._transaction() as db:
            rows = db.execute(f"SELECT * FROM messages WHERE {where}", values).fetchall()
            reports: dict[int, list[SentReport]] = {}
            for message, *report in db.execute(
                f"SELECT message, status, tries, handed_over FROM reports "
                f"WHERE message IN (SELECT id FROM messages WHERE {where}) ORDER BY due, id",
                values,
            ):
                reports.setdefault(message, []).append(SentReport(*report))
        return [
            Sms(id, at, recipient, sender, text, parts, bool(received), tuple(reports.get(id, ())))
            for id, at, recipient, sender, text, parts, received in rows
        ]

    def _reports(self, where: str, values: tuple[object, ...]) -> list[DueReport]:
        with self._transaction() as db:
            return [DueReport(*row) for row in db.execute(f"SELECT id, url, tries FROM reports WHERE {where}", values)]

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
