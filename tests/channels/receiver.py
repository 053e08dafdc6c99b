"""The receiver of docs/adding-a-channel.md, word for word: the other side of the webhook channel in tests."""

import base64
import hashlib
import hmac
import json
import time
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse


def create(secret: str) -> FastAPI:
    app = FastAPI()
    key = base64.b64decode(secret.removeprefix("whsec_"))
    kept: dict[int, dict[str, Any]] = {}  # in your database: the newest event of each number, withdrawals too

    @app.post("/fabu")
    async def receive(request: Request) -> Response:
        body, head = await request.body(), request.headers
        id, at = head.get("webhook-id", ""), head.get("webhook-timestamp", "0")
        digest = hmac.digest(key, f"{id}.{at}.".encode() + body, hashlib.sha256)
        expected = "v1," + base64.b64encode(digest).decode()
        if not hmac.compare_digest(expected, head.get("webhook-signature", "")) or abs(time.time() - int(at)) > 300:
            raise HTTPException(401)
        event = json.loads(body)["data"]
        if event["generation"] < kept.get(event["number"], event)["generation"]:
            return JSONResponse({"code": "generation_superseded"}, 409)
        kept[event["number"]] = event  # and now show event["item"], or take it down where it is null
        return Response(status_code=204)

    @app.get("/fabu/{number}")
    def show(number: int) -> dict[str, Any]:
        event = kept.get(number, {"generation": 0, "item": None})
        return {"generation": event["generation"], "item": event["item"]}

    return app
