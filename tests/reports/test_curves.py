from __future__ import annotations

import json
import math

import numpy as np
import pytest
from PIL import Image

from cacl.config import resolve
from cacl.methods.curves import Curve, Mark
from cacl.presets import PRESETS
from cacl.reports.curves import Line, Panel, chart, draw_curves, draw_panel, overlaid, panels, thin
from cacl.reports.figures import new_figure
from cacl.run_folder import read_metrics


def curves(frames=16):
    return resolve(PRESETS["paper"]).settings.method.curves(frames)


def rows(count=50, **extra):
    return [
        {"kind": "train", "step": 10 * s, "loss": 3 - s / 50, "nce": 1.0, "degree_loss": 2 - s / 50, "lr": 0.1, **extra}
        for s in range(count)
    ]


def test_metrics_are_read_and_a_torn_last_line_is_left_out(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(json.dumps({"step": 1}) + "\n" + json.dumps({"step": 2}) + '\n{"step": 3, "lo')
    assert read_metrics(path) == [{"step": 1}, {"step": 2}]


@pytest.mark.parametrize("text", ['{"step": \n{"step": 2}\n', "[1]\n{}\n"])
def test_a_damaged_line_in_the_middle_is_named(tmp_path, text):
    path = tmp_path / "metrics.jsonl"
    path.write_text(text)
    with pytest.raises(ValueError, match="line 1"):
        read_metrics(path)


def test_panels_hold_what_the_rows_have():
    found = panels([*rows(), {"kind": "evaluation", "step": 5, "loss": 100.0}], curves())
    assert [panel.title for panel in found] == ["Loss", "Learning rate"]
    assert [line.name for line in found[0].lines] == ["total", "contrastive", "degree"]
    assert found[0].lines[0].x.tolist() == list(range(0, 500, 10))
    assert found[0].references == (("ln 16", math.log(16)),)
    assert panels([], curves()) == []


def test_values_that_are_not_finite_are_left_out():
    data = rows(5, grad_nce=0.0, degree_accuracy=None)
    data[2]["loss"] = math.nan
    data[3]["loss"] = math.inf
    found = panels(data, curves())
    assert found[0].lines[0].x.tolist() == [0, 10, 40]
    assert [panel.title for panel in found] == ["Loss", "Learning rate"]  # 0 has no logarithm


@pytest.mark.parametrize("degrees", [2, 8, 32])
def test_guessing_stands_where_the_number_of_degrees_puts_it(degrees):
    found = {panel.title: panel.references for panel in panels(rows(degree_accuracy=0.2), curves(degrees))}
    assert found["Loss"] == ((f"ln {degrees}", math.log(degrees)),)
    assert found["Degree accuracy"] == (("chance", 1 / degrees),)


def test_a_method_without_degree_loss_has_no_line_at_ln_16():
    data = [{"step": s, "loss": 1.0, "nce": 1.0} for s in range(3)]
    assert panels(data, curves())[0].references == ()


def test_a_method_that_says_nothing_has_what_every_training_logs():
    found = panels(rows(feature_std=0.5, whatever=1.0))
    assert [panel.title for panel in found] == ["Loss", "Standard deviation of features", "Learning rate"]
    assert [line.name for line in found[0].lines] == ["total"]


def test_curves_of_two_methods_side_by_side():
    own = [Curve("Order accuracy", {"order_accuracy": "clips"}, references=(Mark("chance", 1 / 6),), percent=True)]
    runs = {"cacl": rows(degree_accuracy=0.2), "order": rows(order_accuracy=0.4)}
    found = {panel.title: panel for panel in overlaid(runs, {"cacl": curves(), "order": own})}
    names = {title: [line.name for line in panel.lines] for title, panel in found.items()}
    assert names["Degree accuracy"] == ["cacl"]
    assert names["Order accuracy"] == ["order"]
    assert names["Learning rate"] == ["cacl", "order"]
    assert found["Order accuracy"].references == (("chance", 1 / 6),)
    colours = {line.name: line.number for panel in found.values() for line in panel.lines}
    assert all(line.number == colours[line.name] for panel in found.values() for line in panel.lines)


@pytest.mark.parametrize("count", [1, 5, 39, 200])
def test_smoothing_is_the_moving_average(count):
    y = np.random.default_rng(0).normal(size=count)
    half = count // 40
    expected = [y[max(0, i - half) : i + half + 1].mean() for i in range(count)]
    np.testing.assert_allclose(Line("a", 0, np.arange(count), y).smooth(), expected, atol=1e-12)


def test_curves_are_drawn(tmp_path):
    path = tmp_path / "curves.png"
    drawn = rows(similarity_gq_gk=0.5, grad_nce=0.1, feature_rank=3.0, degree_accuracy=0.1)
    assert draw_curves(drawn, path, curves())
    image = np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3)
    assert len(np.unique(image, axis=0)) > 20
    assert not draw_curves([], tmp_path / "none.png", curves())
    assert not (tmp_path / "none.png").exists()


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("count", [1, 2, 1000])
def test_lines_lie_in_the_chart(log, count):
    rng = np.random.default_rng(0)
    line = Line("a", 0, np.arange(count) * 7.0, np.exp(rng.normal(size=count) * 3))
    axes = new_figure(4, 3).subplots()
    draw_panel(axes, Panel("t", (line,), (("r", 1.0),), log=log))
    axes.figure.draw_without_rendering()
    raw, smooth, reference = axes.lines
    assert len(raw.get_xdata()) == len(smooth.get_xdata()) == min(count, 240)
    assert reference.get_ydata()[0] == 1.0
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    assert left <= min(raw.get_xdata()) <= max(raw.get_xdata()) <= right
    assert bottom <= min(raw.get_ydata()) <= max(raw.get_ydata()) <= top
    assert axes.get_yscale() == ("log" if log else "linear")
    assert 1 <= sum(left <= tick <= right for tick in axes.get_xticks()) <= 7


def test_a_chart_of_constant_values_has_ticks():
    for value in (0.0, 0.5, -3.0):
        axes = new_figure(4, 3).subplots()
        draw_panel(axes, Panel("t", (Line("a", 0, np.arange(4.0), np.full(4, value)),)))
        low, high = axes.get_ylim()
        assert any(low <= tick <= high for tick in axes.get_yticks())


def test_a_chart_begins_at_nought_unless_the_values_are_far_from_it():
    for low, zero in ((10.0, True), (90.0, False)):
        axes = new_figure(4, 3).subplots()
        draw_panel(axes, Panel("t", (Line("a", 0, np.arange(3.0), np.array([low, 95.0, 100.0])),)))
        assert (axes.get_ylim()[0] == 0) == zero


def test_the_legend_says_the_last_values():
    line = Line("a", 7, np.arange(3.0), np.array([0.0, 0.5, 1.0]))
    assert chart(Panel("t", (line,))).legend == (("a", 7, "1"),)
    assert chart(Panel("t", (line,), percent=True)).legend == (("a", 7, "100\N{NARROW NO-BREAK SPACE}%"),)


def test_thinning_keeps_the_mean():
    values = np.random.default_rng(0).normal(size=2400)
    assert len(thin(values)) == 240
    assert thin(values).mean() == pytest.approx(values.mean())
