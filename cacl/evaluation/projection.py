"""Features of videos in two dimensions: PCA (ours, exact), t-SNE or UMAP (of their own packages).

PCA is a shadow of the features and the same every time; t-SNE and UMAP show neighbourhoods, and distances between
groups mean little there.

Shapes: V videos, D features.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cacl.errors import UserError
from cacl.extras import install_extra

ProjectionName = Literal["pca", "tsne", "umap"]
_PACKAGES = {"tsne": ("sklearn.manifold", "scikit-learn"), "umap": ("umap", "umap-learn")}


@dataclass(frozen=True, eq=False)
class Projection:
    """Points of videos.

    Attributes:
        points: float64 ``[V, 2]``.
        axes: what the two axes are.
    """

    points: NDArray[np.float64]
    axes: tuple[str, str]


def project(features_VD: NDArray[np.float32], kind: ProjectionName, *, seed: int = 0) -> Projection:
    """Two numbers a video.

    Args:
        features_VD: one row a video, 3 or more.
        kind: ``pca``; ``tsne`` (scikit-learn) and ``umap`` (umap-learn) where installed, with their usual settings.
        seed: of t-SNE and UMAP.

    Raises:
        UserError: fewer than 3 videos, or the package is not installed.
    """
    if len(features_VD) < 3:
        raise UserError(f"A picture of features needs 3 videos or more, there are {len(features_VD)}.")
    if kind == "pca":
        return _pca(np.asarray(features_VD, np.float64))
    package, few = check_projection(kind), len(features_VD) - 1
    if kind == "tsne":
        model = package.TSNE(n_components=2, init="pca", perplexity=min(30.0, few / 3), random_state=seed)
    else:
        model = package.UMAP(n_components=2, n_neighbors=min(15, few), random_state=seed, n_jobs=1)
    name = {"tsne": "t-SNE", "umap": "UMAP"}[kind]
    return Projection(np.asarray(model.fit_transform(features_VD), np.float64), (f"{name} 1", f"{name} 2"))


def check_projection(kind: Literal["tsne", "umap"]) -> Any:
    """The module that ``kind`` needs; UserError where it is not installed."""
    module, package = _PACKAGES[kind]
    try:
        return importlib.import_module(module)
    except ImportError:
        raise UserError(
            f"--projection {kind} needs {package}, which is not installed: {install_extra(kind)}, "
            "or take --projection pca."
        ) from None


def _pca(x_VD: NDArray[np.float64]) -> Projection:
    """The two directions of most variance, their largest coordinate positive: no run mirrors another by chance."""
    x_VD = x_VD - x_VD.mean(axis=0)
    left_VK, sizes_K, right_KD = np.linalg.svd(x_VD, full_matrices=False)
    points_V2 = np.zeros((len(x_VD), 2))
    known = min(2, len(sizes_K))
    largest = np.abs(right_KD[:known]).argmax(axis=1)
    sign = np.where(right_KD[np.arange(known), largest] < 0, -1.0, 1.0)
    points_V2[:, :known] = left_VK[:, :known] * sizes_K[:known] * sign
    total = float((sizes_K**2).sum()) or 1.0
    share = [*(100 * sizes_K[:2] ** 2 / total), 0.0][:2]
    return Projection(points_V2, (f"PCA 1 ({share[0]:.0f} % of variance)", f"PCA 2 ({share[1]:.0f} %)"))
