"""Runs side by side: which settings differ, which numbers are shared, which are the best, which line is whose."""

from __future__ import annotations

import re
from pathlib import Path

from cacl.config import resolve
from cacl.presets import PRESETS
from cacl.reports.compare import compare, differing_settings, distinct_names
from cacl.reports.page import RunPage, Setting
from cacl.reports.write import write_page


def page(title: str, *, r1: float = 50.0, untrained: float = 30.0, **more: object) -> RunPage:
    given: dict[str, object] = {
        "results": {
            "retrieval": {
                "chance": {"R@1": 10.0, "R@5": 40.0},
                "untrained": {"R@1": untrained, "R@5": 60.0},
                "v-moco": {"R@1": 99.0, "R@5": 99.0},  # another run in this one's table
                "cacl": {"R@1": r1, "R@5": 70.0},
            },
            "degree": {"accuracy": r1 / 2, "chance": 6.25, "frame-difference baseline": 26.0},
        },
        "settings": [Setting("optim.lr", "0.1", "preset small"), Setting("run.seed", "0")],
        "curves": {"cacl": resolve(PRESETS["small"]).settings.method.curves(16)},
        "metrics": {"cacl": [{"step": s, "loss": 2.0, "nce": 1.0, "degree_loss": 1.0} for s in range(1, 5)]},
        **more,
    }
    return RunPage(title, **given)  # type: ignore[arg-type]


def settings(**values: str) -> list[Setting]:
    return [Setting(name.replace("__", "."), value, "flag") for name, value in values.items()]


def test_exactly_the_settings_that_differ():
    pages = [
        page("a", settings=settings(optim__lr="0.1", run__seed="0", old="x", data__store="none")),
        page("b", settings=settings(optim__lr="0.2", run__seed="0", data__store="none")),
        page("c", settings=settings(optim__lr="0.1", run__seed="0", data__store="none", new="[1, 2]")),
        page("d", kind="finetune", settings=settings(optim__lr="7", head="1")),
    ]
    (found,) = differing_settings(pages)
    assert found.kind == "Pretraining"
    assert found.runs == (0, 1, 2)
    values = {name: [None if each is None else each.value for each in row] for name, row in found.rows}
    assert values == {
        "optim.lr": ["0.1", "0.2", "0.1"],
        "old": ["x", None, None],
        "new": [None, None, "[1, 2]"],
    }
    assert found.same == 2


def test_an_origin_alone_is_no_difference():
    pages = [page("a", settings=[Setting("x", "1", "flag")]), page("b", settings=[Setting("x", "1", "preset small")])]
    assert differing_settings(pages)[0].rows == ()


def test_each_kind_is_compared_with_its_own():
    fine = [page(n, kind="finetune", settings=settings(head=n)) for n in "xy"]
    found = differing_settings([page("a"), fine[0], page("b"), fine[1]])
    assert [(part.kind, part.runs, len(part.rows)) for part in found] == [
        ("Pretraining", (0, 2), 0),
        ("Fine-tuning", (1, 3), 1),
    ]


def test_the_best_run_is_marked_also_on_a_tie_and_references_never():
    (retrieval, degree) = compare([page("a", r1=50.04), page("b", r1=49.96), page("c", r1=20.0)]).tables
    assert retrieval.columns == ("R@1", "R@5")
    best = {row.name: [cell.best for cell in row.cells.values()] for row in retrieval.rows}
    assert best == {
        "chance": [False, False],
        "untrained": [False, False],
        "a": [True, True],
        "b": [True, True],  # both read 50.0, and 70.0
        "c": [False, True],
    }
    assert [row.colour for row in retrieval.rows] == [None, None, 0, 1, 2]
    assert [row.name for row in degree.rows] == ["chance", "frame differences", "a", "b", "c"]
    assert [row.cells["told exactly"].best for row in degree.rows] == [False, False, True, True, False]


def test_references_that_differ_stand_below_their_run():
    (retrieval, _) = compare([page("a", untrained=30.0), page("b", untrained=34.5)]).tables
    assert [(row.name, row.meaning) for row in retrieval.rows] == [
        ("chance", ""),
        ("a", "untrained 30.0"),
        ("b", "untrained 34.5"),
    ]


def test_other_videos_are_a_warning():
    same = compare([page("a", measured="3 query 4"), page("b", measured="3 query 4")])
    assert same.tables[0].warning == ""
    other = compare([page("a", measured="3 query 4"), page("b", measured="3 query 5")])
    assert "cannot be compared" in other.tables[0].warning


def test_recognition_of_fine_tunings_among_other_runs():
    def tuned(title: str, top1: float, *, linear: bool = False) -> RunPage:
        rows = {
            "linear probe": {"all": {"top-1": 50.0, "top-5": 90.0}},
            "k-NN": {"all": {"top-1": 40.0, "top-5": 80.0}},
        }
        if not linear:
            rows = {"fine-tuned": {"all": {"top-1": top1, "top-5": 95.0}}, **rows}
        results = {"recognition": rows, "classes": list("abcdefgh"), "chance": 12.5}
        return RunPage(title, results, kind="finetune")

    found = compare([page("pre"), tuned("one", 80.0), tuned("two", 81.0), tuned("probe", 0.0, linear=True)])
    table = next(table for table in found.tables if table.title == "Recognition")
    assert table.columns[0] == "fine-tuned top-1"
    values = {row.name: None if (cell := row.cells["fine-tuned top-1"]) is None else cell.value for row in table.rows}
    assert values == {"chance": 12.5, "one": 80.0, "two": 81.0, "probe": None}
    assert [row.name for row in table.rows if (c := row.cells["linear probe top-1"]) and c.best] == [
        "one",
        "two",
        "probe",
    ]
    assert [row.colour for row in table.rows] == [None, 1, 2, 3]
    assert table.warning == ""


def test_curves_of_one_number_lie_in_one_chart_a_colour_a_run():
    other = [{"step": s, "loss": 3.0} for s in range(1, 9)]
    found = compare([page("a"), page("b", metrics={}), page("c", metrics={"v-moco": other})])
    ((kind, first, more),) = found.charts
    assert kind == "Pretraining"
    lines = {drawn.title: [(name, number) for name, number, _ in drawn.legend] for drawn in [*first, *more]}
    assert lines == {
        "Loss, total": [("a", 0), ("c", 2)],
        "Loss, contrastive": [("a", 0)],
        "Loss, degree": [("a", 0)],
    }
    assert {drawn.title: "ln 16" in drawn.svg for drawn in first} == {
        "Loss, total": False, "Loss, contrastive": False, "Loss, degree": True
    }  # fmt: skip
    assert [last for _, _, last in first[0].legend] == ["2", "3"]


def test_a_seventh_run_has_a_colour_again_but_dashed(tmp_path: Path):
    pages = [page(f"run {i}") for i in range(8)]
    write_page(tmp_path / "r.html", pages)
    html = (tmp_path / "r.html").read_text()
    chart = html.split("Each run")[0].split('<figure class="chart">')[1]
    bold = re.findall(r'style="(fill: none; stroke[^"]*stroke-width: 2[^"]*)"', chart)
    colours = [re.findall(r"--l\d", style)[0] for style in bold]
    dashes = [(re.findall(r"stroke-dasharray: [\d.,]+", style) or [""])[0] for style in bold]
    assert colours == ["--l0", "--l1", "--l2", "--l3", "--l4", "--l5", "--l0", "--l1"]
    assert dashes[:6] == [""] * 6
    assert all(dashes[6:])


def test_names_that_are_the_same_are_numbered():
    assert distinct_names(["a", "b", "a"]) == ["a (1)", "b", "a (3)"]


def test_a_page_of_two_runs_is_escaped_and_its_identifiers_are_distinct(tmp_path: Path):
    evil = "<script>alert('x')</script>"
    pages = [
        page(evil, settings=[Setting(evil, "1", evil)], lead=evil, facts={evil: evil}),
        page("b", facts={"x": "y"}),
    ]
    write_page(tmp_path / "r.html", pages, command=evil)
    html = (tmp_path / "r.html").read_text()
    assert "<script" not in html
    ids = re.findall(r' id="([^"]+)"', html)
    assert len(set(ids)) == len(ids)
    assert {"run-1", "run-2", "run-1-retrieval", "run-2-retrieval"} <= set(ids)
    assert set(re.findall(r' href="#([^"]+)"', html)) <= set(ids)
    assert html.count('<details class="run"') == 2
    assert not re.search(r"https?://|url\(|@import", html)
