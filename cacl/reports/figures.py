"""Every picture is drawn once, with matplotlib, and shown twice: as a PNG file, and as SVG inside a page.

A figure takes its colours from ``THEME``. The SVG names the page's own colours in their place, so that it follows light
and dark mode; it has the page's letters, and the texts that are shown on hovering.
"""

from __future__ import annotations

import io
import json
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from cacl.errors import printable
from cacl.files import whole

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#b8578f", "#c98500", "#3f9fdc")
"""After Okabe & Ito, distinct to colour-blind readers, in the order in which lines take them."""

INK, SOFT, RULE, GREY, GROUND, PAPER = "#1b1f27", "#5c6573", "#e3e6eb", "#b9c1cd", "#f6f7f9", "#ffffff"
THEME = {
    **{colour: f"--l{number}" for number, colour in enumerate(COLOURS)},
    INK: "--ink", SOFT: "--soft", RULE: "--rule", GREY: "--bar", GROUND: "--page", PAPER: "--card",
}  # fmt: skip
"""Colour in light mode -> its name in ``templates/style.html``."""

_SVG = "{http://www.w3.org/2000/svg}"
_LINK = "{http://www.w3.org/1999/xlink}href"
_KEPT = ("x", "y", "d", "transform", "style", "viewBox")


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of ``width`` x ``height`` inches on white, without any window."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1)
    figure = Figure(figsize=(width, height), dpi=130, layout=layout, facecolor=PAPER)
    FigureCanvasAgg(figure)
    return figure


def plain(axes: Axes) -> None:
    """Axes without frame, with small grey ticks: the data are what is seen."""
    axes.spines[:].set_visible(False)
    axes.tick_params(labelsize=8, length=0, labelcolor=SOFT)
    axes.patch.set_visible(False)


def words(text: str) -> str:
    """Text for a picture, whatever signs a name in it has: a dollar sign would start mathematics."""
    return printable(text).replace("$", r"\$")


def title(axes: Axes, text: str) -> None:
    """A title above the left end; none where the text is empty."""
    if text:
        axes.set_title(words(text), loc="left", fontsize=10, fontweight="bold", color=INK)


def hover(artist: Artist, texts: Sequence[str]) -> None:
    """Texts that the page shows on hovering, one for each mark of the artist, in their order."""
    artist.set_gid(json.dumps([printable(text) for text in texts]))


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG, whole or not at all. Raises UserError."""
    with whole(path) as partial, _whatever_the_letters():
        figure.savefig(partial, format="png")


def svg(figure: Figure, label: str, *, style: str = "") -> Markup:
    """The figure as an ``<svg>`` element for a page: no identifier, no address, no colour of its own.

    Args:
        figure: drawn in the colours of ``THEME``.
        label: what it shows, for readers who do not see it.
        style: CSS of the element.
    """
    import matplotlib as mpl
    from markupsafe import Markup
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    out = io.BytesIO()
    figure.patch.set_visible(False)
    with mpl.rc_context({"svg.fonttype": "none"}), _whatever_the_letters():
        FigureCanvasSVG(figure).print_svg(out)  # type: ignore[no-untyped-call]  # savefig would draw twice
    root = ElementTree.fromstring(out.getvalue())
    shapes = {shape.get("id"): shape for shape in root.iter(f"{_SVG}path") if shape.get("id")}
    made = _themed(root, shapes)
    made.attrib |= {"role": "img", "aria-label": printable(label)} | ({"style": style} if style else {})
    return Markup(ElementTree.tostring(made, encoding="unicode"))


def _themed(element: ElementTree.Element, shapes: dict[str | None, ElementTree.Element]) -> ElementTree.Element:
    """A copy without definitions, identifiers and clipping; ``use`` becomes the shape that it names."""
    tag = element.tag.removeprefix(_SVG)
    made = ElementTree.Element(tag, {k: _of_the_page(v) for k, v in element.attrib.items() if k in _KEPT})
    if tag == "use":
        shape = shapes[element.attrib[_LINK].removeprefix("#")]
        style = ";".join(filter(None, (_of_the_page(shape.get("style", "")), made.get("style"))))
        place = f"translate({element.get('x', '0')} {element.get('y', '0')})"
        made = ElementTree.Element("path", {"d": _of_the_page(shape.get("d", "")), "transform": place, "style": style})
    if tag == "text":
        made.text = element.text
    identifier = element.get("id", "")
    texts: list[str] = json.loads(identifier) if identifier.startswith("[") else []
    inside = [child for child in element if child.tag.removeprefix(_SVG) in ("g", "path", "use", "text")]
    made.extend(_themed(child, shapes) for child in inside)
    for mark, text in zip([part for part in made.iter("path") if texts], texts, strict=False):
        ElementTree.SubElement(mark, "title").text = text
    return made


def _of_the_page(value: str) -> str:
    """The page's colours and letters, and no more digits than can be seen."""
    value = re.sub(r"font: (?:(bold|\d+) )?([\d.]+px) [^;]*", r"font-weight: \1; font-size: \2", value)
    value = re.sub(r"font-weight: ; |font-family: [^;]*; ?", "", value)
    value = re.sub(r"#[0-9a-f]{6}", lambda found: f"var({THEME[found[0]]})" if found[0] in THEME else found[0], value)
    return re.sub(r"\d+\.\d{3,}", lambda found: f"{float(found[0]):.2f}", " ".join(value.split()))


@contextmanager
def _whatever_the_letters() -> Iterator[None]:
    """No warning of a name in a script that the font lacks."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        yield
