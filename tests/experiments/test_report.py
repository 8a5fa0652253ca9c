"""``cacl report``: pages of real run folders, one or several, whole or damaged."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny import FINETUNING

from cacl.config import differences
from cacl.errors import UserError
from cacl.experiments import report as module
from cacl.experiments.evaluate import evaluate
from cacl.experiments.report import report
from cacl.reports.write import RunPage
from cacl.run import Run
from cacl.training.pretrain import resolve_settings


@pytest.fixture(scope="module")
def evaluated(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with retrieval."""
    run = shutil.copytree(finished, tmp_path_factory.mktemp("runs") / "evaluated")
    evaluate(run)
    return Path(run)


@pytest.fixture(scope="module")
def other(finished: Path, tiny: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with other settings, and a name to be escaped."""
    run = Path(shutil.copytree(finished, tmp_path_factory.mktemp("others") / "a <b> & c"))
    settings = resolve_settings(method="v-moco", flags={**tiny, "optim.lr": 0.01})
    (run / "config.yaml").write_text(settings.to_yaml())
    return run


@pytest.fixture(scope="module")
def tuned(squares: Path, finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fine-tuning of the finished run."""
    from cacl.experiments.recognition.finetune import finetune

    out = tmp_path_factory.mktemp("tuned") / "tuned"
    settings = {**FINETUNING, "optim.epochs": 1}
    finetune(squares, model=finished, out=out, settings=settings, labels_per_class=(1, None), draws=2)
    return out


def sections(html: str) -> list[str]:
    return re.findall(r'<section id="([^"]+)"', html)


def test_a_run_is_one_page_in_its_folder(
    evaluated: Path, tmp_path: Path, cacl: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Path(shutil.copytree(evaluated, tmp_path / "run"))
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    ended = cacl("report", run)
    assert ended.status == 0
    assert ended.out == f"{run / 'report.html'}\n"
    assert {p.name: p.read_bytes() for p in run.iterdir() if p.is_file() and p.name != "report.html"} == {
        name: content for name, content in before.items() if name != "report.html"
    }
    html = (run / "report.html").read_text(encoding="utf-8")
    assert sections(html)[-3:] == ["samples", "data", "settings"]
    assert {"retrieval", "neighbours", "degree", "curves"} <= set(sections(html))
    results = json.loads((run / "results.json").read_text())
    for row in results["retrieval"].values():
        assert f">{row['R@1']:.1f}<" in html
    assert html.count("data:image/webp;base64,") >= 4  # every query moves, and what was found for it
    assert "4 test videos query 8 of " in html
    assert f"cacl analyse {run}" in html  # what is not there yet
    assert "12 used, 0 skipped" in html


def test_the_page_does_not_need_the_videos(evaluated: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(evaluated, tmp_path / "run"))
    data = json.loads((run / "data.json").read_text())
    (run / "data.json").write_text(json.dumps({**data, "videos": str(tmp_path / "gone")}))
    assert "data:image/webp" in report([run]).read_text()


def test_two_runs_say_exactly_what_differs(evaluated: Path, other: Path, tmp_path: Path) -> None:
    out = report([evaluated, other], out=tmp_path / "new" / "both.html")
    html = out.read_text()
    assert "<b>" not in html.split("<h2")[0]
    assert "a &lt;b&gt; &amp; c" in html
    part = re.search(r'<section class="differing">(.*?)</section>', html, re.DOTALL)
    assert part is not None
    rows = re.findall(r"<tr><td><code>(.*?)</code></td>(.*?)</tr>", part[1], re.DOTALL)
    shown = {name: [v.strip() for v in re.findall(r"<code>(.*?)</code>", rest)] for name, rest in rows}
    expected = differences(Run(evaluated).settings, Run(other).settings)
    assert set(shown) == set(expected)
    assert shown["optim.lr"] == ["0.002", "0.01"]
    assert shown["method.twin"] == ["true", "false"]
    assert not (tmp_path / "new" / "results.json").exists()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["both.html"]


def test_a_fine_tuning_shows_what_it_tells(tuned: Path) -> None:
    html = report([tuned]).read_text()
    assert sections(html) == ["recognition", "curves", "data", "settings"]
    results = json.loads((tuned / "results.json").read_text())
    for row in results["recognition"].values():
        assert f"{row['all']['top-1']:.1f}" in html
    assert "Few labels" in html
    confusion = json.loads((tuned / "parts" / "split1-all" / "result.json").read_text())["confusion"]
    counts = [int(n) for n in re.findall(r'<text class="count.*?>(\d+)</text>', html, re.DOTALL)]
    assert counts == [n for row in confusion for n in row if n]
    for name, value in results["per class"].items():
        assert re.search(rf'bar-name">{name}</div>.*?bar-value">{value:.1f}<', html, re.DOTALL)
    assert "fine-tuned" in html
    assert "8 train, 4 test" in html


def test_fine_tunings_of_two_models_differ_in_the_model(tuned: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(tuned, tmp_path / "other"))
    asked = json.loads((other / "data.json").read_text())
    (other / "data.json").write_text(json.dumps({**asked, "model": "runs/another", "labels per class": [1, 2]}))
    html = report([tuned, other], out=tmp_path / "both.html").read_text()
    differing = html[html.index('<section class="differing">') :].split("</section>")[0]
    assert ">model<" in differing
    assert ">labels per class<" in differing
    assert ">draws<" not in differing
    assert "runs/another" in differing


def test_a_pretraining_and_a_fine_tuning_side_by_side(evaluated: Path, tuned: Path, tmp_path: Path) -> None:
    html = report([evaluated, tuned], out=tmp_path / "both.html").read_text()
    titles = re.findall(r'<section id="compare-\d">\s*<h2>(.*?)</h2>', html)
    assert titles == ["Retrieval", "Recognition", "Shuffle degree"]
    assert '<section class="differing">' not in html  # their settings are of different kinds
    assert "run-1-neighbours" in html
    assert "run-2-recognition" in html


def test_a_run_that_is_not_finished_says_so(evaluated: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(evaluated, tmp_path / "run"))
    for name in ("finished.json", "results.json", "retrieval.json"):
        (run / name).unlink()
    html = report([run]).read_text()
    assert f"The run is not finished: this is how far it is. Go on: cacl pretrain --resume {run}" in html
    assert "curves" in sections(html)
    assert "retrieval" not in sections(html)


def test_several_runs_go_into_the_working_folder(
    evaluated: Path, other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert report([evaluated, other]) == Path("comparison.html")
    assert (tmp_path / "comparison.html").is_file()


def test_what_cannot_be_reported(evaluated: Path, tmp_path: Path, cacl: Callable[..., Any]) -> None:
    cacl("report", tmp_path / "none").refused(tmp_path / "none", "does not exist")
    cacl("report", tmp_path).refused(tmp_path, "not a run folder")
    cacl("report", evaluated, "--out", evaluated / "videos.csv").refused("videos.csv", "ends in .html")
    assert (evaluated / "videos.csv").read_text().startswith("path,")
    (tmp_path / "folder.html").mkdir()
    cacl("report", evaluated, "--out", tmp_path / "folder.html").refused("folder.html", "is a folder")
    (tmp_path / "file").write_text("")
    cacl("report", evaluated, "--out", tmp_path / "file" / "r.html").refused("cannot be written")
    with pytest.raises(UserError, match="at least one run"):
        report([])


@pytest.mark.parametrize("text", ["{", "[]"])
def test_damaged_results_are_named(evaluated: Path, tmp_path: Path, text: str) -> None:
    run = Path(shutil.copytree(evaluated, tmp_path / "run"))
    (run / "results.json").write_text(text)
    with pytest.raises(UserError, match=r"results\.json"):
        report([run])


def test_a_damaged_part_costs_that_part_only(evaluated: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(evaluated, tmp_path / "run"))
    (run / "retrieval.json").write_text('{"neighbours": [{"tiles": 3}]}')
    (run / "analysis").mkdir()
    (run / "analysis" / "results.json").write_text('{"about": {"steps": 4}, "attention": {}}')
    html = report([run]).read_text()
    assert "neighbours" not in sections(html)
    assert "retrieval" in sections(html)
    assert "attention (its files cannot be read" in html


def test_a_report_that_fails_leaves_the_old_one(
    evaluated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Path(shutil.copytree(evaluated, tmp_path / "run"))
    before = (run / "report.html").read_bytes()

    def broken(path: Path, pages: list[RunPage], **more: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_page", broken)
    with pytest.raises(UserError, match=r"cannot be written \(No space left on device\)"):
        report([run])
    assert (run / "report.html").read_bytes() == before
