"""Logs of every process of ours: one line of JSON an event on stderr, plain words where a person watches a terminal.

    {"time": "2026-11-23T02:00:00.123Z", "level": "WARNING", "process": "worker", "pid": 71, "event": "fabu.publish",
     "message": "…", "facts": {"channel": "sms"}, "error": "OperationalError", "at": ["pipeline/publish.py:214 record"]}

No personal data: of an exception only its kind, code and place are written, never its words, for those of a database or
of an HTTP client quote numbers and texts. Whatever digits or query strings get into a message are masked.
"""

import json
import logging
import re
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from types import TracebackType
from typing import Any

_NUMBER = re.compile(r"\d(?:[- ]?\d){9,}[\dXx]")  # 11 digits or more: mobiles, ID numbers, bank cards
_QUERY = re.compile(r"\?[\w.%~+-]+=[^\s\"'<>]*")
_LATE = frozenset({"exc", "traceback", "args", "kwargs"})  # what Celery tells of a task that failed
_FRAMES = 8
_log = logging.getLogger("fabu.process")


def configure(process: str, level: int | str = logging.WARNING) -> None:
    """Send every logger of this process through our formatter; ours speak from INFO on, the others from `level`.
    Celery's and uvicorn's own handlers are taken away, and uncaught errors come here, too."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Words() if sys.stderr.isatty() else Lines(process))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.getLogger("fabu").setLevel(logging.INFO)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "celery", "kombu"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    logging.getLogger("uvicorn.access").disabled = True  # addresses of reports carry phone numbers
    sys.excepthook = _uncaught
    threading.excepthook = lambda given: _uncaught(given.exc_type, given.exc_value, given.exc_traceback)


class Lines(logging.Formatter):
    """A line of JSON."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "process": self._process,
            "pid": record.process,
            "event": getattr(record, "event", record.name),
            "message": message(record),
        }
        if facts := getattr(record, "facts", None):
            line["facts"] = {name: masked(str(fact)) for name, fact in facts.items()}
        if record.exc_info and record.exc_info[1]:
            line |= told(record.exc_info[1])
        return json.dumps(line, ensure_ascii=False)


class Words(logging.Formatter):
    """For a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        words = [time.strftime("%H:%M:%S", time.localtime(record.created)), record.levelname, message(record)]
        words += [f"{name}={masked(str(fact))}" for name, fact in getattr(record, "facts", {}).items()]
        if record.exc_info and record.exc_info[1]:
            error = told(record.exc_info[1])
            words += [error["error"], *error["at"]]
        return "  ".join(words)


def message(record: logging.LogRecord) -> str:
    """What a record says, without what may quote an item or a person."""
    if isinstance(record.args, Mapping):
        kept = {name: "…" if name in _LATE else fact for name, fact in record.args.items()}
        return masked(str(record.msg) % kept)
    return masked(record.getMessage())


def told(error: BaseException) -> dict[str, Any]:
    """The kind of an error, its code where it is ours, and where it arose: innermost last."""
    kind = type(error).__name__
    if isinstance(code := getattr(error, "code", None), str):
        kind += f" {code}"
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    return {"error": kind, "at": [f"{_short(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames]}


def masked(text: str) -> str:
    """138****1234, and no query strings."""
    text = _QUERY.sub("?…", text)
    return _NUMBER.sub(lambda found: f"{found[0][:3]}****{found[0][-4:]}", text)


def _short(path: str) -> str:
    return "/".join(path.split("/")[-2:])


def _uncaught(kind: type[BaseException], error: BaseException | None, place: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt | SystemExit) or error is None:
        return
    _log.critical("ended by an error", exc_info=(kind, error, place), extra={"event": "process.uncaught"})
