from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cacl.reports.tables import Cell, Row, mark_best, retrieval_table


def row(name, *values):
    return Row(name, "", True, {str(i): None if v is None else Cell(v) for i, v in enumerate(values)})


def marks(rows):
    return {r.name: [cell is not None and cell.best for cell in r.cells.values()] for r in rows}


def test_ties_as_printed_are_all_the_best():
    rows = [row("a", 41.04, 3.0, None), row("b", 41.0, 2.0, None), row("c", 40.94, None, 5.0)]
    assert marks(mark_best(rows, ["0", "1", "2"])) == {
        "a": [True, True, False],
        "b": [True, False, False],
        "c": [False, False, True],  # 40.9
    }


def test_only_some_rows_can_be_the_best():
    rows = [row("reference", 99.0), row("a", 3.0), row("b", 2.0)]
    assert marks(mark_best(rows, ["0"], among=rows[1:])) == {"reference": [False], "a": [True], "b": [False]}
    assert marks(mark_best(rows, ["0"], among=[])) == {"reference": [False], "a": [False], "b": [False]}


@given(st.lists(st.none() | st.floats(0, 100), min_size=1, max_size=6))
def test_what_is_marked_is_what_reads_as_the_largest(values):
    rows = mark_best([row(str(i), v) for i, v in enumerate(values)], ["0"])
    printed = [None if v is None else f"{v:.1f}" for v in values]
    largest = max((float(p) for p in printed if p is not None), default=None)
    for value, each in zip(printed, rows, strict=True):
        cell = each.cells["0"]
        assert (cell is not None and cell.best) == (value is not None and float(value) == largest)


def test_spread_stays_with_its_number():
    rows, ks = retrieval_table({"cacl": {"R@1": 41.0}, "chance": {"R@1": 50.0}}, {"cacl": {"R@1": 2.0}})
    assert ks == ["R@1"]
    assert [r.name for r in rows] == ["chance", "cacl"]
    assert rows[1].cells["R@1"] == Cell(41.0, 2.0, True)
    assert rows[0].cells["R@1"] == Cell(50.0, None, False)
