"""Warps of a clip's pixels that leave its motion alone, or, drawn for every frame, break it (DSM, Wang et al. 2021).

Shapes: b samples, T frames, S pixels of a side, P = S * S pixels, G = 25 control points.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

PUSHES = 3  # at most
SIDE = 5  # control points a side
PUSH_DRAWS = 1 + 4 * PUSHES
SPLINE_DRAWS = 2 * SIDE**2
"""Uniform numbers that ``pushed`` and ``splined`` want."""


def pushed(x_b3TSS: Tensor, uniforms: Tensor) -> Tensor:
    """One to three local pushes, the same for all clips and frames; pixels outside of their boxes stay.

    At a side of 224 (scaled to others) a push has a centre c of 60 … 139 and a shift v of 10 … 19 each way. Within
    c ± 3v a pixel at x reads from ``x - v/2 / (3 (|x - c - v| / |v|)^4 + 1)``, truncated.

    Args:
        uniforms: ``[13]`` in [0, 1): how many, then centre and shift of each.
    """
    size = x_b3TSS.shape[-1]
    place_S = torch.arange(size, device=x_b3TSS.device)
    number, source_P = 1 + (PUSHES * uniforms[0]).long(), torch.arange(size**2, device=x_b3TSS.device)
    for i, draw in enumerate(uniforms[1:].view(PUSHES, 4)):
        centre, shift = (60 + (80 * draw[:2]).floor()) * size / 224, (10 + (10 * draw[2:]).floor()) * size / 224
        away_2S = place_S - centre[:, None]  # along height and along width
        inside_2S = away_2S.abs() <= 3 * shift[:, None]
        beyond_2S = (away_2S - shift[:, None]).square()
        ratio_SS = (beyond_2S[0][:, None] + beyond_2S[1]).square() / shift.square().sum().square()  # to the fourth
        pull_SS = 0.5 / (3 * ratio_SS + 1) * (inside_2S[0][:, None] & inside_2S[1]) * (i < number)
        row_SS, column_SS = (
            (grid - pull_SS * step).trunc().long().clamp(0, size - 1)
            for grid, step in zip(torch.meshgrid(place_S, place_S, indexing="ij"), shift, strict=True)
        )
        source_P = source_P[(row_SS * size + column_SS).flatten()]
    return x_b3TSS.flatten(-2)[..., source_P].view_as(x_b3TSS)


def splined(x_b3TSS: Tensor, uniforms_bTU: Tensor, *, jitter: float = 0.1) -> Tensor:
    """Warp by thin-plate splines that move 5 x 5 control points by up to ``jitter`` of half the side, each way.

    Args:
        uniforms_bTU: ``[b, T or 1, 50]`` in [0, 1), of every frame or of a clip's frames alike.
    """
    frames, size = x_b3TSS.shape[2], x_b3TSS.shape[-1]
    line_S = torch.linspace(-1, 1, size, device=x_b3TSS.device, dtype=x_b3TSS.dtype)
    here_P2 = torch.cartesian_prod(line_S, line_S).flip(-1)  # x, y as grid_sample wants
    moved_bTG2 = jitter * (2 * torch.unflatten(uniforms_bTU.to(x_b3TSS), 2, (SIDE**2, 2)) - 1)
    with torch.autocast(x_b3TSS.device.type, enabled=False):
        grid_bTP2 = here_P2 + spline_basis(here_P2) @ moved_bTG2
    grid_NSS2 = grid_bTP2.expand(-1, frames, -1, -1).reshape(-1, size, size, 2)
    frames_N3SS = x_b3TSS.transpose(1, 2).flatten(0, 1)
    warped = F.grid_sample(frames_N3SS, grid_NSS2, padding_mode="border", align_corners=True)
    return warped.view(len(x_b3TSS), frames, 3, size, size).transpose(1, 2)


def spline_basis(places_P2: Tensor) -> Tensor:
    """``[P, G]``: how far a place moves where each control point moves by one (Bookstein 1989), in [-1, 1]."""
    line = torch.linspace(-1, 1, SIDE, dtype=torch.float64)
    points_G2 = torch.cartesian_prod(line, line).flip(-1)

    def terms(x_N2: Tensor) -> Tensor:
        """``[N, G + 3]``: r^2 log r^2 of every control point, then 1, x, y."""
        squared = (x_N2[:, None] - points_G2).square().sum(dim=2)
        return torch.cat([torch.xlogy(squared, squared), torch.ones(len(x_N2), 1).double(), x_N2], dim=1)

    at_points = terms(points_G2)
    affine = at_points[:, SIDE**2 :]
    system = torch.cat([at_points, F.pad(affine.T, (0, 3))])  # the last three: weights that no plane takes
    solved = torch.linalg.solve(system, torch.eye(SIDE**2 + 3, dtype=torch.float64)[:, : SIDE**2])
    basis: Tensor = terms(places_P2.double().cpu()) @ solved
    return basis.to(places_P2)
