"""Turn a video into features: one vector for every stretch of it, with the encoder of a run.

    python examples/features.py runs/mine video.mp4 --out features.npy

With ``--layer mean`` the vectors are the network's global average, shorter than those that retrieval compares.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np

import cacl


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="a run folder or an encoder folder")
    parser.add_argument("video", help="a video file")
    parser.add_argument("--layer", choices=["max", "mean"], default="max", help="which feature")
    parser.add_argument("--out", help="save them as float32 [segments, features] in a .npy file")
    arguments = parser.parse_args()

    encoder = cacl.load(arguments.run)
    clip = replace(encoder.clip, layer=arguments.layer)
    encoder = cacl.Encoder(encoder.name, width=encoder.width, clip=clip, network=encoder.network).eval()

    segments = encoder.embed_video(arguments.video)
    print(encoder)
    print(segments)
    for start, end, vector in zip(segments.start_s, segments.end_s, segments.vector, strict=True):
        print(f"{start:7.2f} - {end:6.2f} s  first of {len(vector)} numbers: {np.round(vector[:4], 3).tolist()}")
    if arguments.out:
        np.save(arguments.out, segments.vector)


if __name__ == "__main__":
    main()
