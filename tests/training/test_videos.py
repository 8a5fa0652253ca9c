"""A run's videos: found once, the same ever after, whatever becomes of the folder or of the frames that were kept."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from odd_media import encode

from cacl.data.media.colours import AS_CODED
from cacl.data.videos.scan import scan
from cacl.data.videos.store import DecodedVideos, FrameStore, build_store
from cacl.errors import UserError
from cacl.run_folder import RunFolder
from cacl.training.pretrain import resolve_settings
from cacl.training.videos import open_run_data, training_numbers, training_parts

ALL = np.arange(40)


def new_run(path: Path, tiny: dict[str, Any], videos: Path, **flags: Any) -> RunFolder:
    resolved = resolve_settings(flags={**tiny, **flags})
    return RunFolder.create(path, resolved, {"videos": str(videos), "lists": None, "split": 1})


@pytest.fixture
def videos(squares: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(squares, tmp_path / "videos"))


def test_the_catalog_is_kept_and_not_looked_for_again(videos: Path, tmp_path: Path, tiny: dict[str, Any]) -> None:
    run = new_run(tmp_path / "run", tiny, videos)
    said: list[str] = []
    first = open_run_data(run, say=said.append)
    assert isinstance(first.source, DecodedVideos)
    assert said == [f"Looking through {videos} …"]
    shutil.copy(videos / "train" / "a" / "v00.mp4", videos / "train" / "a" / "late.mp4")
    again = open_run_data(run, say=said.append)
    assert len(said) == 1
    assert again.catalog.videos == first.catalog.videos
    assert np.array_equal(again.source.read(3, ALL), first.source.read(3, ALL))


def test_a_catalog_is_written_whole_or_not_at_all(
    videos: Path, tmp_path: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new_run(tmp_path / "run", tiny, videos)

    def dies(self: Any, row: dict[str, Any], write: Any = csv.DictWriter.writerow) -> None:
        write(self, row)
        if "v05" in row["path"]:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(csv.DictWriter, "writerow", dies)
        with pytest.raises(KeyboardInterrupt):
            open_run_data(run)
    assert not (run.path / "videos.csv").exists()
    assert len(open_run_data(run).catalog.videos) == 12


def test_frames_that_were_kept_are_used_again(videos: Path, tmp_path: Path, tiny: dict[str, Any]) -> None:
    run = new_run(tmp_path / "run", tiny, videos, **{"data.store": "auto"})
    first = open_run_data(run)
    assert isinstance(first.source, FrameStore)
    expected = first.source.read(5, ALL)
    shutil.rmtree(videos)
    moved = RunFolder.open((tmp_path / "run").rename(tmp_path / "elsewhere"))
    again = open_run_data(moved)
    assert isinstance(again.source, FrameStore)
    assert again.source.path == tmp_path / "elsewhere" / "store"
    assert again.catalog.videos == first.catalog.videos
    assert np.array_equal(again.source.read(5, ALL), expected)


def test_frames_that_were_deleted_are_made_again_the_same(videos: Path, tmp_path: Path, tiny: dict[str, Any]) -> None:
    (videos / "train" / "broken.mp4").write_bytes((videos / "train" / "a" / "v00.mp4").read_bytes()[:-900])
    run = new_run(tmp_path / "run", tiny, videos, **{"data.store": "auto"})
    first = open_run_data(run)
    expected = [first.source.read(n, np.arange(v.frames)) for n, v in enumerate(first.catalog.videos)]
    shutil.rmtree(run.path / "store")
    said: list[str] = []
    again = open_run_data(run, say=said.append)
    assert "are gone: making them again" in said[0]
    assert again.catalog.videos == first.catalog.videos
    found = [again.source.read(n, np.arange(v.frames)) for n, v in enumerate(again.catalog.videos)]
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def test_a_store_elsewhere_is_found_from_any_folder(
    videos: Path, tmp_path: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = new_run(tmp_path / "run", tiny, videos, **{"data.store": "kept"})
    assert isinstance(open_run_data(run).source, FrameStore)
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    source = open_run_data(run).source
    assert isinstance(source, FrameStore)
    assert source.path == tmp_path / "kept"


def test_a_run_on_a_store_notices_another_store_in_its_place(
    videos: Path, tmp_path: Path, tiny: dict[str, Any]
) -> None:
    build_store(scan(videos), tmp_path / "s", height=32, width=40)
    run = new_run(tmp_path / "run", tiny, tmp_path / "s")
    assert isinstance(open_run_data(run).source, FrameStore)
    assert isinstance(open_run_data(run).source, FrameStore)
    shutil.rmtree(tmp_path / "s")
    (videos / "train" / "a" / "v00.mp4").unlink()
    build_store(scan(videos), tmp_path / "s", height=32, width=40)
    with pytest.raises(UserError, match="has changed since"):
        open_run_data(run)


def test_only_the_training_part_is_trained_on(videos: Path, tmp_path: Path, tiny: dict[str, Any]) -> None:
    run = new_run(tmp_path / "run", tiny, videos)
    data = open_run_data(run)
    numbers = training_numbers(run.resolved.settings, data)
    assert len(numbers) == 8
    assert {video.split for video in data.videos(numbers)} == {"train"}


def test_a_validation_part_is_never_trained_on(videos: Path, tmp_path: Path, tiny: dict[str, Any]) -> None:
    (videos / "test").rename(videos / "val")
    run = new_run(tmp_path / "run", tiny, videos)
    numbers = training_numbers(run.resolved.settings, open_run_data(run))
    assert len(numbers) == 8


def test_without_parts_all_are_trained_on(videos: Path, tmp_path: Path, tiny: dict[str, Any]) -> None:
    run = new_run(tmp_path / "run", tiny, videos / "train")
    assert len(training_numbers(run.resolved.settings, open_run_data(run))) == 8


def test_videos_are_read_at_the_frame_rate_of_the_run(videos: Path, tmp_path: Path, tiny: dict[str, Any]) -> None:
    """40 frames at 25 a second; the run's ``videos.csv`` says what the files hold."""
    run, said = new_run(tmp_path / "run", tiny, videos, **{"data.frame_rate": 12.5, "data.start_window": 31}), []
    data = open_run_data(run, say=said.append)
    assert {(video.frames, video.fps) for video in data.catalog.videos} == {(20, 12.5)}
    with (run.path / "videos.csv").open() as file:
        assert {row["frames"] for row in csv.DictReader(file)} == {"40"}
    files = open_run_data(new_run(tmp_path / "other", tiny, videos))
    assert np.array_equal(data.source.read(2, np.arange(20)), files.source.read(2, ALL[::2]))
    with pytest.raises(UserError, match=r"no video of data\.start_window 31 frames or more"):  # 20 at this rate
        training_numbers(run.resolved.settings, data)
    fast = new_run(tmp_path / "fast", tiny, videos, **{"data.frame_rate": 50.0})
    assert {video.frames for video in open_run_data(fast, say=said.append).catalog.videos} == {80}
    assert said[-1].startswith("12 videos of 12 have fewer than 50 frames a second (test/a/v08.mp4: 25)")


def test_videos_are_held_out_at_random_by_the_seed(videos: Path, tmp_path: Path, tiny: dict[str, Any]) -> None:
    run = new_run(tmp_path / "run", tiny, videos)
    data, settings = open_run_data(run), run.resolved.settings
    whole = training_numbers(settings, data)

    def parts(hold_out: int | str, seed: int = 0) -> tuple[list[int], list[int]]:
        own = {"data": settings.data.model_copy(update={"hold_out": hold_out}),
               "run": settings.run.model_copy(update={"seed": seed})}  # fmt: skip
        return training_parts(settings.model_copy(update=own), data)

    asides = set()
    for seed in range(12):
        kept, aside = parts(3, seed)
        assert sorted(kept + aside) == whole
        assert (len(aside), kept, aside) == (3, sorted(kept), sorted(aside))
        assert parts(3, seed) == (kept, aside)
        asides.add(tuple(aside))
    assert len(asides) > 6
    assert {number for aside in asides for number in aside} == set(whole)
    assert parts(0) == parts("auto") == (whole, [])  # a tenth of eight is none
    with pytest.raises(UserError, match=r"data\.hold_out 8 leaves none of 8 videos"):
        parts(8)


def test_videos_below_the_start_window_are_left_out(videos: Path, tmp_path: Path, tiny: dict[str, Any]) -> None:
    run = new_run(tmp_path / "a", tiny, videos, **{"data.start_window": 40})
    assert len(training_numbers(run.resolved.settings, open_run_data(run))) == 8
    run = new_run(tmp_path / "b", tiny, videos, **{"data.start_window": 46})
    with pytest.raises(UserError, match=r"no video of data\.start_window 46 frames or more is left"):
        training_numbers(run.resolved.settings, open_run_data(run))


def test_how_pixels_became_rgb_is_chosen_once_and_kept(tmp_path: Path, tiny: dict[str, Any]) -> None:
    """12 bits in 16: 4 095 is white, in this run for good, whatever is added to the folder."""
    videos = tmp_path / "videos"
    videos.mkdir()
    ramp = np.tile(np.arange(0, 4096, 2, dtype=np.uint16).reshape(32, 64), (1, 1))
    for name in "ab":
        encode(videos / f"{name}.mkv", [ramp] * 40, "gray16le", "ffv1")
    run = new_run(tmp_path / "run", tiny, videos)
    said: list[str] = []
    first = open_run_data(run, say=said.append)
    assert "0 to 4095 of 65535 become black to white (data.levels=auto)" in said[1]
    assert run.data["pixels"] == {"colours": "shown", "levels": [0.0, 4095 / 65535]}
    assert first.source.read(0, ALL).max() > 250
    encode(videos / "b.mkv", [ramp * 16] * 40, "gray16le", "ffv1")
    again = open_run_data(RunFolder(run.path))
    assert again.rules == first.rules
    assert np.array_equal(again.source.read(0, ALL), first.source.read(0, ALL))


def test_a_run_of_before_there_was_a_choice_goes_on_as_it_was(
    videos: Path, tmp_path: Path, tiny: dict[str, Any]
) -> None:
    run = new_run(tmp_path / "run", tiny, videos)
    open_run_data(run)
    where = run.data
    assert where.pop("pixels") == {"colours": "shown", "levels": [0.0, 1.0]}
    run.write("data.json", json.dumps(where))
    config = [line for line in (run.path / "config.yaml").read_text().splitlines() if "colours:" not in line]
    (run.path / "config.yaml").write_text("\n".join(line for line in config if "levels:" not in line) + "\n")
    old = RunFolder(run.path)
    assert (old.resolved.settings.data.colours, old.resolved.settings.data.levels) == ("coded", "full")
    assert open_run_data(old).rules == AS_CODED
