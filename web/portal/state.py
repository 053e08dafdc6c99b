"""What every route is handed: settings, office (portal.toml) and storage of this process.

`portal.storage`: `slot`, `find`, `facets`, `history`, `rows`, `updated`. A page that depends on nothing but its
address, slots and today's date carries the headers `cache.KEEP` and is then served from memory.
"""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from web.portal.office import Office
from web.portal.settings import Settings
from web.portal.storage import Storage


@dataclass(frozen=True)
class State:
    settings: Settings
    storage: Storage
    office: Office


async def _state(request: Request) -> State:
    state = request.app.state.portal
    assert isinstance(state, State)
    return state


Portal = Annotated[State, Depends(_state)]
