"""How the phones of the sandbox behave, and the thread that reports on them.

The last digit of a number decides: 0–4 delivered soon; 5 pending, then failed; 6 reported twice; 7 reported late;
8 reported before the sender has its answer; 9 never reported.
"""

import re
import time
from dataclasses import dataclass
from threading import Event, Thread

import requests

from web.sandbox.store import DueReport, Sending, Store

DELIVERED, FAILED, ACCEPTED = 1, 2, 8  # Kannel's %d
SOON = 0.3
_ESCAPE = re.compile(r"%(.)")


@dataclass(frozen=True)
class Network:
    late_seconds: float

    def sending(self, recipient: str, sender: str, text: str, dlr_url: str, dlr_mask: int) -> Sending:
        reports = [
            (status, wait, _filled(dlr_url, status, recipient, sender))
            for status, wait in self._behaviour(recipient)
            if dlr_url and dlr_mask & status
        ]
        return Sending(recipient, sender, text, count_parts(text), not recipient.endswith("5"), reports)

    def _behaviour(self, recipient: str) -> list[tuple[int, float]]:
        match recipient[-1]:
            case "5":
                return [(ACCEPTED, SOON), (FAILED, SOON * 3)]
            case "6":
                return [(DELIVERED, SOON), (DELIVERED, SOON * 2)]
            case "7":
                return [(DELIVERED, self.late_seconds)]
            case "8":
                return [(DELIVERED, 6.0)]  # handed over before the answer; the time holds if that was cut short
            case "9":
                return []
            case _:
                return [(DELIVERED, SOON)]


class Reporter(Thread):
    """Hands due reports over; what inbound does not take is tried again, also after a restart."""

    def __init__(self, store: Store) -> None:
        super().__init__(name="reports", daemon=True)
        self._store = store
        self._halt = Event()

    def run(self) -> None:
        while not self._halt.is_set():
            due = self._store.due()
            for report in due:
                if not self._halt.is_set():
                    self.hand_over(report)
            if not due:
                self._halt.wait(0.05)

    def stop(self) -> None:
        self._halt.set()
        self.join(timeout=10)

    def hand_over(self, report: DueReport) -> None:
        try:
            with requests.Session() as session:
                session.trust_env = False
                taken = session.get(report.url, timeout=5, allow_redirects=False).status_code // 100 == 2
        except requests.RequestException:
            taken = False
        if taken:
            self._store.handed_over(report.id)
        else:
            self._store.again(report.id, wait=0.5 * 2**report.tries)


def count_parts(text: str) -> int:
    """SMS that a phone joins to this text, as an operator counts: 70 UTF-16 units, else 67 each, no character split."""
    if _units(text) <= 70:
        return 1
    count, used = 1, 0
    for character in text:
        if used + _units(character) > 67:
            count, used = count + 1, 0
        used += _units(character)
    return count


def _units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _filled(pattern: str, status: int, recipient: str, sender: str) -> str:
    """A dlr-url with Kannel's escape codes replaced (User's Guide, "Parameters"); unknown ones stay."""
    values = {"d": str(status), "p": recipient, "P": sender, "T": str(int(time.time())), "i": "sandbox", "%": "%"}
    return _ESCAPE.sub(lambda found: values.get(found[1], found[0]), pattern)
