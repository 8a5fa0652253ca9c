"""A site on a small index, and a client that asks it as a browser on this machine would."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from cacl.serving.app import Site

HTML = "<img src=x onerror=alert(1)>.mp4"


@dataclass(frozen=True)
class Served:
    folder: Path
    site: Site
    client: TestClient

    @property
    def videos(self) -> Path:
        return self.folder / "videos"

    @property
    def index(self) -> Path:
        return self.folder / "my.index"

    def get(self, path: str, **asked: Any) -> dict[str, Any]:
        answer = self.client.get(path, params=asked)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def post(self, path: str, sent: dict[str, Any], *, status: int = 200) -> dict[str, Any]:
        answer = self.client.post(path, json=sent, headers={"x-cacl": "1"})
        assert answer.status_code == status, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def keys(self) -> dict[str, str]:
        return {video["path"]: video["key"] for video in self.get("/api/videos")["videos"]}
