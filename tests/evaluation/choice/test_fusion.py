"""Weight, centring and whitening without labels, and the verdict: on made vectors, where the right answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cacl.evaluation.choice.fusion import (
    WEIGHTS,
    _flat,
    _fused,
    _nearest_to_equal,
    _products,
    choose_fusion,
    fit_map,
)
from cacl.evaluation.choice.moments import Moments
from cacl.evaluation.choice.verdict import decide

GROUPS = [f"video {i}" for i in range(60)]


def vectors(content: np.ndarray, noise: float, *, offset: float = 0.0, seed: int = 0) -> Moments:
    rng = np.random.default_rng(seed)
    shape = (len(content), 4, content.shape[1])
    plain, changed = (
        (content[:, None] + noise * rng.standard_normal(shape) + offset).astype(np.float32) for _ in range(2)
    )
    return Moments(plain, changed, np.arange(len(content)))


def codes(width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((60, width))


def test_a_part_that_knows_nothing_gets_next_to_no_weight_and_a_good_one_gets_some():
    nothing, good, image = vectors(np.zeros((60, 8)), 1), vectors(codes(8, 1), 0.7), vectors(codes(8, 2), 0.7, seed=3)
    assert choose_fusion(nothing, image, groups=GROUPS).weight <= 0.3
    both = choose_fusion(good, image, groups=GROUPS)
    assert 0.6 <= both.weight <= 1.5
    assert both.found[both.weight] > both.found[0.0] + 5
    assert both.ways == ("centred", "centred")
    assert not both.by_labels


def test_a_common_offset_is_centred_away_and_whitening_is_taken_where_it_pays():
    """Large directions that say nothing of the video hide it, until all directions count alike."""
    image = vectors(codes(8, 1), 0.7, offset=30)
    content = codes(12, 2)
    loud = vectors(content, 0.3, seed=4)
    rng = np.random.default_rng(5)
    for each in (loud.plain, loud.changed):
        each[..., :3] = 12 * rng.standard_normal((60, 4, 3))
    chosen = choose_fusion(loud, image, groups=GROUPS)
    assert chosen.ways == ("whitened", "centred")
    np.testing.assert_allclose(chosen.mapped[1].centre, image.plain.mean(axis=(0, 1)), rtol=1e-5)
    assert choose_fusion(image, loud, groups=GROUPS).ways == ("centred", "centred")


@pytest.mark.parametrize("way", ["centred", "whitened"])
def test_a_part_has_length_1_on_average(way):
    data = vectors(codes(6, 0) * np.array([10, 5, 2, 1, 1, 1]), 0.1, offset=3)
    mapped = fit_map(data.plain, way)
    made = mapped(torch.from_numpy(data.plain.reshape(-1, 6)))
    assert float(made.square().sum(dim=1).mean()) == pytest.approx(1, rel=1e-5)
    lengths = made.norm(dim=1)
    assert lengths.max() > 1.5 * lengths.min()  # what is unusual stays so
    assert float(fit_map(np.ones((3, 4, 6), np.float32), way).length) == 1


def test_the_cosines_that_choose_are_those_of_the_fused_vectors():
    own, image = vectors(codes(8, 1), 0.7), vectors(codes(5, 2), 0.7, seed=3)
    maps = [fit_map(each.plain, "centred") for each in (own, image)]
    found = _fused(*(_products(each, "centred") for each in (own, image)), 0.6)
    changed, plain = (
        np.concatenate([0.6 * _flat(maps[0], getattr(own, name)), _flat(maps[1], getattr(image, name))], axis=1)
        for name in ("changed", "plain")
    )
    expected = changed @ plain.T / np.outer(np.linalg.norm(changed, axis=1), np.linalg.norm(plain, axis=1))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_whitening_makes_all_directions_alike():
    data = vectors(codes(6, 0) * np.array([10, 5, 2, 1, 1, 1]), 0.1)
    mapped = fit_map(data.plain, "whitened")
    flat = torch.from_numpy(data.plain.reshape(-1, 6)) - mapped.centre
    white = (flat @ mapped.whitening).numpy()
    covariance = white.T @ white / len(white)
    np.testing.assert_allclose(covariance, np.diag(np.diag(covariance)), atol=1e-4)
    assert np.diag(covariance).max() <= 1 + 1e-4


def test_what_labels_would_have_chosen_is_told_but_chooses_nothing():
    labels = [f"class {i % 5}" for i in range(60)]
    content = codes(8, 1)
    told = choose_fusion(vectors(content, 0.7), vectors(codes(8, 2), 0.7), groups=GROUPS, labels=labels)
    silent = choose_fusion(vectors(content, 0.7), vectors(codes(8, 2), 0.7), groups=GROUPS)
    assert told.weight == silent.weight
    assert set(told.by_labels) == {"weight", "R@1 there", "R@1 here", "R@1 of image alone"}
    assert told.by_labels["R@1 there"] >= told.by_labels["R@1 here"]


def right(own: float, frozen: float, fused: float, count: int = 400) -> dict:
    rng = np.random.default_rng(0)
    draw = rng.random(count)
    return {n: (draw < p).astype(float) for n, p in (("own", own), ("frozen", frozen), ("fused", fused))}


def test_the_best_is_used_with_its_interval():
    verdict = decide(right(0.4, 0.6, 0.8), [str(i) for i in range(400)], by="R@1")
    assert verdict.use == "fused"
    mean, low, high = verdict.differences["fused - frozen"]
    assert 0 < low < mean < high
    assert verdict.sentence.startswith("Use both, fused for these videos: R@1 fused 75.2, frozen 56.2, own 35.8 (")
    assert f"{mean:+.1f} points to frozen, 95 % interval {low:+.1f} to {high:+.1f}" in verdict.sentence
    assert "without labels" not in verdict.sentence
    assert "without labels" in decide(right(0.4, 0.6, 0.8), ["a", "b"] * 200, by="other moments").sentence


def test_what_cannot_be_told_apart_is_decided_by_its_cost():
    rng = np.random.default_rng(1)
    same = {name: (rng.random(50) < 0.5).astype(float) for name in ("own", "frozen", "fused")}
    groups = [str(i // 5) for i in range(50)]
    best = max(same, key=lambda name: same[name].mean())
    assert decide(same, groups, by="R@1").use == best
    for cheap in same:
        cost = {name: 9.0 if name == cheap else 30.0 for name in same}
        assert decide(same, groups, by="R@1", cost=cost).use == cheap
        assert f"{cheap} 9 ms" in decide(same, groups, by="R@1", cost=cost).sentence
        assert decide(same, groups, by="R@1", cost={**cost, cheap: 20.0}).use == best
    with pytest.raises(KeyError):
        decide({"own": same["own"]}, groups, by="R@1")


@pytest.mark.parametrize(("without", "expected"), [(0.3, 0.85), (0.505, 0.4)])
def test_of_weights_that_cannot_be_told_apart_the_most_equal_is_taken(without: float, expected: float):
    """.4 finds most, .85 as much but for noise, 1 and more clearly less; where 0 finds as much, nothing is changed."""
    rng = np.random.default_rng(0)
    ways = ("centred", "centred")
    means = dict.fromkeys(WEIGHTS, 0.2) | {0.0: without, 0.4: 0.51, 0.85: 0.505, 1.0: 0.4}
    ranks = {(ways, w): mean + 0.05 * rng.standard_normal(60) for w, mean in means.items()}
    for w in (0.4, 0.85, 0.0):
        ranks[ways, w] += means[w] - ranks[ways, w].mean()
    assert _nearest_to_equal(ranks, (ways, 0.4), GROUPS) == expected


def test_the_sentence_names_the_best_alone_as_what_the_choice_cannot_be_told_from() -> None:
    """Which of the three lies between them may be told apart, and may cost less than twice as much."""
    own = np.tile([0.0, 1.0], 30)
    frozen = np.where(np.arange(60) < 12, 1.0, own)  # never worse than the own one, clearly better
    fused = np.random.default_rng(0).permutation(np.repeat([0.0, 1.0], [22, 38]))
    found: dict = {"own": own, "frozen": frozen, "fused": fused}
    verdict = decide(found, [str(i) for i in range(60)], by="R@1", cost={"own": 40.0, "frozen": 60.0, "fused": 100.0})
    assert verdict.use == "own"
    assert verdict.scores["own"] < verdict.scores["frozen"] < verdict.scores["fused"]
    assert verdict.differences["frozen - own"][1] > 0 > verdict.differences["fused - own"][1]
    assert "It cannot be told apart from fused here, and costs at most half of it." in verdict.sentence
