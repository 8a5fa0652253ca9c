"""Every public name is documented, and importing the package is light."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import cacl

MODULES = sorted(m.name for m in pkgutil.walk_packages(cacl.__path__, "cacl.") if not m.name.endswith("__main__"))


def test_import_loads_neither_torch_nor_av() -> None:
    code = "import sys, cacl, cacl.cli; print([name for name in ('torch', 'av', 'matplotlib') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_name_that_is_promised_is_there() -> None:
    assert sorted(cacl.__all__) == cacl.__all__
    for name in cacl.__all__:
        thing = getattr(cacl, name)
        assert inspect.getdoc(thing), name
        assert thing.__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'pretrian'"):
        _ = cacl.pretrian
    assert set(cacl.__all__) <= set(dir(cacl))


def test_the_version_is_that_of_the_package() -> None:
    from importlib.metadata import version

    assert cacl.__version__ == version("cacl")


@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_is_documented(name: str) -> None:
    module = importlib.import_module(name)
    assert inspect.getdoc(module), f"{name} has no docstring"
    missing = [where for where, thing in _public(module) if not (thing.__doc__ or "").strip()]
    assert not missing, missing


def _public(module: ModuleType) -> list[tuple[str, object]]:
    """Public functions and classes of a module, and what is public in these classes."""
    found: list[tuple[str, object]] = []
    for name, thing in vars(module).items():
        own = getattr(thing, "__module__", None) == module.__name__
        if name.startswith("_") or not own or not (inspect.isfunction(thing) or inspect.isclass(thing)):
            continue
        found.append((name, thing))
        if inspect.isclass(thing):
            for member, value in vars(thing).items():
                if not member.startswith("_") and (inspect.isfunction(value) or isinstance(value, property)):
                    found.append((f"{name}.{member}", value))
    return found


def test_the_site_can_tell_arguments_apart() -> None:
    """A line of a docstring names one: of ``mean, std: ...`` the site makes a name and a type."""
    for name in cacl.__all__:
        thing = getattr(cacl, name)
        members = vars(thing).values() if inspect.isclass(thing) else []
        for one in (thing, *members):
            text = getattr(one, "__doc__", None) or ""
            assert not re.findall(r"^ +\w+, \w[\w, ]*: .*", text, re.MULTILINE), name


@pytest.mark.parametrize("name", ["pretrain", "resume", "evaluate", "demo", "load", "reproduce", "index"])
def test_docstrings_name_every_argument(name: str) -> None:
    function = getattr(cacl, name)
    text = inspect.getdoc(function) or ""
    parameters = list(inspect.signature(function).parameters)
    if len(parameters) > 1:
        assert [p for p in parameters if f"{p}:" not in text] == []
    assert set(inspect.get_annotations(function)) == {*parameters, "return"}


def test_beyond_the_first_arguments_all_are_named() -> None:
    for name in ("pretrain", "resume", "evaluate", "compare", "demo", "reproduce", "index"):
        kinds = [p.kind for p in inspect.signature(getattr(cacl, name)).parameters.values()]
        assert kinds.count(inspect.Parameter.POSITIONAL_OR_KEYWORD) <= 2, name


def test_no_file_knows_where_it_was_written() -> None:
    for file in Path(cacl.__path__[0]).rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        assert str(Path(cacl.__path__[0]).parent) not in text, file
