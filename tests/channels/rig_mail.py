"""A mail server on loopback, and the mail channel that speaks to it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from channels import smtp
from channels.contract import Channel
from channels.mail import Mail
from tests.mail_server import mail_server


@contextmanager
def mail_rig(tmp_path: Path) -> Iterator[tuple[Channel, Callable[[], int]]]:
    """The channel, and how many mails its server has taken."""
    with mail_server() as server:
        channel = Mail("127.0.0.1", "tongxun@gd.example", "张店区广电局", port=server.port, security="none", seconds=5)
        yield channel, lambda: len(server.mails)
        smtp.close_all()
