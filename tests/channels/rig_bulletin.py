"""A notice board for the contract suite."""

from collections.abc import Callable
from pathlib import Path

from channels.bulletin import Bulletin
from channels.contract import Channel


def bulletin_rig(tmp_path: Path) -> tuple[Channel, Callable[[], int]]:
    """The channel, and how many files a person would find in its spool folder."""
    spool = tmp_path / "spool"
    return Bulletin(spool), lambda: len(list(spool.glob("*"))) if spool.exists() else 0
