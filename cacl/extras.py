"""The line to type where a package is missing, for the Python that runs.

Packages are named themselves, not as an extra of ours: where ``cacl`` is not installed, ``pip install 'cacl[serve]'``
would ask an index for that name, and may be given a project of somebody else.
"""

from __future__ import annotations

import re
import shutil
import sys
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path


def pip_install(*packages: str) -> str:
    """``pip install "starlette>=0.40"``; by the path of this Python where another ``pip`` would be found, or none.

    In double quotes where a shell would take a sign for its own: those of Windows know no others.
    """
    python, found = Path(sys.executable), shutil.which("pip")
    beside = found is not None and Path(found).parent == python.parent
    words = ["pip"] if beside else [str(python), "-m", "pip"]
    return " ".join(f'"{word}"' if re.search(r"[\s<>\[\]]", word) else word for word in [*words, "install", *packages])


def install_extra(name: str) -> str:
    """The line that installs what an extra of ``pyproject.toml`` adds."""
    try:
        needs = [need.partition(";") for need in requires("cacl") or ()]
    except PackageNotFoundError:  # run from a checkout without being installed
        return pip_install(f"{Path(__file__).parents[1]}[{name}]")
    return pip_install(*(package.strip() for package, _, marker in needs if re.search(rf"['\"]{name}['\"]", marker)))
