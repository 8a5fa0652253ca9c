"""Nobody gets more than the index names, and nobody is answered who may not ask."""

from __future__ import annotations

from pathlib import Path

import pytest
from serving.site import HTML, Served
from starlette.testclient import TestClient

from cacl.serving.app import make_app


def test_every_answer_has_a_policy(served: Served):
    key = served.keys()["a/v0.mp4"]
    for path in ("/", "/static/style.css", "/api/about", "/none", f"/video/{key}", f"/preview/{key}/0"):
        headers = served.client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert (headers["x-content-type-options"], headers["x-frame-options"]) == ("nosniff", "DENY")
        assert headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8420", "localhost.evil.example", "", "127.0.0.1.evil.example"]
)
def test_a_foreign_name_that_points_here_is_not_answered(served: Served, host: str):
    for path in ("/", "/api/videos", "/static/style.css"):
        answer = served.client.get(path, headers={"host": host})
        assert (answer.status_code, "key" in answer.text) == (421, False)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:8420", "[::1]:8420"])
def test_the_names_of_this_machine_are_answered_on_any_port(served: Served, host: str):
    assert served.client.get("/api/about", headers={"host": host}).status_code == 200


def test_changes_need_a_header_that_foreign_pages_cannot_send(served: Served):
    for path in ("/api/labels", "/api/decisions", "/api/path", "/api/duplicates", "/api/drop"):
        answer = served.client.post(path, content=b"{}", headers={"content-type": "text/plain"})
        assert answer.status_code == 403
    assert not served.site.labels.file.exists()
    assert "access-control-allow-origin" not in served.client.options("/api/labels").headers


def test_beyond_this_machine_a_token_is_needed(served: Served):
    served.site.local = False
    with TestClient(make_app(served.site, token="secret"), base_url="http://192.0.2.1:8420") as client:
        for path in ("/", "/api/videos", "/static/style.css", "/?token=wrong", "/?token="):
            assert client.get(path).status_code == 403
        assert client.get("/api/videos", headers={"cookie": "cacl-8420=wrong"}).status_code == 403
        first = client.get("/?token=secret&tab=labels", follow_redirects=False)
        assert (first.status_code, first.headers["location"]) == (303, "/?tab=labels")
        assert {"HttpOnly", "SameSite=strict"} <= set(first.headers["set-cookie"].split("; "))
        assert client.get("/api/videos").status_code == 200
        refused = client.post("/api/path", json={"path": str(served.videos / "a/v0.mp4")}, headers={"x-cacl": "1"})
        assert (refused.status_code, "from this machine only" in refused.json()["error"]) == (400, True)
    for start in ("//evil.example/x", "/\\evil.example"):  # a redirect leads nowhere else
        with TestClient(make_app(served.site, token="secret"), base_url="http://192.0.2.1:8420") as client:
            answer = client.get(f"http://192.0.2.1:8420{start}?token=secret", follow_redirects=False)
            assert not answer.headers.get("location", "/x").startswith(("//", "/\\", "http"))


@pytest.mark.parametrize(
    "path",
    ["/video/../../../etc/passwd", "/video/%2e%2e%2f%2e%2e%2fetc%2fpasswd", "/video//etc/passwd", "/static/../app.py",
     "/static/%2e%2e/app.py", "/static/..%2fapp.py", "/static//etc/passwd", "/video/a%2fv0.mp4",
     "/preview/..%2f..%2fx/0",
     "/clip/..%2f..%2fsecret.mp4", "/video/file-0000000000000000", "/index.json", "/static/"],
)  # fmt: skip
def test_nothing_else_is_served(served: Served, path: str):
    (served.folder / "secret.mp4").write_bytes(b"secret")
    answer = served.client.get(path)
    assert answer.status_code in (404, 405)
    assert "root:" not in answer.text
    assert "secret" not in answer.text


def test_a_video_is_sent_in_parts(served: Served):
    content = (served.videos / "b" / HTML).read_bytes()
    key = served.keys()[f"b/{HTML}"]
    whole = served.client.get(f"/video/{key}")
    assert (whole.status_code, whole.content, whole.headers["content-type"]) == (200, content, "video/mp4")
    assert whole.headers["accept-ranges"] == "bytes"
    part = served.client.get(f"/video/{key}", headers={"range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, content[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(content)}"
    assert served.client.get(f"/video/{key}", headers={"range": f"bytes={len(content)}-"}).status_code == 416


def test_previews_and_parts_encoded_anew(served: Served, tmp_path: Path):
    import av

    key = served.keys()["a/v0.mp4"]
    picture = served.client.get(f"/preview/{key}/0")
    assert (picture.status_code, picture.headers["content-type"], picture.content[8:12]) == (200, "image/webp", b"WEBP")
    assert [served.client.get(f"/preview/{key}/{n}").status_code for n in (3, 99)] == [404, 404]
    states = {served.site.current.view().state: "private, max-age=31536000, immutable", "000001-other": "no-store"}
    for state, kept in states.items():  # at this port another index of the same videos may be served tomorrow
        assert served.client.get(f"/preview/{key}/0", params={"state": state}).headers["cache-control"] == kept
    (tmp_path / "clip.mp4").write_bytes(served.client.get(f"/clip/{key}?start=1").content)
    with av.open(str(tmp_path / "clip.mp4")) as made:
        assert sum(1 for _ in made.decode(video=0)) == 30  # of 40 frames at 10 a second
    for start in ("9", "nan", "x"):
        assert served.client.get(f"/clip/{key}?start={start}").status_code == 404


def test_a_video_that_is_not_there_is_said(served: Served):
    video = served.videos / "b" / "v3.mp4"
    key = served.keys()["b/v3.mp4"]
    video.rename(video.with_suffix(".away"))
    try:
        answer = served.client.get(f"/video/{key}")
        assert (answer.status_code, "--videos" in answer.json()["error"]) == (404, True)
        assert served.client.get(f"/preview/{key}/0").status_code == 200
        assert served.get("/api/search", like=key)["hits"]
    finally:
        video.with_suffix(".away").rename(video)
