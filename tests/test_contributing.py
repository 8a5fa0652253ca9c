"""What stands beside the code for those who use or change it: citation, licences, hooks."""

from __future__ import annotations

from email.message import Message

import licences
import pytest
import yaml
from pages import ROOT

import cacl


def test_the_citation_is_of_this_version_and_licence() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == cacl.__version__
    assert citation["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text()
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    paper = citation["preferred-citation"]
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert paper["title"] in readme
    assert all(author["family-names"] in readme for author in paper["authors"])


def test_the_hook_before_a_commit_is_make_lint() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    hooks = [hook for repository in config["repos"] for hook in repository["hooks"]]
    assert [(hook["entry"], hook["pass_filenames"], hook["always_run"]) for hook in hooks] == [
        ("make lint", False, True)
    ]
    assert {repository["repo"] for repository in config["repos"]} == {"local"}


def test_every_package_that_is_needed_says_its_licence() -> None:
    rows = {row.name: row for row in licences.packages("cacl")}
    assert {"torch", "av", "pydantic-core", "markupsafe"} <= set(rows)  # what the needed ones need, too
    assert "cacl" not in rows
    assert "onnx" not in rows
    assert "onnx" in {row.name for row in licences.packages("cacl", ["onnx"])}
    assert [row for row in rows.values() if row.licence == licences.SILENT] == []
    assert rows["simplejpeg"].licence.startswith("MIT")


@pytest.mark.parametrize(
    ("fields", "licence"),
    [
        ([("License-Expression", "MIT"), ("License", "other")], "MIT"),
        ([("Classifier", "License :: OSI Approved :: BSD License"), ("License", "long\ntext")], "BSD License"),
        ([("Classifier", "License :: OSI Approved"), ("License", "Zlib\nand more")], "Zlib"),
        ([("License", "UNKNOWN"), ("Classifier", "Topic :: Multimedia")], licences.SILENT),
        ([], licences.SILENT),
    ],
)
def test_where_a_licence_is_said(fields: list[tuple[str, str]], licence: str) -> None:
    metadata = Message()
    for name, value in fields:
        metadata[name] = value
    assert licences.licence_of(metadata) == licence


def test_a_package_that_says_none_ends_with_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [licences.Package("one", "1.0", "MIT"), licences.Package("two", "2", licences.SILENT)]
    monkeypatch.setattr(licences, "packages", lambda root, extras: rows)
    assert licences.main() == 1
    assert "said by two" in capsys.readouterr().err
    rows.pop()
    assert licences.main() == 0
