"""Whole trainings with what saves time or memory switched on, against the plain one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cacl.errors import UserError
from cacl.training import stages
from cacl.training.loop import Stage
from cacl.training.pretrain import pretrain, resume
from cacl.training.stop import Stopped, StopRequest

pytestmark = pytest.mark.usefixtures("quick_end")
Fingerprint = Callable[[Path], dict[str, Any]]


def test_checkpointed_activations_change_no_bit(
    finished: Path, squares: Path, tiny: dict[str, Any], tmp_path: Path, fingerprint: Fingerprint
) -> None:
    run = pretrain(squares, out=tmp_path / "run", settings={**tiny, "run.checkpoint_activations": True})
    assert fingerprint(run.path) == fingerprint(finished)


def test_a_training_in_parts_goes_on_where_it_was_stopped(
    squares: Path, tiny: dict[str, Any], tmp_path: Path, fingerprint: Fingerprint, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {**tiny, "optim.accumulate": 2, "frames.optim.accumulate": 4, "run.checkpoint_activations": True}
    whole = pretrain(squares, out=tmp_path / "whole", settings=settings)
    train = stages.train

    def stopped(stage: Stage, stop: StopRequest) -> None:
        assert stage.step.accumulate == (2 if stage.name == "train" else 4)
        seen = iter(range(100))

        class After(StopRequest):
            @property
            def requested(self) -> bool:
                self._signal = 15 * (next(seen) == 0)
                return self._signal == 15

        train(stage, After())

    parts = tmp_path / "parts"
    monkeypatch.setattr(stages, "train", stopped)
    with pytest.raises(Stopped):  # in the frame stage
        pretrain(squares, out=parts, settings=settings)
    for _ in range(2):
        with pytest.raises(Stopped):
            resume(parts)
    monkeypatch.setattr(stages, "train", train)
    resume(parts)
    assert fingerprint(parts) == fingerprint(whole.path)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"optim.accumulate": 3}, "optim.accumulate 3 must cut optim.batch_size 4 into equal parts of two or more"),
        ({"optim.accumulate": 4}, "optim.accumulate 4 must cut optim.batch_size 4 into equal parts of two or more"),
        ({"frames.optim.accumulate": 3}, "frames.optim.accumulate 3 must cut frames.optim.batch_size 8"),
        ({"run.compile": True, "run.checkpoint_activations": True}, "do not go together"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(
    settings: dict[str, Any], words: str, squares: Path, tiny: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=words):
        pretrain(squares, out=tmp_path / "run", settings={**tiny, **settings})
    assert not (tmp_path / "run").exists()
