"""A run of the newsletter by mail, against a bare `smtplib` loop with as many connections and the same bytes, to the
same sink; and what else a mail costs.

    python -m tests.bench.mail send DATA        send what is due, say how it went (a process of its own: its memory)
    python -m tests.bench.mail bare PORT COUNT FILE
    python -m tests.bench.mail sink PORTFILE
"""

import asyncio
import json
import os
import shutil
import smtplib
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from channels.contract import Call
from channels.mail import Mail
from config import settings as config
from pipeline import publish, subscriptions
from pipeline.models import Delivery, Subscriber
from pipeline.renditions import load_renditions
from pipeline.runtime import open_runtime
from tests.bench.figures import Figure
from tests.bench.measures import Place, Scale
from tests.faults import stack
from tests.office import Bureau

CONNECTIONS = 16
SINKS = ("/usr/sbin/smtp-sink", shutil.which("smtp-sink") or "")  # Debian: postfix
TEXT = "\n\n".join(f"{at}、" + "根据工作安排，现将有关事项通知如下。" * 12 for at in range(1, 16))  # some 10 kB of text


def mails(data: Path, place: Place, scale: Scale) -> list[Figure]:
    """Mails a second to all recipients, the copying of the recipients included; and the memory that it took, against a
    tenth of them."""
    many = scale.mails if place.name == "SQLite" else scale.mails // 5
    few = many // 10
    with _sink(data / f"sink-{place.name}") as port, _bureau(data, place, port) as bureau:
        _subscribe(bureau, 0, few)
        bureau.publish("mail", draft={"text": TEXT})
        small = _run(bureau, few)
        _subscribe(bureau, few, many)
        item = bureau.publish("mail", draft={"text": TEXT, "title": "关于第二次试播的通知"})
        sample = data / f"mail-{place.name}"
        sample.write_bytes(_bytes_of(bureau, item))
        bare = [_bare(port, many // 5, sample)]
        large = _run(bureau, many)
        bare.append(_bare(port, many // 5, sample))
    ours, theirs = many / large["seconds"], statistics.mean(bare)
    return [
        Figure(f"mails ÷ bare smtplib, {place.name}", ours / theirs, "ratio", at_least=0.3),
        Figure(f"mails to {many:,} recipients, {place.name}", ours, "mails/s"),
        Figure(f"bare smtplib on {CONNECTIONS} connections beside {place.name}", theirs, "mails/s"),
        Figure(f"memory of {many:,} mails ÷ of {few:,}, {place.name}", large["peak"] / small["peak"], "ratio",
               at_most=1.3),
        Figure(f"memory of {many:,} mails, {place.name}", large["peak"] / 1024, "MB"),
    ]  # fmt: skip


def signing(data: Path, scale: Scale) -> list[Figure]:
    """DKIM with a key of 2048 bits, on one core: many an office leaves it to its mail server."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = data / "dkim.pem"
    made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    kinds = (serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    key.write_bytes(made.private_bytes(*kinds))
    mail = Mail("localhost", "tongxun@gd.example", dkim_key=str(key), dkim_selector="fabu")
    head = b"From: <tongxun@gd.example>\r\nTo: <a@b.example>\r\nSubject: x\r\nDate: x\r\nMessage-ID: <x@y>\r\n\r\n"
    body, count = head + (b"x" * 76 + b"\r\n") * 400, scale.signings
    begun = time.monotonic()
    for _ in range(count):
        mail._signed(body)
    return [Figure("DKIM signings, 2048 bits, 30 kB", count / (time.monotonic() - begun), "mails/s")]


def _subscribe(bureau: Bureau, first: int, last: int) -> None:
    domains = ("qq.example", "163.example", "gd.example", "gov.example")
    with bureau.rt.writing() as db:
        db.execute(
            insert(Subscriber),
            [
                {"channel": "mail", "address": f"reader{at}@{domains[at % 4]}", "added_at": bureau.clock()}
                for at in range(first, last)
            ],
        )


def _bytes_of(bureau: Bureau, item: int) -> bytes:
    """The mail that one recipient gets, as it goes over the line."""
    with bureau.rt.reading() as db:
        slot = db.query(Delivery).filter_by(item_id=item, channel="mail", recipient="").one()
        rendition = load_renditions(db, [slot.wanted_id or 0])[slot.wanted_id or 0]
    mail, to = bureau.rt.channels["mail"].adapter, "reader1@163.example"
    assert isinstance(mail, Mail)
    facts = {"unsubscribe": subscriptions.unsubscribe_address(bureau.rt, "mail", to), "effect": "1.1." + "a" * 16}
    call = Call(f"mail/{item}", 1, to, facts)
    return mail._composed(rendition, call, mail._message_id(call))


@contextmanager
def _bureau(data: Path, place: Place, port: int) -> Iterator[Bureau]:
    mail = {
        "kind": "mail", "label": "邮件", "host": "127.0.0.1", "port": port, "security": "none", "call_seconds": 20.0,
        "sender": "tongxun@gd.example", "bounces": "bounces+*@gd.example", "senders": CONNECTIONS, "batch": 500,
        "per_minute": 0.0,
    }  # fmt: skip
    limits = {"lease_seconds": 90.0, "sweep_seconds": 2.0}
    bureau = stack.found(data / f"mail-bureau-{place.name}", place.url("mail"), channels={"mail": mail}, limits=limits)
    try:
        yield bureau
    finally:
        bureau.rt.engine.dispose()


def _run(bureau: Bureau, count: int) -> dict[str, Any]:
    environment = os.environ | stack.environment(bureau.rt.settings)
    told = subprocess.run(
        [sys.executable, "-m", "tests.bench.mail", "send", str(bureau.rt.settings.data)],
        env=environment, stdout=subprocess.PIPE, text=True, check=True, cwd=stack.ROOT,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(told.stdout)
    assert found["made"] == count, found
    assert stack.states(bureau, "mail")["accepted"] >= count
    return found


def _bare(port: int, count: int, sample: Path) -> float:
    command = [sys.executable, "-m", "tests.bench.mail", "bare", str(port), str(count), str(sample)]
    return float(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=stack.ROOT).stdout)


@contextmanager
def _sink(folder: Path) -> Iterator[int]:
    """A process that takes every mail and forgets it: Debian's where there is one, else ours. Gives its port."""
    folder.mkdir(parents=True)
    theirs = next((one for one in SINKS if one and Path(one).exists()), None)
    if theirs:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        as_user = ("-u", "nobody") if os.geteuid() == 0 else ()
        process = subprocess.Popen([theirs, *as_user, f"127.0.0.1:{port}", "256"], cwd=folder)
    else:
        at = folder / "port"
        process = subprocess.Popen([sys.executable, "-m", "tests.bench.mail", "sink", str(at)], cwd=stack.ROOT)
        stack.until(at.exists)
        port = int(at.read_text())
    try:
        stack.until(lambda: _listens(port))
        yield port
    finally:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as line:
        return line.connect_ex(("127.0.0.1", port)) == 0


# ── the processes ────────────────────────────────────────────────────────────────────────────────────────────────────


def send(data: str) -> None:
    rt = open_runtime(config.load(Path(data)))
    begun, made = time.monotonic(), 0
    while more := publish.deliver(rt, "mail"):
        made += more
    told = {
        "made": made,
        "seconds": time.monotonic() - begun,
        "peak": _peak(),
    }
    print(json.dumps(told))


def _peak() -> int:
    """The most memory that this program held, kB. Not `ru_maxrss`: that begins with what its parent held."""
    (line,) = (one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith("VmHWM"))
    return int(line.split()[1])


def bare(port: str, count: str, file: str) -> None:
    """What smtplib does a second: every thread on a line of its own, which it keeps."""
    mail, each = Path(file).read_bytes(), int(count) // CONNECTIONS

    def run(line: smtplib.SMTP, first: int) -> None:
        for at in range(first, first + each):
            line.sendmail("bounces@gd.example", [f"reader{at}@163.example"], mail)

    lines = [smtplib.SMTP("127.0.0.1", int(port)) for _ in range(CONNECTIONS)]
    threads = [threading.Thread(target=run, args=(line, at * each)) for at, line in enumerate(lines)]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(each * CONNECTIONS / (time.monotonic() - begun))


class _Sink(asyncio.Protocol):
    """A mail server that answers by the rules (RFC 5321, PIPELINING) and keeps nothing."""

    def connection_made(self, transport: Any) -> None:
        self._line, self._buffer, self._mail = transport, bytearray(), False
        transport.write(b"220 sink\r\n")

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        answers = list[bytes]()
        while True:
            if self._mail:
                if not self._buffer.endswith(b"\r\n.\r\n"):
                    break  # this sink is asked by clients who wait for an answer to each mail
                self._buffer.clear()
                self._mail = False
                answers.append(b"250 taken\r\n")
                break
            command, ended, rest = self._buffer.partition(b"\r\n")
            if not ended:
                break
            self._buffer = rest
            match bytes(command[:4]).upper():
                case b"EHLO":
                    answers.append(b"250-sink\r\n250-PIPELINING\r\n250 8BITMIME\r\n")
                case b"DATA":
                    self._mail = True
                    answers.append(b"354 go on\r\n")
                case b"QUIT":
                    answers.append(b"221 bye\r\n")
                case _:
                    answers.append(b"250 ok\r\n")
        if answers:
            self._line.write(b"".join(answers))


def sink(file: str) -> None:
    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(_Sink, "127.0.0.1", 0, backlog=256)
        new = Path(f"{file}.new")
        new.write_text(str(server.sockets[0].getsockname()[1]))
        new.rename(file)
        await server.serve_forever()

    asyncio.run(serve())


if __name__ == "__main__":
    {"send": send, "bare": bare, "sink": sink}[sys.argv[1]](*sys.argv[2:])
