"""The inbound process as a gateway meets it: over real HTTP, with real addresses from real attempts."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import requests
import uvicorn

from pipeline import metrics
from pipeline.database import open_engine
from pipeline.models import StoredReport
from tests.office import Bureau
from tests.parts import silent_server
from web.inbound.app import create


@contextmanager
def inbound(bureau: Bureau) -> Iterator[str]:
    """The application served on a loopback port."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create(bureau.rt), log_level="warning", timeout_keep_alive=75))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


def stored(bureau: Bureau) -> int:
    with bureau.rt.reading() as db:
        return db.query(StoredReport).count()


def test_a_report_at_the_address_of_its_attempt_confirms_the_sms(bureau: Bureau) -> None:
    bureau.subscribe("13800000001")
    item = bureau.publish("web", "sms")
    bureau.work()
    path = bureau.effects("sms")[0].report_to.removeprefix(bureau.rt.settings.inbound_url)
    with inbound(bureau) as address:
        for _ in range(2):  # twice is once
            assert requests.get(address + path, params={"status": "delivered"}, timeout=10).status_code == 200
        assert requests.get(address + "/health", timeout=10).status_code == 200
    assert bureau.state(item, "sms") == "confirmed"
    assert stored(bureau) == 2


def test_what_is_not_addressed_to_an_attempt_of_ours_is_not_found_and_not_stored(bureau: Bureau) -> None:
    bureau.subscribe("13800000001")
    bureau.publish("web", "sms")
    bureau.work()
    path = bureau.effects("sms")[0].report_to.removeprefix(bureau.rt.settings.inbound_url)
    with inbound(bureau) as address:
        for guess in (
            path[:-3] + "abc",
            "/reports/sms/1.1.1.x",
            "/reports/web/" + path.rsplit("/", 1)[1],
            "/reports/no/x",
        ):
            assert requests.get(address + guess, params={"status": "delivered"}, timeout=10).status_code == 404
        assert requests.get(address + path, params={"status": "x" * 5000}, timeout=10).status_code == 414
        assert requests.get(address + "/openapi.json", timeout=10).status_code == 404
    assert stored(bureau) == 0
    assert bureau.cell(1, "sms").counts == {"accepted": 1}


def test_a_report_that_says_nothing_is_kept_and_changes_nothing(bureau: Bureau) -> None:
    bureau.subscribe("13800000001")
    item = bureau.publish("web", "sms")
    bureau.work()
    path = bureau.effects("sms")[0].report_to.removeprefix(bureau.rt.settings.inbound_url)
    with inbound(bureau) as address:
        assert requests.get(address + path, params={"status": "？"}, timeout=10).status_code == 200
    assert stored(bureau) == 1
    assert bureau.cell(item, "sms").counts == {"accepted": 1}


def test_health_is_refused_soon_when_the_ledger_is_gone(bureau: Bureau) -> None:
    class Gone:
        dialect = bureau.rt.engine.dialect

        def connect(self) -> None:
            raise ConnectionError("the network is down")

    broken = replace(bureau, rt=replace(bureau.rt, engine=Gone()))  # type: ignore[arg-type]
    with inbound(broken) as address:
        answer = requests.get(address + "/health", timeout=10)
        assert (answer.status_code, answer.text) == (503, "the ledger does not answer")


def test_health_does_not_wait_for_a_ledger_that_is_silent(bureau: Bureau) -> None:
    with silent_server() as (host, port):
        silent = open_engine(f"postgresql+psycopg://fabu@{host}:{port}/fabu?connect_timeout=30")
        with inbound(replace(bureau, rt=replace(bureau.rt, engine=silent))) as address:
            began = time.monotonic()
            assert requests.get(address + "/health", timeout=20).status_code == 503
            assert time.monotonic() - began < 10


def test_figures_are_given_only_for_the_token(bureau: Bureau) -> None:
    bureau.publish("web")
    with inbound(bureau) as address:
        for given in ({}, {"Authorization": "Bearer x"}, {"Authorization": metrics.token(bureau.rt)}):
            answer = requests.get(address + "/metrics", headers=given, timeout=10)
            assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
            assert "fabu_" not in answer.text
        asked = {"Authorization": f"Bearer {metrics.token(bureau.rt)}"}
        answer = requests.get(address + "/metrics", headers=asked, timeout=10)
        assert answer.status_code == 200 and 'fabu_due{channel="web"} 1.0' in answer.text
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")


def test_another_installation_has_another_token(bureau: Bureau) -> None:
    other = bureau.rt.settings.model_copy(update={"secret": "t" * 40})
    assert metrics.token(replace(bureau.rt, settings=other)) != metrics.token(bureau.rt)
