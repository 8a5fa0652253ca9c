"""Whoever closes the browser in the middle of a question leaves no traceback and no file."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from serving.site import Served
from starlette.types import Message

from cacl.serving.app import make_app


@pytest.mark.parametrize("path", ["/api/drop", "/api/labels"])
def test_what_is_sent_and_broken_off_is_forgotten(served: Served, path: str) -> None:
    half: Message = {"type": "http.request", "body": b"half", "more_body": True}
    messages, sent = [half, {"type": "http.disconnect"}], list[Message]()

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    scope: dict[str, Any] = {
        "type": "http", "http_version": "1.1", "method": "POST", "scheme": "http", "server": ("localhost", 1),
        "path": path, "raw_path": path.encode(), "root_path": "", "query_string": b"name=a.mp4",
        "headers": [(b"host", b"localhost"), (b"x-cacl", b"1")],
    }  # fmt: skip
    asyncio.run(make_app(served.site, token=None)(scope, receive, send))
    assert not messages
    assert [message["status"] for message in sent if message["type"] == "http.response.start"] == [400]
    assert not list(served.site.queries.folder.iterdir())
