"""The portal's health: it says in time that its database is gone, and its log stays lines of JSON."""

import json
import time
from contextlib import ExitStack
from pathlib import Path

import requests

from tests.channels.rig_portal import portal_process
from tests.faults.stack import until
from tests.parts import create_database, postgres


def test_a_portal_whose_database_is_gone_says_so_and_logs_no_words_of_the_error(tmp_path: Path) -> None:
    with ExitStack() as until_the_end:
        with postgres(tmp_path / "postgres", fsync=False) as cluster:
            url = create_database(cluster, "portal")
            portal = until_the_end.enter_context(portal_process(tmp_path / "portal", PORTAL_DATABASE_URL=url))
            assert requests.get(portal.url + "/api/health", timeout=10).status_code == 200
        began = time.monotonic()
        answer = requests.get(portal.url + "/api/health", timeout=20)
        assert (answer.status_code, answer.json()) == (503, {"status": "the database does not answer"})
        assert time.monotonic() - began < 10
        assert requests.get(portal.url + "/i/1", timeout=20).status_code == 500
        log = next(tmp_path.glob("portal-*.log"))
        until(lambda: '"error"' in log.read_text("utf-8"))  # written after the answer
    written = log.read_text("utf-8")
    assert "Traceback" not in written
    told = [json.loads(line) for line in written.splitlines() if line.startswith("{")]
    assert {one["process"] for one in told} == {"portal"}
    assert any(one.get("error") == "OperationalError" for one in told)
