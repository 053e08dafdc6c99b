"""The SMS channel against the real Kannel: bearerbox, smsbox, and the fake SMS centre that comes with it."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote_plus

import pytest

from channels.contract import Call, ChannelError, Outcome, Receipt, Rejected, Rendition
from channels.sms import Sms
from tests.channels.fault_server import wait_for
from tests.channels.rig_sms import free_port
from tests.web.test_sandbox import inbound

_SYSTEM = "/usr/sbin:/usr/bin"
BEARERBOX, SMSBOX = shutil.which("bearerbox", path=_SYSTEM), shutil.which("smsbox", path=_SYSTEM)
FAKESMSC = Path("/usr/lib/kannel/test/fakesmsc")

pytestmark = pytest.mark.skipif(
    not (BEARERBOX and SMSBOX and FAKESMSC.exists()),
    reason="Kannel is not installed (Debian: apt-get install kannel kannel-extras)",
)

CONFIGURATION = """
group = core
admin-port = {admin}
admin-password = closed
admin-interface = 127.0.0.1
smsbox-port = {boxes}
smsbox-interface = 127.0.0.1
box-allow-ip = 127.0.0.1
box-deny-ip = "*.*.*.*"
dlr-storage = internal

group = smsc
smsc = fake
smsc-id = centre
host = 127.0.0.1
port = {centre}
connect-allow-ip = 127.0.0.1

group = smsbox
bearerbox-host = 127.0.0.1
bearerbox-port = {boxes}
sendsms-port = {sendsms}
sendsms-interface = 127.0.0.1
global-sender = 10690000

group = sendsms-user
username = fabu
password = "open sesame"
concatenation = true
max-messages = 8
"""


@dataclass
class Kannel:
    folder: Path
    ports: dict[str, int]
    stack: ExitStack

    @property
    def channel(self) -> Sms:
        url = f"http://127.0.0.1:{self.ports['sendsms']}/cgi-bin/sendsms"
        return Sms(url, "fabu", "open sesame", "张店区广电局")

    def start(self, name: str, *command: object) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen([str(part) for part in command], cwd=self.folder, stdout=log, stderr=log)
        self.stack.callback(process.wait)
        self.stack.callback(process.kill)
        return process

    def start_centre(self) -> None:
        """The fake SMS centre, connected; it sends nothing of its own."""
        self.start("centre", FAKESMSC, "-H", "127.0.0.1", "-r", self.ports["centre"], "-m", "0", "1 2 text nop")

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def arrived(self) -> list[str]:
        """The SMS that reached the centre, parts joined in order."""
        pieces = re.findall(r"Got message \d+: <\S+ (\S+) (?:udh \S+ data|ucs-2) (\S*)>", self.log("centre"))
        texts: dict[str, bytes] = {}
        for number, piece in pieces:
            texts[number] = texts.get(number, b"") + unquote_plus(piece, "latin-1").encode("latin-1")
        return [text.decode("utf-16-be") for text in texts.values()]


@contextmanager
def running(folder: Path) -> Iterator[Kannel]:
    ports = {name: free_port() for name in ("admin", "boxes", "centre", "sendsms")}
    (folder / "kannel.conf").write_text(CONFIGURATION.format(**ports))
    with ExitStack() as stack:
        kannel = Kannel(folder, ports, stack)
        kannel.start("bearerbox", BEARERBOX, "-v", "1", "kannel.conf")
        wait_for(lambda: "entering mainloop" in kannel.log("bearerbox"))
        kannel.start("smsbox", SMSBOX, "-v", "1", "kannel.conf")
        wait_for(lambda: _answers(kannel.channel))
        yield kannel


def _answers(channel: Sms) -> bool:
    try:
        return channel.check() == "ok"
    except ChannelError:  # it may also hang up while it starts
        return False


def sms(text: str) -> Rendition:
    return Rendition("text/plain; charset=utf-8", f"【张店区广电局】{text}".encode())


def test_an_sms_arrives_whole_and_its_report_comes_back(tmp_path: Path) -> None:
    with running(tmp_path) as kannel, inbound() as listening:
        kannel.start_centre()
        wait_for(lambda: "Connecting to" in kannel.log("centre"))
        short, long = sms("明日停播 100% & 详见公告"), sms("停播😀" * 60)
        for name, (rendition, phone) in {"r%d0%b0": (short, "13900000001"), "2?a=b": (long, "13900000002")}.items():
            call = Call("sms/1", 1, phone, report_to=f"http://127.0.0.1:{listening.port}/{name}")
            receipt = kannel.channel.deliver(rendition, call)
            assert receipt.reference == call.key
            assert receipt.evidence in ("202 0: Accepted", "202 3: Queued")
        for name in ("r%d0%b0", "2"):
            wait_for(lambda name=name: "1" in listening.of(name))  # type: ignore[misc]
        reports = [kannel.channel.read_report({"status": status}) for _, status in listening.reports]
        assert {report.outcome for report in reports if report} == {Outcome.DELIVERED, Outcome.PENDING}
        assert None not in reports
        assert sorted(kannel.arrived()) == sorted([short.body.decode(), long.body.decode()])


def test_without_a_line_to_the_centre_kannel_keeps_the_sms(tmp_path: Path) -> None:
    with running(tmp_path) as kannel:
        call = Call("sms/1", 1, "13900000001")
        assert kannel.channel.deliver(sms("停播"), call) == Receipt(call.key, "202 3: Queued")


def test_kannel_refuses_a_wrong_password_and_a_number_that_is_none(tmp_path: Path) -> None:
    with running(tmp_path) as kannel:
        stranger = replace(kannel.channel, password="wrong")
        with pytest.raises(Rejected) as error:
            stranger.check()
        assert error.value.code == "sms.login_refused"
        with pytest.raises(Rejected) as error:
            kannel.channel.deliver(sms("停播"), Call("sms/1", 1, ""))
        assert error.value.facts["status"] == "400"
