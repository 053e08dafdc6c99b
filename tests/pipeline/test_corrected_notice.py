"""A notice that changes what was public says so; one that only changed before anybody saw it does not."""

import json
from pathlib import Path

import pytest
from sqlalchemy import select

from pipeline import review
from pipeline.models import StoredRendition
from tests.channels.recording import Fault, set_faults
from tests.office import Bureau, open_bureau, settings_for


@pytest.fixture
def office(tmp_path: Path) -> Bureau:
    board = {"kind": "bulletin", "directory": tmp_path / "board"}
    web = {"kind": "tests.channels.recording:Recall", "label": "网站", "directory": tmp_path / "web"}
    settings = settings_for(tmp_path, f"sqlite:///{tmp_path / 'fabu.db'}")
    document = settings.model_dump(mode="json") | {"secret": "s" * 40}
    document["channels"] = {"web": web, "board": {**board, "label": "公开栏"}}
    return open_bureau(type(settings).model_validate(document))


def marked(bureau: Bureau, item: int) -> bool:
    """Does the notice that was last put up for review say 更正?"""
    with bureau.rt.reading() as db:
        newest = select(StoredRendition.body).where(StoredRendition.channel == "board").order_by(StoredRendition.id)
        return bool(json.loads(db.scalars(newest).all()[-1])["corrected"])


def test_a_correction_of_what_was_public_is_marked(office: Bureau) -> None:
    item = office.publish("web", "board")
    assert not marked(office, item)
    office.work()
    office.correct(item, title="关于试播的通知（时间调整）")
    assert marked(office, item)


def test_a_corrected_text_is_marked_also_where_it_is_put_up_later(office: Bureau) -> None:
    item = office.publish("web")
    office.work()
    office.correct(item, title="关于试播的通知（时间调整）")
    office.work()
    office.approve(item, office.submit(item, "web", "board"))
    assert marked(office, item)


def test_a_text_that_was_changed_before_it_went_out_is_not_marked(office: Bureau) -> None:
    item = office.write()
    office.submit(item, "web", "board")
    review.edit(office.rt, office.actor("zhao"), item, office.draft(title="关于再次试播的通知"))
    office.approve(item, office.submit(item, "web", "board"))
    assert not marked(office, item)
    office.correct(item, title="关于试播的补充通知")  # approved, but nothing has left the house
    assert not marked(office, item)


def test_a_text_is_not_marked_where_it_is_put_up_later_unchanged(office: Bureau) -> None:
    item = office.publish("web")
    office.work()
    office.approve(item, office.submit(item, "web", "board"))
    assert not marked(office, item)


def test_a_change_of_what_every_channel_had_refused_is_not_marked(office: Bureau) -> None:
    set_faults(office.rt.settings.data / "web", Fault("rejected"))
    item = office.publish("web")
    office.work()
    assert office.state(item, "web") == "failed"
    review.correct(office.rt, office.actor("zhao"), item, office.draft(title="关于再次试播的通知"))
    office.approve(item, office.submit(item, "web", "board"))
    assert not marked(office, item)
