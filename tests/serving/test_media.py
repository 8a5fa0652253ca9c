"""What is shown of videos that are no files on a disk: folders of pictures, and what lies on a server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import pytest
from indexing.made import add, make_index
from PIL import Image
from serving.site import Served
from squares import square
from starlette.testclient import TestClient
from video_server import VideoServer

from cacl.exploring.labels import Labels
from cacl.indexing.generation import IndexedVideo
from cacl.serving import media
from cacl.serving.app import Site, make_app
from cacl.serving.current import Current, View
from cacl.serving.media import Clips
from cacl.serving.queries import Queries


@contextmanager
def site_on(index: Path, folder: Path) -> Iterator[Served]:
    site = Site(Current(index), Labels(folder / "labels.csv"), Queries(folder), local=True)
    with TestClient(make_app(site, token=None), base_url="http://localhost") as client:
        yield Served(folder, site, client)


def frames(content: bytes, file: Path) -> np.ndarray:
    file.write_bytes(content)
    with av.open(str(file)) as made:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in made.decode(video=0)])


@pytest.mark.parametrize("rate", [0.0, 10.0])
def test_of_a_folder_of_pictures_parts_are_shown(archive: Path, tmp_path: Path, rate: float) -> None:
    """Also where no rate is known: then a stretch is shown from its own first frame on."""
    videos = tmp_path / "videos"
    add(videos, 1)
    (videos / "walk").mkdir()
    for number in range(40):
        shade = np.full((64, 80, 3), 6 * number, np.uint8)
        Image.fromarray(shade).save(videos / "walk" / f"{number:03d}.png")
    make_index(videos, tmp_path / "index", model=archive / "encoder", rate=rate).close()
    with site_on(tmp_path / "index", tmp_path) as served:
        index = served.site.current.view().index
        file, walk = served.get("/api/videos")["videos"]
        assert (file["whole"], walk["whole"]) == (True, False)
        assert walk["from_s"] == (0.0 if rate else None)
        whole = served.client.get(f"/video/{walk['key']}")
        assert (whole.status_code, "is a folder of pictures" in whole.json()["error"]) == (404, True)
        for n in range(walk["rows"]):
            shown = frames(served.client.get(f"/clip/{walk['key']}?n={n}").content, tmp_path / "clip.mp4")
            first = int(index.spans.frames[index.videos[1].first_row + n, 0])
            assert len(shown) == 40 - first
            assert shown[0].mean() == pytest.approx(6 * first, abs=4)
        for n in ("-1", "99", "x"):
            assert served.client.get(f"/clip/{walk['key']}?n={n}").status_code == 404
        (videos / "walk").rename(videos.parent / "gone")
        gone = served.client.get(f"/clip/{walk['key']}?start=0.35")
        assert (gone.status_code, "walk is not at" in gone.json()["error"]) == (404, True)


def test_of_a_file_on_a_server_parts_are_shown(archive: Path, tmp_path: Path) -> None:
    pytest.importorskip("aiohttp", reason="needs aiohttp: pip install 'cacl[remote]'")
    from cacl.data.remote import place

    place.forget()
    server = VideoServer(add(tmp_path / "there", 1).parent)
    try:
        (tmp_path / "list.csv").write_text(f"path,label\n{server.url}v1.mp4,wave\n")
        make_index(tmp_path / "list.csv", tmp_path / "index", model=archive / "encoder").close()
        with site_on(tmp_path / "index", tmp_path) as served:
            (video,) = served.get("/api/videos")["videos"]
            assert not video["whole"]
            refused = served.client.get(f"/video/{video['key']}")
            assert (refused.status_code, "lies on a server" in refused.json()["error"]) == (404, True)
            shown = frames(served.client.get(f"/clip/{video['key']}?start=2").content, tmp_path / "clip.mp4")
            assert len(shown) == 21  # of 41 at 10 a second
            assert np.abs(shown[0].astype(int) - square_at(20, shown.shape[1:3])).mean() < 12
    finally:
        server.close()


def square_at(number: int, size: tuple[int, int]) -> np.ndarray:
    frame = Image.fromarray(np.asarray(square(41, seed=1))[number])
    return np.asarray(frame.resize(size[::-1])).astype(int)


def test_what_nobody_waits_for_any_more_is_not_encoded(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part is encoded at a time; who left while another one was is passed over, and one part is made once."""
    made: list[float] = []

    def encoded(view: View, video: IndexedVideo, start: float) -> bytes:
        made.append(start)
        return b"%d" % start

    monkeypatch.setattr(media, "_encoded", encoded)
    view = served.site.current.view()
    video, clips = view.index.videos[0], Clips()

    async def ask() -> list[bytes | None]:
        async def gone() -> bool:
            return True

        async def here() -> bool:
            return False

        asked = [(1.0, here), (2.0, gone), (3.0, here), (1.0, gone)]
        return await asyncio.gather(*(clips.clip(view, video, start, gone=one) for start, one in asked))

    assert asyncio.run(ask()) == [b"1", None, b"3", b"1"]
    assert made == [1.0, 3.0]
