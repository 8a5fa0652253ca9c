"""What is wrong with a command line is said before PyTorch is imported, which takes seconds."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]

REFUSED = [
    ("pretrain nowhere", "nowhere does not exist"),
    ("pretrain VIDEOS --set a.b=1", "a.b is not a setting"),
    ("pretrain VIDEOS --preset papre", "Did you mean 'paper'?"),
    ("pretrain VIDEOS --config none.yaml", "none.yaml: cannot be read"),
    ("pretrain VIDEOS --out RUN", "RUN holds a run already"),
    ("pretrain --resume RUN --set optim.lr=3", "optim.lr was"),
    ("pretrain VIDEOS --gpus 2 --processes 2", "leave one of them out"),
    ("finetune VIDEOS --model nowhere", "nowhere does not exist"),
    ("finetune VIDEOS --model RUN --out RUN", "RUN holds a run already"),
    ("finetune VIDEOS --model RUN --set a.b=1", "a.b is not a setting"),
    ("finetune VIDEOS", "--model RUN"),
    ("evaluate VIDEOS", "VIDEOS is not a run folder"),
    ("evaluate RUN --beside RUNN", "did you mean RUN?"),
    ("analyse RUN nowhere", "nowhere does not exist"),
    ("classify nowhere VIDEOS", "nowhere does not exist"),
    ("import nowhere --out e", "nowhere does not exist"),
    ("export nowhere --to torch --out e.pt2", "nowhere does not exist"),
    ("info nowhere", "nowhere does not exist"),
    ("report RUN nowhere", "nowhere does not exist"),
    ("check nowhere", "nowhere does not exist"),
]


def test_refusals_do_not_import_pytorch(squares: Path, finished: Path, tmp_path: Path) -> None:
    """All in one process: whoever imported it first is named."""
    lines = [line.replace("RUN", str(finished)).replace("VIDEOS", str(squares)) for line, _ in REFUSED]
    code = "import sys\nfrom cacl import cli\nfor line in sys.stdin:\n  sys.argv = ['cacl', *line.split()]\n"
    code += "  try: cli.main()\n  except SystemExit as end: print(end.code, 'torch' in sys.modules, flush=True)\n"
    done = subprocess.run(
        [sys.executable, "-c", code], input="\n".join(lines), cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == ["2 False"] * len(lines), done.stderr
    for (_, words), said in zip(REFUSED, done.stderr.splitlines(), strict=True):
        assert (
            words.replace("RUN", str(finished))
            .replace("VIDEOS", str(squares))
            .replace(f"--model {finished}", "--model RUN")
            in said
        )


def test_help_reads_no_settings() -> None:
    """Half of a second goes into what a page of help has no use for."""
    code = "import sys\nfrom cacl import cli\nsys.argv = ['cacl', '--help']\ntry: cli.main()\nexcept SystemExit: pass\n"
    code += "print({'torch', 'numpy', 'pydantic', 'yaml', 'av'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pretrain" in done.stdout
    assert done.stdout.splitlines()[-1] == "set()"


def test_a_missing_path_is_answered_with_the_one_beside_it(cacl: Command, tmp_path: Path) -> None:
    (tmp_path / "runs" / "gulls").mkdir(parents=True)
    cacl("info", tmp_path / "runs" / "guls").refused(f"does not exist; did you mean {tmp_path}/runs/gulls?")
    cacl("info", tmp_path / "runs" / "terns").refused(f"{tmp_path}/runs/terns does not exist; check the name.")
    cacl("info", tmp_path / "absent" / "gulls").refused("does not exist; check the name.")
    (tmp_path / "file").touch()
    cacl("info", tmp_path / "file" / "gulls").refused("does not exist")
    cacl("info", tmp_path / ("x" * 300)).refused("cannot be read (File name too long)")


def test_gpus_that_are_not_there_are_told_by_their_flag(
    cacl: Command, squares: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    cacl("pretrain", squares, "--gpus", 4).refused("--gpus is 4", "no NVIDIA GPU", "--processes 4")
    cacl("pretrain", squares, "--gpus", 1).refused("--gpus is 1", "no NVIDIA GPU")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    cacl("pretrain", squares, "--gpus", 4).refused("--gpus is 4, but this machine has 2 GPUs: take --gpus 2.")
    cacl("pretrain", squares, "--gpus", 0).refused("--gpus is 0; it must be 1 or more.")
    assert not any(Path.cwd().iterdir())
