"""The model card that goes with an encoder: what it is, how to use it, what pixels it expects, what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_USE = """\
```python
import cacl

encoder = cacl.load("PATH/OF/THIS/FOLDER")
segments = encoder.embed_video("video.mp4")   # .start_s, .end_s: seconds; .vector: [segments, {features}]
vectors = encoder(clips)                      # uint8 [B, {frames}, H, W, 3] -> float32 [B, {features}]
```"""


def encoder_card(
    config: Mapping[str, Any], *, trained_on: str = "", measured: str = "", imported_from: str = ""
) -> str:
    """Text of ``README.md`` in an encoder folder, with the header that model hubs read.

    Args:
        config: what ``config.json`` says (``network``, ``clip``, ``num_features``, ``cacl``).
        trained_on: data, settings and length of the training, Markdown; left out when empty.
        measured: results, Markdown, e.g. a table of Recall@k with its baselines; left out when empty.
        imported_from: the file that holds these weights, where they were trained elsewhere.
    """
    network, clip = config["network"], config["clip"]
    height, width = clip["resize"]
    pixels = "[0, 1]"
    if clip["pixel_mean"] is not None:
        pixels += f", then minus {list(clip['pixel_mean'])}, divided by {list(clip['pixel_std'])}"
    if clip["standardise"] != "none":
        pixels += {
            "clip": ", then each clip to mean 0 and standard deviation near 1",
            "motion": ", then minus each pixel's mean over the clip, divided by the clip's deviation",
        }[clip["standardise"]]
    if clip["blank"]:
        pixels += (
            f", boxes {' and '.join(str(list(box)) for box in clip['blank'])} (x, y, width, height) of the video black"
        )
    rate = clip.get("frame_rate")
    frames_of = "the video's" if rate is None else f"those nearest to {rate:g} a second"
    layer = {
        "max": "last convolution, max-pooled over 2x2 pixels, flattened",
        "mean": "last convolution, averaged over time and space",
    }[clip["layer"]]
    origin = f"imported from {imported_from}" if imported_from else "trained without labels with CACL"
    method = "Guo et al., *Cross-Architecture Self-supervised Video Representation Learning*, CVPR 2022."
    parts = [
        "---\nlibrary_name: cacl\npipeline_tag: feature-extraction\n"
        "tags:\n- video\n- self-supervised\n- video-representation-learning\n---",
        f"# {network['name']} (width {network['width']}), {origin}",
        f"A 3D CNN that turns a clip of {clip['frames']} frames into {config['num_features']} numbers. Clips that show "
        "similar motion and content should come out near each other by cosine similarity.",
        "## Use\n\n" + _USE.format(features=config["num_features"], frames=clip["frames"]),
        "## Input\n\n"
        f"| | |\n|---|---|\n| frames | {clip['frames']}, one in {clip['stride']} of {frames_of} |\n"
        f"| size | stretched to {height}x{width} (height x width), centre {clip['size']}x{clip['size']} cut out |\n"
        f"| pixels | RGB in {pixels} |\n| feature | {layer} |",
    ]
    parts += [f"## Training\n\n{trained_on.strip()}"] if trained_on.strip() else []
    parts += [f"## Measured\n\n{measured.strip()}"] if measured.strip() else []
    parts += [
        "## Limits\n\nIt has seen nothing but the videos it was trained on: judge it on videos of your own "
        "before you rely on it.",
        f"Written by cacl {config['cacl']}." + ("" if imported_from else f" Method: {method}"),
    ]
    return "\n\n".join(parts) + "\n"
