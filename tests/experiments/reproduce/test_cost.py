"""What scale paper costs: steps counted by hand from the official numbers, and the time of a step."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cacl.experiments.reproduce import cost as module
from cacl.experiments.reproduce.cost import Cost, Item, count_videos, estimate
from cacl.experiments.reproduce.paper_tables import paper_table
from cacl.experiments.reproduce.parts import Study
from cacl.experiments.reproduce.scale import Place, scale_of
from cacl.experiments.reproduce.step_time import StepTime
from cacl.run_folder import RunFolder

TRAIN, TEST = 9537, 3783  # UCF101's first split


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Place]:
    """UCF101 by its lists, HMDB51 likewise, Kinetics-400 by its files."""
    root = tmp_path / "data"
    for name in ("ucf101", "hmdb51", "kinetics400/train/a", "kinetics400/val/a"):
        (root / name).mkdir(parents=True)
    for part, count in (("train", TRAIN), ("test", TEST)):
        lines = "".join(f"A/v_A_g{n % 25:02}_c{n}.avi 1\n" for n in range(count))
        (root / "ucf101" / f"{part}list01.txt").write_text(lines)
    lines = "".join(f"{n}.avi {1 if n < 3570 else 2 if n < 5100 else 0}\n" for n in range(6766))
    (root / "hmdb51" / "wave_test_split1.txt").write_text(lines)
    for n in range(640):
        (root / "kinetics400" / ("train" if n < 600 else "val") / "a" / f"{n}.mp4").touch()
    return {
        "UCF101": Place(root / "ucf101", root / "ucf101"),
        "HMDB51": Place(root / "hmdb51", root / "hmdb51"),
        "Kinetics-400": Place(root / "kinetics400"),
    }


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every step takes two seconds; which were measured."""
    told: list[str] = []

    def two_seconds(name: str) -> Callable[..., StepTime]:
        def measure(settings, *others, **keywords):
            told.append(f"{name} {settings.model.network} {settings.method.name} {settings.preset}")
            return StepTime(2.0, 1 if name == "embedding_time" else settings.optim.batch_size)

        return measure

    for name in ("pretrain_step", "frames_step", "finetune_step", "embedding_time"):
        monkeypatch.setattr(module, name, two_seconds(name))
    return told


def items(cost: Cost) -> dict[str, tuple[int, int]]:
    return {item.what: (item.times, item.steps) for item in cost.items}


def test_the_videos_are_counted(places: dict[str, Place]) -> None:
    assert count_videos(places["UCF101"]) == (TRAIN, TRAIN + TEST)
    assert count_videos(places["HMDB51"]) == (3570, 5100)
    assert count_videos(places["Kinetics-400"]) == (600, 640)


def test_table_1_is_eight_trainings_and_a_frame_encoder(places, measured, tmp_path: Path) -> None:
    study = Study(RunFolder(tmp_path / "out"), scale_of("paper"), {"UCF101": places["UCF101"]})
    cost = estimate(paper_table("table1"), study, 3)
    found = items(cost)
    # 300 epochs of 9537 // 64 = 149 steps; 200 epochs of 180 000 // 256 = 703 steps
    assert found.pop("frame encoder, UCF101") == (3, 200 * 703)
    # eight runs and the untrained network twice, three seeds, ten clips of 13 320 videos
    assert found.pop("evaluation, c3d of 16x112x112, UCF101 (10 clips a video)") == (30, 133_200)
    # as their authors ran them: batches of 8
    assert found.pop("vcop, c3d, UCF101") == found.pop("prp, c3d, UCF101") == (3, 300 * (TRAIN // 8))
    methods = ("sdp*", "sdp", "v-moco", "sdp+v-moco", "v-moco+t", "cacl")
    assert found == {f"{method}, c3d, UCF101": (3, 300 * 149) for method in methods}
    seconds = 2 * (3 * 140_600 + 30 * 133_200 + 18 * 44_700 + 6 * 300 * 1192)
    assert cost.hours == pytest.approx(seconds / 3600)
    assert len(measured) == 10
    assert "pretrain_step c3d vcop published" in measured
    assert "pretrain_step c3d cacl paper" in measured
    assert not (tmp_path / "out").exists()


def test_table_5_adds_fine_tunings(places, measured, tmp_path: Path) -> None:
    study = Study(RunFolder(tmp_path / "out"), scale_of("paper"), places)
    found = items(estimate(paper_table("table5"), study, 1))
    # three splits of 150 epochs, 9537 // 128 = 74 and 3570 // 128 = 27 steps
    # Puzzle, VCOP, VCP, PRP and CACL; DSM and MoCo+BE see other clips
    assert found["fine-tuning, c3d of 16x112x112, UCF101 → HMDB51"] == (5, 3 * 150 * 27)
    assert found["fine-tuning, c3d of 32x224x224, UCF101 → HMDB51"] == (1, 3 * 150 * 27)
    assert found["fine-tuning, c3d of 16x224x224, UCF101 → UCF101"] == (1, 3 * 150 * 74)
    # RSPNet and CACL
    assert found["fine-tuning, c3d of 16x112x112, Kinetics-400 → UCF101"] == (2, 3 * 150 * 74)
    assert found["cacl, c3d, Kinetics-400"] == (1, 300 * (600 // 64))
    assert found["rspnet, c3d, Kinetics-400"] == (1, 200 * (600 // 128))
    assert found["st-puzzle, r3d18, UCF101"] == (1, 300 * 149)
    assert found["evaluation, c3d of 16x112x112, UCF101 (10 clips a video)"] == (7, 133_200)


def test_what_is_there_costs_nothing(places, measured, tmp_path: Path) -> None:
    study = Study(RunFolder(tmp_path / "out"), scale_of("paper"), {"UCF101": places["UCF101"]})
    table = paper_table("table3")
    first, *others = table.pretrainings
    run = study.run_path(first, 0)
    (run / "frame_encoder").mkdir(parents=True)
    (run / "frame_encoder" / "config.json").touch()
    assert "frame encoder, UCF101" not in items(estimate(table, study, 1))
    (run / "finished.json").touch()
    assert set(items(estimate(table, study, 1))) == {f"cacl, {one.network}, UCF101" for one in others}
    for one in others:
        shutil.copytree(run, study.run_path(one, 0))
    assert estimate(table, study, 1).items == ()


def test_the_summary_is_honest() -> None:
    item = Item("cacl, c3d, UCF101", 2, 3600, 50.0, 64, 64)
    gpu = Cost("GPU Y", True, (item, Item("evaluation", 1, 3600, 1.0, training=False))).summary()
    assert gpu == "2 trainings are missing: about 100 GPU hours (4.2 days) on GPU Y, reading the videos not counted."
    processor = Cost("this processor", False, (item,)).summary()
    assert "about 100 hours (4.2 days) on this processor" in processor
    assert "Without a GPU this is no practical way" in processor
    large = Cost("GPU Y", True, (Item("cacl, c3d, UCF101", 1, 100, 1.0, 64, 32),)).summary()
    assert "do not fit into the GPU's memory" in large
    assert "cacl, c3d, UCF101 (32 of 64 clips do)" in large
