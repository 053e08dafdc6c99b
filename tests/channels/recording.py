"""The channel that the pipeline is tested with: it does nothing outside but remembers all of it on disk.

Several worker processes may share a directory, and what was recorded outlives `kill -9` of any of them: a test reads
afterwards, with `calls` and `effects`, what the outside really saw. `set_faults` scripts what goes wrong.
"""

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from fcntl import LOCK_EX, flock
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar, Literal

from channels import contract
from channels.contract import (
    Call,
    DeliveryError,
    Evidence,
    InDoubt,
    Message,
    Outcome,
    Receipt,
    Rejected,
    Rendition,
    Seen,
    Unavailable,
    View,
)

Op = Literal["deliver", "withdraw", "verify", "standing", "check"]


@dataclass(frozen=True)
class Recorded:
    """One call as the outside saw it. `digest`: of the rendition, empty for a withdrawal."""

    op: Op
    slot: str
    generation: int
    recipient: str
    key: str
    digest: str
    report_to: str
    pid: int
    at: float


@dataclass(frozen=True)
class Fault:
    """What happens to the next `times` matching calls (None: to all): wait `seconds`, then raise. An empty `slot` or
    `recipient` matches any. `in_doubt_after_effect`: the outside did it, and the line broke."""

    raises: Literal["", "unavailable", "rejected", "in_doubt", "in_doubt_after_effect"] = ""
    op: Op = "deliver"
    slot: str = ""
    recipient: str = ""
    times: int | None = 1
    seconds: float = 0.0
    retry_after: float | None = None

    def matches(self, op: Op, slot: str, recipient: str) -> bool:
        return self.op == op and self.slot in ("", slot) and self.recipient in ("", recipient)


def calls(directory: Path, op: Op | None = None) -> list[Recorded]:
    """Every call that was begun, in order, also those that failed or never came back."""
    return _recorded(directory / "calls.jsonl", op)


def effects(directory: Path, op: Op | None = None) -> list[Recorded]:
    """Every effect on the outside, in order, whatever the caller was told."""
    return _recorded(directory / "effects.jsonl", op)


def set_faults(directory: Path, *faults: Fault) -> None:
    """Replace the script; none: all goes well from now on."""
    directory.mkdir(parents=True, exist_ok=True)
    with _locked(directory / "faults.lock"):
        _write_faults(directory, faults)


@dataclass(frozen=True)
class RecordingChannel:
    """See the module. Where `evidence` is READBACK, `verify` reads what the effects left behind in each slot."""

    recall: ClassVar[bool] = True
    evidence: ClassVar[Evidence] = Evidence.READBACK
    addressed: ClassVar[bool] = False
    fenced: ClassVar[bool] = True

    directory: Path
    seconds: float = 5.0

    def render(self, message: Message) -> Rendition:
        """All of the message, as JSON."""
        body = json.dumps(asdict(replace(message, files=())), default=str, ensure_ascii=False)
        return Rendition("application/json", body.encode(), message.files)

    def view(self, rendition: Rendition) -> View:
        message = json.loads(rendition.body)
        return View(title=message["title"], messages=(message["sms_text"],) if message["sms_text"] else ())

    def deliver(self, rendition: Rendition, call: Call) -> Receipt:
        return self._act("deliver", call, rendition.digest)

    def withdraw(self, call: Call) -> Receipt:
        if not self.recall:
            raise Rejected("recording.no_recall")
        return self._act("withdraw", call, "")

    def verify(self, wanted: Sequence[tuple[Rendition | None, Call]]) -> list[Seen]:
        return [self._look(rendition, call) for rendition, call in wanted]

    def read_report(self, query: Mapping[str, str]) -> contract.Report | None:
        """`status` is an Outcome."""
        status = query.get("status", "")
        return contract.Report(Outcome(status), f"recorded {status}") if status in set(Outcome) else None

    def kept(self) -> Mapping[int, contract.Kept]:
        if not self.fenced:
            return {}
        states = [_read(file) for file in self.directory.glob("*.state")]
        return {one["number"]: contract.Kept(one["generation"], bool(one["digest"])) for one in states}

    def normalise(self, address: str) -> str:
        return address.strip()

    def invitation(self, office: contract.Office, link: str, code: str) -> Rendition:
        return Rendition("text/plain; charset=utf-8", f"{office.name} {link} {code}".encode())

    def standing(self) -> Sequence[contract.Standing] | None:
        """What was written into the directory, or nothing."""
        _fail(_next_fault(self.directory, "standing", "", ""))
        found = _read(self.directory / "columns.json")
        return None if found is None else [_column(**one) for one in found]

    def check(self) -> str:
        _fail(_next_fault(self.directory, "check", "", ""))
        return "ok"

    def _act(self, op: Op, call: Call, digest: str) -> Receipt:
        self.directory.mkdir(parents=True, exist_ok=True)
        recorded = Recorded(
            op, call.slot, call.generation, call.recipient, call.key, digest, call.report_to, os.getpid(), time.time()
        )
        _append(self.directory / "calls.jsonl", recorded)
        fault = _next_fault(self.directory, op, call.slot, call.recipient)
        if fault is None or fault.raises != "in_doubt_after_effect":
            _fail(fault)
        self._put(call, digest)
        _append(self.directory / "effects.jsonl", replace(recorded, at=time.time()))
        if fault is not None:
            _fail(fault)
        return Receipt(call.key, f"recorded {op}")

    def _put(self, call: Call, digest: str) -> None:
        if self.evidence is not Evidence.READBACK and not self.fenced:
            return  # nobody will look
        state = self._state(call)
        with _locked(state.with_suffix(".lock")):
            if self.fenced and call.generation < (_read(state) or {"generation": 0})["generation"]:
                raise Rejected("recording.lower_generation")
            _write(state, {"generation": call.generation, "digest": digest, "number": call.number})

    def _look(self, rendition: Rendition | None, call: Call) -> Seen:
        try:
            _fail(_next_fault(self.directory, "verify", call.slot, call.recipient))
        except DeliveryError:
            return Seen.UNKNOWN
        if self.evidence is not Evidence.READBACK:
            return Seen.UNKNOWN
        state = _read(self._state(call))
        if state is None or not state["digest"]:
            return Seen.NOTHING
        return Seen.SAME if rendition is not None and rendition.digest == state["digest"] else Seen.OTHER

    def _state(self, call: Call) -> Path:
        name = sha256(f"{call.slot}\n{call.recipient}".encode()).hexdigest()[:24]
        return self.directory / f"{name}.state"


def _column(updated_at: str | None, **column: Any) -> contract.Standing:
    return contract.Standing(updated_at=datetime.fromisoformat(updated_at) if updated_at else None, **column)


class Recall(RecordingChannel):
    """Like the portal: read back, taken back, fenced."""


class Report(RecordingChannel):
    """Like SMS: to recipients, reported, never taken back."""

    recall = False
    evidence = Evidence.REPORT
    addressed = True
    fenced = False


class Person(RecordingChannel):
    """Like the notice board: a person ticks it."""

    evidence = Evidence.PERSON
    fenced = False


def channel_class(*, recall: bool, evidence: Evidence, addressed: bool, fenced: bool) -> type[RecordingChannel]:
    """A recording channel of any other kind."""
    traits = {"recall": recall, "evidence": evidence, "addressed": addressed, "fenced": fenced}
    return type("Recording", (RecordingChannel,), traits)


def _fail(fault: Fault | None) -> None:
    if fault is None:
        return
    time.sleep(fault.seconds)
    match fault.raises:
        case "unavailable":
            raise Unavailable("recording.unavailable", retry_after=fault.retry_after)
        case "rejected":
            raise Rejected("recording.rejected")
        case "in_doubt" | "in_doubt_after_effect":
            raise InDoubt("recording.in_doubt")


def _next_fault(directory: Path, op: Op, slot: str, recipient: str) -> Fault | None:
    if _matching(_read_faults(directory), op, slot, recipient) is None:
        return None
    with _locked(directory / "faults.lock"):
        faults = _read_faults(directory)
        place = _matching(faults, op, slot, recipient)
        if place is None:
            return None  # another process was faster
        fault = faults[place]
        if fault.times is not None:
            left = [replace(fault, times=fault.times - 1)] if fault.times > 1 else []
            _write_faults(directory, [*faults[:place], *left, *faults[place + 1 :]])
        return fault


def _matching(faults: Sequence[Fault], op: Op, slot: str, recipient: str) -> int | None:
    return next((place for place, fault in enumerate(faults) if fault.matches(op, slot, recipient)), None)


def _read_faults(directory: Path) -> list[Fault]:
    return [Fault(**fault) for fault in _read(directory / "faults.json") or ()]


def _write_faults(directory: Path, faults: Sequence[Fault]) -> None:
    _write(directory / "faults.json", [asdict(fault) for fault in faults])


def _recorded(log: Path, op: Op | None) -> list[Recorded]:
    if not log.exists():
        return []
    recorded = [Recorded(**json.loads(line)) for line in log.read_text().splitlines()]
    return [one for one in recorded if op in (None, one.op)]


def _append(log: Path, recorded: Recorded) -> None:
    """One write to a file opened with O_APPEND: lines of several processes never mix (POSIX write)."""
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, (json.dumps(asdict(recorded)) + "\n").encode())
    finally:
        os.close(file)


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except FileNotFoundError:
        return None


def _write(file: Path, value: object) -> None:
    """Whole or not at all. The caller holds the lock."""
    new = file.with_suffix(".new")
    new.write_text(json.dumps(value))
    new.rename(file)


@contextmanager
def _locked(lock: Path) -> Iterator[None]:
    file = os.open(lock, os.O_RDWR | os.O_CREAT)
    try:
        flock(file, LOCK_EX)
        yield
    finally:
        os.close(file)
