"""The tables of the arena from results that were kept: ``python benchmarks/arena.py``.

``cacl compare`` made them. ``--page FOLDER`` makes its page, without the moving pictures, which are of videos that are
not here; ``--collect FOLDER`` copies from its folder what that needs, and no path.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cacl.experiments.compare.plan import Plan, read_budget
from cacl.experiments.compare.summary import summary
from cacl.reports.arena.page import write_comparison
from cacl.reports.arena.words import MAIN, OURS, first_line

COMMAND = "python benchmarks/arena.py --page FOLDER"
KEPT = Path(__file__).parent / "arena"
FILES = ("queries.json", "references/*.json", "cells/*/results.json")
PROBES = ("shuffle degree", "playback speed", "arrow of time")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--collect", type=Path, metavar="FOLDER", help="of cacl compare, to copy the results from")
    parser.add_argument("--folder", type=Path, default=KEPT, help="where they are kept")
    parser.add_argument("--page", type=Path, metavar="FOLDER", help="to write report.html and the tables to")
    arguments = parser.parse_args()
    if arguments.collect is not None:
        collect(arguments.collect, arguments.folder)
    if arguments.page is not None:
        arguments.page.mkdir(parents=True, exist_ok=True)
        write_comparison(arguments.page, summary(plan_of(arguments.folder)), command=COMMAND, pictures={})
    print(text_of(arguments.folder))


def collect(source: Path, target: Path) -> None:
    """Copy what the page is made of; the plan names videos and lists by their last two parts."""
    shutil.rmtree(target, ignore_errors=True)
    for pattern in FILES:
        for file in sorted(source.glob(pattern)):
            place = target / file.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, place)
    plan = json.loads((source / "plan.json").read_text())
    for key in ("videos", "lists"):
        plan[key] = "/".join(Path(plan[key]).parts[-2:])
    (target / "plan.json").write_text(json.dumps(plan, indent=1) + "\n")


def plan_of(folder: Path) -> Plan:
    """The plan of all cells that are there."""
    kept = json.loads((folder / "plan.json").read_text())
    cells = [json.loads(file.read_text()) for file in sorted(folder.glob("cells/*/results.json"))]
    return Plan(
        Path(kept["videos"]),
        folder,
        tuple(dict.fromkeys(cell["method"] for cell in cells)),
        tuple(dict.fromkeys(cell["network"] for cell in cells)),
        1 + max(cell["seed"] for cell in cells),
        read_budget(kept["budget"]),
        preset=kept["preset"],
    )


def text_of(folder: Path) -> str:
    """The first line, and three tables: what is known of classes, of time, and what it cost."""
    found = summary(plan_of(folder))
    (network,) = found["networks"].values()
    parts = [first_line(network, found["budget"]), ranking(network), probes(network), costs(network)]
    if found["missing"]:
        parts.append(f"Not there: {', '.join(found['missing'])}.")
    return "\n\n".join(parts)


def ranking(network: Mapping[str, Any]) -> str:
    """Retrieval with its interval, the difference to CACL, and what labels bring."""
    lines = ["| | R@1 | 95 % interval | by seed | minus CACL | k-NN | linear probe | 1, 5, 10 labels a class |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for method, row in network["rows"].items():
        main_, few = row["measures"][MAIN], row["few labels"]
        cells = [
            f"`{method}`",
            f"{main_['mean']:.1f}",
            interval(main_),
            " ".join(f"{value:.1f}" for value in main_["by seed"]),
            minus_ours(network, method),
            f"{row['measures']['k-NN']['mean']:.1f}",
            f"{row['measures']['linear probe']['mean']:.1f}",
            " ".join(f"{few[count]:.1f}" for count in ("1", "5", "10")),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    for name, row in network["references"].items():
        few = row.get("few labels", {})
        cells = [name, shown(row.get("retrieval", {}).get("R@1")), "", "", "", shown(row.get("k-NN"))]
        cells += [shown(row.get("linear probe")), " ".join(shown(few.get(count)) for count in ("1", "5", "10")).strip()]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def probes(network: Mapping[str, Any]) -> str:
    """Linear probes of what differs in time alone."""
    lines = [f"| | {' | '.join(PROBES)} |", "|---|---|---|---|"]
    for name, row in [*network["rows"].items(), *network["references"].items()]:
        if row.get("time"):
            shown_as = f"`{name}`" if name in network["rows"] else name
            lines.append(f"| {shown_as} | {' | '.join(shown(row['time'].get(task)) for task in PROBES)} |")
    return "\n".join(lines)


def costs(network: Mapping[str, Any]) -> str:
    """Of one training, and R@1 of one clip a video on the way."""
    lines = ["| | passes a sample | epochs | processor minutes | frame encoder | peak GB | R@1 at ¼, ½, ¾, end |"]
    lines.append("|---|---|---|---|---|---|---|")
    for method, row in sorted(network["rows"].items(), key=lambda item: item[1]["cost"]["processor seconds"]):
        cost, before = row["cost"], row["frame encoder"].get("processor seconds")
        cells = [
            f"`{method}`",
            f"{row['passes a sample']:g}",
            f"{row['epochs']:g}",
            f"{cost['processor seconds'] / 60:.1f}",
            "" if before is None else f"{before / 60:.1f}",
            f"{cost['peak bytes'] / 1e9:.1f}",
            " ".join(f"{share:.1f}" for _, share in row["curve"]),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def minus_ours(network: Mapping[str, Any], method: str) -> str:
    """The paired difference to CACL with its interval; bold where it is none of chance, corrected for the rivals."""
    for pair in network["pairs"][MAIN]:
        if {method, OURS} == {pair["first"], pair["second"]} and method != OURS:
            sign = 1 if pair["first"] == method else -1
            ends = {"low": pair["low"], "high": pair["high"]} if sign == 1 else negative(pair)
            text = f"{sign * pair['mean']:+.1f} {interval(ends, sign=True)}"
            return f"**{text}**" if pair["different from ours"] else text
    return ""


def negative(pair: Mapping[str, float | None]) -> dict[str, float | None]:
    """The ends of the interval of the other direction."""
    return {a: None if pair[b] is None else -float(pair[b] or 0) for a, b in (("low", "high"), ("high", "low"))}


def interval(ends: Mapping[str, float | None], *, sign: bool = False) -> str:
    """``[48.1, 55.0]``; nothing where it is not known."""
    if ends["low"] is None or ends["high"] is None:
        return ""
    return f"[{ends['low']:+.1f}, {ends['high']:+.1f}]" if sign else f"[{ends['low']:.1f}, {ends['high']:.1f}]"


def shown(value: float | None) -> str:
    """One digit; nothing of nothing."""
    return "" if value is None else f"{value:.1f}"


if __name__ == "__main__":
    main()
