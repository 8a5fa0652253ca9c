"""What a release holds, and that it works where nobody has the repository.

The distributions are built as ``make dist`` builds them, from a copy of what git tracks, with the setuptools at hand.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pages import ROOT, fences, make_folder

import cacl
from cacl.extras import pip_install

PYTHONS = ("3.11", "3.12", "3.13")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# What runs without PyTorch, as `make test-media` has it: where only a build for GPUs, of gigabytes, is at hand.
WITHOUT_TORCH = [text for text in PROJECT["dependencies"] if Requirement(text).name not in ("torch", "matplotlib")]


def tracked(*below: str) -> list[str]:
    """What git tracks; the test is skipped where this is no checkout."""
    listed = subprocess.run(["git", "ls-files", "-z", *below], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode or not listed.stdout:
        pytest.skip("not in a git checkout")
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist, and the wheel that was built from it."""
    copy, out = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("dist")
    for name in tracked():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, copy / name)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(out.glob("*.tar.gz")), next(out.glob("*.whl"))


def test_the_wheel_holds_the_package_and_nothing_else(built: tuple[Path, Path]) -> None:
    _, wheel = built
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        package = {name for name in names if name.startswith("cacl/")}
        assert package == set(tracked("cacl"))
        assert {"cacl/py.typed", "cacl/reports/templates/page.html"} <= package
        info = f"cacl-{cacl.__version__}.dist-info"
        assert {PurePosixPath(name).parts[0] for name in names - package} == {info}
        assert archive.read(f"{info}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
        metadata = archive.read(f"{info}/METADATA").decode()
        assert f"\nVersion: {cacl.__version__}\n" in metadata
        assert "\nLicense-Expression: Apache-2.0\n" in metadata
        assert "cacl = cacl.cli:main" in archive.read(f"{info}/entry_points.txt").decode()


def test_the_sdist_holds_what_make_test_needs(built: tuple[Path, Path]) -> None:
    sdist, _ = built
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    without = {".gitignore", ".pre-commit-config.yaml"}
    missing = {name for name in tracked() if not name.startswith((".ci/", "findings/"))} - inside - without
    assert missing == set()


def test_the_version_is_written_once() -> None:
    assert PROJECT["dynamic"] == ["version"]
    assert "version" not in PROJECT
    assert re.fullmatch(r"\d+\.\d+\.\d+(\w+)?", cacl.__version__)


def test_the_oldest_constraints_are_the_lower_bounds() -> None:
    lines = (ROOT / "constraints-oldest.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    bounds = {}
    extras = PROJECT["optional-dependencies"]
    for_users = [text for name in set(extras) - {"all", "docs", "test"} for text in extras[name]]
    for need in map(Requirement, [*PROJECT["dependencies"], *for_users]):
        (bound,) = (one.version for one in need.specifier)
        assert bounds.setdefault(canonicalize_name(need.name), bound) == bound, need  # extras agree
    assert pinned.keys() == bounds.keys()
    for name, bound in bounds.items():
        assert f"{pinned[name]}.".startswith(f"{bound}."), name


def test_every_extra_for_users_is_in_all() -> None:
    extras = PROJECT["optional-dependencies"]
    (everything,) = map(Requirement, extras["all"])
    assert everything.name == "cacl"
    assert everything.extras == set(extras) - {"all", "docs", "test"}


def test_what_is_missing_is_named_with_an_extra_that_there_is() -> None:
    """What a message calls an extra is one, and for each extra there is a message."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "cacl").rglob("*.py"))
    text = text.replace('"', "'")
    named = {"".join(found) for found in re.findall(r"install_extra\('(\w+)'\)|'cacl\[(\w+)\]'", text)}
    assert named <= set(PROJECT["optional-dependencies"])
    assert set(PROJECT["optional-dependencies"]) - named <= {"all", "docs", "test", "tsne", "umap"}
    assert "install_extra(kind)" in text  # of tsne and umap


@pytest.mark.slow
def test_the_oldest_of_everything_go_together() -> None:
    """One lower bound may ask for more than another allows: then ``make test-oldest`` ends before it has begun.

    But for PyTorch, of which pip would fetch gigabytes to know what it needs.
    """
    extras = PROJECT["optional-dependencies"]
    for_users = [text for name in set(extras) - {"all", "docs", "test"} for text in extras[name]]
    needs = {text for text in [*PROJECT["dependencies"], *for_users] if Requirement(text).name != "torch"}
    asked = ["--dry-run", "--quiet", "--ignore-installed", "-c", str(ROOT / "constraints-oldest.txt")]
    command = [sys.executable, "-m", "pip", "install", *asked, *sorted(needs)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("extra", sorted(set(PROJECT["optional-dependencies"]) - {"test"}))
def test_every_extra_can_be_installed_alone_and_all_together(extra: str) -> None:
    """By what pip would do: with the pinned versions nothing contradicts another."""
    asked = ["install", "--dry-run", "--quiet", "--only-binary", ":all:", "-c", str(ROOT / "constraints.txt")]
    command = [sys.executable, "-m", "pip", *asked, "--no-build-isolation", "-e", f"{ROOT}[{extra}]"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_package_that_is_missing_is_named() -> None:
    code = "import sys; sys.modules['torch'] = None; sys.argv = ['cacl', 'doctor']; from cacl import cli; cli.main()"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    sentence = f"cacl is not installed whole, torch is missing: {pip_install('torch')}\n"
    assert (done.returncode, done.stderr) == (2, sentence)


def clean(environment: Path) -> dict[str, str]:
    """The environment of a command that must see nothing of the checkout."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return {**kept, "PATH": f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}


def run(words: Sequence[str | Path], environment: Path, place: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in words], cwd=place, env=clean(environment), capture_output=True, text=True, check=False
    )


def pythons() -> Iterator[tuple[str, Path]]:
    """Each version with the first interpreter that is one, can make environments, and stands on PATH or with pyenv."""
    for version in PYTHONS:
        candidates = [shutil.which(f"python{version}"), sys.executable]
        candidates += map(str, sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python3")))
        code = f"import sys, ensurepip; sys.exit('%d.%d' % sys.version_info[:2] != {version!r})"
        for candidate in filter(None, candidates):
            if subprocess.run([candidate, "-c", code], capture_output=True, check=False).returncode == 0:
                yield version, Path(candidate)
                break


def torch_is_small(pip: Sequence[str | Path], environment: Path, place: Path) -> bool:
    """Whether pip would take a torch without CUDA; a build for GPUs draws in gigabytes."""
    asked = ["install", "--quiet", "--dry-run", "--report", "-", "-c", ROOT / "constraints.txt", "--no-deps", "torch"]
    done = run([*pip, *asked], environment, place)
    if done.returncode:
        return False
    url = json.loads(done.stdout)["install"][0]["download_info"]["url"]
    return "linux" not in url or "cpu" in url


@pytest.mark.slow
@pytest.mark.parametrize("version", PYTHONS)
def test_the_wheel_works_outside_the_checkout(
    built: tuple[Path, Path], version: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    python = dict(pythons()).get(version)
    if python is None:
        pytest.skip(f"no Python {version} here")
    environment, place = tmp_path / "environment", tmp_path / "place"
    request.addfinalizer(lambda: shutil.rmtree(environment))  # it may have gigabytes
    place.mkdir()
    subprocess.run([python, "-m", "venv", environment], check=True, capture_output=True)
    pip = [environment / "bin" / "python", "-m", "pip", "--disable-pip-version-check"]
    constraints = ["--constraint", ROOT / "constraints.txt", "--only-binary", ":all:"]
    whole = "CACL_GPU_TORCH" in os.environ or torch_is_small(pip, environment, place)
    what = [built[1]] if whole else WITHOUT_TORCH
    installed = run([*pip, "install", "--quiet", *constraints, *what], environment, place)
    assert installed.returncode == 0, installed.stderr
    if not whole:
        installed = run([*pip, "install", "--quiet", "--no-deps", built[1]], environment, place)
        assert installed.returncode == 0, installed.stderr
    where = run([environment / "bin" / "python", "-c", "import cacl; print(cacl.__file__)"], environment, place)
    assert Path(where.stdout.strip()).is_relative_to(environment)
    for words in (["--help"], ["--version"]):
        done = run(["cacl", *words], environment, place)
        assert done.returncode == 0, done.stderr
    if not whole:
        make_folder(place / "videos")
        code = "from cacl.data.videos.scan import scan; print(scan('videos').summary())"
        done = run([environment / "bin" / "python", "-c", code], environment, place)
        assert done.stdout == "10 used, 1 skipped (of 11 files)\n", done.stderr
        done = run(["cacl", "doctor"], environment, place)
        sentence = "cacl is not installed whole, torch is missing: pip install torch\n"
        assert (done.returncode, done.stderr) == (2, sentence)
        return
    check_whole(environment, place)
    together = run([*pip, "install", "--quiet", "--dry-run", *constraints, f"{built[1]}[all]"], environment, place)
    assert together.returncode == 0, together.stderr


def check_whole(environment: Path, place: Path) -> None:
    """``cacl doctor``, the demo in its smallest form, and the Python example of the README as it stands there."""
    done = run(["cacl", "doctor"], environment, place)
    assert done.returncode == 0, done.stdout + done.stderr
    done = run(["cacl", "demo", "--quick", "--out", "runs/demo"], environment, place)
    assert done.returncode == 0, done.stderr
    assert (place / "runs" / "demo" / "report.html").is_file()
    search = done.stdout.strip().splitlines()[-1].partition(": ")[2].split()
    done = run(search, environment, place)
    assert done.returncode == 0, done.stderr
    shutil.copytree(place / "runs" / "demo" / "own", place / "runs" / "mine")
    shutil.copy(next((place / "runs" / "demo" / "videos").rglob("*.mp4")), place / "query.mp4")
    (example,) = (text for text in fences(ROOT / "README.md", "python") if "embed_video" in text)
    code = f"{example}\nprint(segments.vector.shape)"
    done = run([environment / "bin" / "python", "-c", code], environment, place)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"(torch\.Size\(\[|\()\d+, \d+\]?\)\n", done.stdout), done.stdout
