"""The demo's videos: pure in the seed, really encoded, moving at every moment, and not solved by colours."""

from __future__ import annotations

import hashlib
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from cacl.data.synthetic import shapes
from cacl.data.synthetic.generate import CLASSES, make_videos, render_video
from cacl.errors import UserError

NAMES = list(CLASSES)
SMALL = {"size": (48, 64), "frames": (33, 40)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_videos(tmp_path_factory.mktemp("demo") / "videos", seed=3, videos_per_class=(2, 1), **SMALL)


def decode(path: Path) -> NDArray[np.uint8]:
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def digests(folder: Path) -> dict[str, str]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def test_class_folders_and_counts(folder: Path) -> None:
    for split, count in (("train", 2), ("test", 1)):
        assert sorted(path.name for path in (folder / split).iterdir()) == sorted(NAMES)
        for name in NAMES:
            assert len(list((folder / split / name).glob("*.mp4"))) == count
    assert len(digests(folder)) == 10 * 3
    assert len(set(digests(folder).values())) == 10 * 3  # no video twice


def test_files_decode_to_the_frames_that_were_drawn(folder: Path) -> None:
    for split, name, index in (("train", NAMES[0], 1), ("test", NAMES[8], 0)):
        drawn = render_video(name, split, index, seed=3, **SMALL)
        decoded = decode(folder / split / name / f"{name}_{index:03d}.mp4")
        assert decoded.shape == drawn.shape
        assert 33 <= len(decoded) <= 40
        assert np.abs(decoded.astype(int) - drawn).mean() < 12  # colours at half resolution, and the encoder's losses


def test_the_seed_makes_the_videos(folder: Path, tmp_path: Path) -> None:
    again = make_videos(tmp_path / "again", seed=3, videos_per_class=(1, 1), **SMALL)
    first, more = digests(again), digests(folder)
    assert all(more[path] == digest for path, digest in first.items())  # nor does a video depend on how many are made
    other = render_video(NAMES[0], "train", 0, seed=4, **SMALL)
    same = render_video(NAMES[0], "train", 0, seed=3, **SMALL)
    assert other.shape != same.shape or np.abs(other.astype(int) - same).mean() > 5


def test_splits_and_indices_are_different_draws() -> None:
    means = [
        render_video(NAMES[1], split, index, **SMALL)[0].astype(float).mean((0, 1))
        for split in ("train", "test")
        for index in range(3)
    ]
    gaps = [np.abs(a - b).max() for i, a in enumerate(means) for b in means[:i]]
    assert min(gaps) > 1


def test_progress_is_told_after_each_file(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    make_videos(
        tmp_path / "new" / "deep", videos_per_class=(1, 0), size=(32, 32), frames=(4, 4),
        progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert seen == [(i, 10) for i in range(1, 11)]


def test_a_folder_with_something_in_it_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(UserError, match="empty folder"):
        make_videos(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("name", NAMES)
def test_every_class_moves_smoothly_at_every_moment(name: str) -> None:
    """A clip's stride later the picture has always changed, and a frame later it has changed less than four later."""
    for index in range(2):
        frames = render_video(name, "train", index, seed=1).astype(np.float32)
        frames = frames.reshape(len(frames), 48, 2, 64, 2, 3).mean((2, 4))

        def change(lag: int, frames: NDArray[np.float32] = frames) -> NDArray[np.float32]:
            # The 90th percentile sees the objects and not the noise, and light that changes everywhere is taken away.
            gap = frames[lag:] - frames[:-lag]
            return np.percentile(np.abs(gap - np.median(gap, (1, 2), keepdims=True)), 90, axis=(1, 2, 3))

        assert change(2).min() > 3
        assert np.median(change(4)) > 1.2 * np.median(change(1))


@pytest.mark.parametrize("name", NAMES)
def test_looks_stay_in_their_circle_and_differ_from_one_another(name: str) -> None:
    axis = np.linspace(-1.6, 1.6, 129, dtype=np.float32)
    u, v = axis[None, None, :].repeat(129, 1), axis[None, :, None].repeat(129, 2)
    pixel = np.full((1, 1, 1), 0.05, np.float32)

    def picture(look: shapes.Look) -> NDArray[np.float32]:
        alpha, tone = look(u, v, pixel)
        assert alpha.dtype == tone.dtype == np.float32
        assert alpha.min() == 0
        assert alpha.max() == 1
        assert tone.min() >= 0
        assert tone.max() <= 1
        assert alpha[np.hypot(u, v) > 1.04].max() == 0
        return alpha * (1 - tone)

    mine = picture(CLASSES[name][0])
    for other in NAMES:
        if other != name:
            assert np.abs(mine - picture(CLASSES[other][0])).mean() > 0.02


@pytest.mark.parametrize("name", NAMES)
def test_motions_never_leap_never_rest_and_mirror(name: str) -> None:
    motion = CLASSES[name][1]
    phase = np.arange(-2, 6, 0.005)
    there, mirrored = motion(phase, 1.0), motion(phase, -1.0)
    courses = np.stack([there.x, there.y, there.angle, np.log(there.width), np.log(there.height)])
    steps = np.abs(np.diff(courses)).max(0)
    assert steps.max() < 0.08  # a twelfth of a radius in 1/200 of a period
    for start in range(courses.shape[1] - 20):  # a tenth of a period
        assert np.ptp(courses[:, start : start + 20], axis=1).max() > 0.01
    assert there.width.min() > 0
    assert there.height.min() > 0
    np.testing.assert_allclose(mirrored.x, -there.x)
    np.testing.assert_allclose(mirrored.y, there.y)


def test_colours_do_not_give_the_class_away() -> None:
    """Nearest neighbour by colour histogram: chance is 10 %, and it must stay under 30 % (90 + 50 videos)."""

    def histograms(split: str, count: int) -> NDArray[np.float64]:
        rows = []
        for name in NAMES:
            for index in range(count):
                frames = render_video(name, split, index, seed=11, size=(48, 64))  # type: ignore[arg-type]
                chosen = frames[np.round(np.linspace(0, len(frames) - 1, 10)).astype(int)].reshape(-1, 3)
                cells, _ = np.histogramdd(chosen, bins=8, range=[(0, 256)] * 3)
                rows.append(np.sqrt(cells.ravel() / len(chosen)))
        return np.array(rows)

    nearest = (histograms("test", 5) @ histograms("train", 9).T).argmax(1) // 9
    assert (nearest == np.repeat(np.arange(10), 5)).mean() < 0.30
