"""CACL's step against a slow literal transcription.

The transcription works in float64 on the method's own layers, but puts them together by itself: it builds the twin
frame by frame, encodes all 2T frames of clip and twin, and sums over pairs and keys in loops.
"""

from __future__ import annotations

import pytest
import torch

from cacl.methods.contract import MethodBatch
from cacl.methods.permute import permute_frames, permute_tokens

ALL = ("gq_gk", "gq_tq", "gq_tk", "tq_tk")


def unit(v):
    return v / torch.sqrt((v * v).sum())


def literal_twin(x, permutation):
    return torch.stack([torch.stack([x[b, :, permutation[b, t]] for t in range(x.shape[2])], 1) for b in range(len(x))])


def literal_head(head, rows):
    if isinstance(head, torch.nn.Linear):
        return torch.stack([unit(head.weight @ row + head.bias) for row in rows])
    return torch.stack([unit(row) for row in head(torch.stack(rows))])  # BatchNorm needs them all


def literal_standard(x, kind):
    """Clips standardised one by one, ``clip``: mean and deviation of all pixels; ``motion``: of what moves."""
    out = []
    for clip in x:
        mean_frame = sum(clip[:, t] for t in range(clip.shape[1]))[:, None] / clip.shape[1]
        centred = clip - (clip.mean() if kind == "clip" else mean_frame)
        deviation = torch.sqrt(((centred - centred.mean()) ** 2).mean())
        out.append(centred / (deviation + (0.05 if kind == "clip" else 0.02)))
    return torch.stack(out)


def literal_g(encoder, x, permutation, *, swapped):
    """Gq or Gk: clip and twin through G, side by side through the head."""
    if encoder.standardise != "none":
        x = literal_standard(x, encoder.standardise)
    if permutation is not None and encoder.one_pass:
        both = encoder.network(torch.cat([x, literal_twin(x, permutation)]))
        sides = (both[len(x) :], both[: len(x)]) if swapped else (both[: len(x)], both[len(x) :])
        pair = both[: len(x)], both[len(x) :]
        return literal_head(encoder.contrast, [torch.cat([a, b]) for a, b in zip(*sides, strict=True)]), pair
    if permutation is None:
        rows = list(encoder.network(x))
        return literal_head(encoder.contrast, rows), (rows,)
    clip = encoder.network(x)
    twin = encoder.network(literal_twin(x, permutation))
    sides = (twin, clip) if swapped else (clip, twin)
    return literal_head(encoder.contrast, [torch.cat([a, b]) for a, b in zip(*sides, strict=True)]), (clip, twin)


def literal_t(transformer, frame_encoder, x, permutation, *, swapped, standardise):
    """Tq or Tk: every frame of clip and of twin encoded for itself."""
    if standardise != "none":  # frame by frame
        x = torch.stack([literal_standard(x[:, :, t : t + 1], "clip")[:, :, 0] for t in range(x.shape[2])], dim=2)
    twin = literal_twin(x, permutation)
    out = []
    for b in range(len(x)):
        frames = [*twin[b].unbind(1), *x[b].unbind(1)] if swapped else [*x[b].unbind(1), *twin[b].unbind(1)]
        with torch.no_grad():
            features = frame_encoder(torch.stack(frames))
        out.append(unit(transformer(transformer.frame_embed(features)[None])[0]))
    return torch.stack(out)


def literal_degree(head, clip, twin, uniforms, degrees):
    """Eq. 6 with its head, dropout from the numbers given."""
    rows = torch.cat([clip, twin], 1)
    if head.input == "ratio":
        rows = torch.cat([torch.log(clip + 0.02), torch.log((twin + 0.02) / (clip + 0.02))], 1)
        rows = (rows - rows.mean(0)) / torch.sqrt(((rows - rows.mean(0)) ** 2).mean(0) + 1e-5)
    loss = 0.0
    for b in range(len(rows)):
        hidden = head.fc7.weight @ rows[b] + head.fc7.bias
        hidden = torch.where(hidden > 0, hidden, 0 * hidden)
        keep = [0.0 if u < head.dropout else 1 / (1 - head.dropout) for u in uniforms[b].tolist()]
        h = head.fc8.weight @ (hidden * torch.tensor(keep, dtype=hidden.dtype)) + head.fc8.bias
        loss = loss - torch.log(torch.exp(h[degrees[b]]) / torch.exp(h).sum())
    return loss / len(rows)


def literal_nce(method, e, videos):
    """Eq. 3 and 4, or the mean of logarithms, with the negatives that the settings leave in."""

    def below(query, b):
        negatives = []
        for key, video in zip(method.queue.keys, method.queue.videos.tolist(), strict=True):
            if not (method.mask_own_keys and video == videos[b]):
                negatives.append(torch.dot(query, key))
        if method.batch_negatives:
            for other in range(len(videos)):
                for name in ("gk", "tq", "tk"):
                    if videos[other] != videos[b] and name in e:
                        negatives.append(torch.dot(query, e[name][other]))
        return sum(torch.exp(n / tau) for n in negatives)

    loss, tau, own = 0.0, method.temperature, method.tq_negatives and "tq_tk" in method.pairs
    for b in range(len(videos)):
        above = {p: torch.exp(torch.dot(e[p[:2]][b], e[p[3:]][b]) / tau) for p in method.pairs}
        if own:
            t = above.pop("tq_tk")
            loss = loss - torch.log(t / (t + below(e["tq"][b], b))) / len(method.pairs)
        rest, share = list(above.values()), len(above) / len(method.pairs)
        if method.loss == "inside":
            loss = loss - share * torch.log(sum(rest) / (sum(rest) + below(e["gq"][b], b)))
        else:
            loss = loss - share * sum(torch.log(a / (a + below(e["gq"][b], b))) for a in rest) / len(rest)
    return loss / len(videos)


def literal_step(method, batch):
    q, k = 0, 1
    permutation = batch.targets["permutation"] if method.twin else None
    videos = batch.video.tolist()
    swapped = method.swapped
    kind = {"standardise": method.query.standardise}
    e, terms = {}, {}
    e["gq"], features = literal_g(method.query, batch.views[q], permutation, swapped=False)
    if method.pairs:
        with torch.no_grad():
            e["gk"], _ = literal_g(method.key, batch.views[k], permutation, swapped=swapped)
        if any("tq" in p for p in method.pairs):
            x = batch.views[q]
            e["tq"] = literal_t(method.transformer, method.frame_encoder, x, permutation, swapped=False, **kind)
        if any("tk" in p for p in method.pairs):
            with torch.no_grad():
                e["tk"] = literal_t(
                    method.key_transformer, method.frame_encoder, batch.views[k], permutation, swapped=swapped, **kind
                )
        terms["nce"] = literal_nce(method, e, videos)
    if method.twin:
        uniforms = batch.uniforms[:, : method.degree.hidden]
        terms["degree_loss"] = literal_degree(method.degree, *features, uniforms, batch.targets["degree"])
    return terms, terms.get("nce", 0.0) + method.degree_weight * terms.get("degree_loss", 0.0)


@pytest.fixture
def double(monkeypatch):
    """Everything in float64: what is brought to float32 against 16-bit rounding stays as it is."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)

    def convert(method, batch):
        views = tuple(view.double() for view in batch.views)
        return method.double(), MethodBatch(views, batch.targets, batch.video, batch.uniforms)

    return convert


CASES = {
    "cacl": {},
    "released": {"loss": "outside", "key_order": "swapped", "degree_weight": 0.0},
    "swapped": {"key_order": "swapped"},
    "outside": {"loss": "outside"},
    "lambda": {"degree_weight": 0.3, "temperature": 0.2},
    "pairs 1": {"pairs": ALL[:1]},
    "pairs 2": {"pairs": ALL[:2]},
    "pairs 2 swapped": {"pairs": ALL[:2], "key_order": "swapped"},
    "pairs 3": {"pairs": ALL[:3]},
    "pairs 3 outside": {"pairs": ALL[:3], "loss": "outside"},
    "degree only": {"pairs": ()},
    "v-moco": {"twin": False, "pairs": ALL[:1], "degree_weight": 0.0},
    "no degree loss": {"degree_weight": 0.0},
    "own keys masked": {"mask_own_keys": True},
    "batch negatives": {"batch_negatives": True},
    "both": {"mask_own_keys": True, "batch_negatives": True, "loss": "outside"},
    "Tq's negatives": {"tq_negatives": True},
    "Tq's negatives, all": {"tq_negatives": True, "mask_own_keys": True, "batch_negatives": True, "loss": "outside"},
    "Tq's negatives, pairs 3": {"tq_negatives": True, "pairs": ALL[:3]},
    "both, no T": {"mask_own_keys": True, "batch_negatives": True, "twin": False, "pairs": ALL[:1], "degree_weight": 0},
    "ratio": {"degree_input": "ratio", "degree_dropout": 0.0},
    "one pass": {"one_pass": True, "key_order": "swapped"},
    "clip": {"standardise": "clip"},
    "motion": {"standardise": "motion", "one_pass": True, "degree_input": "ratio", "degree_dropout": 0.0},
    "mlp": {"projection": "mlp"},
}


@pytest.mark.parametrize("name", CASES)
def test_the_whole_step_is_its_literal_transcription(name, double, make_method, make_batch):
    method = make_method(queue_videos=[0, 2, 2, 7, 5, 0], **CASES[name])
    method, batch = double(method, make_batch(videos=[5, 2, 5, 0]))
    output = method(batch)
    expected, total = literal_step(method, batch)
    assert set(output.terms) == set(expected)
    assert output.losses["main"].item() == pytest.approx(total.item(), abs=1e-9)
    for term in expected:
        assert output.terms[term].item() == pytest.approx(expected[term].item(), abs=1e-9)
    wanted = [p for p in method.parameters() if p.requires_grad]
    found = torch.autograd.grad(output.losses["main"], wanted, allow_unused=True)
    right = torch.autograd.grad(total, wanted, allow_unused=True)
    for pair in zip(found, right, strict=True):
        a, b = (torch.zeros(1) if g is None else g for g in pair)
        assert (a - b).abs().max() <= 1e-6 * max(1.0, b.abs().max().item())


def test_keys_are_gk_then_tk_unit_and_without_gradient(make_method, make_batch):
    method, batch = make_method(key_order="swapped"), make_batch(videos=[3, 1, 3, 9])
    state = method(batch).state
    assert list(state) == ["gk", "tk"]
    keys = torch.cat(list(state.values()))
    assert keys.shape == (8, 128)
    assert not keys.requires_grad
    torch.testing.assert_close(keys.norm(dim=1), torch.ones(8))
    gk, _ = literal_g(method.key, batch.views[1], batch.targets["permutation"], swapped=True)
    tk = literal_t(
        method.key_transformer,
        method.frame_encoder,
        batch.views[1],
        batch.targets["permutation"],
        swapped=True,
        standardise="none",
    )
    torch.testing.assert_close(keys, torch.cat([gk, tk]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("pairs", [ALL[:1], ALL[:2]])
def test_without_tk_only_gk_is_queued(pairs, make_method, make_batch):
    output = make_method(pairs=pairs)(make_batch())
    assert {name: len(value) for name, value in output.state.items()} == {"gk": 4}


def test_tokens_of_the_twin_are_the_clips_permuted(make_method, make_batch):
    method, batch = make_method(), make_batch()
    method.train()
    x, permutation = batch.views[0], batch.targets["permutation"]
    own = method.transformer.embed(method.frame_encoder(x.transpose(1, 2).flatten(0, 1)).view(4, 16, -1))
    frames = literal_twin(x, permutation).transpose(1, 2).flatten(0, 1)
    encoded = method.transformer.embed(method.frame_encoder(frames).view(4, 16, -1))
    torch.testing.assert_close(permute_tokens(own, permutation), encoded, rtol=0, atol=1e-6)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d])
def test_the_twin_is_the_clip_frame_by_frame_in_its_own_layout(memory_format, make_batch):
    batch = make_batch()
    x = batch.views[0].contiguous(memory_format=memory_format)
    twin = permute_frames(x, batch.targets["permutation"])
    assert torch.equal(twin, literal_twin(x, batch.targets["permutation"]))
    assert twin.is_contiguous(memory_format=memory_format)
