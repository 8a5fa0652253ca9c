"""A figure inside a page: in the page's colours and letters, without a name or an address of its own."""

from __future__ import annotations

import re
from importlib.resources import files
from xml.etree import ElementTree

import pytest

from cacl.reports.figures import COLOURS, INK, THEME, hover, new_figure, svg, title

EVIL = "<b>&\"'</b>\x1b[31m\n$a$\udcff"


def test_the_colours_are_those_of_the_page_in_light_mode():
    light = files("cacl.reports").joinpath("templates", "style.html").read_text(encoding="utf-8").split("@media")[0]
    colours = dict(re.findall(r"(--[\w-]+):(#[0-9a-f]{3,6});", light))
    for colour, name in THEME.items():
        assert colours[name] in (colour, colour[:1] + colour[1::2]), name  # #fff is #ffffff


def test_every_colour_follows_the_page_and_every_mark_has_its_text():
    figure = new_figure(3, 2)
    axes = figure.subplots()
    hover(axes.scatter([1, 2], [1, 2], color=COLOURS[3]), [EVIL, "two"])
    axes.text(1, 1, "word", color=INK)
    title(axes, EVIL)
    text = svg(figure, EVIL)
    root = ElementTree.fromstring(text)
    marks = [mark for mark in root.iter() if mark.find("title") is not None]
    assert [mark.find("title").text for mark in marks] == ["<b>&\"'</b>\\x1b[31m\\n$a$\\xff", "two"]
    assert all("var(--l3)" in ElementTree.tostring(mark, "unicode") for mark in marks)
    assert any("var(--ink)" in (word.get("style") or "") and word.text == "word" for word in root.iter("text"))
    assert "#b8578f" not in text
    assert not re.search(r" id=|href|url\(|xmlns|http|DejaVu|<style|<defs|clip", text)
    assert root.get("viewBox") == "0 0 216 144"
    assert root.get("width") is None


@pytest.mark.parametrize("number", range(2))
def test_the_same_figure_gives_the_same_text(number):
    def drawn():
        figure = new_figure(3, 2)
        figure.subplots().plot([1, 2, 3], marker="o")
        return svg(figure, "x")

    assert drawn() == drawn()
