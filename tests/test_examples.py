"""The examples run: what they print and write is what the encoder says. (Two of them: ``test_docs_tutorial.py``.)"""

from __future__ import annotations

import json
import runpy
import sys
import uuid
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pyarrow as pa
import pytest
import torch
from nbclient import NotebookClient
from pages import ROOT, make_folder
from pyarrow import parquet

import cacl
from cacl.data.media.encode import write_video
from cacl.models.encoder import ClipSpec, Encoder

EXAMPLES = ROOT / "examples"
NOTEBOOKS = sorted((EXAMPLES / "notebooks").glob("*.py"))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("encoder")
    Encoder("r3d10", width=2, clip=ClipSpec(frames=5, stride=2, resize=(32, 40), size=32)).save(folder)
    return folder


def run_example(name: str, patch: pytest.MonkeyPatch, *words: object) -> dict[str, Any]:
    patch.setattr(sys, "argv", [name, *map(str, words)])
    return runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def test_a_data_loader_gives_the_clips_of_the_encoder(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_folder(tmp_path / "videos")
    names = run_example("torch_dataset.py", monkeypatch, encoder, tmp_path / "videos" / "train", "--epochs", 8)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 8
    assert lines[-1].endswith("of 24 clips told right, 2 classes")  # 6 videos of 40 frames, 10 a window
    assert int(lines[-1].split()[2]) > 16
    clips = names["Clips"](tmp_path / "videos" / "train", cacl.load(encoder).clip)
    frames, label = clips[1]
    path = tmp_path / "videos" / "train" / "left" / "left0.mp4"
    assert (clips.items[1][0], clips.classes[label]) == (str(path), "left")
    found = cacl.load(encoder)(frames[None]).detach().numpy()
    np.testing.assert_allclose(found, cacl.load(encoder).embed_video(path).vector[1:2], rtol=1e-4, atol=1e-5)


def lerobot(root: Path) -> None:
    """Two episodes in the first file, one in the second; the last task has one episode."""
    camera = "observation.images.top"
    for number, tones in enumerate([(60, 200), (90,)]):
        file = root / "videos" / camera / "chunk-000" / f"file-{number:03d}.mp4"
        file.parent.mkdir(parents=True, exist_ok=True)
        write_video(file, np.concatenate([np.full((50, 32, 40, 3), tone, np.uint8) for tone in tones]), fps=25)
    info = {
        "codebase_version": "v3.0",
        "features": {camera: {"dtype": "video"}, "action": {"dtype": "float32"}},
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        "splits": {"train": "0:3"},
    }
    rows = {
        "episode_index": [0, 1, 2],
        "tasks": [["pick"], ["pick"], ["place"]],
        f"videos/{camera}/chunk_index": [0, 0, 0],
        f"videos/{camera}/file_index": [0, 0, 1],
        f"videos/{camera}/from_timestamp": [0.0, 2.0, 0.0],
        f"videos/{camera}/to_timestamp": [2.0, 4.0, 2.0],
    }
    (root / "meta" / "episodes").mkdir(parents=True)
    (root / "meta" / "info.json").write_text(json.dumps(info))
    parquet.write_table(pa.table(rows), root / "meta" / "episodes" / "file-000.parquet")


def test_episodes_of_lerobot_become_vectors(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lerobot(tmp_path / "set")
    run_example("lerobot_episodes.py", monkeypatch, encoder, tmp_path / "set", "--out", tmp_path / "out")
    rows = parquet.read_table(tmp_path / "out" / "episodes.parquet").to_pylist()
    assert [row["episode_index"] for row in rows] == [0, 1, 2]
    segments = cacl.load(encoder).embed_video(tmp_path / "set/videos/observation.images.top/chunk-000/file-000.mp4")
    unit = segments.vector / np.linalg.norm(segments.vector, axis=1, keepdims=True)
    assert len(unit) == 10  # of 10 frames each
    for row, own in zip(rows, (unit[:5], unit[5:]), strict=False):
        expected = own.mean(axis=0)  # in float32; a folder may be embedded in 16 bits
        np.testing.assert_allclose(row["vector"], expected, atol=0.03 * np.linalg.norm(expected))
    first, second = (unit[:5].mean(axis=0), unit[5:].mean(axis=0))
    cosine = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
    assert [row["likeness"] for row in rows] == [pytest.approx(cosine, abs=1e-3)] * 2 + [None]
    assert "episode 2" not in capsys.readouterr().out  # the only one of its task


def test_predictions_become_samples_of_fiftyone(encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fiftyone", reason="fiftyone is a gigabyte, and is installed by hand", exc_type=ImportError)
    make_folder(tmp_path / "videos")
    vectors = cacl.embed(tmp_path / "videos", model=encoder, out=tmp_path / "vectors")
    best = {"class": "left", "probability": 0.9}
    told = [{"path": "train/left/left0.mp4", "first_frame": 0, "frames": 40, "predictions": [best]}]
    (tmp_path / "table.json").write_text(json.dumps({"videos": told, "skipped": []}))
    names = runpy.run_path(str(EXAMPLES / "fiftyone_predictions.py"))
    (sample,) = names["samples"](tmp_path / "videos", tmp_path / "table.json", tmp_path / "vectors")
    assert sample.filepath == str((tmp_path / "videos" / "train/left/left0.mp4").resolve())
    assert (sample["prediction"].label, sample["prediction"].confidence) == ("left", 0.9)
    assert [part.support for part in sample["segments"].detections] == [[1, 10], [11, 20], [21, 30], [31, 40]]
    mine = [row for row, segment in enumerate(vectors.segments) if segment.path == "train/left/left0.mp4"]
    np.testing.assert_allclose(sample["vector"], vectors.vectors[mine].mean(axis=0))


def test_a_data_set_of_fiftyone_takes_the_samples_and_gives_labels(tmp_path: Path) -> None:
    fo = pytest.importorskip(
        "fiftyone", reason="fiftyone is a gigabyte, and is installed by hand", exc_type=ImportError
    )
    try:
        dataset = fo.Dataset(f"cacl-{uuid.uuid4()}")
    except fo.core.config.FiftyOneConfigError as error:
        pytest.skip(f"FiftyOne has no database here: {error}")
    try:
        samples = [fo.Sample(filepath=str(tmp_path / name)) for name in ("videos/a b.mp4", "videos/c.mp4", "d.mp4")]
        for sample in samples[::2]:
            sample["class"] = fo.Classification(label="left, or right")
        samples[0]["vector"] = np.arange(3.0)
        dataset.add_samples(samples)
        names = runpy.run_path(str(EXAMPLES / "fiftyone_labels.py"))
        assert names["labels"](dataset, tmp_path / "videos", "class") == [("a b.mp4", "left, or right")]
        assert dataset.first()["vector"].tolist() == [0, 1, 2]
    finally:
        dataset.delete()


def notebook(program: Path) -> nbformat.NotebookNode:
    made = runpy.run_path(str(ROOT / "docs" / "site" / "notebooks.py"))["notebook"](program)
    return nbformat.reads(json.dumps(made), as_version=4)


@pytest.mark.parametrize("program", NOTEBOOKS, ids=lambda program: program.stem)
def test_notebooks_are_of_the_format(program: Path) -> None:
    made = notebook(program)
    nbformat.validate(made)
    assert made.cells[0].source.startswith("# ")
    assert any(cell.cell_type == "code" for cell in made.cells)


@pytest.mark.slow
@pytest.mark.parametrize("program", NOTEBOOKS, ids=lambda program: program.stem)
def test_notebooks_are_executed(program: Path, tmp_path: Path) -> None:
    made = notebook(program)
    NotebookClient(made, timeout=None, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    code = [cell for cell in made.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert any(cell.outputs for cell in code)
