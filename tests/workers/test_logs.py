"""What our processes write into their logs: lines of JSON, and never a number, a name or a text."""

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import text

from config import logs
from pipeline import reports
from pipeline.models import Attempt, AttemptEnd
from tests.channels.rig_portal import free_port
from tests.faults.stack import ROOT, found, start, until, worker
from tests.office import Bureau

NUMBERS = [f"1380000{serial:04d}" for serial in range(1, 7)]
SECRET_TEXT = "绝密样片今晚试播"


def line(record: logging.LogRecord) -> Any:
    return json.loads(logs.Lines("worker").format(record))


def record(message: str, *args: object, error: BaseException | None = None, **extra: Any) -> logging.LogRecord:
    return logging.getLogger("fabu.test").makeRecord(
        "fabu.test", logging.WARNING, "x.py", 1, message, args, (type(error), error, None) if error else None,
        extra=extra or None,
    )  # fmt: skip


def test_a_line_says_when_where_and_what_with_its_facts() -> None:
    told = line(record("calls were made", event="delivery.round", facts={"channel": "sms", "calls": 12}))
    assert told["time"].endswith("Z") and told["level"] == "WARNING" and told["process"] == "worker"
    assert (told["event"], told["facts"]) == ("delivery.round", {"channel": "sms", "calls": "12"})


@pytest.mark.parametrize(
    "given",
    [
        "no route for 13800000001", "tel:+8613800000001.", "138-0000-0001", "138 0000 0001", "１３８００００００01",
        "GET /cgi-bin/sendsms?to=13800000001&text=%E7%BB%9D", "370303198001010012", "id 37030319800101001X",
    ],
)  # fmt: skip
def test_a_number_or_a_query_string_in_a_message_is_masked(given: str) -> None:
    said = line(record(given))["message"]
    assert (
        "13800000001" not in said.replace("-", "").replace(" ", "") and "text=" not in said and "19800101" not in said
    )
    assert "…" in said or "****" in said


def test_of_an_error_only_its_kind_code_and_place_are_written() -> None:
    class Coded(Exception):
        code = "http.refused"

    try:
        raise Coded(f"{NUMBERS[0]} {SECRET_TEXT}")
    except Coded as error:
        told = line(
            logging.getLogger("fabu.test").makeRecord(
                "fabu.test", logging.ERROR, "x.py", 1, "it failed", (), (Coded, error, error.__traceback__)
            )
        )
    assert told["error"] == "Coded http.refused" and "test_logs.py:" in told["at"][-1]
    assert SECRET_TEXT not in json.dumps(told, ensure_ascii=False)


def test_a_failed_task_of_celery_does_not_quote_its_error() -> None:
    given = {"name": "fabu.deliver", "id": "1", "description": "raised unexpected", "exc": f"Error('{SECRET_TEXT}')"}
    said = line(record("Task %(name)s[%(id)s] %(description)s: %(exc)s", given))["message"]
    assert said == "Task fabu.deliver[1] raised unexpected: …"


def test_an_error_that_nobody_caught_is_a_line_too() -> None:
    code = (
        "import threading; from config import logs; logs.configure('worker')\n"
        f"def fail(): raise ValueError('{NUMBERS[0]} {SECRET_TEXT}')\n"
        "thread = threading.Thread(target=fail); thread.start(); thread.join(); fail()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    told = [json.loads(one) for one in done.stderr.splitlines()]
    assert [one["error"] for one in told] == ["ValueError", "ValueError"] and done.returncode == 1
    assert SECRET_TEXT not in done.stderr


@contextmanager
def gateway() -> Iterator[tuple[str, list[str]]]:
    """Fails in every way it can, one after the other, and quotes what it was sent; gives its address and what came."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            status = (403, 500, 202, 503, 302, 0)[(len(asked) - 1) % 6]
            if not status:
                self.connection.close()  # reads and closes
                return
            body = f"{status} {self.path} {SECRET_TEXT}".encode()
            self.send_response_only(status)
            if status == 302:
                self.send_header("Location", f"http://127.0.0.1:1{self.path}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except (OSError, ValueError):
                self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/cgi-bin/sendsms", asked
    finally:
        server.shutdown()
        server.server_close()


def test_an_sms_that_fails_in_every_way_leaves_no_number_and_no_text_in_any_log(tmp_path: Path, broker: str) -> None:
    with gateway() as (url, asked):
        phone = {
            "kind": "sms", "label": "短信", "url": url, "username": "fabu", "password": "geheim-geheim",
            "signature": "张店区广电局", "senders": 1,
        }  # fmt: skip
        office = found(tmp_path / "office", f"sqlite:///{tmp_path / 'fabu.db'}", broker, channels={"phone": phone})
        office.subscribe(*NUMBERS, channel="phone")
        publish(office)
        with worker(office, "phone"):
            until(lambda: len(asked) >= len(NUMBERS) and ends(office) >= len(NUMBERS))
    assert {number in "".join(asked) for number in NUMBERS} == {True}
    report_while_the_ledger_is_broken(office)
    written = {file.name: file.read_text("utf-8") for file in office.rt.settings.data.glob("*.log")}
    assert {"worker.log", "inbound.log"} <= set(written)
    for name, words in written.items():
        found_there = [one for one in (*NUMBERS, SECRET_TEXT, "%E7%BB%9D", "geheim", "试播") if one in words]
        assert found_there == [], f"{name}: {found_there}"
    told = list(map(json.loads, jsons(written["worker.log"])))
    assert any(one["event"] == "delivery.round" for one in told)
    assert any(one.get("error") for one in map(json.loads, jsons(written["inbound.log"])))


def jsons(words: str) -> list[str]:
    return [one for one in words.splitlines() if one.startswith("{")]


def publish(office: Bureau) -> None:
    item = office.write(title=f"{SECRET_TEXT}的通知", sms_text=SECRET_TEXT)
    office.approve(item, office.submit(item, "phone"))


def ends(office: Bureau) -> int:
    with office.rt.reading() as db:
        return db.query(AttemptEnd).count()


def report_while_the_ledger_is_broken(office: Bureau) -> None:
    """A gateway's report to the real process, whose ledger refuses it with an error that quotes the query."""
    with office.rt.reading() as db:
        attempt = db.query(Attempt).first()
    assert attempt is not None
    address = reports.address(office.rt, "phone", attempt.delivery_id, attempt.number, attempt.started_at)
    with office.rt.engine.begin() as connection:
        connection.execute(text("ALTER TABLE report RENAME TO report_gone"))
    port = free_port()
    how = ("--host", "127.0.0.1", "--port", str(port))
    process = start(office, "inbound", "uvicorn", "--factory", "web.inbound.app:create", *how)
    try:
        base = f"http://127.0.0.1:{port}"
        until(lambda: answers(base) or process.poll() is not None)
        path = address.removeprefix(office.rt.settings.inbound_url)
        answer = requests.get(base + path, params={"p": NUMBERS[0], "a": SECRET_TEXT}, timeout=30)
        assert answer.status_code == 500
    finally:
        process.terminate()
        process.wait(30)


def answers(base: str) -> bool:
    try:
        return requests.get(f"{base}/health", timeout=5).status_code == 200
    except requests.ConnectionError:
        return False
