"""The command line: what comes out where, and one sentence with status 2 for whatever the user can mend."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cacl.presets import ABLATIONS

Command = Callable[..., Any]


# ---- words that are wrong ------------------------------------------------------------------------------------------


def test_a_misspelt_verb_gets_the_right_one(cacl: Command) -> None:
    cacl("pretrian", "videos").refused("pretrian", "Did you mean 'pretrain'?")


def test_a_misspelt_flag_gets_the_right_one(cacl: Command, squares: Path) -> None:
    cacl("pretrain", squares, "--epoch", 3).refused("--epoch", "--epochs", "cacl pretrain --help")
    cacl("evaluate", squares, "--protocl", "retrieval").refused("--protocl", "--protocol")


def test_a_value_of_the_wrong_kind(cacl: Command, squares: Path) -> None:
    cacl("pretrain", squares, "--epochs", "many").refused("--epochs is many", "a whole number")


def test_a_missing_argument(cacl: Command) -> None:
    cacl("check").refused("Missing argument", "cacl check --help")
    cacl("pretrain").refused("Name a folder of videos", "--resume")
    cacl("prepare", ".").refused("--out")


def test_no_word_at_all_says_what_to_do_and_where_help_is(cacl: Command) -> None:
    ended = cacl()
    assert ended.status == 0
    assert "All commands: cacl --help" in ended.out


@pytest.mark.parametrize("verb", ["check", "prepare", "pretrain", "evaluate", "demo"])
def test_help_fits_a_screen(cacl: Command, verb: str) -> None:
    ended = cacl(verb, "--help")
    assert ended.status == 0
    assert "Example" in ended.out
    assert len(ended.out.splitlines()) <= 50  # one more by the oldest packages


def test_unknown_preset_method_protocol_kind(cacl: Command, squares: Path, finished: Path) -> None:
    cacl("pretrain", squares, "--preset", "papre").refused("papre is not a preset", "Did you mean 'paper'?")
    cacl("pretrain", squares, "--method", "sdpp").refused("sdpp is not a method", "Did you mean 'sdp'?")
    cacl("evaluate", finished, "--protocol", "retreival").refused("retreival", "retrieval")
    cacl("prepare", squares, "--out", "s", "--kind", "jpg").refused("--kind is jpg", "Did you mean 'jpeg'?")
    cacl("prepare", squares, "--out", "s", "--size", 0, 40).refused("--size is 0 40")
    cacl("prepare", squares, "--out", "s", "--size", 40, 100_000).refused("--size is 40 100000", "at most")


# ---- what works ----------------------------------------------------------------------------------------------------


def test_check_lists_what_is_unusual(cacl: Command, squares: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(squares, tmp_path / "videos"))
    (folder / "bad.mp4").write_bytes(b"")
    ended = cacl("check", folder, "--deep", "--csv", tmp_path / "all.csv")
    assert ended.status == 0
    assert ended.out.splitlines()[:2] == [
        "skipped  bad.mp4: empty file",
        "12 used, 1 skipped (of 13 files); 480 frames, 2 labels.",
    ]
    assert len((tmp_path / "all.csv").read_text().splitlines()) == 14


def test_print_config_has_every_setting_with_its_origin(cacl: Command, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("optim: {lr: 1e-2}\n")
    ended = cacl(
        "pretrain",
        "--config",
        file,
        "--set",
        "method.temperature=0.2",
        "--epochs",
        7,
        "--method",
        "sdp",
        "--print-config",
    )
    assert ended.status == 0
    assert not any(Path.cwd().iterdir())
    lines = {line.split(":")[0].strip(): line for line in ended.out.splitlines()}
    assert lines["preset"].endswith("# preset small")
    assert lines["pairs"].endswith("# method")
    assert re.search(r"^  temperature: 0\.2 +# --set$", ended.out, re.MULTILINE)
    assert "# file mine.yaml" in ended.out
    assert "# flag" in ended.out
    tree = yaml.safe_load(ended.out)
    assert tree["optim"]["lr"] == 0.01
    assert tree["optim"]["epochs"] == 7
    assert tree["method"]["temperature"] == 0.2
    values = [line for line in ended.out.splitlines() if not line.rstrip().endswith(":")]
    assert all("  # " in line for line in values)


def leaves(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {prefix: tree}
    return {
        k: v for name, part in tree.items() for k, v in leaves(part, f"{prefix}.{name}" if prefix else name).items()
    }


def config(cacl: Command, *words: str) -> dict[str, Any]:
    ended = cacl("pretrain", "--print-config", *words)
    assert ended.status == 0
    return leaves(yaml.safe_load(ended.out))


def test_print_config_shows_what_the_rows_of_tables_1_and_2_differ_in(cacl: Command) -> None:
    full = config(cacl, "--method", "cacl")
    assert full == config(cacl, "--set", "method.name=cacl")
    assert config(cacl) == config(cacl, "--method", "cvrl")
    found = {
        method: {key: value for key, value in config(cacl, "--method", method).items() if value != full[key]}
        for method in ABLATIONS
    }
    assert found == {
        "sdp": {"method.pairs": []},
        "sdp*": {"method.pairs": [], "method.degree_sampling": "permutation"},
        "v-moco": {"method.twin": False, "method.pairs": ["gq_gk"], "method.degree_weight": 0.0},
        "sdp+v-moco": {"method.pairs": ["gq_gk"]},
        "v-moco+t": {"method.degree_weight": 0.0},
        "cacl": {},
        "pairs2": {"method.pairs": ["gq_gk", "gq_tq"]},
        "pairs3": {"method.pairs": ["gq_gk", "gq_tq", "gq_tk"]},
    }


@pytest.mark.parametrize("preset", ["paper", "released"])
def test_paper_and_released_leave_nothing_to_auto_but_the_machine(cacl: Command, preset: str) -> None:
    found = config(cacl, "--preset", preset)
    left = {key for key, value in found.items() if value == "auto"}
    assert left - {"data.hold_out"} == {"run.device", "run.threads", "run.tf32"}


def test_print_config_of_a_run_is_what_resume_would_take(cacl: Command, finished: Path) -> None:
    ended = cacl("pretrain", "--resume", finished, "--epochs", 9, "--print-config")
    assert ended.status == 0
    assert yaml.safe_load(ended.out)["optim"]["epochs"] == 9
    assert "# resume" in ended.out
    assert "epochs: 2 " in (finished / "config.yaml").read_text()


def test_resume_takes_nothing_beside_it_that_it_would_not_heed(cacl: Command, finished: Path, squares: Path) -> None:
    ended = cacl("pretrain", squares, "--resume", finished, "--preset", "small", "--split", 1)
    ended.refused("leave out VIDEOS, --preset, --split")
    cacl("pretrain", "--resume", finished, "--seed", 4).refused("run.seed was 0, you asked for 4")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--epochs", "abc"), "--epochs is abc: wanted a whole number. See: cacl pretrain --help"),
        (("--epochs=1.5",), "--epochs is 1.5: wanted a whole number. See: cacl pretrain --help"),
        (("--split", "one"), "--split is one: wanted a whole number. See: cacl pretrain --help"),
    ],
)
def test_what_is_no_number_is_said(cacl: Command, squares: Path, words: tuple[str, ...], said: str) -> None:
    cacl("pretrain", squares, *words).refused(said)


def test_a_run_is_not_written_over(cacl: Command, finished: Path, squares: Path, tmp_path: Path) -> None:
    cacl("pretrain", squares, "--out", finished).refused("cacl pretrain --resume", "--out")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    cacl("pretrain", squares, "--out", tmp_path / "mine").refused(tmp_path / "mine", "not empty")
    cacl("demo", "--out", tmp_path / "mine").refused(tmp_path / "mine", "that cacl demo did not make")
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def test_stdout_is_the_run_folder_and_the_name_comes_from_the_videos(
    cacl: Command, squares: Path, tiny_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "gulls").symlink_to(squares / "train")
    ended = cacl("pretrain", tmp_path / "gulls", "--config", tiny_file, "--method", "v-moco")
    assert ended.status == 0, ended.err
    assert ended.out == "runs/train\n"
    assert (Path.cwd() / "runs" / "train" / "encoder" / "model.safetensors").exists()


def test_evaluate_prints_json_alone(cacl: Command, finished: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    ended = cacl("evaluate", run, "--json")
    assert ended.status == 0, ended.err
    assert json.loads(ended.out)["retrieval"].keys() == {
        "chance",
        "colour histogram",
        "thumbnail",
        "untrained",
        "untrained, batch statistics",
        "cacl",
    }
    table = cacl("evaluate", run)
    assert "untrained, batch statistics" in table.out
    assert f"Report: {run}/report.html" in table.out


def test_evaluate_wants_a_finished_run_and_labels(cacl: Command, finished: Path, squares: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    cacl("evaluate", run, squares / "train" / "a").refused(squares / "train" / "a", "labelled videos")
    (run / "finished.json").unlink()
    cacl("evaluate", run).refused(f"{run} is not finished", f"cacl pretrain --resume {run}")
    cacl("evaluate", squares).refused(f"{squares} is not a run folder")


# ---- without a video decoder ---------------------------------------------------------------------------------------


def test_a_store_needs_no_video_decoder(cacl: Command, squares: Path, tiny_file: Path, tmp_path: Path) -> None:
    (tmp_path / "shim").mkdir()
    (tmp_path / "shim" / "av.py").write_text("raise ImportError('there is no FFmpeg here')\n")
    ended = cacl("prepare", squares, "--out", tmp_path / "s", "--size", 32, 40, "--workers", 0)
    assert ended.status == 0, ended.err
    assert "12 used, 0 skipped (of 12 files)" in ended.out
    elsewhere = shutil.copytree(tmp_path / "s", tmp_path / "elsewhere")
    code = "import sys\nfrom cacl import cli\nfor line in sys.stdin:\n  sys.argv = ['cacl', *line.split()]\n"
    code += "  try: cli.main()\n  except SystemExit as end: print('status', end.code, flush=True)\n"
    lines = [
        f"check {elsewhere}",
        f"pretrain {elsewhere} --config {tiny_file} --method v-moco --out {tmp_path / 'run'}",
        f"evaluate {tmp_path / 'run'}",
        f"check {squares}",
        f"pretrain {squares} --config {tiny_file} --out {tmp_path / 'no'}",
        f"prepare {squares} --out {tmp_path / 'none'}",
    ]
    first = [str(tmp_path / "shim"), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, "-c", code],
        input="\n".join(lines),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(first), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    statuses = [line for line in done.stdout.splitlines() if line.startswith("status")]
    assert statuses == ["status 0"] * 3 + ["status 2"] * 3, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("no video can be decoded here, PyAV cannot be imported (there is no FFmpeg here)") == 3
    assert (tmp_path / "run" / "report.html").exists()
    assert not (tmp_path / "no").exists()
    assert not (tmp_path / "none").exists()


def test_a_store_is_not_prepared_again(cacl: Command, squares: Path, tmp_path: Path, tiny_file: Path) -> None:
    words = ["--out", tmp_path / "s", "--size", 24, 32, "--workers", 0]
    assert cacl("prepare", squares, *words).status == 0
    cacl("prepare", tmp_path / "s", "--out", "t").refused("is a store already")
    cacl("pretrain", tmp_path / "s", "--config", tiny_file).refused("frames of 24x32", "data.resize")
    assert not [path for path in Path.cwd().rglob("*") if path.is_file()]


def test_a_disk_without_room_is_a_sentence_wherever_it_is_met(
    cacl: Command, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder for temporary files, for example."""

    def full(**keywords: object) -> None:
        raise OSError(28, "No space left on device", "/tmp/cacl-x")

    monkeypatch.setattr("tempfile.TemporaryDirectory", full)
    cacl("evaluate", finished, "--processes", 2).refused("/tmp/cacl-x could not be written", "No space left on device")
