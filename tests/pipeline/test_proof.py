"""The proof of an item: complete, readable, and checked without Fabu."""

import hashlib
import io
import json
import subprocess
import zipfile
from pathlib import Path

import pytest

from channels.contract import File
from pipeline import operate, proof, review, scans
from pipeline.decisions import Refused
from tests.office import Bureau


def unpacked(bureau: Bureau, item: int) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(proof.of(bureau.rt, item, "zh"))) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def published(bureau: Bureau) -> int:
    bureau.subscribe("13800001234", "13900001234")
    files = (File("附件1.txt", "text/plain", "附件内容".encode()),)
    item = bureau.publish("web", "board", "sms", draft={"files": files})
    bureau.work("web", "sms", "board", "web", "sms")
    return item


def test_the_bytes_of_each_channel_are_those_that_were_approved(bureau: Bureau) -> None:
    files = unpacked(bureau, published(bureau))
    (submission,) = [name for name in files if name.startswith("submissions/")]
    assert hashlib.sha256(files[submission]).hexdigest() == Path(submission).stem
    sent = [name for name in files if name.startswith("renditions/")]
    assert {Path(name).stem for name in sent if name.endswith(".json")} == {"web", "board", "sms"}
    assert next(files[name].decode() for name in sent if name.endswith("附件1.txt")) == "附件内容"
    revision = json.loads(files["record.json"])["revisions"][0]
    assert hashlib.sha256(files["revisions/1.json"]).hexdigest() == revision["sha256"]


def test_it_can_be_checked_without_fabu(bureau: Bureau, tmp_path: Path) -> None:
    item = published(bureau)
    with zipfile.ZipFile(io.BytesIO(proof.of(bureau.rt, item, "zh"))) as archive:
        archive.extractall(tmp_path / "proof")
    check = ["sha256sum", "--quiet", "-c", "SHA256SUMS"]
    assert subprocess.run(check, cwd=tmp_path / "proof", check=False).returncode == 0
    (tmp_path / "proof" / "record.json").write_text("{}")
    assert subprocess.run(check, cwd=tmp_path / "proof", check=False, capture_output=True).returncode != 0


def test_nobodys_number_is_in_it_and_two_people_stay_two(bureau: Bureau) -> None:
    files = unpacked(bureau, published(bureau))
    assert not [name for name, content in files.items() if b"13800001234" in content]
    record = json.loads(files["record.json"])
    told = {one["recipient"] for one in record["attempts"] if one["channel"] == "sms"}
    assert len(told) == 2 and all(one.startswith(("138****1234", "139****1234")) for one in told)


def test_people_read_who_decided_what_and_when(bureau: Bureau) -> None:
    item = published(bureau)
    review.withdraw(bureau.rt, bureau.actor("chen"), item, "数字有误")
    told = unpacked(bureau, item)["发布证明.txt"].decode()
    for words in ("关于试播的通知", "赵记者", "李信息员", "陈局长", "理由：数字有误", "网站：已核实到达"):
        assert words in told, words
    assert "?" not in told


def test_there_is_no_proof_of_what_is_not(bureau: Bureau) -> None:
    with pytest.raises(Refused, match=r"item.unknown"):
        proof.of(bureau.rt, 99, "zh")


def test_a_photo_of_the_posted_notice_is_in_it(bureau: Bureau) -> None:
    item = published(bureau)
    photo = File("IMG_1.JPG", "image/jpeg", b"\xff\xd8\xff photo")
    wang = bureau.actor("wang")
    with pytest.raises(Refused) as refused:
        operate.post(bureau.rt, wang, item, "一楼", photo=File("照片.heic", "image/heic", b"ftypheic"))
    assert refused.value.code == "post.no_photo"
    operate.post(bureau.rt, wang, item, "一楼", photo=photo)
    operate.post(bureau.rt, wang, item, "二楼")
    files = unpacked(bureau, item)
    assert files[f"photos/{photo.sha256}.jpg"] == photo.content
    assert [one["photo"] for one in json.loads(files["record.json"])["postings"]] == [photo.sha256, ""]
    assert "照片 " + photo.sha256[:12] in files["发布证明.txt"].decode()
    kept = scans.read(bureau.rt, item, photo.sha256)
    assert kept is not None and (kept.content, kept.media_type) == (photo.content, "image/jpeg")
    assert scans.read(bureau.rt, bureau.write(), photo.sha256) is None  # another item's
