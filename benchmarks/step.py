"""One training step against the released code's structure, whole and by part: ``python benchmarks/step.py``.

Both compute the same losses, keys and weights (checked in float32 before any timing). Then each saving is switched off
in turn. On a CPU by processor time of one thread; with ``--cuda`` by the clock, waiting for the GPU.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
from harness import Timing, agree, arguments, header, in_turns, table, target, targets
from our_step import DECAY, LAPTOP, LR, PARTS, TINY, Ours, Size, Variant, build, there
from released_step import ReleasedStep
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from cacl.machine.auto import set_deterministic, set_tf32
from cacl.machine.precision import choose_precision
from cacl.methods.cacl import CACL
from cacl.methods.contract import MethodBatch
from cacl.training.pretrain import resolve_settings
from cacl.training.wiring import initial_network

PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12}  # dense bfloat16, by the makers' data sheets


def sizes(chosen: argparse.Namespace) -> list[Size]:
    if chosen.quick:
        return [Size("tiny R3D-10", {**TINY, "model.network": "r3d10", "method.queue_size": 64}, 4)]
    if chosen.cuda:
        return [Size(f"{name} at 112", {"model.network": name.lower()}, 64) for name in ("C3D", "R3D34")]
    return [
        Size("R3D-10 at 112, ResNet-50 (paper's sizes)", {"model.network": "r3d10"}, 2),
        Size("R3D-10 of width 16 at 56, ResNet-18 of width 16 (laptop)", {**LAPTOP, "model.network": "r3d10"}, 16),
    ]


def released_parts(released: ReleasedStep, batch: MethodBatch) -> dict[str, Callable[[], object]]:
    """The released structure cut into the same parts."""
    device, B = batch.video.device, len(batch.video)
    q, k = released.stacked(batch, 0), released.stacked(batch, 1)
    pair = torch.rand(B, released.encoder_q.fc7.in_features, device=device, requires_grad=True)
    width = released.encoder_transformer.transformer.frame_embed.in_features
    tokens = torch.randn(B, 2 * q.shape[3], width, device=device)
    units = [nn.functional.normalize(torch.randn(B, 128, device=device), dim=1) for _ in range(3)]

    def query() -> None:
        released.encoder_q.pair(released.stacked(batch, 0)).sum().backward()  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def keys() -> None:
        released.encoder_k.pair(released.stacked(batch, 1))

    @torch.no_grad()
    def frames() -> None:
        released.encoder_transformer.frame_features(q)
        released.encoder_transformer_k.frame_features(k)

    def attention() -> None:
        released.encoder_transformer.attend(tokens).sum().backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            released.encoder_transformer_k.attend(tokens)

    def losses() -> None:
        gq, logits = released.encoder_q.heads(pair, batch.uniforms)
        embeddings = {"gq": gq, "gk": units[0], "tq": units[1], "tk": units[2]}
        contrast, degree = released.losses(embeddings, logits, batch.targets["degree"])
        (contrast + degree).backward()  # type: ignore[no-untyped-call]

    works = (query, keys, frames, attention, losses, released.momentum_update, released.optimizer.step)
    return dict(zip(PARTS, works, strict=True))


def forgetting(ours: Ours) -> Callable[[], object]:
    """A step that leaves no gradients behind: those of all variants at once take gigabytes at the paper's sizes."""

    def work() -> None:
        ours.step()
        ours.optimizer.zero_grad(set_to_none=True)

    return work


def deterministic(step: Callable[[], object]) -> Callable[[], object]:
    """The same step under ``run.deterministic``."""

    def work() -> None:
        set_deterministic(True)
        step()
        set_deterministic(False)

    return work


def check(method: CACL, batch: MethodBatch, most: float) -> None:
    """Both in float32: the gradient of G, and losses and keys of two steps, agree to within ``most``.

    Not the second gradient: BatchNorm over two clips makes a difference of 1e-8 in the weights one of 5e-3 in it.
    """
    ours = Ours(method, batch, Variant(channels_last=False, low=False), None)
    released = ReleasedStep(method, lr=LR, weight_decay=DECAY)
    for number in (1, 2):
        theirs, scalars = released.step(batch), ours.step().scalars
        for name in ("nce", "degree_loss"):
            agree(f"step {number}, {name}, released and ours", abs(theirs[name] - scalars[name].item()), most)
        if number == 1:
            a, b = _gradient(ours.method.query.network), _gradient(released.encoder_q.base_network)
            agree("gradient of G, 2-norm of the difference over its own", float((a - b).norm() / b.norm()), most)
    keys = (there(ours.method.queue).keys - released.queue.T).abs().max().item()
    agree("keys after two steps", keys, most)


def _gradient(network: nn.Module) -> Tensor:
    return torch.cat([there(p.grad).flatten() for p in network.parameters()])


def measure(size: Size, chosen: argparse.Namespace, dtype: torch.dtype | None) -> list[list[object]]:
    """Print the tables of one size; its rows of the table of targets."""
    method, batch, augmentation = build(size, chosen)
    set_tf32(False)
    check(method, batch, 2e-3 if chosen.cuda else 1e-5)  # cuDNN takes another algorithm for another layout
    print()
    rounds = 1 if chosen.quick else 3 if size.batch > 4 else 2  # at the paper's sizes a round takes half a minute
    timing: dict[str, Any] = {"rounds": rounds}
    if chosen.cuda:
        timing |= {"rounds": 10, "warm": 3, "clock": time.perf_counter, "finish": torch.cuda.synchronize}
    set_tf32(chosen.cuda)
    released = ReleasedStep(method, lr=LR, weight_decay=DECAY)
    low = str(dtype).removeprefix("torch.")
    variants = {
        f"all on ({low}, channels last, frame reuse)": Variant(),
        "without frame reuse": Variant(reuse=False),
        "without channels last": Variant(channels_last=False),
        f"without {low}: float32": Variant(low=False),
        "float32, frame reuse alone": Variant(low=False, channels_last=False),
        "all on, clip and twin in one pass": Variant(one_pass=True),
        "all on, activations checkpointed": Variant(checkpointed=True),
    }
    ours = {name: Ours(method, batch, variant, dtype) for name, variant in variants.items()}
    works: dict[str, Callable[[], object]] = {"released structure, float32": lambda: released.step(batch)}
    works |= {name: forgetting(one) for name, one in ours.items()}
    works["all on, deterministic"] = deterministic(works[next(iter(variants))])
    whole = in_turns({**works, "augmentation of both views": augmentation}, **timing)
    base = whole["released structure, float32"].median
    rows = [[n, t.median, t.spread, t.median / size.batch, base / t.median] for n, t in whole.items()]
    table(f"{size.name}, batch {size.batch}: a step", ("", "s", "spread", "s a clip", "x released"), rows)
    names = list(variants)
    _by_part(size, released, batch, ours[names[4]], ours[names[0]], timing)
    if chosen.cuda:
        _utilisation(ours[names[0]], whole[names[0]], timing)
    augment_share = whole["augmentation of both views"].median / whole[names[0]].median
    return [
        target(f"{size.name}: float32, channels last, frame reuse", base / whole[names[3]].median, 1.2),
        target(f"{size.name}: default precision", base / whole[names[0]].median, 4.0 if chosen.cuda else 2.5),
        target(f"{size.name}: augmentation's share", augment_share, 0.03 if chosen.cuda else 0.05, most=True),
    ]


def _by_part(
    size: Size, released: ReleasedStep, batch: MethodBatch, plain: Ours, fast: Ours, timing: dict[str, Any]
) -> None:
    columns = {"released": released_parts(released, batch), "float32": plain.parts(), "all on": fast.parts()}
    works = {(part, name): parts[part] for part in PARTS for name, parts in columns.items()}
    found = in_turns({f"{part}|{name}": work for (part, name), work in works.items()}, **timing)
    ms = {part: [1000 * found[f"{part}|{name}"].median for name in columns] for part in PARTS}
    ms["sum"] = [sum(column) for column in zip(*ms.values(), strict=True)]
    rows = [[part, *three, three[0] / three[2]] for part, three in ms.items()]
    title = f"{size.name}: parts of a step, ms"
    table(title, ("part", "released", "ours, float32", "ours, all on", "released / all on"), rows)


def _utilisation(ours: Ours, whole: Timing, timing: dict[str, Any]) -> None:
    query = ours.parts()[PARTS[0]]
    with FlopCounterMode(display=False) as counter:
        query()
    seconds = in_turns({"query": query}, **timing)["query"].median
    rate = counter.get_total_flops() / seconds
    peak = next((p for name, p in PEAKS.items() if name in torch.cuda.get_device_name()), None)
    share = f", {100 * rate / peak:.0f} % of the card's dense bfloat16 peak" if peak else ""
    print(f"G query: {counter.get_total_flops() / 1e12:.1f} TFLOP a step, {rate / 1e12:.0f} TFLOP/s{share};")
    print(f"UCF101 split 1 (9537 clips an epoch): {9537 / len(ours.batch.video) * whole.median:.0f} s of steps.\n")


def c3d_share(chosen: argparse.Namespace, dtype: torch.dtype | None) -> list[object]:
    """The paper's C3D at 112: what augmentation takes of its step, with every saving on."""
    method, batch, augmentation = build(Size("C3D", {"model.network": "c3d"}, 2), chosen)
    ours = Ours(method, batch, Variant(), dtype)
    found = in_turns({"step": ours.step, "augmentation": augmentation}, rounds=1)
    name = "C3D at 112, batch 2: augmentation's share"
    return target(name, found["augmentation"].median / found["step"].median, 0.05, most=True)


def main() -> None:
    chosen = arguments(__doc__)
    clock = "clock time, GPU waited for" if chosen.cuda else "processor time, in turns"
    header("A training step", chosen, clock=clock)
    if chosen.cuda:  # cuBLAS is told of it before its first product, or never
        set_deterministic(True)
        set_deterministic(False)
    probe = initial_network(resolve_settings(preset="released", assignments=["model.network=r3d10"]).settings)
    device = "cuda" if chosen.cuda else "cpu"
    choice = choose_precision("auto", [(probe.to(device), (2, 3, 16, 112, 112))], device=device)
    print(f"- default precision: {choice.why}")
    rows = [row for size in sizes(chosen) for row in measure(size, chosen, choice.dtype)]
    if not chosen.quick and not chosen.cuda:
        rows.append(c3d_share(chosen, choice.dtype))
    targets(rows, chosen)


if __name__ == "__main__":
    main()
