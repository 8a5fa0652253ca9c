"""Once for a folder: how its stored numbers become RGB, with the values that are to be black and white."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np

from cacl.data.media.colours import AS_CODED, Colours, PixelRules
from cacl.data.media.isolated import isolated, time_limit
from cacl.data.media.levels import deep_values
from cacl.data.remote.place import file_at
from cacl.data.videos.catalog import Catalog
from cacl.errors import VideoError, counted

Levels = Literal["auto", "full", "percentiles"]

_FILES = 32  # looked at, evenly spread over the folder
_PERCENTILES = (0.5, 99.5)


def choose_rules(
    catalog: Catalog, *, colours: Colours, levels: Levels, say: Callable[[str], None] = lambda text: None
) -> PixelRules:
    """The rules for all videos of a folder.

    Args:
        catalog: the videos; up to 32 files of it are looked at.
        colours: see ``PixelRules``.
        levels: of grey and RGB values of more than 8 bits: ``"full"``, from 0 to the largest there could be;
            ``"auto"``, from 0 to the largest of as many bits as are in use (12 of 16: 4 095 becomes white);
            ``"percentiles"``, from the 0.5th to the 99.5th percentile.
        say: told of values that are spread.
    """
    whole = PixelRules(colours=colours)
    if levels == "full":
        return whole
    paths = list(dict.fromkeys(video.path for video in catalog.videos))
    chosen = [paths[i] for i in np.linspace(0, len(paths) - 1, min(len(paths), _FILES)).astype(int)]
    found = []
    for path in chosen:
        file = str(file_at(catalog.root, path))
        try:
            values = isolated(file, time_limit(file), deep_values, file)
        except VideoError:
            continue  # reported where it is read
        if values is not None:
            found.append(values)
    if not found:
        return whole
    values = np.concatenate(found)
    if levels == "auto":
        low, high = 0.0, float(2 ** max(int(values.max()).bit_length(), 8) - 1)
    else:
        low, high = (float(value) for value in np.percentile(values, _PERCENTILES))
    if (low, high) == (0.0, 65535.0) or high <= low:
        return whole
    say(
        f"Values of more than 8 bits (seen in {counted(len(found), 'file')}): {low:.0f} to {high:.0f} of 65535 become "
        f"black to white (data.levels={levels})."
    )
    return PixelRules(colours=colours, levels=(low / 65535, high / 65535))


def rules_to_json(rules: PixelRules) -> dict[str, Any]:
    """For a file; the other way is ``rules_from_json``."""
    return {"colours": rules.colours, "levels": list(rules.levels)}


def rules_from_json(found: Mapping[str, Any] | None) -> PixelRules:
    """What ``rules_to_json`` gave; ``None``, of times before there was a choice, is as coded.

    Raises:
        KeyError, TypeError or ValueError: it is something else.
    """
    if found is None:
        return AS_CODED
    low, high = (float(level) for level in found["levels"])
    if found["colours"] not in ("shown", "coded") or not 0 <= low < high <= 1:
        raise ValueError(f"colours {found['colours']!r}, levels {found['levels']!r}")
    return PixelRules(found["colours"], (low, high))
