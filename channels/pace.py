"""How fast the mail servers of each domain are called: so many mails a minute, and not at all for a while after several
were put off in a row. One domain's slowness is its own."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

BURST_SECONDS = 6.0  # what a domain may take in one go: so much of its minute
STRIKES = 3  # noes for now in a row, before all mails for a domain wait
SHORTEST, LONGEST = 30.0, 1800.0  # how long they wait: twice as long each time


@dataclass
class _Domain:
    """Moments on our clock. `next`: of the next turn, were they evenly spaced; `end`: of the last turn promised."""

    next: float = 0.0
    end: float = 0.0
    shut_until: float = 0.0
    shut_for: float = 0.0
    strikes: int = 0


class Pace:
    """`per_minute`: mails to one domain; 0: as fast as it goes. For all threads of a process."""

    def __init__(self, per_minute: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._apart = 60.0 / per_minute if per_minute else 0.0
        self._clock = clock
        self._domains: defaultdict[str, _Domain] = defaultdict(_Domain)
        self._guard = threading.Lock()

    def wait(self, domain: str) -> float:
        """Seconds until a mail to this domain may go; 0: now, and this was its turn. Each that waits is given a turn of
        its own, behind the others."""
        with self._guard:
            now, its = self._clock(), self._domains[domain]
            if now >= its.shut_until and its.next - BURST_SECONDS <= now:
                its.next = max(its.next, now) + self._apart
                return 0.0
            its.end = max(its.end, its.next - BURST_SECONDS, its.shut_until, now) + self._apart
            return its.end - now

    def taken(self, domain: str) -> None:
        """It took a mail."""
        with self._guard:
            its = self._domains[domain]
            its.strikes, its.shut_for = 0, 0.0

    def put_off(self, domain: str) -> None:
        """It said: not now."""
        with self._guard:
            now, its = self._clock(), self._domains[domain]
            if now < its.shut_until:
                return  # a mail that was on its way already
            its.strikes += 1
            if its.strikes >= STRIKES:
                its.shut_for = min(max(its.shut_for * 2, SHORTEST), LONGEST)
                its.shut_until = its.next = now + its.shut_for
