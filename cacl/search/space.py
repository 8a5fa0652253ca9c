"""What "near" means: the archive's mean, and on request its spread, are taken out before vectors are compared.

Vectors of one domain share most of what they hold: their cosines crowd near 1, and no score means anything. Taken from
the archive's mean, they spread out. Whitening goes one step further: directions in which the archive varies much no
longer outweigh the others (ZCA, Bell & Sejnowski 1997; with a floor, as the least directions are noise).

The score of a query q and a vector v is z(q) · z(v), where z takes out the mean m, applies the matrix W (if any) and,
in a ``unit`` space, divides by the length: a cosine. As z(q) · W(v - m) = Wᵀz(q) · (v - m), a vector is scored as it is
stored; only its length in the space, its ``gain``, has to be known.

Legend: n vectors, d numbers each, m queries.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cacl.errors import UserError
from cacl.files import write_whole
from cacl.search.rows import Rows, as_queries, chunks

Vectors = NDArray[np.float64]
_FLOOR = 0.01  # of the mean variance, added to each direction's before whitening
_NOISE = 1e-6  # nearer to the mean than this share of the lengths, float32 holds only its own rounding: no direction
_SMALLEST = 1e-30


@dataclass(frozen=True, eq=False)
class Space:
    """Where vectors are compared.

    Attributes:
        mean: m, float64 ``[d]``; zeros where nothing is taken out.
        matrix: W, float64 ``[d, d]``, symmetric, or ``None``.
        unit: scores are cosines; otherwise inner products.
    """

    mean: Vectors
    matrix: Vectors | None = None
    unit: bool = True

    @staticmethod
    def plain(width: int, *, unit: bool = False) -> Space:
        """Inner products of vectors of ``width`` numbers as they are stored, or their cosines (``unit``)."""
        return Space(np.zeros(width), None, unit)

    @staticmethod
    def fit(rows: Rows, *, whiten: bool = False) -> Space:
        """The space of an archive: cosines from its mean, whitened on request.

        Args:
            rows: float32 ``[n, d]``.
            whiten: also bring every direction to the same variance; one that has less than about a hundredth of the
                mean variance is not blown up to it.

        Raises:
            UserError: a vector is not finite.
        """
        count, width = rows.shape
        total = np.zeros(width)
        for _, part in chunks(rows):
            total += part.sum(axis=0)
        mean = total / max(count, 1)
        if not whiten or count < 2:
            return Space(mean)
        spread = np.zeros((width, width))
        for _, part in chunks(rows):
            part -= mean
            spread += part.T @ part
        variance, axes = np.linalg.eigh(spread / count)
        floor = _FLOOR * max(float(variance.mean()), _SMALLEST)
        return Space(mean, (axes / np.sqrt(np.maximum(variance, 0) + floor)) @ axes.T)

    def prepared(self, part: Vectors) -> tuple[Vectors, Vectors]:
        """z of some vectors, and their gains: what a vector taken from the mean is multiplied with.

        A vector that is as good as the mean has no direction: gain 0, and so score 0 with everything.

        Args:
            part: float64 ``[c, d]``, finite.

        Returns:
            float64 ``[c, d]`` and ``[c]``.
        """
        shifted = part - self.mean
        if not self.unit:
            return (shifted if self.matrix is None else shifted @ self.matrix), np.ones(len(part))
        far = _lengths(shifted) > _NOISE * (_lengths(part) + np.linalg.norm(self.mean)) + _SMALLEST
        if self.matrix is not None:
            shifted = shifted @ self.matrix
        length = _lengths(shifted)
        gain = np.where(far & (length > 0), 1 / np.where(length > 0, length, 1), 0.0)
        if self.matrix is not None:  # the same row may come out of a product of matrices an ulp apart: forget that ulp
            mantissa, exponent = np.frexp(gain)
            gain = np.ldexp(np.rint(mantissa * 2.0**40), exponent - 40)
        return shifted * gain[:, None], gain

    def direction(self, like: ArrayLike, unlike: ArrayLike | None = None) -> Vectors:
        """One query of several examples: the mean of those for less the mean of those against, each taken as z.

        Args:
            like: ``[d]`` or ``[m, d]``, vectors of the archive's kind.
            unlike: the same, or ``None``.

        Returns:
            float64 ``[d]``, of length 1 in a ``unit`` space (0 where the examples cancel).

        Raises:
            UserError: no example for, another width, NaN or infinite numbers.
        """
        wanted = self.prepared(as_queries(like, len(self.mean)))[0]
        if not len(wanted):
            raise UserError("a search needs at least one example for: none was given.")
        found: Vectors = wanted.mean(axis=0)
        against = np.zeros((0, 0)) if unlike is None else as_queries(unlike, len(self.mean))
        if len(wanted) == 1 and not len(against):
            return found
        if len(against):
            found = found - self.prepared(against)[0].mean(axis=0)
        length = float(np.linalg.norm(found)) if self.unit else 1.0
        return found / length if length > _SMALLEST else np.zeros_like(found)

    def towards(self, direction: Vectors) -> Vectors:
        """Wᵀz: what a vector, less the mean and times its gain, is multiplied with to be scored. ``[..., d]``."""
        return direction if self.matrix is None else direction @ self.matrix.T

    def fingerprint(self) -> str:
        """32 hexadecimal digits; another space, another fingerprint."""
        digest = hashlib.blake2b(f"{len(self.mean)} {self.unit} {self.matrix is None}".encode(), digest_size=16)
        digest.update(self.mean.tobytes())
        digest.update(b"" if self.matrix is None else np.ascontiguousarray(self.matrix).tobytes())
        return digest.hexdigest()

    def save(self, file: Path) -> None:
        """Write the space (a NumPy ``.npz``), whole or not at all. Raises UserError."""
        content = io.BytesIO()
        matrix = np.zeros((0, 0)) if self.matrix is None else self.matrix
        np.savez(content, mean=self.mean, matrix=matrix, unit=np.array(self.unit))
        write_whole(file, content.getvalue())

    @staticmethod
    def load(file: Path) -> Space:
        """Raises UserError: missing, damaged, or no space."""
        try:
            with np.load(file, allow_pickle=False) as stored:
                mean, matrix, unit = stored["mean"], stored["matrix"], bool(stored["unit"])
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise UserError(f"{file} is missing or damaged ({error}): make the index anew.") from error
        fits = mean.ndim == 1 and matrix.shape in ((0, 0), (len(mean), len(mean)))
        if not fits or not np.isfinite(mean).all() or not np.isfinite(matrix).all():
            raise UserError(f"{file} is damaged (its mean and matrix do not fit): make the index anew.")
        return Space(mean, matrix if matrix.size else None, unit)


def _lengths(part: Vectors) -> Vectors:
    """Of every row, ``[c]``; summed in the same order for every row, so that equal rows have equal lengths."""
    lengths: Vectors = np.sqrt((part * part).sum(axis=1))
    return lengths
