"""A warm parent of hands: each is forked in milliseconds, works as workers do until it is killed, and is gone for good
when its killing is answered.

    python -m tests.faults.driver

Reads a line of JSON for each order, {"start": [channels], "environment": {…}, "log": …} or {"kill": pid}, and answers
with the pid that it concerned.
"""

import json
import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from config import settings as config
from pipeline import confirm, publish
from pipeline.runtime import open_runtime
from tests.channels import recording  # noqa: F401  (imported once here, not by every child)
from workers.tied import die_with_parent

ROUND_SECONDS = 0.04
SWEEP_SECONDS = 0.2


def main() -> None:
    for line in sys.stdin:
        order: dict[str, Any] = json.loads(line)
        if "start" in order:
            parent = os.getpid()
            pid = os.fork()
            if pid == 0:
                die_with_parent(signal.SIGKILL, parent)
                os.environ.update(order["environment"])
                os.dup2(os.open(order["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT), 2)
                work(order["start"])
        else:
            pid = order["kill"]
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        print(pid, flush=True)


def work(channels: list[str]) -> None:
    """What the tasks of a worker and its beat do, over and over: sweep, send, look. An error ends a task, not us."""
    logging.basicConfig(level=logging.WARNING, format="%(process)d %(message)s")
    rt, swept = open_runtime(config.load(Path(os.environ[config.DATA]))), 0.0
    while True:
        try:
            if time.monotonic() - swept > SWEEP_SECONDS:
                confirm.sweep(rt)
                swept = time.monotonic()
            for name in channels:
                publish.deliver(rt, name)
                confirm.confirm(rt, name)
        except Exception:
            logging.exception("a task failed")
        time.sleep(ROUND_SECONDS)


if __name__ == "__main__":
    main()
