"""Notebooks from the programs of ``examples/notebooks``, whose cells begin with ``# %%`` or ``# %% [markdown]``.

python docs/site/notebooks.py build/notebooks
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PROGRAMS = sorted((Path(__file__).parents[2] / "examples" / "notebooks").glob("*.py"))


def cells(program: Path) -> Iterator[tuple[str, str]]:
    """``markdown`` or ``code``, and the text of each cell."""
    for part in program.read_text(encoding="utf-8").split("# %%")[1:]:
        head, _, body = part.partition("\n")
        if head.strip() == "[markdown]":
            lines = [line.removeprefix("#").removeprefix(" ") for line in body.strip().splitlines()]
            yield "markdown", "\n".join(lines)
        else:
            yield "code", body.strip()


def notebook(program: Path) -> dict[str, Any]:
    """The notebook, without outputs, in format 4.5."""
    made: list[dict[str, Any]] = []
    for number, (kind, text) in enumerate(cells(program)):
        cell = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}, "source": text.splitlines(keepends=True)}
        made.append(cell if kind == "markdown" else {**cell, "execution_count": None, "outputs": []})
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": made, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def page(program: Path) -> str:
    """The same to be read: Markdown, with a link to the notebook on top, below the heading."""
    parts = [text if kind == "markdown" else f"```python\n{text}\n```" for kind, text in cells(program)]
    link = f"As a notebook: [{program.stem}.ipynb]({program.stem}.ipynb). `make test-slow` executes it."
    heading, _, rest = parts[0].partition("\n")
    return "\n\n".join([heading, link, rest.strip(), *parts[1:]]) + "\n"


def main() -> None:
    """Write one notebook a program into the folder named."""
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    for program in PROGRAMS:
        (out / f"{program.stem}.ipynb").write_text(json.dumps(notebook(program), indent=1) + "\n", encoding="utf-8")
        print(out / f"{program.stem}.ipynb")


if __name__ == "__main__":
    main()
