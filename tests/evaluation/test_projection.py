from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

from cacl.errors import UserError
from cacl.evaluation import projection as module
from cacl.evaluation.projection import check_projection, project


def clouds(seed=0, each=12, width=20):
    """Three groups far apart, stretched in two directions."""
    rng = np.random.default_rng(seed)
    centres = 5 * rng.normal(size=(3, 1, width))
    return (centres + rng.normal(size=(3, each, width)) * np.linspace(3, 0.1, width)).reshape(-1, width).astype("f4")


def test_pca_is_that_of_scikit_learn_and_of_the_covariance_matrix():
    x = clouds()
    found = project(x, "pca")
    model = PCA(2, svd_solver="full").fit(x.astype(float))
    expected = model.transform(x.astype(float))
    np.testing.assert_allclose(np.abs(found.points), np.abs(expected), atol=1e-6)
    values, vectors = np.linalg.eigh(np.cov(x.T.astype(float)))
    for axis in range(2):
        direction = vectors[:, -1 - axis]
        direction = direction * np.sign(direction[np.abs(direction).argmax()])  # the stated sign
        np.testing.assert_allclose(found.points[:, axis], (x - x.mean(axis=0)) @ direction, atol=1e-4)
    share = 100 * values[::-1] / values.sum()
    assert found.axes == (f"PCA 1 ({share[0]:.0f} % of variance)", f"PCA 2 ({share[1]:.0f} %)")


def test_pca_does_not_depend_on_the_order_of_videos():
    x, order = clouds(), np.random.default_rng(1).permutation(36)
    np.testing.assert_allclose(project(x[order], "pca").points, project(x, "pca").points[order], atol=1e-5)


def test_equal_and_one_dimensional_features_have_a_picture():
    assert not project(np.ones((5, 4), np.float32), "pca").points.any()
    line = project(np.arange(4, dtype=np.float32)[:, None], "pca").points
    np.testing.assert_allclose(line, [[-1.5, 0], [-0.5, 0], [0.5, 0], [1.5, 0]], atol=1e-12)


def groups_apart(points):
    """The three groups of ``clouds`` are farther from each other than any is wide."""
    groups = points.reshape(3, 12, 2)
    within = max(np.linalg.norm(g - g.mean(axis=0), axis=1).max() for g in groups)
    return within < min(np.linalg.norm(groups[a].mean(0) - groups[b].mean(0)) for a, b in ((0, 1), (0, 2), (1, 2)))


def test_tsne_keeps_groups_apart_and_repeats():
    x = clouds()
    found = project(x, "tsne", seed=1)
    np.testing.assert_array_equal(found.points, project(x, "tsne", seed=1).points)
    assert groups_apart(found.points)
    assert found.axes == ("t-SNE 1", "t-SNE 2")
    assert project(x[:4], "tsne").points.shape == (4, 2)  # fewer videos than the usual perplexity


@pytest.mark.parametrize(("kind", "package"), [("tsne", "scikit-learn"), ("umap", "umap-learn")])
def test_a_missing_package_is_named_with_its_extra(monkeypatch, kind, package):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(module.importlib, "import_module", missing)
    with pytest.raises(UserError, match=rf'{package}.*pip install "{package}>=.*--projection pca'):
        check_projection(kind)


def test_umap_keeps_groups_apart():
    pytest.importorskip("umap", reason="needs umap-learn: pip install 'cacl[umap]'")
    found = project(clouds(), "umap", seed=1)
    assert groups_apart(found.points)
    assert found.axes == ("UMAP 1", "UMAP 2")


def test_too_few_videos_are_refused():
    with pytest.raises(UserError, match="3 videos or more, there are 2"):
        project(np.zeros((2, 4), np.float32), "pca")
