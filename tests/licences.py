"""The licences of the packages that ``cacl`` needs, and of what these need: a table; status 1 where one says none.

``python tests/licences.py`` lists what every installation has, ``python tests/licences.py onnx tsne`` these extras too.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from email.message import Message
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

SILENT = "not said"


@dataclass(frozen=True)
class Package:
    name: str
    version: str
    licence: str


def licence_of(metadata: Message) -> str:
    """Licence-Expression; else the classifiers, which are of a fixed list; else the first line of the free text."""
    if expression := metadata.get("License-Expression"):
        return str(expression)
    classified = [
        text.rsplit(" :: ", 1)[1] for text in metadata.get_all("Classifier", ()) if text.startswith("License ::")
    ]
    if named := [text for text in classified if text != "OSI Approved"]:
        return ", ".join(named)
    line = str(metadata.get("License") or "").strip().partition("\n")[0].strip()
    return SILENT if line.upper() in ("", "UNKNOWN") else line[:60]


def packages(root: str, extras: Iterable[str] = ()) -> list[Package]:
    """Every installed package that ``root`` with ``extras`` draws in on this machine, itself left out, by name."""
    found: dict[str, Distribution] = {}
    waiting, done = [(root, frozenset(extras))], set()
    while waiting:
        name, wanted = waiting.pop()
        if (name, wanted) in done:
            continue
        done.add((name, wanted))
        try:
            dist = distribution(name)
        except PackageNotFoundError:
            if name == root:
                raise
            continue  # what is not installed is not shipped
        found[canonicalize_name(name)] = dist
        for text in dist.requires or ():
            need = Requirement(text)
            if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in wanted or {""}):
                waiting.append((canonicalize_name(need.name), frozenset(need.extras)))
    found.pop(canonicalize_name(root))
    return [Package(name, dist.version, licence_of(dist.metadata)) for name, dist in sorted(found.items())]


def main() -> int:
    rows = packages("cacl", sys.argv[1:])
    widths = [max(len(row.name) for row in rows), max(len(row.version) for row in rows)]
    for row in rows:
        print(f"{row.name:{widths[0]}}  {row.version:{widths[1]}}  {re.sub(r' {2,}', ' ', row.licence)}")
    silent = [row.name for row in rows if row.licence == SILENT]
    if silent:
        print(f"No licence is said by {', '.join(silent)}.", file=sys.stderr)
    return bool(silent)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:  # who reads has seen enough, as `| head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
