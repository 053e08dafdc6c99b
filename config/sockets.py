"""Where unix sockets lie: their paths are bounded by the kernel, the folders that people choose are not."""

import hashlib
import os
import tempfile
from contextlib import suppress
from pathlib import Path

LONGEST_SOCKET = 90  # bytes; the kernel allows 107 (unix(7)), supervisord and PostgreSQL put a suffix on theirs


def short_socket(directory: Path, name: str) -> Path:
    """A path for a unix socket: in `directory` if it is short enough for the kernel, else always the same one in a
    0700 folder of this user's, below the folder for temporary files."""
    path = directory.absolute() / name
    if len(os.fsencode(path)) <= LONGEST_SOCKET:
        return path
    folder = _stand_in(directory)
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if found.st_uid != os.geteuid() or found.st_mode & 0o077 or folder.is_symlink():
        raise PermissionError(f"{folder} is not ours alone")
    return folder / name


def remove_socket(directory: Path, name: str) -> None:
    """Remove the socket that `short_socket` named, and its stand-in folder if that is empty then."""
    short_socket(directory, name).unlink(missing_ok=True)
    with suppress(OSError):  # there is none, or another socket needs it
        _stand_in(directory).rmdir()


def _stand_in(directory: Path) -> Path:
    digest = hashlib.sha256(os.fsencode(directory.absolute())).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"fabu-{os.geteuid()}-{digest}"
