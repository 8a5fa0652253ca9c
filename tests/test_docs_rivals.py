"""The page of the rivals says what their files say: lines, passes, and the preset ``published``.

``python tests/test_docs_rivals.py`` writes what can be computed anew and keeps what was written by hand.
"""

from __future__ import annotations

import importlib
import re
import statistics
from pathlib import Path

import pytest
import yaml
from pages import ROOT

from cacl.config import differences, resolve
from cacl.experiments.compare.passes import passes_a_sample
from cacl.presets import PRESETS, published
from cacl.settings import METHODS, method_settings, settings_of
from cacl.training.resolve import resolve_settings

PAGE = ROOT / "docs" / "rivals.md"
RIVALS = [name for name in METHODS if name not in ("cacl", "assisted")]
HEAD = "| `--method` | settings |\n|---|---|\n"
NOT_KNOWN = {"lejepa", "opn", "shuffle-learn", "speednet", "st-puzzle"}


def lines(method: str) -> int:
    """Of the file of a method."""
    module = importlib.import_module(method_settings(method).__module__)
    settings = Path(str(module.__file__))
    files = {settings, settings.with_name(settings.name.replace("_settings", ""))}  # some have them apart
    return sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files)


def median() -> int:
    """Lines of the median file."""
    files = {method_settings(name).__module__: lines(name) for name in RIVALS}
    return int(statistics.median(files.values()))


def published_rows() -> list[str]:
    found = []
    for name in RIVALS:
        if values := method_settings(name).published:
            settings = (f"`{key}={_text(value)}`" for key, value in values.items())
            found.append(f"| `{name}` | {', '.join(settings)} |")
    return found


def _text(value: object) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=1000).strip().removesuffix("...").strip()
    return text.replace(", ", ",")


def updated(page: str) -> str:
    for name in RIVALS:
        page = re.sub(rf"(\n\| `{re.escape(name)}` \|[^|]*\|[^|]*\| )\d+( \|)", rf"\g<1>{lines(name)}\2", page, count=1)
    page = re.sub(r"the median file has \d+", f"the median file has {median()}", page)
    before, _, after = page.partition(HEAD)
    return before + HEAD + "\n".join(published_rows()) + "\n" + re.sub(r"^(\|[^\n]*\n)*", "", after)


def test_the_page_is_that_of_the_methods_files() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == updated(page), "run: python tests/test_docs_rivals.py"
    assert HEAD in page
    assert median() <= 200


@pytest.mark.parametrize("name", RIVALS)
def test_passes_are_those_that_are_counted(name: str) -> None:
    cells = re.search(rf"\n\| `{re.escape(name)}` \|[^|]*\| (\d+) \+ (\d+)", PAGE.read_text(encoding="utf-8"))
    assert cells is not None
    assert passes_a_sample(resolve_settings(method=name, flags={"data.frames": 8})) == int(cells[1]) + int(cells[2])


def test_published_is_the_table_over_the_preset_paper() -> None:
    """Of the page's rows, read as a user would type them; nothing else differs but the method and its defaults."""
    page = PAGE.read_text(encoding="utf-8").partition(HEAD)[2]
    rows = dict(re.findall(r"^\| `([^`]+)` \| (.*) \|$", page.partition("\n\n")[0], re.MULTILINE))
    assert set(rows) == set(RIVALS) - NOT_KNOWN
    for name, cell in rows.items():
        typed = tuple(re.findall(r"`([^`]+)`", cell))
        by_hand = resolve(PRESETS["paper"], assignments=(f"method.name={name}", *typed), flags={"run.seed": 0}).settings
        found = resolve_settings(preset="published", method=name).settings
        assert set(differences(by_hand, found)) == {"preset"}, name
        assert found == settings_of(name).model_validate(published(name))


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"{PAGE}: tables written anew")
