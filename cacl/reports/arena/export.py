"""The table of a comparison as text: CSV, and a LaTeX table with booktabs rules."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any

MEASURES = ("R@1", "k-NN", "linear probe")
_ESCAPED = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "*": r"*"}


def table_csv(results: Mapping[str, Any]) -> str:
    """One line a network and method, then one a reference; percent, seconds, bytes and joules."""
    rows = list(_rows(results))
    columns = list(dict.fromkeys(key for row in rows for key in row))
    return _csv(columns, rows)


def pairs_csv(results: Mapping[str, Any]) -> str:
    """One line a network, measure and pair."""
    rows = [
        {"network": network, "measure": measure, **pair}
        for network, one in results["networks"].items()
        for measure, pairs in one["pairs"].items()
        for pair in pairs
    ]
    return _csv(list(rows[0]) if rows else ["network", "measure"], rows)


def _csv(columns: list[str], rows: list[dict[str, Any]]) -> str:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _rows(results: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for network, one in results["networks"].items():
        for method in one["order"]:
            row = one["rows"][method]
            found: dict[str, Any] = {"network": network, "method": method, "seeds": len(row["seeds"])}
            for measure in MEASURES:
                own = row["measures"][measure]
                found |= {measure: own["mean"], f"{measure} low": own["low"], f"{measure} high": own["high"]}
            found |= {key: value for key, value in row["retrieval"].items() if key != "R@1"}
            found |= {f"{count} labels a class": value for count, value in row["few labels"].items() if count != "all"}
            found |= row.get("time", {})
            found |= {} if row.get("fine-tuned") is None else {"fine-tuned": row["fine-tuned"]}
            found |= {key: row[key] for key in ("passes a sample", "passes", "steps", "epochs")}
            found |= row["cost"] | {f"frame encoder, {key}": value for key, value in row["frame encoder"].items()}
            yield found | {"published R@1": row.get("published", {}).get("R@1", "")}
        for name, reference in one["references"].items():
            found = {"network": network, "method": name, **reference["retrieval"]}
            found |= {key: reference[key] for key in MEASURES[1:] if key in reference}
            found |= reference.get("time", {})
            yield found | {f"{n} labels a class": v for n, v in reference.get("few labels", {}).items() if n != "all"}


def table_latex(results: Mapping[str, Any]) -> str:
    """A ``tabular`` with booktabs rules: R@1 with its interval, the other measures, passes and processor minutes."""
    head = ["Network", "Method", "R@1", "95\\,\\%", "k-NN", "Linear", "10 labels", "Passes", "CPU min"]
    lines = [
        f"% {results['queries']} test videos of {results['sources']} sources, {results['gallery']} training videos, "
        f"{results['budget']}, {results['seeds']} seeds",
        r"\begin{tabular}{llrcrrrrr}",
        r"\toprule",
        " & ".join(head) + r" \\",
    ]
    for network, one in results["networks"].items():
        lines.append(r"\midrule")
        for name, reference in one["references"].items():
            few = reference.get("few labels", {}).get("10")
            numbers = [reference["retrieval"]["R@1"], reference.get("k-NN"), reference.get("linear probe"), few]
            first, *others = map(_number, numbers)
            lines.append(" & ".join([_tex(network), _tex(name), first, "", *others, "", ""]) + r" \\")
        lines += [r"\midrule"] if one["references"] else []
        lines += [_latex_row(network, method, one["rows"][method]) for method in one["order"]]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _latex_row(network: str, method: str, row: Mapping[str, Any]) -> str:
    main = row["measures"]["R@1"]
    ends = "" if main["low"] is None else f"{max(main['low'], 0):.1f}--{min(main['high'], 100):.1f}"
    others = [row["measures"]["k-NN"]["mean"], row["measures"]["linear probe"]["mean"], row["few labels"].get("10")]
    seconds = row["cost"].get("processor seconds")
    cost = "" if seconds is None else f"{seconds / 60:.1f}"
    cells = [_tex(network), _tex(method), _number(main["mean"]), ends, *map(_number, others), str(row["passes"]), cost]
    return " & ".join(cells) + r" \\"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _tex(text: str) -> str:
    return "".join(_ESCAPED.get(letter, letter) for letter in text)
