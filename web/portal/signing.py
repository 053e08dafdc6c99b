"""Who may write: an HMAC-SHA256 with the shared key over everything that a request means.

The signature covers the hash of the body that the request declares, so it is checked before a byte of the body is
read, and before anything is written down. It also covers a number used once, which the log of requests takes only once:
a request that was caught on its way and is sent again is refused, after the window by its time.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping

from web.portal.problems import Problem

GENERATION = "X-Fabu-Generation"
TIMESTAMP = "X-Fabu-Timestamp"
NONCE = "X-Fabu-Nonce"
CONTENT = "X-Fabu-Content-SHA256"
SIGNATURE = "X-Fabu-Signature"
WINDOW = 300  # seconds that the two clocks may differ


def signature(key: str, method: str, target: str, generation: str, timestamp: str, nonce: str, content: str) -> str:
    """`target`: path and query below the base path; `content`: SHA-256 of the body, hexadecimal."""
    text = "\n".join((method, target, generation, timestamp, nonce, content))
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()


def check(key: str, method: str, target: str, headers: Mapping[str, str], now: float) -> None:
    """Raises Problem 401."""
    generation, timestamp, nonce, content = (headers.get(name, "") for name in (GENERATION, TIMESTAMP, NONCE, CONTENT))
    wanted = signature(key, method, target, generation, timestamp, nonce, content)
    if not hmac.compare_digest(wanted.encode(), headers.get(SIGNATURE, "").encode()):
        raise Problem(401, "wrong_signature")
    if not re.fullmatch("[0-9a-f]{32}", nonce):
        raise Problem(401, "bad_nonce", NONCE)
    if not re.fullmatch("[0-9]{1,12}", timestamp) or abs(now - int(timestamp)) > WINDOW:
        raise Problem(401, "clock_skew", f"the clocks differ by more than {WINDOW} s")
