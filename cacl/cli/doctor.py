"""The verb that looks at the machine: doctor."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from cacl.cli.app import app
from cacl.errors import printable


@app.command()
def doctor(
    folder: Annotated[Path, typer.Argument(help="Where runs are going to be written.")] = Path("."),
    preset: Annotated[str, typer.Option(help="Whose networks are checked: small, paper or released.")] = "small",
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Say whether a training would work on this machine, and what to do where it would not.

    Example: cacl doctor
    """
    from cacl.machine.doctor import examine
    from cacl.training.resolve import resolve_settings
    from cacl.training.wiring import checked_networks

    checks = []
    for check in examine(resolve_settings(preset=preset).settings, folder, checked_networks):
        checks.append(check)
        if not as_json:
            print(printable(f"{check.status:<5}  {check.name}: {check.found}"), flush=True)
            if check.advice:
                print(printable(f"       → {check.advice}"), flush=True)
    wrong, notes = (sum(check.status == status for check in checks) for status in ("wrong", "note"))
    if as_json:
        print(json.dumps({"trains": wrong == 0, "checks": [asdict(check) for check in checks]}, indent=2))
    elif wrong:
        print(f"{wrong} of {len(checks)} would break a training.")
    else:
        print("Nothing is in the way of a training." + (f" {notes} to know of." if notes else ""))
    sys.exit(1 if wrong else 0)
