from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from cacl.evaluation.similarity import pair_cosines, pair_similarity
from cacl.methods.contract import Method, MethodBatch


def unit(rows, seed):
    return torch.nn.functional.normalize(torch.randn(rows, 7, generator=torch.Generator().manual_seed(seed)), dim=1)


def cosine(a, b):
    """Of two vectors, number by number."""
    dot = sum(float(x) * float(y) for x, y in zip(a, b, strict=True))
    return dot / (sum(float(x) ** 2 for x in a) * sum(float(y) ** 2 for y in b)) ** 0.5


def test_cosines_are_those_of_a_literal_loop():
    a, b, video = unit(6, 0), unit(6, 1), [0, 0, 1, 1, 1, 2]
    found = pair_cosines(a, b, torch.tensor(video))
    np.testing.assert_allclose(found.positive, [cosine(a[i], b[i]) for i in range(6)], atol=1e-6)
    others = [cosine(a[i], b[j]) for i, j in itertools.product(range(6), range(6)) if video[i] != video[j]]
    np.testing.assert_allclose(found.unrelated, others, atol=1e-6)
    numbers = found.numbers()
    assert numbers["mean"] == pytest.approx(np.mean(found.positive), abs=1e-6)
    assert numbers["unrelated deviation"] == pytest.approx(np.std(others), abs=1e-6)


def test_batches_are_put_together():
    """Two batches of unequal size give what one batch of all clips gives."""
    vectors = {name: unit(5, seed) for seed, name in enumerate(("gq", "gk", "tq"))}
    video = torch.tensor([0, 1, 1, 2, 3])

    class Fixed(Method):
        def embeddings(self, batch):
            rows = batch.views[0][:, 0, 0, 0, 0].long()
            return {name: values[rows] for name, values in vectors.items()}

    def batch(rows):
        x = torch.tensor(rows).float().view(-1, 1, 1, 1, 1)
        return MethodBatch((x,), {}, video[rows], torch.zeros(len(rows), 1))

    found = pair_similarity(Fixed(), [batch([0, 1, 2]), batch([3, 4])])
    assert list(found.pairs) == ["gq_gk", "gq_tq"]  # no Tk: no pairs with it
    assert (found.clips, found.videos) == (5, 4)
    whole = pair_cosines(vectors["gq"], vectors["tq"], video)
    np.testing.assert_array_equal(found.pairs["gq_tq"].positive, whole.positive)
    np.testing.assert_array_equal(found.pairs["gq_tq"].unrelated, whole.unrelated)


def test_two_clips_of_methods_without_a_copy_are_a_pair():
    class Fixed(Method):
        def embeddings(self, batch):
            return {"first": unit(3, 0), "second": unit(3, 1)}

    batch = MethodBatch((torch.zeros(3, 1, 1, 1, 1),), {}, torch.arange(3), torch.zeros(3, 1))
    found = pair_similarity(Fixed(), [batch])
    assert list(found.pairs) == ["first_second"]
    np.testing.assert_allclose(found.pairs["first_second"].positive, (unit(3, 0) * unit(3, 1)).sum(1), atol=1e-6)


def test_collapsed_embeddings_show_beside_the_unrelated():
    same = torch.ones(4, 1)
    numbers = pair_cosines(same, same, torch.arange(4)).numbers()
    assert numbers["mean"] == numbers["unrelated mean"] == 1
    assert numbers["deviation"] == 0


def test_one_video_has_nothing_unrelated():
    cosines = pair_cosines(unit(3, 0), unit(3, 1), torch.zeros(3, dtype=torch.int64))
    assert set(cosines.numbers()) == {"mean", "deviation"}
