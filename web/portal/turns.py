"""Who works at once, so that reading holds up no writing.

To make a page is work for the processor, and a Python process computes in one thread at a time. Many that are at it at
once make no page sooner, and between any two statements of a write each of them takes its turn first. So few pages are
made at once, the others wait for theirs, and who writes or asks for our health has threads that no reader takes.
"""

import sys
from collections.abc import Callable
from functools import partial
from typing import ParamSpec, TypeVar

from anyio import CapacityLimiter, to_thread

READERS = 2  # pages made at once: the database works for the one while the other computes
TURN = 0.0005  # seconds that a thread computes on while another waits; Python's own 0.005 is long for a short write
WRITERS = CapacityLimiter(4)  # SQLite writes one after the other; on PostgreSQL, the others get ready meanwhile
WATCHERS = CapacityLimiter(2)  # anyone may ask for our health: it is neither a reader's turn nor a writer's

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def limit_readers() -> None:
    """In the event loop that serves: from now on every route that is not `async` waits for its turn."""
    to_thread.current_default_thread_limiter().total_tokens = READERS
    sys.setswitchinterval(TURN)


async def apart(
    threads: CapacityLimiter, work: Callable[_Arguments, _Result], *args: _Arguments.args, **named: _Arguments.kwargs
) -> _Result:
    """Do this in one of these threads."""
    return await to_thread.run_sync(partial(work, *args, **named), limiter=threads)
