"""The documentation holds: settings, links, commands, names and paths in it exist.

The settings tables of ``docs/reference.md`` list every setting with its type and its value in each preset.
``python tests/test_docs.py`` writes these columns anew and keeps what was written by hand; new settings get
empty cells.
"""

from __future__ import annotations

import ast
import functools
import importlib
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from pages import PAGES, ROOT, commands, fences, prose

import cacl
from cacl import cli
from cacl.config import resolve
from cacl.finetune_settings import FINETUNE_PRESETS, FineTune, resolve_finetune
from cacl.machine import auto
from cacl.methods import queue_size
from cacl.presets import PRESETS
from cacl.settings import METHODS, method_settings, settings_of
from cacl.training.finetune import STEPS

REFERENCE = ROOT / "docs" / "reference.md"
OF_FINETUNING = "## Settings of fine-tuning\n"
HEAD = "| setting | type | meaning, unit | paper | released | small | source |\n|---|---|---|---|---|---|---|\n"
PRESET_COLUMNS = ("paper", "released", "small")


# The settings tables -------------------------------------------------------------------------------------------------


def leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def schema_of(key: str, whole: dict[str, Any]) -> dict[str, Any]:
    """The part of the settings' JSON schema that describes one setting."""
    node: dict[str, Any] = whole
    for name in key.split("."):
        node = node["properties"][name]
        if "$ref" in node:
            node = whole["$defs"][node["$ref"].rsplit("/", 1)[1]]
    return node


def type_text(schema: Mapping[str, Any]) -> str:
    """A JSON schema in the words of the table."""
    if "anyOf" in schema:
        return " or ".join(type_text(part) for part in schema["anyOf"])
    if "const" in schema or "enum" in schema:
        return ", ".join(f"`{choice}`" for choice in schema.get("enum", [schema.get("const")]))
    if schema["type"] == "array":
        parts = schema.get("prefixItems")
        if parts is None:
            return f"list of {type_text(schema['items'])}"
        inner = " and ".join(dict.fromkeys(type_text(part) for part in parts))
        return f"{len(parts)} × {inner}"
    names = {"boolean": "`true`, `false`", "null": "`null`", "string": "text"}
    if schema["type"] in names:
        return "`auto`, `cpu`, `mps`, `cuda`, `cuda:N`" if "pattern" in schema else names[schema["type"]]
    number = "whole number" if schema["type"] == "integer" else "number"
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f"{number} {low:g} … {high:g}"
    if "exclusiveMinimum" in schema:
        return f"{number} above {schema['exclusiveMinimum']:g}"
    if low is not None:
        upper = f", below {schema['exclusiveMaximum']:g}" if schema.get("exclusiveMaximum") == 1 else ""
        return f"{number} ≥ {low:g}{upper}"
    return number


def value_text(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=1000).strip().removesuffix("...").strip()
    return f"`{text}`"


Cells = dict[str, tuple[str, str, str, str]]


def cells_of(presets: Mapping[str, Mapping[str, Any]], schema: dict[str, Any]) -> Cells:
    values = {name: dict(leaves(tree)) for name, tree in presets.items()}
    return {
        key: (
            type_text(schema_of(key, schema)),
            *(value_text(values[name][key]) for name in ("paper", "released", "small")),
        )
        for key in values["paper"]
    }


@functools.cache
def computed_cells() -> Cells:
    """Setting -> type and the values of the three presets, as the table has them."""
    return cells_of(PRESETS, settings_of("cacl").model_json_schema())


@functools.cache
def finetune_cells() -> Cells:
    """The same of fine-tuning, but for ``preset`` and ``run``, which are as in pretraining."""
    every = cells_of(FINETUNE_PRESETS, FineTune.model_json_schema())
    return {key: cells for key, cells in every.items() if key != "preset" and not key.startswith("run.")}


def table_rows(text: str) -> dict[str, list[str]]:
    """Setting -> the cells of its row, for all tables with ``HEAD``."""
    rows = {}
    for block in text.split(HEAD)[1:]:
        for line in block.splitlines():
            if not line.startswith("|"):
                break
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            rows[cells[0].strip("`")] = cells
    return rows


def updated_tables(text: str) -> str:
    """The page with its settings tables written anew: one below each ``### group`` heading, and that of fine-tuning."""
    pretraining, finetuning = text.split(OF_FINETUNING)
    groups: dict[str, list[str]] = {}
    for key, line in table_lines(pretraining, computed_cells()):
        groups.setdefault(key.rsplit(".", 1)[0] if "." in key else "preset", []).append(line)
    for group, lines in groups.items():
        pretraining = with_table(pretraining, f"### `{group}`\n", lines)
    lines = [line for _, line in table_lines(finetuning, finetune_cells())]
    return pretraining + with_table(OF_FINETUNING + finetuning, OF_FINETUNING, lines)


def table_lines(text: str, fresh: Cells) -> Iterator[tuple[str, str]]:
    """Setting and row, with what the page says by hand."""
    old = table_rows(text)
    for key, (kind, *values) in fresh.items():
        _, _, meaning, *_, source = old.get(key, ["", "", "", ""])
        yield key, " | ".join(["", f"`{key}`", kind, meaning, *values, source, ""]).strip()


def with_table(text: str, heading: str, lines: list[str]) -> str:
    """``text`` with the first table below a heading replaced."""
    pattern = rf"({re.escape(heading)}.*?){re.escape(HEAD)}(?:\|[^\n]*\n)*"
    table = HEAD + "\n".join(lines) + "\n"
    text, count = re.subn(pattern, lambda found: found[1] + table, text, count=1, flags=re.DOTALL)
    assert count == 1, f"{REFERENCE} has no table below {heading}"
    return text


def reference_rows() -> list[dict[str, list[str]]]:
    return [table_rows(part) for part in REFERENCE.read_text(encoding="utf-8").split(OF_FINETUNING)]


def test_the_settings_tables_are_those_of_the_presets():
    found = [{key: (cells[1], *cells[3:6]) for key, cells in rows.items()} for rows in reference_rows()]
    assert found == [computed_cells(), finetune_cells()], "run: python tests/test_docs.py"


def test_every_setting_is_explained():
    for rows in reference_rows():
        assert not [key for key, cells in rows.items() if len(cells) != 7 or not cells[2] or not cells[6]]


@pytest.mark.parametrize("name", [name for name in METHODS if name != "cacl"])
def test_every_setting_of_every_method_is_explained(name: str):
    pages = [ROOT / "docs" / "methods.md", *sorted(ROOT.glob("docs/rivals*.md"))]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    headed = [part for part in text.split("\n## ") if name in re.split(r"[\s,]+", part.partition("\n")[0].lower())]
    fields = [key for key in method_settings(name).model_fields if key != "name"]
    assert not [key for key in fields if not any(f"| `method.{key}` |" in section for section in headed)]
    assert f"| `{name}` |" in text


def test_every_command_is_in_the_reference_and_in_the_readme():
    tree: Any = typer.main.get_command(cli.app)
    reference, readme = REFERENCE.read_text("utf-8"), (ROOT / "README.md").read_text("utf-8")
    assert not [verb for verb in tree.commands if f"cacl {verb}" not in reference]
    assert not [verb for verb in tree.commands if f"`{verb}`" not in readme and f"cacl {verb}" not in readme]
    hidden = {"--help", "--install-completion", "--show-completion"}
    flags = {flag for verb in tree.commands.values() for option in verb.params for flag in option.opts}
    assert not [flag for flag in flags - hidden if flag.startswith("--") and flag not in reference]


def test_what_auto_means_is_what_it_does():
    text = REFERENCE.read_text(encoding="utf-8")
    for key, steps in (("optim", auto.STEPS), ("frames.optim", auto.FRAME_STEPS)):
        assert f"| `{key}.epochs` | as many as make about {steps} steps |" in text
    assert f"half of the sampled frames, at least {queue_size.SMALLEST}, at most {auto.FRAME_QUEUE} |" in text
    assert set(re.findall(r"`auto`: about (\d+) steps", text)) == {
        str(n) for n in (auto.STEPS, auto.FRAME_STEPS, STEPS)
    }


# Links, paths, commands, names ---------------------------------------------------------------------------------------


def anchor(heading: str) -> str:
    """How code hosts name a heading in links."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    return {anchor(heading) for heading in re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_resolve(page: Path):
    """To files: a link to a folder ends `make docs`, whose site has no page for it."""
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, fragment = target.partition("#")
        place = (page.parent / name).resolve() if name else page
        if not place.is_file() or (fragment and fragment not in anchors(place)):
            broken.append(target)
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_paths_that_are_named_exist(page: Path):
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"(?<![\w/.-])((?:cacl|tests|examples|benchmarks|docs)/[\w./-]*\w)", text))
    missing = {name for name in named if not (ROOT / name).exists() and not name.startswith("docs/images/")}
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_parse(page: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        sys.modules["cacl.cli.app"], "check_there", lambda path: None
    )  # the pages' folders are not here
    monkeypatch.setattr("cacl.data.videos.dataset.videos_at", lambda path: path)
    tree: Any = typer.main.get_command(cli.app)
    for words in commands(page):
        if "--help" in words:
            continue
        assert words[0] in tree.commands, words
        verb = tree.commands[words[0]]
        try:
            given = verb.make_context(f"cacl {words[0]}", list(words[1:])).params
        except Exception as error:
            pytest.fail(f"cacl {' '.join(words)}: {error}")
        if words[0] == "pretrain":
            resolve(PRESETS[given["preset"]], assignments=tuple(given["sets"] or ()))
        elif words[0] == "finetune":
            resolve_finetune(preset=given["preset"], assignments=tuple(given["sets"] or ()))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_settings_files_are_settings(page: Path, tmp_path: Path):
    for number, body in enumerate(fences(page, "yaml")):
        file = tmp_path / f"{number}.yaml"
        file.write_text(body, encoding="utf-8")
        resolve(PRESETS["small"], file=file)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_settings_that_are_named_exist(page: Path):
    keys = {*computed_cells(), *finetune_cells()}
    keys |= {f"method.{key}" for name in METHODS for key in method_settings(name).model_fields}
    known = keys | {key.rsplit(".", 1)[0] for key in keys if "." in key}
    sections = "data|augment|model|method|optim|frames|run|test"
    named = set(re.findall(rf"`((?:{sections})\.[a-z_]+(?:\.[a-z_]+)?)(?:[=:][^`]*)?`", page.read_text("utf-8")))
    files = {name for name in named if name.endswith((".py", ".json", ".bin", ".safetensors"))}
    assert named - files - known == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_in_pages_is_python_and_its_names_exist(page: Path):
    for body in fences(page, "python"):
        tree = ast.parse(body)
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "cacl":
                assert hasattr(cacl, node.attr), f"cacl.{node.attr}"
            elif isinstance(node, ast.ImportFrom) and str(node.module).startswith("cacl"):
                module = importlib.import_module(str(node.module))
                assert [name.name for name in node.names if not hasattr(module, name.name)] == []


if __name__ == "__main__":
    REFERENCE.write_text(updated_tables(REFERENCE.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"{REFERENCE}: settings tables written anew")


def test_the_site_has_every_page_once():
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("\nnav:\n")[1]
    named = re.findall(r"\S+\.md$", nav, re.MULTILINE)
    notebooks = [f"notebooks/{path.stem}.md" for path in ROOT.glob("examples/notebooks/*.py")]
    pages = [page.relative_to(ROOT).as_posix() for page in [*PAGES, ROOT / "benchmarks" / "RESULTS.md"]]
    assert sorted(named) == sorted([*pages, *notebooks, "api.md"])
