"""What a channel makes beside the text is kept with it: an issue's PDF goes out as it was approved."""

from pathlib import Path

from sqlalchemy import select

from channels.portal import Portal
from pipeline.models import Submission
from pipeline.renditions import load_renditions, store_rendition
from tests.channels.issues import number
from tests.office import open_bureau, settings_for


def test_the_pdf_of_an_issue_is_read_back_as_it_was_rendered(tmp_path: Path) -> None:
    bureau = open_bureau(settings_for(tmp_path, f"sqlite:///{tmp_path / 'fabu.db'}"))
    item = bureau.publish("web")
    rendition = Portal("http://127.0.0.1:1", "key").render(number(2, photos=1))
    with bureau.rt.writing() as db:
        submission = db.scalars(select(Submission).where(Submission.item_id == item)).one()
        store_rendition(db, submission.id, submission.revision_id, "portal", rendition)
    with bureau.rt.reading() as db:
        kept = [one for one in load_renditions(db, range(1, 9)).values() if one.files]
    assert kept == [rendition]
    assert kept[0].files[0].content.startswith(b"%PDF-")
