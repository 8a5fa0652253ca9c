"""Every command of the README and of the how-to runs, in order, on a few generated videos and with tiny networks."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from image_nets import small_cnn, write_pt2
from pages import ROOT, commands, fences, make_folder, run_command
from PIL import Image
from safetensors.torch import save_file

from cacl.data.media.decode import VideoDecoder
from cacl.models.cnn3d import build_cnn3d
from cacl.models.frame_encoder import build_frame_encoder
from cacl.training import finish

pytestmark = pytest.mark.slow
PRETRAIN = {
    "data": {"resize": [36, 40], "workers": 0},
    "augment": {"size": 32},
    "model": {"network": "r3d10", "width": 4, "frame_width": 4, "token_width": 12, "depth": 1, "degree_hidden": 16},
    "optim": {"batch_size": 4},
    "frames": {"queue_size": 16, "optim": {"batch_size": 8, "epochs": 1}},
    "run": {"precision": "float32", "threads": 1, "device": "cpu"},
}
FINETUNE = {
    "data": {"workers": 0},
    "optim": {"batch_size": 4},
    "test": {"clips": 2},
    "run": {"precision": "float32", "threads": 1, "device": "cpu"},
}
NO_TRAINING = ("--resume", "--print-config")


def make_place(home: Path) -> None:
    """Everything that the pages name and that no command of theirs makes."""
    make_folder(home / "videos")
    for name in ("others", "labelled", "moved", "camera"):
        shutil.copytree(home / "videos", home / name)
    files = sorted(p.relative_to(home / "videos") for p in (home / "videos").rglob("*.mp4"))
    (home / "videos" / "mine.txt").write_text("".join(f"{file}\n" for file in files[:8]))
    labels = [f"{file.as_posix()},{file.parent.name},,\n" for file in files]
    (home / "labels.csv").write_text("".join(["path,label,start,end\n", *labels]))
    shutil.copy(home / "videos" / files[0], home / "query.mp4")
    for file in files[:8]:
        make_pictures(home / "videos" / file, home / "frames" / file.with_suffix(""))
    for videos, lists in (
        ("UCF-101", "ucfTrainTestlist"), ("UCF101", "ucfTrainTestlist"), ("ucf101-9/videos", "ucf101-9/splits")
    ):  # fmt: skip
        make_ucf101(home / "videos", home / videos, home / lists)
    configurations = {"tiny.yaml": PRETRAIN, "tell.yaml": FINETUNE}
    mine = yaml.safe_load(next(body for body in fences(ROOT / "docs" / "how-to.md", "yaml")))
    configurations["mine.yaml"] = {name: {**part, **mine.get(name, {})} for name, part in PRETRAIN.items()}
    for name, content in configurations.items():
        (home / name).write_text(yaml.safe_dump(content))
    write_pt2(small_cnn(), home / "small.pt2")
    torch.manual_seed(0)
    state = build_frame_encoder("resnet50", width=4).state_dict()
    moco = {f"module.encoder_q.{key}": value for key, value in state.items()}
    torch.save({"state_dict": moco}, home / "moco_v1_200ep.pth.tar")
    state = build_frame_encoder("resnet50", width=64).state_dict()
    save_file({key: value.contiguous() for key, value in state.items()}, home / "resnet50.safetensors")
    network = build_cnn3d("c3d", width=4).state_dict()
    torch.save(network, home / "vcop_c3d.pt")
    prefix = "module.encoder_q.base_network."
    torch.save({"state_dict": {prefix + key: value for key, value in network.items()}}, home / "checkpoint.pth.tar")


def make_pictures(video: Path, folder: Path) -> None:
    """The frames of a video, a picture each."""
    folder.mkdir(parents=True)
    with VideoDecoder(video) as decoder:
        for number, frame in enumerate(decoder.iterate(height=36, width=40), 1):
            Image.fromarray(frame).save(folder / f"img_{number:05}.png")


def make_ucf101(source: Path, videos: Path, lists: Path) -> None:
    """The same videos named as UCF101's, and three splits of them; the groups of a split keep apart."""
    lists.mkdir(parents=True, exist_ok=True)
    names: list[str] = []
    for label in ("left", "right"):
        (videos / label).mkdir(parents=True)
        for number, file in enumerate(sorted(source.rglob(f"{label}/*.mp4")), 1):
            names.append(f"{label}/v_{label}_g{number:02}_c01.avi")
            shutil.copy(file, videos / names[-1].replace(".avi", ".mp4"))
    for split in (1, 2, 3):
        test = [name for name in names if f"_g{split:02}_" in name]
        (lists / f"testlist0{split}.txt").write_text("\n".join(test))
        train = [f"{name} {1 + name.startswith('right')}" for name in names if name not in test]
        (lists / f"trainlist0{split}.txt").write_text("\n".join(train))


def in_small(words: list[str]) -> list[str]:
    """The same command, so small that it ends in seconds."""
    words = list(words)
    if "--epochs" in words:
        words[words.index("--epochs") + 1] = "3" if "--resume" in words else "2"
    if "--gpus" in words and not torch.cuda.is_available():
        place = words.index("--gpus")
        words[place : place + 2] = ["--processes", "2"]
    trains = not any(word in words for word in NO_TRAINING)
    if words[0] == "pretrain" and trains:
        words += [] if "--config" in words else ["--config", "tiny.yaml"]
        words += [] if "--epochs" in words else ["--epochs", "1"]
        words += ["--batch-size", "8"] if "optim.accumulate=4" in words else []  # in parts of two
    elif words[0] == "prepare":
        words += ["--size", "36", "40"]
    elif words[0] == "serve":
        words += ["--port", "0"]
    elif words[0] == "finetune" and trains and not words[1].endswith(".index"):
        if "--labels-per-class" in words:
            words[words.index("--labels-per-class") + 1] = "1,2,all"
        words += ["--config", "tell.yaml", "--epochs", "1"]
    elif words[0] == "import" and "--image-encoder" in words:  # packages and hubs are not for tests to download
        words[words.index("--image-encoder") + 1] = "small.pt2"
        words += [] if "--licence" in words else ["--licence", "MIT"]
        words += [] if "--range" in words else ["--range", "0", "1"]
    elif words[0] == "import":
        words += ["--size", "32", "--resize", "36", "40"]
    return words


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    make_place(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("uvicorn.Server.run", lambda server, sockets: None)  # ends at once
    monkeypatch.setattr(finish, "difference_baseline", functools.partial(finish.difference_baseline, steps=20))
    threads = torch.get_num_threads()
    yield tmp_path
    torch.set_num_threads(threads)


@pytest.mark.parametrize("page", ["README.md", "docs/how-to.md", "docs/search.md"])
def test_every_command_runs(page: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    every = commands(ROOT / page)
    # the official data sets are nobody's to make; tests/experiments/reproduce/ has that scale with small ones
    every = [words for words in every if words[0] != "reproduce" or "paper" not in words]
    assert len(every) > 5
    if page == "docs/how-to.md":  # runs that its later sections name
        every = [["pretrain", "videos/", "--method", "v-moco", "--out", "runs/v-moco"], *every]
    if page == "docs/search.md":
        every = [["pretrain", "videos/", "--out", "runs/mine"], *every]
    for words in map(in_small, every):
        out = Path(words[words.index("--out") + 1]) if "--out" in words else None
        if out is not None and words[0] in ("pretrain", "finetune") and out.is_dir():
            shutil.rmtree(out)  # each section begins with a run of its own
        assert run_command(words, monkeypatch) == 0, words
        assert out is None or out.exists(), words
