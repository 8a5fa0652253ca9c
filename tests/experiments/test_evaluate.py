"""``evaluate`` on a finished run: the rows, the files, and the same numbers as the parts give by hand."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cacl import evaluate, load
from cacl.data.clips.sampling import evaluation_clips
from cacl.data.media.encode import write_video
from cacl.data.videos.dataset import open_videos
from cacl.data.videos.sources import DecodedVideos
from cacl.errors import UserError, VideoError
from cacl.experiments.evaluate import evaluation_folder
from cacl.run import Run
from cacl.run_folder import RunFolder
from cacl.training.pretrain import pretrain

ROWS = ["chance", "colour histogram", "thumbnail", "untrained", "untrained, batch statistics", "cacl"]


@pytest.fixture(scope="module")
def evaluated(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    run = Path(shutil.copytree(finished, tmp_path_factory.mktemp("evaluated") / "run"))
    return run, evaluate(run)


def test_all_rows_are_there_in_order(evaluated: tuple[Path, dict[str, Any]]) -> None:
    results = evaluated[1]
    assert list(results["retrieval"]) == ROWS
    for row in results["retrieval"].values():
        assert list(row) == ["R@1", "R@5", "R@10", "R@20", "R@50"]
        values = list(row.values())
        assert values == sorted(values)
        assert all(0 <= value <= 100 for value in values)
        assert row["R@10"] == 100  # 8 videos of 2 classes
    assert results["retrieval"]["chance"]["R@1"] == pytest.approx(50)
    assert results["degree"]["chance"] == 6.25


def test_numbers_and_report_are_written(evaluated: tuple[Path, dict[str, Any]]) -> None:
    run, results = evaluated
    written = json.loads((run / "results.json").read_text())
    assert list(written["retrieval"]) == ROWS
    for name, row in results["retrieval"].items():
        assert written["retrieval"][name] == pytest.approx(row, abs=1e-3)
    assert (run / "neighbours.png").read_bytes().startswith(b"\x89PNG")
    page = (run / "report.html").read_text()
    assert page.startswith("<!DOCTYPE html>")
    assert f"cacl evaluate {run}" in page
    assert "optim.epochs" in page
    assert not re.findall(r"""(?:src|href)=["']?(?!data:|#)[^"'> ]+""", page)  # self-contained


def test_the_trained_row_is_what_its_parts_give(evaluated: tuple[Path, dict[str, Any]], squares: Path) -> None:
    """Section 4.3 written out: ten clips, maps max-pooled over 2x2, mean over clips, cosine; a hit among k."""
    run, results = evaluated
    encoder = load(run)
    data = open_videos(squares, resize=(32, 40))
    features, labels = [], []
    for number, video in enumerate(data.catalog.videos):
        clips = evaluation_clips(video.frames, frames=16, stride=2, clips=10)
        frames = np.stack([data.source.read(number, clip) for clip in clips])
        with torch.no_grad():
            maps = encoder.network.forward_features(encoder.clip.pixels(torch.from_numpy(frames)))
        pooled = torch.nn.functional.max_pool3d(maps, (1, 2, 2)).flatten(1)
        features.append(pooled.mean(dim=0).double())
        labels.append(video.label)
    unit = torch.nn.functional.normalize(torch.stack(features), dim=1)
    train, test = data.numbers("train"), data.numbers("test")
    for k in (1, 5):
        hits = 0
        for query in test:
            order = sorted(train, key=lambda other: -float(unit[query] @ unit[other]))
            hits += any(labels[other] == labels[query] for other in order[:k])
        assert results["retrieval"]["cacl"][f"R@{k}"] == pytest.approx(100 * hits / len(test))


def test_evaluating_again_gives_the_same(evaluated: tuple[Path, dict[str, Any]]) -> None:
    assert evaluate(evaluated[0]) == evaluated[1]


def test_other_videos_and_lists(run: Path, squares: Path, tmp_path: Path) -> None:
    videos, lists = tmp_path / "videos", tmp_path / "lists"
    for part in ("train", "test"):
        shutil.copytree(squares / part, videos, dirs_exist_ok=True)
    lists.mkdir()
    (lists / "trainlist01.txt").write_text("a/v00.avi 1\na/v02.avi 1\nb/v01.avi 2\n")
    (lists / "testlist01.txt").write_text("a/v08.avi\nb/v09.avi\nb/v11.avi\n")
    own = evaluate(run)
    files = {name: (run / name).read_bytes() for name in ("results.json", "retrieval.json", "neighbours.png")}
    results = evaluate(run, videos, lists=lists)
    assert results["retrieval"]["chance"]["R@1"] == pytest.approx(100 * (2 / 3 + 1 / 3 + 1 / 3) / 3)
    place = run / "transfer" / videos.parent.name
    assert evaluation_folder(run, videos) == place
    assert "degree" in own
    assert "degree" not in results  # it is of the run's own videos
    written = json.loads((place / "results.json").read_text())["retrieval"]["cacl"]
    assert written == pytest.approx(results["retrieval"]["cacl"], abs=1e-3)
    assert results["retrieval"] != own["retrieval"]
    assert "3 train, 3 test" in (place / "report.html").read_text()
    assert {name: (run / name).read_bytes() for name in files} == files  # the run's own evaluation is as it was


def test_where_evaluations_go(run: Path, squares: Path, tmp_path: Path) -> None:
    """The run's own videos have the run folder; of two data sets with one name the second has another folder."""
    assert evaluation_folder(run) == evaluation_folder(run, squares) == run
    for number, name in enumerate(("a/ucf", "b/ucf", "c/ucf/videos")):
        place = evaluation_folder(run, tmp_path / name)
        assert place == run / "transfer" / ("ucf" if number == 0 else f"ucf-{number + 1}")
        place.mkdir(parents=True)
        (place / "retrieval.json").write_text(json.dumps({"videos": str(tmp_path / name)}))
        assert evaluation_folder(run, tmp_path / name) == place
    assert evaluation_folder(run, tmp_path / "a" / "ucf", split=2) == run / "transfer" / "ucf-split2"


@pytest.fixture
def ucf(squares: Path, tmp_path: Path) -> Path:
    """Videos named as UCF101's, beside two lists."""
    for number, path in enumerate(sorted(squares.rglob("*.mp4"))):
        (tmp_path / "ucf" / path.parent.name).mkdir(parents=True, exist_ok=True)
        name = f"v_{path.parent.name}_g{number // 2:02}_c{number % 2 + 1:02}.mp4"
        shutil.copy(path, tmp_path / "ucf" / path.parent.name / name)
    videos = sorted(p.relative_to(tmp_path / "ucf").as_posix() for p in tmp_path.glob("ucf/*/*.mp4"))
    (tmp_path / "ucf" / "trainlist01.txt").write_text("".join(f"{v} 1\n" for v in videos[::2]))
    (tmp_path / "ucf" / "testlist01.txt").write_text("".join(f"{v}\n" for v in videos[1::2]))
    return tmp_path / "ucf"


def test_clips_of_one_source_on_both_sides_are_said_in_the_result(
    run: Path, ucf: Path, cacl: Callable[..., Any]
) -> None:
    ended = cacl("evaluate", run, ucf, "--lists", ucf)
    place = evaluation_folder(run, ucf)
    (note,) = json.loads((place / "results.json").read_text())["notes"]
    assert "Clips of one source video are on both sides (a g00, a g02, a g03" in note
    assert ended.out.splitlines()[-2] == f"Note: {note}"
    assert note in html.unescape((place / "report.html").read_text())
    assert ended.out.splitlines()[-1] == f"Report: {place / 'report.html'}"


def test_copies_of_training_videos_are_said(run: Path, squares: Path, tmp_path: Path) -> None:
    videos = Path(shutil.copytree(squares, tmp_path / "videos"))
    shutil.copy(videos / "train" / "a" / "v02.mp4", videos / "test" / "a" / "other.mp4")
    changed = bytearray((videos / "train" / "b" / "v01.mp4").read_bytes())
    changed[-1] ^= 1  # as long and as it looks, but no copy byte for byte
    (videos / "test" / "b" / "near.mp4").write_bytes(changed)
    notes = evaluate(run, videos)["notes"]
    assert any(note.endswith("test/a/other.mp4 = train/a/v02.mp4; the result is too good.") for note in notes)
    near = [note for note in notes if "test/b/near.mp4" in note]
    assert len(near) == 1
    assert "near copies of training videos: test/b/near.mp4 ~ train/b/v01.mp4" in near[0]


def test_a_run_that_was_trained_on_the_test_videos_says_so(run: Path, squares: Path, tmp_path: Path) -> None:
    (tmp_path / "trainlist01.txt").write_text("a/v08.avi 1\nb/v09.avi 2\nb/v11.avi 2\n")
    (tmp_path / "testlist01.txt").write_text("a/v00.avi\nb/v01.avi\na/v10.avi\n")
    assert "notes" not in evaluate(run)
    (note,) = evaluate(run, squares, lists=tmp_path)["notes"]
    assert f"pretrained on 2 of the 3 test videos ({run}/videos.csv)" in note


def test_a_video_in_both_lists_is_refused_by_name(run: Path, ucf: Path) -> None:
    video = (ucf / "testlist01.txt").read_text().splitlines()[0]
    with (ucf / "trainlist01.txt").open("a") as file:
        file.write(f"{video} 1\n")
    with pytest.raises(UserError, match=rf"{video} is in the training and in the test part of split 1"):
        evaluate(run, ucf, lists=ucf)


def test_a_label_that_no_training_video_has_is_said(run: Path, ucf: Path) -> None:
    listed = (ucf / "trainlist01.txt").read_text().splitlines(keepends=True)
    (ucf / "trainlist01.txt").write_text("".join(line for line in listed if line.startswith("a/")))
    note = evaluate(run, ucf, lists=ucf)["notes"][1]
    assert note == "No training video has the label of 'b' (3 videos) among the test videos: these can never be right."


def test_another_run_beside(run: Path, finished: Path, squares: Path, tmp_path: Path, tiny: dict[str, Any]) -> None:
    v_moco = pretrain(squares, out=tmp_path / "v", method="v-moco", settings={**tiny, "optim.epochs": 1})
    same = Path(shutil.copytree(finished, tmp_path / "same"))
    results = evaluate(run, beside=[v_moco.path, same])
    assert list(results["retrieval"]) == [*ROWS[:-1], "v-moco", "cacl (same)", "cacl"]
    assert results["retrieval"]["cacl (same)"] == results["retrieval"]["cacl"]
    twins = [Path(shutil.copytree(finished, tmp_path / name / "run")) for name in "xy"]
    names = list(evaluate(run, beside=twins)["retrieval"])
    assert names[-3:] == [f"cacl ({twins[0]})", f"cacl ({twins[1]})", "cacl"]


def test_videos_that_cannot_be_read_are_told(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original = DecodedVideos.read

    def read(self: DecodedVideos, video: int, indices: Any) -> Any:
        if self.catalog.videos[video].id == "train/a/v02":
            raise VideoError(self.catalog.videos[video].path, "breaks in the middle")
        return original(self, video, indices)

    monkeypatch.setattr(DecodedVideos, "read", read)
    results = evaluate(run)
    assert list(results["retrieval"]) == ROWS
    assert "1 video could not be read: train/a/v02.mp4: breaks in the middle" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["unlabelled", "no parts", "one part"])
def test_videos_without_labels_or_parts_are_refused(
    kind: str, run: Path, squares: Path, tmp_path: Path, make_square: Callable[..., Any]
) -> None:
    videos = tmp_path / "videos"
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    if kind == "unlabelled":
        videos.mkdir()
        for number in range(3):
            write_video(videos / f"{number}.mp4", make_square(seed=number))
    else:
        shutil.copytree(squares / "train", videos if kind == "no parts" else videos / "train")
    with pytest.raises(UserError, match="retrieval needs labelled videos with a train and a test part") as caught:
        evaluate(run, videos)
    assert str(videos) in str(caught.value)
    assert before == {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}


def test_a_run_that_is_not_finished_is_refused(run: Path) -> None:
    (run / "finished.json").unlink()
    with pytest.raises(UserError, match="is not finished; continue it: cacl pretrain --resume"):
        evaluate(run)
    with pytest.raises(UserError, match="is not a run folder"):
        evaluate(run / "encoder")


def test_a_run_in_use_is_not_evaluated(run: Path) -> None:
    """Two evaluations of one run at once wrote the same files."""
    before = (run / "report.html").read_bytes()
    with RunFolder.open(run), pytest.raises(UserError, match=f"in use by process {os.getpid()} on "):
        evaluate(run)
    assert (run / "report.html").read_bytes() == before


def test_load_gives_the_encoder_in_evaluation_mode(run: Path) -> None:
    encoder = load(run)
    assert not encoder.training
    assert not encoder.network.training
    clips = torch.randint(0, 256, (2, 16, 32, 40, 3), dtype=torch.uint8)
    with torch.no_grad():
        features = encoder(clips)
    assert features.shape == (2, encoder.num_features)
    assert torch.equal(features, load(run / "encoder")(clips).detach())
    for a, b in zip(encoder.parameters(), Run(run).encoder.parameters(), strict=True):
        assert torch.equal(a, b)
