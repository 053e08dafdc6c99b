"""What every route is handed: the settings and the storage of this process."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from web.portal.settings import Settings
from web.portal.storage import Storage


@dataclass(frozen=True)
class State:
    settings: Settings
    storage: Storage


def _state(request: Request) -> State:
    state = request.app.state.portal
    assert isinstance(state, State)
    return state


Portal = Annotated[State, Depends(_state)]
