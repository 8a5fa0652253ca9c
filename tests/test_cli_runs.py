"""What the command line says of runs that are not finished, damaged or of the other kind; and that it helps."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A finished run that may be changed."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def test_a_run_without_an_encoder_yet_says_how_to_go_on(cacl: Command, run: Path, squares: Path) -> None:
    (run / "finished.json").unlink()
    shutil.rmtree(run / "encoder")
    go_on = f"go on with it: cacl pretrain --resume {run}"
    cacl("export", run, "--to", "safetensors", "--out", "e.safetensors").refused(f"{run} is not finished", go_on)
    cacl("finetune", squares, "--model", run, "--out", "told").refused(f"{run} is not finished", go_on)
    assert not any(Path.cwd().iterdir())


def test_a_run_of_the_other_kind_says_which_it_takes(cacl: Command, finished: Path, squares: Path) -> None:
    sentence = f"holds no classifier, it was pretrained: make one with cacl finetune LABELLED --model {finished}"
    cacl("classify", finished, squares).refused(finished, sentence)
    told = cacl("finetune", squares, "--model", finished, "--linear", "--out", "told")
    assert told.status == 0, told.err
    cacl("export", "told", "--to", "safetensors", "--out", "e.safetensors").refused("told/start, where it began")
    assert cacl("export", "told/start", "--to", "safetensors", "--out", "e.safetensors").status == 0
    Path("told/classifier/model.safetensors").write_bytes(b"x")
    cacl("classify", "told", squares).refused("told/classifier/model.safetensors is damaged", "from a copy of the run")
    Path("told/results.json").unlink()
    shutil.rmtree("told/classifier")
    cacl("classify", "told", squares).refused("told is not finished", "go on with it: cacl finetune --resume told")


@pytest.mark.parametrize(
    ("folder", "file", "words"),
    [
        ("encoder", "model.safetensors", ["evaluate"]),
        ("initial", "config.json", ["evaluate"]),
        ("frame_encoder", "model.safetensors", ["analyse", "--only", "similarity"]),
    ],
)
def test_damaged_weights_of_a_run_are_made_again_as_the_sentence_says(
    folder: str, file: str, words: list[str], cacl: Command, run: Path, finished: Path
) -> None:
    (run / folder / file).write_bytes(b"damaged")
    advice = f"remove {run / folder} and {run / 'finished.json'}, and it is made again by cacl pretrain --resume {run}"
    cacl(*words, run).refused(run / folder / file, advice)
    shutil.rmtree(run / folder)
    (run / "finished.json").unlink()
    assert cacl("pretrain", "--resume", run).status == 0
    for made in (finished / folder).iterdir():
        assert (run / folder / made.name).read_bytes() == made.read_bytes()


def test_damaged_weights_that_are_in_no_run_are_taken_from_their_source(cacl: Command, finished: Path) -> None:
    shutil.copytree(finished / "encoder", "alone")
    Path("alone/model.safetensors").write_bytes(b"x")
    cacl("export", "alone", "--to", "safetensors", "--out", "e.safetensors").refused("take the folder from its source")


@pytest.mark.parametrize("words", [["evaluate"], ["pretrain", "--resume"], ["report"], ["analyse"]])
def test_settings_of_a_run_that_are_damaged_are_one_sentence(words: list[str], cacl: Command, run: Path) -> None:
    for text in ("optim: [\n a: b: c", "optim: {lr: x}\n", ""):
        (run / "config.yaml").write_text(text)
        cacl(*words, run).refused(run / "config.yaml", "put it back")
