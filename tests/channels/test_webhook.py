"""The webhook channel against the receiver that its manual shows."""

import base64
import hashlib
import json
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from fastapi import FastAPI, Request, Response

from channels import webhook
from channels.contract import Call, ChannelError, File, InDoubt, Rejected, Seen
from channels.registry import BadSection, open_channel
from channels.webhook import Webhook, signed
from config.settings import HERE as CONFIG
from tests.channels import receiver
from tests.channels.fault_server import answers, serving
from tests.channels.rig_portal import message
from tests.channels.rig_webhook import SECRET, served

CALL = Call("platform/1", 1)
FORM = File("附件 1.pdf", "application/pdf", b"%PDF-1")


@dataclass
class Posted:
    """What arrived at the receiver, byte for byte."""

    url: str = ""
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.requests]


@pytest.fixture
def posted() -> Iterator[Posted]:
    app, seen = receiver.create(SECRET), Posted()

    @app.middleware("http")
    async def note(request: Request, call_next):  # type: ignore[no-untyped-def]
        if request.method == "POST":
            seen.requests.append((dict(request.headers), await request.body()))
        return await call_next(request)

    with served(app) as url:
        seen.url = f"{url}/fabu"
        yield seen


@pytest.fixture
def platform(posted: Posted) -> Webhook:
    return Webhook(posted.url, SECRET)


def at(monkeypatch: pytest.MonkeyPatch, shift: int) -> None:
    """Our clock goes wrong by so many seconds; the receiver's does not."""
    monkeypatch.setattr(webhook, "time", SimpleNamespace(time=lambda: time.time() + shift))


def test_the_signature_is_the_one_that_standard_webhooks_libraries_expect() -> None:
    """The vector that the reference libraries test with (libraries/python/tests/test_webhooks.py and others)."""
    secret, id = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek"
    assert signed(secret, id, 1614265330, b'{"test": 2432232314}') == {
        "webhook-id": id,
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_a_retry_has_the_same_id_and_bytes_and_only_its_own_time(
    platform: Webhook, posted: Posted, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendition = platform.render(message())
    platform.deliver(rendition, CALL)
    at(monkeypatch, 60)
    platform.deliver(rendition, CALL)
    (first, body), (second, again) = posted.requests
    assert first["webhook-id"] == second["webhook-id"] == CALL.key
    assert body == again
    assert 60 <= int(second["webhook-timestamp"]) - int(first["webhook-timestamp"]) < 100
    assert first["webhook-signature"] != second["webhook-signature"]


def test_a_request_that_somebody_recorded_brings_nothing_back(platform: Webhook, posted: Posted) -> None:
    platform.deliver(platform.render(message()), CALL)
    headers, body = posted.requests[0]
    platform.withdraw(Call("platform/1", 2))
    assert requests.post(posted.url, data=body, headers=headers, timeout=5).status_code == 409
    changed = body.replace(b'"generation": 1', b'"generation": 3')
    assert changed != body
    assert requests.post(posted.url, data=changed, headers=headers, timeout=5).status_code == 401
    assert platform.verify([(None, Call("platform/1", 2))]) == [Seen.NOTHING]


@pytest.mark.parametrize("shift", [-400, 400])
def test_with_a_clock_that_is_minutes_wrong_nothing_is_written(
    platform: Webhook, monkeypatch: pytest.MonkeyPatch, shift: int
) -> None:
    rendition = platform.render(message())
    at(monkeypatch, shift)
    with pytest.raises(Rejected) as refusal:
        platform.deliver(rendition, CALL)
    assert refusal.value.facts["status"] == "401"
    monkeypatch.undo()
    assert platform.verify([(rendition, CALL)]) == [Seen.NOTHING]


def test_the_other_system_learns_all_that_a_notice_must_carry(platform: Webhook, posted: Posted) -> None:
    platform.deliver(platform.render(message(title="关于<b>停播</b>的公告")), CALL)
    platform.withdraw(Call("platform/1", 2))
    published, withdrawn = posted.events
    assert published["type"] == "item.published"
    data = published["data"]
    assert (data["slot"], data["number"], data["generation"]) == ("platform/1", 1, 1)
    item = data["item"]
    assert (item["title"], item["publisher"], item["supervision_phone"], item["address"]) == (
        "关于<b>停播</b>的公告", "张店区广播电视局", "0533-2860000", "http://127.0.0.1/i/1",
    )  # fmt: skip
    assert "<p>请认真贯彻执行。</p>" in item["html"]
    assert withdrawn == {
        "type": "item.withdrawn",
        "data": {"slot": "platform/1", "number": 1, "generation": 2, "item": None},
    }


@pytest.mark.parametrize("files", [False, True])
def test_attachments_go_along_only_where_the_office_says_so(posted: Posted, files: bool) -> None:
    platform = Webhook(posted.url, SECRET, files)
    rendition = platform.render(replace(message(), files=(FORM,)))
    platform.deliver(rendition, CALL)
    data = posted.events[0]["data"]
    assert data["item"]["files"] == [
        {"name": "附件 1.pdf", "media_type": "application/pdf", "size": 6, "sha256": FORM.sha256}
    ]
    assert data["contents"] == ({FORM.sha256: base64.b64encode(FORM.content).decode()} if files else {})
    assert platform.verify([(rendition, CALL)]) == [Seen.SAME]


def test_an_older_text_that_comes_late_is_refused_in_words_of_its_own(platform: Webhook) -> None:
    platform.withdraw(Call("platform/1", 2))
    with pytest.raises(Rejected, match=r"webhook\.superseded generation=1"):
        platform.deliver(platform.render(message()), CALL)


def test_what_the_receiver_already_has_is_received() -> None:
    problem = "Content-Type: application/problem+json"
    with serving(answers(409, b'{"code": "duplicate"}', problem)) as server:
        channel = Webhook(server.url, SECRET)
        receipt = channel.deliver(channel.render(message()), CALL)
        assert (receipt.reference, receipt.evidence) == (f"{server.url}/1", "409 generation 1")
    with serving(answers(400, b'{"code": "duplicate"}', problem)) as server, pytest.raises(Rejected):
        Webhook(server.url, SECRET).deliver(channel.render(message()), CALL)


def test_what_the_receiver_lost_is_sent_again(tmp_path: Path) -> None:
    with served(receiver.create(SECRET)) as url:
        before = Webhook(f"{url}/fabu", SECRET)
        before.deliver(before.render(message()), CALL)
    with served(receiver.create(SECRET)) as url:  # started anew, and it had kept nothing
        platform = Webhook(f"{url}/fabu", SECRET)
        rendition = platform.render(message())
        assert platform.verify([(rendition, CALL)]) == [Seen.NOTHING]
        platform.deliver(rendition, CALL)
        assert platform.verify([(rendition, CALL)]) == [Seen.SAME]


def test_a_receiver_that_changed_the_text_is_found_out(platform: Webhook) -> None:
    platform.deliver(platform.render(message(text="有人改过的正文。")), CALL)
    assert platform.verify([(platform.render(message()), CALL)]) == [Seen.OTHER]


@pytest.mark.parametrize("page", [b"<p>please log in</p>", b"[]", b"{}", b"null", b"[" * 100_000])
def test_an_answer_that_does_not_speak_of_the_item_proves_nothing(page: bytes) -> None:
    with serving(answers(200, page)) as server:
        channel = Webhook(server.url, SECRET)
        assert channel.verify([(channel.render(message()), CALL), (None, CALL)]) == [Seen.UNKNOWN] * 2


def test_a_receiver_without_a_way_to_look_never_passes_for_withdrawn_and_the_check_says_it() -> None:
    app = FastAPI()

    @app.post("/fabu")
    async def take() -> Response:
        return Response(status_code=204)

    with served(app) as url:
        channel = Webhook(f"{url}/fabu", SECRET)
        channel.withdraw(CALL)
        assert channel.verify([(None, CALL)]) == [Seen.UNKNOWN]
        with pytest.raises(Rejected, match=r"webhook\.no_readback"):
            channel.check()


def test_the_check_tells_a_wrong_secret_and_touches_no_item(platform: Webhook, posted: Posted) -> None:
    platform.deliver(platform.render(message()), CALL)
    assert platform.check() == platform.check() == "ok"
    assert platform.verify([(platform.render(message()), CALL)]) == [Seen.SAME]
    other = "whsec_" + base64.b64encode(b"n" * 32).decode()
    with pytest.raises(Rejected) as refusal:
        Webhook(posted.url, other).check()
    assert refusal.value.facts["status"] == "401"


def test_neither_secret_nor_address_stands_in_what_is_logged() -> None:
    channel = Webhook("http://127.0.0.1:9/hidden-path", SECRET)
    assert SECRET not in repr(channel)
    with pytest.raises(ChannelError) as error:
        channel.deliver(channel.render(message()), CALL)
    assert "hidden-path" not in str(error.value)
    with serving(answers(500)) as server, pytest.raises(InDoubt) as doubt:
        Webhook(f"{server.url}/hidden-path", SECRET).withdraw(CALL)
    assert "hidden-path" not in str(doubt.value)


@pytest.mark.parametrize(
    "url",
    ["ftp://a.example/x", "file:///etc/passwd", "a.example", "https://", "https://u:p@a.example/x", "http://[",
     "https://a.example/x?key=1", "https://a.example/x#y"],
)  # fmt: skip
def test_an_address_that_cannot_be_used_or_holds_a_password_is_refused_when_fabu_starts(url: str) -> None:
    with pytest.raises(ChannelError) as error:
        open_channel("platform", "webhook", 10, {"url": url, "secret": SECRET})
    assert error.value.code == "webhook.bad_url"
    assert url not in str(error.value)


@pytest.mark.parametrize(
    "secret",
    [SECRET.removeprefix("whsec_"), "whsec_", "whsec_…", "whsec_!", "whsec_" + "QUFB" * 7, "whsec_" + "QUFB" * 22],
)
def test_a_secret_that_the_standard_does_not_allow_is_refused_when_fabu_starts(secret: str) -> None:
    with pytest.raises(ChannelError) as error:
        Webhook("https://a.example/x", secret)
    assert error.value.code == "webhook.bad_secret"
    assert "whsec" not in str(error.value)


def test_the_section_that_fabu_toml_offers_opens_once_its_secret_is_written() -> None:
    text = (CONFIG / "fabu.toml").read_text("utf-8")
    start = text.index("# [channels.platform]")
    lines = [line.removeprefix("# ") for line in text[start:].split("\n\n")[0].splitlines()]
    section = tomllib.loads("\n".join(lines))["channels"]["platform"]
    kind, options = section["kind"], {name: section[name] for name in ("url", "secret", "files")}
    with pytest.raises(ChannelError, match=r"webhook\.bad_secret"):
        open_channel("platform", kind, 10, options)
    key = base64.b64encode(hashlib.sha256(b"key").digest()).decode()
    opened = open_channel("platform", kind, 10, {**options, "secret": f"whsec_{key}"})
    assert isinstance(opened, Webhook) and not opened.files


@pytest.mark.parametrize("kind", ["nowhere:Channel", "channels.webhook:Nothing", "json:dumps"])
def test_an_adapter_that_cannot_be_loaded_is_named_with_the_reason(kind: str) -> None:
    with pytest.raises(BadSection) as error:
        open_channel("own", kind, 10, {})
    assert error.value.code == "config.cannot_import"
    assert (error.value.facts["channel"], error.value.facts["kind"]) == ("own", kind)
    assert error.value.facts["detail"]
