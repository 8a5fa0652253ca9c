"""What a stage wrote about its steps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of ``metrics.jsonl``."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def timeless(folder: Path) -> list[dict[str, Any]]:
    """The same without the clock."""
    return [{key: value for key, value in row.items() if key != "clips_per_second"} for row in rows(folder)]
