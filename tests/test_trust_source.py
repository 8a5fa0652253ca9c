"""Nothing in the source of the package opens a pickle that came in a file, runs text, or reaches for the network."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
_CALLS = {
    ("torch", "load"): "weights_only",
    ("np", "load"): "allow_pickle",
    ("numpy", "load"): "allow_pickle",
}
_NEVER = {"eval", "exec", "load_pickle", "unsafe_load", "full_load", "system", "popen", "urlopen", "urlretrieve"}
_IMPORTS = {"pickle", "marshal", "shelve", "dill", "joblib", "cloudpickle", "urllib", "requests", "httpx", "ftplib"}
_ALLOWED = {"pickle.UnpicklingError", "pickle.PicklingError", "pickle.PickleBuffer", "pickle.dumps"}
# What is sent between our own processes is pickled; nothing that came in a file is.
_BETWEEN_PROCESSES = {("isolated.py", "pickle.loads")}


def test_no_source_file_opens_a_pickle_or_runs_text() -> None:
    """Of the whole package: every ``torch.load`` has ``weights_only=True``, every ``yaml.load`` our safe loader."""
    problems = []
    for file in sorted(ROOT.glob("cacl/**/*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            dangers = [found for found in _dangers(node) if (file.name, found) not in _BETWEEN_PROCESSES]
            problems += [f"{file.name}:{node.lineno}: {found}" for found in dangers]  # type: ignore[attr-defined]
    assert problems == []


def _dangers(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in _IMPORTS:
        name = f"{node.value.id}.{node.attr}"
        if name not in _ALLOWED:
            yield name
    if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] in _IMPORTS:
        yield from (f"from {node.module} import {n.name}" for n in node.names if f"pickle.{n.name}" not in _ALLOWED)
    if not isinstance(node, ast.Call):
        return
    keywords = {k.arg: k.value for k in node.keywords}
    if isinstance(node.func, ast.Name) and node.func.id in _NEVER:
        yield node.func.id
    if isinstance(node.func, ast.Attribute):
        owner = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
        wanted = _CALLS.get((owner, node.func.attr))
        value = keywords.get(wanted)
        if wanted and not (isinstance(value, ast.Constant) and value.value is (wanted == "weights_only")):
            yield f"{owner}.{node.func.attr} without {wanted}"
        if owner == "yaml" and node.func.attr in {"load", "load_all"}:
            loaders = [a.id for a in node.args[1:] if isinstance(a, ast.Name)]
            if loaders != ["_Loader"]:
                yield f"yaml.{node.func.attr} with {loaders}"
        if node.func.attr in _NEVER - {"eval"}:  # of modules
            yield f"{owner}.{node.func.attr}"
    shell = keywords.get("shell")
    if isinstance(shell, ast.Constant) and shell.value:
        yield "shell=True"


def test_the_search_for_dangers_finds_them() -> None:
    text = (
        "torch.load(f)\ntorch.load(f, weights_only=False)\nnp.load(f, allow_pickle=True)\npickle.loads(b)\n"
        "yaml.load(t, yaml.Loader)\nyaml.unsafe_load(t)\neval(t)\nsubprocess.run(t, shell=True)\nos.system(t)\n"
        "from urllib.request import urlopen\n"
    )
    for statement in ast.parse(text).body:
        assert [found for node in ast.walk(statement) for found in _dangers(node)], ast.unparse(statement)
