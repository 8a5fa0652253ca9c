from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from cacl.data.videos.dataset import open_dataset
from cacl.errors import UserError
from cacl.run import Run
from cacl.training.checkpoint import load_checkpoint, newest_checkpoint
from cacl.training.finish import task_result
from cacl.training.rebuild import trained_method


def test_every_weight_is_that_of_the_checkpoint(finished: Path) -> None:
    torch.manual_seed(7)
    state = torch.random.get_rng_state()
    method, steps = trained_method(Run(finished))
    assert torch.equal(state, torch.random.get_rng_state())
    newest = newest_checkpoint(finished / "checkpoints" / "train")
    assert newest is not None
    done, content = load_checkpoint(newest)
    assert steps == done == 4
    assert not method.training
    assert method.state_dict().keys() == content["method"].keys()
    for name, value in method.state_dict().items():
        assert torch.equal(value, content["method"][name]), name
    encoder = Run(finished).encoder.network.state_dict()
    for name, value in method.encoder.state_dict().items():
        assert torch.equal(value, encoder[name]), name


def test_the_degree_test_of_the_end_comes_out_again(finished: Path, squares: Path) -> None:
    run = Run(finished)
    data = open_dataset(squares, height=32, width=40)
    method = trained_method(run)[0]
    (task,) = method.tasks()
    found = task_result(task, run.settings, data, data.numbers("train"), method)
    assert found == pytest.approx(json.loads((finished / "finished.json").read_text())["degree"])


def test_a_run_without_a_checkpoint_says_how_to_go_on(finished: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    shutil.rmtree(run / "checkpoints" / "train")
    with pytest.raises(UserError, match=f"no complete checkpoint; continue the run: cacl pretrain --resume {run}"):
        trained_method(Run(run))


@pytest.mark.parametrize(("old", "new"), [("degree_hidden: 8", "degree_hidden: 9"), ("depth: 1", "depth: 2")])
def test_other_settings_than_the_checkpoint_s_are_told(finished: Path, tmp_path: Path, old: str, new: str) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    config = (run / "config.yaml").read_text()
    assert old in config
    (run / "config.yaml").write_text(config.replace(old, new))
    with pytest.raises(UserError, match="does not fit the settings") as caught:
        trained_method(Run(run))
    assert "\n" not in str(caught.value)
