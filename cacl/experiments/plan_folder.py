"""A folder of many trainings and evaluations that one command makes: its plan, and its parts, each made once.

``plan.json`` says what the folder is of; a part is finished with its own file, and is never made again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cacl.errors import UserError
from cacl.run import Run
from cacl.run_folder import RunFolder
from cacl.training.pretrain import resume

_EMPTY = {".lock", "log.txt", ".plan.json.partial"}  # what a process leaves that died before it began


def check_plan(folder: Path, plan: Mapping[str, Any]) -> None:
    """Raise UserError where the folder holds something else, or the parts of another plan.

    Args:
        plan: ``verb``, ``settings`` as the command worked them out, and its options by their names.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--out is {folder}, which is a file; name a folder.")
    file = folder / "plan.json"
    if not file.exists():
        if folder.is_dir() and {path.name for path in folder.iterdir()} - _EMPTY:
            raise UserError(f"{folder} holds something that cacl {plan['verb']} did not make; choose another --out.")
        return
    try:
        before = dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{file} cannot be read ({error}); choose another --out.") from error
    other = [key for key in plan if before.get(key) != plan[key]]
    if not other:
        return
    if before.get("verb") != plan["verb"]:
        raise UserError(f"{folder} was made by cacl {before.get('verb')}; choose another --out.")
    if other == ["settings"]:
        raise UserError(f"{folder} was begun by another version of cacl, with other settings; choose another --out.")
    shown = [key for key in other if key != "settings"]
    had, given = (", ".join(f"--{key} {content.get(key)}" for key in shown) for content in (before, plan))
    raise UserError(
        f"{folder} was begun with {had}; you asked for {given}. Choose another --out, or give the old command again."
    )


def write_plan(run: RunFolder, plan: Mapping[str, Any]) -> None:
    """``plan.json``, where nobody was faster with another one. Raises UserError."""
    check_plan(run.path, plan)
    text = json.dumps(plan, indent=2) + "\n"
    file = run.path / "plan.json"
    if not file.exists() or file.read_text(encoding="utf-8") != text:
        run.write("plan.json", text)


def kept(run: RunFolder, name: str, make: Callable[[], Mapping[str, Any]], *, indent: int | None = 2) -> dict[str, Any]:
    """What the file of that name below the folder holds; made, where it is not there."""
    file = run.path / name
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        run.write(name, json.dumps(make(), indent=indent, ensure_ascii=False) + "\n")
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content


def trained_run(path: Path, begin: Callable[[], Run], *, say: Callable[[str], None]) -> Run:
    """The run in a folder: taken as it is, continued, or begun. Raises UserError, Stopped: as ``pretrain``."""
    if (path / "finished.json").exists():
        return Run(path)
    if (path / "config.yaml").exists():
        say(f"Going on with {path} …")
        return resume(path)
    say(f"Training {path} …")
    return begin()
