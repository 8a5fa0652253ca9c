from __future__ import annotations

import pytest
from PIL import Image

from cacl.reports.figures import save_figure
from cacl.reports.probes import probes_figure
from cacl.reports.similarity import similarity_figure


def test_the_picture_of_probes_has_a_panel_a_task(tmp_path):
    row = {"accuracy": 40.0, "standard error": float("nan")}
    task = {"chance": 25.0, "classes": ["a"] * 4, "rows": {"frame differences": row, "untrained": row, "ca$cl": row}}
    save_figure(probes_figure({"playback speed": task}), tmp_path / "one.png")
    figure = probes_figure({"playback speed": task, "arrow of time": task})
    save_figure(figure, tmp_path / "two.png")
    one, two = (Image.open(tmp_path / f"{name}.png") for name in ("one", "two"))
    assert two.width == 2 * one.width
    for axes in figure.axes:
        assert [bar.get_height() for bar in axes.patches] == [40.0] * 3
        assert [line.get_ydata()[0] for line in axes.lines if line.get_linestyle() == "--"] == [25.0]


def test_pairs_are_dots_with_their_deviations_and_those_of_one_video_have_nothing_beside(tmp_path):
    alone = {"mean": 0.5, "deviation": 0.1}
    both = {**alone, "unrelated mean": -0.2, "unrelated deviation": 0.3}
    one, two = ({"pairs": {"gq_gk": alone}, "clips": 3}, {"pairs": {"gq_gk": both, "tq_tk": both}, "clips": 3})
    assert len(similarity_figure(one).axes[0].lines) == 2
    axes = similarity_figure(two, heading="$").axes[0]
    spans = [line.get_xdata() for line in axes.lines if len(line.get_xdata()) == 2]
    assert [pytest.approx(span) for span in ([0.4, 0.6], [-0.5, 0.1])] * 2 == spans
    assert axes.get_xlim()[0] < -0.5
    save_figure(similarity_figure(one), tmp_path / "one.png")
    save_figure(similarity_figure(two), tmp_path / "two.png")
    assert Image.open(tmp_path / "two.png").height > Image.open(tmp_path / "one.png").height > 100
