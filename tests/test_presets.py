"""Presets and ablations: the tables of docs/fidelity.md, and what differs between the rows of Tables 1 and 2."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from cacl.config import differences, resolve
from cacl.data.clips.shuffle import degree_class, shuffle_degree, uniform_permutation
from cacl.finetune_settings import resolve_finetune
from cacl.methods.contract import MethodBatch
from cacl.presets import ABLATIONS, PAPER, PRESETS, RELEASED, ablation
from cacl.training.wiring import build_frames_network, build_method, initial_network

PAGE = (Path(__file__).parents[1] / "docs" / "fidelity.md").read_text(encoding="utf-8")
PRETRAINING, FINE_TUNING = PAGE.split("\n## Fine-tuning\n")
TINY = (
    "data.resize=[36, 40]",
    "augment.size=32",
    "model.width=4",
    "model.frame_width=4",
    "model.frame_encoder=resnet18",
    "model.token_width=12",
    "model.heads=3",
    "model.depth=1",
    "method.queue_size=12",
)


def page_rows(page: str) -> list[tuple[str, str, str]]:
    """(setting, paper, released): the first code in each cell of the tables with settings."""
    found = []
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if len(cells) >= 4 and re.match(r"`\w+\.[\w.]+`$", cells[1]):
            codes = [re.search(r"`([^`]+)`", cell) for cell in cells[1:4]]
            assert all(codes), line
            found.append(tuple(code[1] for code in codes if code))
    return found


def value(settings, key):
    for name in key.split("."):
        settings = getattr(settings, name)
    return list(settings) if isinstance(settings, tuple) else settings


@pytest.mark.parametrize("row", page_rows(PRETRAINING), ids=lambda row: row[0])
def test_the_page_says_what_the_presets_do(row):
    key, paper, released = row
    assert value(resolve(PAPER).settings, key) == yaml.safe_load(paper)
    assert value(resolve(RELEASED).settings, key) == yaml.safe_load(released)


@pytest.mark.parametrize("row", page_rows(FINE_TUNING), ids=lambda row: row[0])
def test_the_page_says_what_the_presets_of_fine_tuning_do(row):
    key, paper, released = row
    assert value(resolve_finetune(preset="paper").settings, key) == yaml.safe_load(paper)
    assert value(resolve_finetune(preset="released").settings, key) == yaml.safe_load(released)


def test_the_differences_of_the_two_presets_are_the_rows_of_the_page():
    first = PAGE.split("## Values that only")[0]
    rows = {row[0] for row in page_rows(PRETRAINING) if f"`{row[0]}`" in first}
    changed = differences(resolve(PAPER).settings, resolve(RELEASED).settings)
    assert set(changed) - {"preset"} == rows


def test_values_of_the_papers_section_4_1():
    """Written down once more, apart from the page."""
    settings = resolve(PAPER).settings
    assert (settings.data.frames, settings.data.stride, settings.data.resize) == (16, 2, (128, 171))
    assert (settings.augment.size, settings.augment.crop) == (112, "fixed")
    optim = settings.optim
    assert (optim.optimizer, optim.lr, optim.weight_decay, optim.schedule) == ("sgd", 1e-3, 5e-4, "cosine")
    assert (optim.batch_size, optim.epochs) == (64, 300)
    assert (settings.model.network, settings.model.width, settings.model.frame_encoder) == ("c3d", 64, "resnet50")
    assert (settings.model.token_width, settings.model.depth, settings.model.heads) == (768, 6, 6)
    frames = settings.frames
    assert (frames.every, frames.area, frames.temperature, frames.momentum) == (10, (0.2, 1.0), 0.07, 0.999)
    assert (frames.optim.schedule, frames.optim.batch_size, frames.optim.epochs) == ("step", 256, 200)


@pytest.mark.parametrize("preset", ["paper", "released"])
def test_what_we_added_is_off_in_paper_and_released(preset):
    settings = resolve(PRESETS[preset]).settings
    method = settings.method
    added = [method.mask_own_keys, method.batch_negatives, method.tq_negatives]
    assert added == [False] * 3
    assert settings.data.moments == 1
    assert settings.augment.crop == "fixed"
    assert settings.model.standardise == "none"
    assert settings.model.degree_input == "pair"
    assert settings.optim.clip_gradient is None
    assert settings.run.precision == "float32"


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("method", [None, *ABLATIONS])
def test_every_preset_and_method_resolves(preset, method):
    resolved = resolve(PRESETS[preset], ablation=ablation(method, PRESETS[preset]) if method else None)
    assert resolved.settings.preset == preset
    changed = differences(resolve(PRESETS[preset]).settings, resolved.settings)
    assert all(key.startswith("method.") for key in changed)


# Tables 1 and 2: twin, features into the contrast head, T, copy of T, keys a clip, pairs, degree loss counts
ROWS = {
    "sdp": (True, None, False, False, 0, 0, True),
    "sdp*": (True, None, False, False, 0, 0, True),
    "v-moco": (False, 32, False, False, 1, 1, False),
    "sdp+v-moco": (True, 64, False, False, 1, 1, True),
    "v-moco+t": (True, 64, True, True, 2, 4, False),
    "pairs2": (True, 64, True, False, 1, 2, True),
    "pairs3": (True, 64, True, True, 2, 3, True),
    "cacl": (True, 64, True, True, 2, 4, True),
}


def batch(T: int, size=4) -> MethodBatch:
    rng = np.random.default_rng(0)
    views = tuple(torch.from_numpy(rng.random((size, 3, T, 32, 32))).float() for _ in range(2))
    permutations = np.stack([uniform_permutation(T, rng) for _ in range(size)])
    degrees = torch.tensor([degree_class(shuffle_degree(p)) for p in permutations])
    targets = {"permutation": torch.from_numpy(permutations), "degree": degrees}
    return MethodBatch(views, targets, torch.arange(size), torch.from_numpy(rng.random((size, 2000))).float())


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", ROWS)
def test_each_row_of_tables_1_and_2_builds_and_is_what_the_table_says(name, preset):
    twin, head, transformer, copy_of_it, keys, pairs, degree_counts = ROWS[name]
    network = "r3d10" if preset == "released" else PRESETS[preset]["model"]["network"]  # r3d34 takes long
    row = ablation(name, PRESETS[preset])
    resolved = resolve(PRESETS[preset], ablation=row, assignments=(*TINY, f"model.network={network}"))
    settings = resolved.settings
    assert settings.wants_frame_encoder is transformer
    frame_encoder = build_frames_network(settings, weights=None) if transformer else None
    method = build_method(settings, network=initial_network(settings), frame_encoder=frame_encoder, videos=4)
    method.train()
    output = method(batch(settings.data.frames))
    output.losses["main"].backward()
    assert torch.isfinite(output.losses["main"])
    assert all(torch.isfinite(p.grad).all() for p in method.parameters() if p.grad is not None)
    assert method.twin is twin
    assert len(method.pairs) == pairs
    assert (method.transformer is not None) is transformer
    assert (method.key_transformer is not None) is copy_of_it
    assert (method.queue is not None) is (keys > 0)
    assert sum(len(rows) for rows in output.state.values()) == keys * 4
    assert ("nce" in output.terms) is (pairs > 0)
    assert ("degree_loss" in output.terms) is twin
    first = next(iter(method.query.contrast.parameters()))
    assert head is None or first.shape[1] == head
    learns = method.degree.fc7.weight.grad is not None and bool(method.degree.fc7.weight.grad.abs().sum() > 0)
    assert learns is degree_counts
    assert (method.degree.sampling == "permutation") is (name == "sdp*")


def test_cacl_is_the_default_method_of_paper_and_table_1_row_4_is_table_2_row_1():
    assert resolve(PAPER).settings == resolve(PAPER, ablation=ablation("cacl", PAPER)).settings
    assert ABLATIONS["sdp+v-moco"]["method.pairs"] == ABLATIONS["pairs2"]["method.pairs"][:1]
    assert set(ROWS) == set(ABLATIONS)


def test_initial_weights_are_a_function_of_the_seed():
    one, same, other = (
        initial_network(resolve(PAPER, assignments=(*TINY, f"run.seed={seed}")).settings) for seed in (1, 1, 2)
    )
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(next(one.parameters()), next(other.parameters()))


@pytest.mark.parametrize(("preset", "weight"), [("paper", 1.0), ("released", 1.0), ("small", 2.0)])
def test_rows_that_learn_the_degree_keep_the_presets_weight(preset, weight):
    weights = {name: ablation(name, PRESETS[preset])["method.degree_weight"] for name in ABLATIONS}
    assert {name for name, found in weights.items() if found == 0} == {"v-moco", "v-moco+t"}
    assert {found for found in weights.values() if found} == {weight}
