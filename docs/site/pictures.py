"""The pictures of ``docs/images`` that the README shows, in 256 colours: the demo's first three queries, and the page.

``make demo``, ``python tests/serving/picture.py``, then ``python docs/site/pictures.py``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[2]
ROWS, SHOWN = 8, 3  # queries of the demo's picture, all alike in height


def main(demo: Path, page: Path) -> None:
    """Write both.

    Args:
        demo: the folder of ``cacl demo``.
        page: the folder that ``tests/serving/picture.py`` filled.
    """
    images = ROOT / "docs" / "images"
    with Image.open(demo / "neighbours.png") as picture:
        first = picture.convert("RGB").crop((0, 0, picture.width, picture.height * SHOWN // ROWS))
    first.quantize(256).save(images / "demo-neighbours.png", optimize=True)
    with Image.open(page / "search-light.png") as picture:
        picture.convert("RGB").quantize(256).save(images / "page.png", optimize=True)


if __name__ == "__main__":
    given = [Path(word) for word in sys.argv[1:]]
    main(*(given or [ROOT / "runs" / "demo", ROOT / "build" / "page"]))
