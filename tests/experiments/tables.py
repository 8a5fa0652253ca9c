"""What a run on labelled videos leaves, read back."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any


def results_of(run: Path) -> Any:
    return json.loads((run / "results.json").read_text())


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open() as text:
        return list(csv.DictReader(text))
