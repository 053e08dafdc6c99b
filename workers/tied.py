"""Become one program, tied to its parent: when the parent dies, the kernel kills the program.

    python -I -S tied.py ORDER.json [PARENT]

Kept apart and small because it runs before every start of every program: standard library only, 20 ms. The order is
a file, not arguments, so that no path needs quoting on its way through supervisord and no secret shows in `ps`.
"""

import ctypes
import fcntl
import json
import os
import sys
import time

APART_SECONDS = 1.0  # between two starts of a program: quick to come back, yet a crash loop does not eat the machine

_PR_SET_PDEATHSIG = 1  # prctl(2)


def die_with_parent(signal: int, parent: int) -> None:
    """Have the kernel send `signal` to this process when `parent` dies; exits at once if it is dead already.

    It survives exec, but neither fork nor a change of user, so it comes last before exec. "Parent" means the *thread*
    that forked: whoever starts us does so from a thread that lives as long as it does.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        os._exit(1)


def main() -> None:
    path = sys.argv[1]
    # supervisord leads the session of its programs, so a program's parent is right if it is its session's leader.
    parent = int(sys.argv[2]) if len(sys.argv) > 2 else os.getsid(0)
    with open(path, encoding="ascii") as file:
        order = json.load(file)
    die_with_parent(order["signal"], parent)
    _share_life(os.path.join(os.path.dirname(path), "alive.lock"))
    _keep_apart(path)
    os.environ.update(order["environment"])
    os.chdir(order["directory"])
    os.execvp(order["command"][0], order["command"])


def _share_life(path: str) -> None:
    """Hold a shared lock for as long as the program lives: the next start waits until the last holder is gone."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_SH)
    os.set_inheritable(lock, True)


def _keep_apart(path: str) -> None:
    """Sleep if the last start, kept as the order's modification time, was a moment ago."""
    now = time.time()
    since = now - os.stat(path).st_mtime
    if 0 <= since < APART_SECONDS:
        time.sleep(APART_SECONDS - since)
    os.utime(path)


if __name__ == "__main__":
    main()
