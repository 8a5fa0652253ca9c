"""What several processes agree on, and which settings they refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from cacl.distributed.agree import any_wants, check_processes
from cacl.distributed.processes import everyones, rank
from cacl.errors import UserError
from cacl.training.step_numbers import StepNumbers

InProcesses = Callable[..., list[Any]]


def test_means_wishes_and_words(in_processes: InProcesses) -> None:
    def work() -> list[Any]:
        scalars = [{"a": torch.tensor(float(rank() + n)), "b": torch.tensor(2.0)} for n in (0, 1)]
        means = StepNumbers.fetch([StepNumbers({"step": 7}, values, torch.zeros(1)) for values in scalars])
        return [means, any_wants(rank() == 1, 15 * (rank() == 2)), everyones(f"rank {rank()}")]

    rows = [{"step": 7, "a": 1.0, "b": 2.0}, {"step": 7, "a": 2.0, "b": 2.0}]
    expected = [rows, [1, 15], ["rank 0", "rank 1", "rank 2"]]
    assert in_processes(3, work) == [expected] * 3
    alone = [{"step": 7, "a": 0.0, "b": 2.0}, {"step": 7, "a": 1.0, "b": 2.0}]
    assert in_processes(1, work) == [[alone, [False, 0], ["rank 0"]]]


def test_settings_that_do_not_fit_are_refused(in_processes: InProcesses) -> None:
    cases: list[dict[str, Any]] = [
        {
            "device": "cpu",
            "batch_sizes": {"optim.batch_size": (6, 1), "frames.optim.batch_size": (9, 1)},
            "compiled": False,
        },
        {"device": "cpu", "batch_sizes": {"optim.batch_size": (2, 1)}, "compiled": False, "own_batchnorm": True},
        {"device": "mps", "batch_sizes": {}, "compiled": False},
        {"device": "cuda:1", "batch_sizes": {}, "compiled": False},
        {"device": "cpu", "batch_sizes": {}, "compiled": True},
        {"device": "cpu", "batch_sizes": {"optim.batch_size": (2, 1)}, "compiled": False},
        {"device": "cpu", "batch_sizes": {"optim.batch_size": (12, 4)}, "compiled": False},
    ]

    def work() -> list[str]:
        said = []
        for case in cases:
            try:
                check_processes(**case)
                said.append("")
            except UserError as error:
                said.append(str(error))
        return said

    (said, _), alone = in_processes(2, work), in_processes(1, work)
    assert said[0] == "frames.optim.batch_size is 9, which 2 processes cannot share equally; set it to 8."
    assert "optim.batch_size is 2" in said[1]
    assert "set it to 4" in said[1]
    assert "run.device is mps" in said[2]
    assert "run.device is cuda:1" in said[3]
    assert "run.compile" in said[4]
    assert said[5] == ""
    assert said[6] == "optim.batch_size is 12, which 2 processes cannot share equally in 4 parts; set it to 16."
    assert alone == [[""] * len(cases)]
