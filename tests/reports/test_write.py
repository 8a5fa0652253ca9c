from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from cacl.data.videos.catalog import Skipped
from cacl.evaluation.results import merge_seeds, write_results
from cacl.reports.page import RunPage, Setting
from cacl.reports.previews import preview_rows
from cacl.reports.tiles import Tile, TileRow
from cacl.reports.write import write_page


def results(shift=0.0):
    return {
        "retrieval": {
            "cacl": {"R@1": 41.04 + shift, "R@5": 70.0},
            "thumbnail": {"R@1": 31.8, "R@5": 70.02},
            "chance": {"R@1": 99.0, "R@5": 99.0},
        },
        "degree": {"accuracy": 30.0 + shift, "chance": 6.25, "frame-difference baseline": 26.0, "cross entropy": 2.0},
    }


class Page(HTMLParser):
    """Text of the page, and what it links to."""

    def __init__(self, html):
        super().__init__()
        self.open, self.links, self.text = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        if tag not in ("meta", "img", "link", "br", "source"):
            self.open.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href", "srcset", "action")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)


def full_report(path, data=None, **changed):
    image = np.zeros((8, 10, 3), np.uint8)
    evil = "<script>alert('x')</script> & \"q\""
    tiles = (Tile(image, evil, "0.91", True, evil), Tile(image, "other", "0.90", False))
    arguments = {
        "title": evil,
        "lead": evil,
        "facts": {"videos": "12"},
        "warnings": [evil],
        "metrics": {
            "seed 0": [{"step": s, "loss": 1.0 + s, "degree_accuracy": 0.1} for s in range(4)],
            "seed 1": [{"step": s, "loss": 2.0} for s in range(4)],
        },
        "neighbours": preview_rows([TileRow(tiles, lead=Tile(image, evil))]),
        "first_batch": image,
        "settings": [Setting("optim.lr", evil, "flag")],
        "data": "1 204 used, 3 skipped (of 1 207 files)",
        "skipped": [Skipped(evil, "no video stream found")],
        "command": "cacl evaluate " + evil,
        **changed,
    }
    title = arguments.pop("title")
    write_page(path, [RunPage(title, results() if data is None else data, **arguments)])
    return path.read_text(encoding="utf-8")


def test_page_is_whole_escaped_and_needs_no_network(tmp_path):
    html = full_report(tmp_path / "report.html")
    page = Page(html)
    assert page.open == []
    assert page.links
    assert all(link.startswith(("data:", "#")) for link in page.links)
    ids = re.findall(r' id="([^"]+)"', html)
    assert len(set(ids)) == len(ids)
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(ids)
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in html
    assert "<script" not in html
    assert not re.search(r"https?://|url\(|@import", html)
    text = " ".join(page.text)
    assert text.count("<script>alert('x')</script> & \"q\"") >= 7
    assert "✓" in text
    assert "✗" in text
    assert "1 204 used, 3 skipped (of 1 207 files)" in text
    assert "no video stream found" in text


def test_best_of_each_column_is_bold_chance_excepted_and_equal_as_printed_is_equal(tmp_path):
    html = full_report(tmp_path / "report.html")
    bold = re.findall(r'<span class="best">\s*([\d.]+)', html)
    assert bold == ["70.0", "41.0", "70.0"]  # references first: thumbnail's R@5, then both of cacl's


def test_highlights_compare_with_the_best_reference(tmp_path):
    text = " ".join(Page(full_report(tmp_path / "report.html", {"retrieval": {
        "cacl": {"R@1": 20.0}, "untrained": {"R@1": 30.0}, "thumbnail": {"R@1": 25.0}}})).text)  # fmt: skip
    assert "−10.0 points to the best without training (untrained, 30.0 %)" in text


def test_the_heading_is_about_the_main_run_whatever_it_is_called(tmp_path):
    data = {"retrieval": {"v-moco": {"R@1": 20.0}, "cacl": {"R@1": 30.0}, "mine": {"R@1": 40.0}}}
    html = full_report(tmp_path / "report.html", data, main="mine")
    assert '<div class="name">R@1, mine</div><div class="value">40.0 %</div>' in html
    assert '<div class="name">R@1, cacl</div>' in full_report(tmp_path / "report.html", data)
    assert '<div class="name">R@1, v-moco</div>' in full_report(tmp_path / "report.html", data, main="v-moco")


def test_degrees_are_counted_and_what_they_were_told_on_is_said(tmp_path):
    data = {"degree": {"accuracy": 30.0, "chance": 12.5, "tested on": "new clips of the training videos"}}
    text = re.sub(r"\s+", " ", " ".join(Page(full_report(tmp_path / "report.html", data)).text))
    assert "told exactly, on new clips of the training videos, in percent; there are 8 classes" in text
    assert "unseen" not in text


def test_the_first_batch_can_be_one_picture(tmp_path):
    image = np.full((20, 30, 3), 200, np.uint8)
    html = full_report(tmp_path / "report.html", first_batch=image)
    assert html.count('alt="Clips of the first batch') == 1
    assert 'id="samples"' in html


def test_the_same_numbers_are_in_results_json(tmp_path):
    full_report(tmp_path / "report.html")
    write_results(tmp_path / "results.json", results())
    saved = json.loads((tmp_path / "results.json").read_text())
    assert saved["retrieval"]["cacl"]["R@1"] == 41.04
    assert saved == results()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "results.json"]


def test_several_seeds_show_mean_and_standard_deviation(tmp_path):
    merged = merge_seeds({"0": results(), "1": results(2.0), "2": results(4.0)})
    assert merged["retrieval"]["cacl"]["R@1"] == pytest.approx(43.04)
    assert merged["standard deviation"]["retrieval"]["cacl"]["R@1"] == pytest.approx(2.0)
    assert merged["standard deviation"]["degree"]["accuracy"] == pytest.approx(2.0)
    assert merged["seeds"]["1"] == results(2.0)
    text = re.sub(r"\s+", " ", " ".join(Page(full_report(tmp_path / "report.html", merged)).text))
    assert "43.0 ± 2.0" in text
    assert "over 3 seeds" in text
    assert "± 0.0" not in text


def test_one_seed_has_no_spread_and_a_missing_number_is_averaged_over_the_others():
    assert "standard deviation" not in merge_seeds({"0": results()})
    merged = merge_seeds({"0": {"retrieval": {"a": {"R@1": 1.0}}}, "1": {"retrieval": {"b": {"R@1": 3.0}}}})
    assert merged["retrieval"] == {"a": {"R@1": 1.0}, "b": {"R@1": 3.0}}
    assert math.isnan(merged["standard deviation"]["retrieval"]["a"]["R@1"])


def test_a_report_with_nothing_but_a_title(tmp_path):
    write_page(tmp_path / "report.html", [RunPage("empty")])
    page = Page((tmp_path / "report.html").read_text())
    assert page.open == []
    assert "<section" not in (tmp_path / "report.html").read_text()


def test_missing_and_not_finite_numbers_are_dashes(tmp_path):
    data = {"retrieval": {"cacl": {"R@1": math.nan, "R@5": 3.0}, "untrained": {"R@1": 5.0}}}
    write_page(tmp_path / "report.html", [RunPage("gaps", data)])
    write_results(tmp_path / "results.json", data)
    assert (tmp_path / "report.html").read_text().count(">–<") == 2
    assert json.loads((tmp_path / "results.json").read_text())["retrieval"]["cacl"]["R@1"] is None


def test_file_names_that_are_no_text_do_not_stop_the_report(tmp_path):
    write_page(tmp_path / "report.html", [RunPage("x", skipped=[Skipped("a\udcff.mp4", "truncated")])])
    assert "a?.mp4" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_results_take_numpy_numbers(tmp_path):
    write_results(tmp_path / "r.json", {"a": np.float32(1.23456), "b": np.int64(3), "c": [1.0, None], "d": "x"})
    assert json.loads((tmp_path / "r.json").read_text()) == {"a": 1.235, "b": 3, "c": [1.0, None], "d": "x"}
