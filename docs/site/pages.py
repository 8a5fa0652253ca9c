"""What the site is made of, for mkdocs: the pages lie where they lie in the repository, so that their links hold.

Added to them: what they link to that is no page, the page of the Python interface, and the notebooks.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT)]
import notebooks  # noqa: E402

import cacl  # noqa: E402

PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "benchmarks" / "RESULTS.md"]
STYLE = ROOT / "docs" / "site" / "site.css"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """In place of the folder ``docs``: the repository's pages."""
    for file in [file for file in files if file.src_dir == config.docs_dir]:
        files.remove(file)
    for path in sorted({*PAGES, STYLE, *linked()}):
        name = path.relative_to(ROOT).as_posix()
        files.append(File.generated(config, name, abs_src_path=str(path)))
    files.append(File.generated(config, "api.md", content=python_page()))
    for program in notebooks.PROGRAMS:
        place = f"notebooks/{program.stem}"
        files.append(File.generated(config, f"{place}.md", content=notebooks.page(program)))
        files.append(File.generated(config, f"{place}.ipynb", content=json.dumps(notebooks.notebook(program))))
    return files


def linked() -> Iterator[Path]:
    """Files of the repository that pages link to or show: pictures, programs, tests."""
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
            path = (page.parent / target).resolve()
            if path.is_file() and path.is_relative_to(ROOT) and path.suffix != ".md":
                yield path


def python_page() -> str:
    """The public names, each with its docstring."""
    names = [f"cacl.{name}" for name in cacl.__all__] + ["cacl.sklearn.CaclFeatures"]
    head = "# Python\n\nWhat `import cacl` gives. Nothing is imported before it is used.\n"
    return head + "".join(f"\n::: {name}\n" for name in names)
