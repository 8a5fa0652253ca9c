"""Results of cells that nobody trained, with a known truth: for what is made of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cacl.experiments.compare.plan import Budget, Plan

CLASSES = [
    "Archery",
    "Basketball",
    "BodyWeightSquats",
    "JumpingJack",
    "PlayingGuitar",
    "Punch",
    "TaiChi",
    "Typing",
    "YoYo",
]


def write_cells(
    out: Path, levels: Mapping[str, float], *, seeds: int = 3, network: str = "r3d10", skip: Sequence[str] = ()
) -> Plan:
    """A plan whose cells have a results.json each, with hits that are as frequent as the method's level says."""
    rng = np.random.default_rng(0)
    label = [name for name in CLASSES for _ in range(38)]
    source = [f"v_{name}_g{i // 4:02d}" for name in CLASSES for i in range(38)]
    out.mkdir(parents=True, exist_ok=True)
    asked = {"queries": len(label), "gallery": 843, "path": label, "label": label, "source": source}
    (out / "queries.json").write_text(json.dumps(asked))
    names, of = np.unique(source, return_inverse=True)
    easy = 0.8 * rng.standard_normal(len(names))[of] + 0.5 * rng.standard_normal(len(label))
    plan = Plan(Path("ucf101-9"), out, tuple(levels), (network,), seeds, Budget("passes", 60000))
    for cell in plan.cells:
        if cell.name in skip:
            continue
        suits = 0.3 * np.random.default_rng(len(cell.method)).standard_normal(len(names))[of]
        latent = levels[cell.method] + easy + suits + 0.05 * rng.standard_normal()
        hits = {
            measure: "".join("01"[int(x > 0)] for x in latent + shift + 0.8 * rng.standard_normal(len(label)))
            for measure, shift in (("R@1", 0.0), ("k-NN", 0.1), ("linear probe", 0.5))
        }
        share = {key: 100 * value.count("1") / len(value) for key, value in hits.items()}
        passes = 2 + len(cell.method) % 3
        steps = round(60000 / 32 / passes)
        result = {
            "format": 1, "method": cell.method, "network": cell.network, "seed": cell.seed, "budget": "passes=60000",
            "epochs": steps // 26, "steps": steps, "passes a sample": passes, "passes": steps * 32 * passes,
            "cost": {"wall seconds": 400.0, "processor seconds": 240.0 + passes * 31, "peak bytes": 6e8},
            "frame encoder": {"processor seconds": 60.0, "wall seconds": 90.0} if cell.method == "cacl" else {},
            "curve": [[steps * k // 4, share["R@1"] * (0.5 + 0.11 * k)] for k in (1, 2, 3, 4)],
            "retrieval": {f"R@{k}": min(100.0, share["R@1"] + 9 * np.log(k)) for k in (1, 5, 10, 20, 50)},
            "k-NN": share["k-NN"], "linear probe": share["linear probe"],
            "few labels": {"1": 20.0, "5": 30.0, "10": 40.0, "all": share["linear probe"]},
            "effective rank": 12.0, "hits": hits, "warnings": [],
        }  # fmt: skip
        folder = out / "cells" / cell.name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "results.json").write_text(json.dumps(result))
    (out / "references").mkdir(exist_ok=True)
    numbers = {f"R@{k}": 20.0 + k for k in (1, 5, 10, 20, 50)}
    shares = {"chance": 11.1, "colour histogram": 29.2, "thumbnail": 31.5}
    videos = {name: {"retrieval": {**numbers, "R@1": share}} for name, share in shares.items()}
    (out / "references" / "videos.json").write_text(json.dumps(videos))
    known = {"curve": [[0, 24.0]], "retrieval": {**numbers, "R@1": 28.0}, "few labels": {"1": 18.0, "10": 25.0}}
    for seed in range(seeds):
        file = out / "references" / f"untrained-{network}-seed{seed}.json"
        file.write_text(json.dumps({**known, "k-NN": 27.0, "linear probe": 50.0}))
    return plan
