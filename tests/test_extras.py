"""The lines that install what is missing."""

from __future__ import annotations

import shlex
import shutil
import sys
import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from pages import ROOT

from cacl import extras
from cacl.extras import install_extra, pip_install

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]


@pytest.mark.parametrize("name", sorted(set(EXTRAS) - {"all", "docs", "test"}))
def test_an_extra_is_its_packages_and_never_the_name_of_this_one(name: str) -> None:
    """Elsewhere that name is another project, which pip would take where this one is not installed."""
    words = shlex.split(install_extra(name))
    assert words[words.index("install") + 1 :] == EXTRAS[name]


def test_the_pip_is_that_of_this_python(monkeypatch: pytest.MonkeyPatch) -> None:
    python = Path("/home/mia/my videos/.venv/bin/python")
    monkeypatch.setattr(sys, "executable", str(python))
    for found, line in (
        (str(python.with_name("pip")), "pip install av"),
        ("/usr/bin/pip", f'"{python}" -m pip install av'),
        (None, f'"{python}" -m pip install av'),
    ):
        monkeypatch.setattr(shutil, "which", lambda name, found=found: found)
        assert pip_install("av") == line


def test_a_checkout_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(extras, "requires", missing)
    assert shlex.split(install_extra("serve"))[-1] == f"{ROOT}[serve]"
