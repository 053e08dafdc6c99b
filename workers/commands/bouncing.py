"""Mails that came back: read them now, and see the latest."""

from dataclasses import asdict

from pipeline import bounces
from workers.commands.common import DEFAULT_DATA, AsJson, Data, Open, app, help_


@app.command("bounces", help=help_("bounces"))
def read_bounces(data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    with Open(data, as_json) as here:
        done = bounces.run(here.rt, at_once=True)
        latest = bounces.latest(here.rt)
        here.screen.json({"read": asdict(done), "latest": [asdict(one) for one in latest]})
        here.screen.line(
            "bounces.read", hard=done.kinds["hard"], soft=done.kinds["soft"], delayed=done.kinds["delayed"],
            complaint=done.kinds["complaint"], orphans=done.orphans, suppressed=done.suppressed, others=done.others,
        )  # fmt: skip
        for one in latest:
            kind = here.screen.say(f"bounce.{one.kind.value}")
            at = one.at.astimezone(here.rt.settings.zone).strftime("%Y-%m-%d %H:%M")
            whose = "bounces.orphan" if one.orphan else "bounces.line"
            here.screen.line(whose, at=at, address=one.address or "—", kind=kind, status=one.status or "—")
