"""Duplicates among made videos, and what people decided about them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from search.scenes import FPS, render

from cacl.errors import UserError, VideoError
from cacl.search.alignment import Line
from cacl.search.decisions import Decisions
from cacl.search.duplicates import Duplicate, Stretches, _worth_a_look, find_duplicates, looking
from cacl.search.neighbours import Neighbours
from cacl.search.same_pixels import PixelMatch
from cacl.search.score import Scale, measure_scale

SECONDS = 8.0


@pytest.fixture(scope="module")
def videos() -> dict[str, NDArray[np.uint8]]:
    made = {f"place{i}.mp4": render(i, 0, SECONDS) for i in range(10)}
    made["again.mp4"] = np.concatenate([render(70, 0, 3), made["place3.mp4"][round(FPS) : round(7 * FPS)]])
    made["take.mp4"] = render(5, 1, SECONDS)
    made["mirror.mp4"] = made["place7.mp4"][:, :, ::-1]
    return made


class Archive:
    """Vectors of stretches of two seconds, one a second: small pictures, the same for their mirror image."""

    def __init__(self, videos: dict[str, NDArray[np.uint8]]) -> None:
        self.frames = list(videos.values())
        rows, numbers, starts = [], [], []
        for number, frames in enumerate(self.frames):
            small = frames[:, :, :, 0].reshape(len(frames), 10, 6, 10, 8).mean(axis=(2, 4))
            small = (small + small[:, :, ::-1]).reshape(len(frames), -1)
            for start in np.arange(0, len(frames) / FPS - 1.9):
                first = round(start * FPS)
                part = small[first : first + round(2 * FPS)]
                rows.append(np.concatenate([part[: len(part) // 2].mean(0), part[len(part) // 2 :].mean(0)]))
                numbers.append(number)
                starts.append(start)
        start = np.array(starts)
        lengths = [len(frames) / FPS for frames in self.frames]
        self.neighbours = Neighbours(np.array(rows, np.float32))
        self.stretches = Stretches(np.array(numbers), start, start + 2, list(videos), lengths)
        self.scale = measure_scale(self.neighbours.rows, self.neighbours.space, numbers)

    def read(self, video: int, times: NDArray[np.float64]) -> NDArray[np.uint8]:
        frames = self.frames[video]
        return frames[np.clip((times * FPS + 1e-6).astype(int), 0, len(frames) - 1)]


@pytest.fixture(scope="module")
def archive(videos: dict[str, NDArray[np.uint8]]) -> Archive:
    return Archive(videos)


def copies(found: list[Duplicate]) -> list[tuple[str, str, str, str]]:
    return [(one.first, one.second, one.kind, one.sure) for one in found if one.kind != "similar scene"]


def test_copies_are_found_and_told_from_another_take(archive: Archive) -> None:
    found = find_duplicates(archive.neighbours, archive.stretches, archive.scale, frames=archive.read)
    assert sorted(copies(found)) == [
        ("place3.mp4", "again.mp4", "copy", "sure"),
        ("place7.mp4", "mirror.mp4", "mirrored copy", "sure"),
    ]
    again = next(one for one in found if one.second == "again.mp4")
    assert again.a == pytest.approx((1, 7), abs=0.5)
    assert again.b == pytest.approx((3, 9), abs=0.5)


def test_without_pixels_everything_is_likely(archive: Archive) -> None:
    found = find_duplicates(archive.neighbours, archive.stretches, archive.scale)
    assert {one.sure for one in found} == {"likely"}
    assert {("place3.mp4", "again.mp4"), ("place7.mp4", "mirror.mp4")} <= {(one.first, one.second) for one in found}


def test_what_was_said_not_to_be_the_same_is_not_found_again(archive: Archive, tmp_path: Path) -> None:
    decisions = Decisions(tmp_path / "decisions.json")
    decisions.reject("again.mp4", "place3.mp4")
    again = Decisions(tmp_path / "decisions.json")
    found = find_duplicates(archive.neighbours, archive.stretches, archive.scale, frames=archive.read, decisions=again)
    assert copies(found) == [("place7.mp4", "mirror.mp4", "mirrored copy", "sure")]
    again.forget("place3.mp4", "again.mp4")
    assert not Decisions(tmp_path / "decisions.json").not_same("again.mp4", "place3.mp4")


def test_a_video_that_cannot_be_read_stays_likely_and_is_said(archive: Archive) -> None:
    def broken(video: int, times: NDArray[np.float64]) -> NDArray[np.uint8]:
        if archive.stretches.names[video] == "again.mp4":
            raise VideoError("again.mp4", "the file is gone")
        return archive.read(video, times)

    skipped: list[VideoError] = []
    found = find_duplicates(archive.neighbours, archive.stretches, archive.scale, frames=broken, skipped=skipped)
    assert ("place3.mp4", "again.mp4", "copy", "likely") in copies(found)
    assert {error.path for error in skipped} == {"again.mp4"}


def test_any_number_that_look_find_the_same(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    made = archive.neighbours, archive.stretches, archive.scale
    alone = find_duplicates(*made, frames=archive.read)
    asked = threading.Event()
    look = looking(archive.read, archive.stretches.lengths)

    def helper(pair: tuple[int, int], aligned: Sequence[Line]) -> list[PixelMatch | VideoError]:
        asked.set()
        return look(pair, aligned)

    def waiting(video: int, times: NDArray[np.float64]) -> NDArray[np.uint8]:
        assert asked.wait(60)
        return archive.read(video, times)

    find_duplicates(*made, frames=archive.read, helpers=[helper])
    assert not asked.is_set()  # so few pairs are not worth it
    monkeypatch.setattr("cacl.search.duplicates._WORTH", 1)
    for helpers in ([helper], [helper, helper, helper]):
        assert find_duplicates(*made, frames=waiting, helpers=helpers) == alone
        assert asked.is_set()
        asked.clear()


def test_what_goes_wrong_beside_goes_wrong(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cacl.search.duplicates._WORTH", 1)

    asked = threading.Event()

    def helper(pair: tuple[int, int], aligned: Sequence[Line]) -> list[PixelMatch | VideoError]:
        asked.set()
        raise IndexError("a bug")

    def waiting(video: int, times: NDArray[np.float64]) -> NDArray[np.uint8]:
        assert asked.wait(60)
        return archive.read(video, times)

    with pytest.raises(IndexError, match="a bug"):
        find_duplicates(archive.neighbours, archive.stretches, archive.scale, frames=waiting, helpers=[helper])


@pytest.mark.parametrize("what", ["videos compared", "pairs looked at"])
def test_who_ends_it_meanwhile_ends_it(archive: Archive, what: str) -> None:
    seen: list[tuple[int, int]] = []

    def progress(task: str, done: int, total: int) -> None:
        if task == what:
            seen.append((done, total))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        find_duplicates(archive.neighbours, archive.stretches, archive.scale, frames=archive.read, progress=progress)
    assert len(seen) == 1


def test_progress_reaches_all(archive: Archive) -> None:
    seen: dict[str, tuple[int, int]] = {}

    def progress(task: str, done: int, total: int) -> None:
        assert done >= seen.get(task, (0, 0))[0]
        seen[task] = done, total

    find_duplicates(archive.neighbours, archive.stretches, archive.scale, frames=archive.read, progress=progress)
    assert list(seen) == ["videos compared", "pairs looked at"]
    assert all(done == total > 0 for done, total in seen.values())


@pytest.mark.parametrize("count", [2, 3, 4, 5, 6])
def test_a_copy_is_found_among_few_videos(videos: dict[str, NDArray[np.uint8]], count: int) -> None:
    few = {f"place{i}.mp4": videos[f"place{i}.mp4"] for i in range(count - 1)}
    few["copy.mp4"] = few["place0.mp4"]
    made = Archive(few)
    assert copies(find_duplicates(made.neighbours, made.stretches, made.scale, frames=made.read)) == [
        ("place0.mp4", "copy.mp4", "copy", "sure")
    ]


def test_what_is_nearly_the_same_is_looked_at_whatever_the_spread() -> None:
    """Of ten pairs one is the same, the others anything: 99 % lie below 1, and so does the middle and its spread."""
    scores = np.sort(np.concatenate([np.linspace(-0.8, 0.6, 900), np.ones(100)])).astype(np.float32)
    floor = _worth_a_look(Scale(scores))
    middle = float(np.quantile(scores, 0.5))
    assert floor == pytest.approx(middle + 0.95 * (1 - middle))
    assert floor < 0.97


def test_one_video_has_no_duplicates(videos: dict[str, NDArray[np.uint8]]) -> None:
    one = Archive({"a.mp4": videos["place1.mp4"]})
    assert find_duplicates(one.neighbours, one.stretches, one.scale, frames=one.read) == []


def test_two_writers_lose_no_decision_and_damage_is_named(tmp_path: Path) -> None:
    file = tmp_path / "decisions.json"
    first, second = Decisions(file), Decisions(file)
    first.reject("a", "b")
    second.reject("c\n", "d\udce9")  # a name that is no text
    with pytest.raises(UserError, match="a is named twice"):  # read again, it would be damage
        second.reject("a", "a")
    both = Decisions(file)
    assert both.not_same("b", "a")
    assert both.not_same("d\udce9", "c\n")
    assert not both.not_same("a", "c\n")
    for content in ("{", "[]", '{"format": 2}', '{"format": 1, "not the same": [["a"]]}'):
        file.write_text(content, encoding="utf-8")
        with pytest.raises(UserError, match=r"decisions\.json is damaged"):
            Decisions(file)
