"""Laboratory: /tmp/lab/results.jsonl as a table, with paired differences to the row named first of each block."""

import json
import sys

import numpy as np

from lab.common import LAB, Videos, fused, hits, paired, paired_all, unit

videos = Videos()
fz = np.load(LAB / "frozen.npy")
t = videos.train
h_frozen = hits(videos, unit(fz, fz[t].mean(0)))
rows = {}
for line in open(LAB / "results.jsonl"):
    r = json.loads(line)
    rows[r["name"]] = r
base = {0: sys.argv[1] if len(sys.argv) > 1 else "vmoco"}
print("| run | settings that differ | steps | cpu s | own R@1/5/10, max layer | own, mean layer | other groups max / mean / mean whitened | own - base, test, paired | own - base, other groups, paired (max; mean) | fused .5 R@1/5/10 | fused - frozen, paired |")
print("|-|-|-|-|-|-|-|-|-|-|-|")
hb = None
for name, r in rows.items():
    if name.startswith("smoke"):
        continue
    f = dict(np.load(LAB / "vec" / f"{name}.npz"))
    h = hits(videos, f["max"])
    b = base[0]
    hb = hits(videos, dict(np.load(LAB / "vec" / f"{b}.npz"))["max"])
    d = "{:+.1f} [{:+.1f}, {:+.1f}]".format(*paired(videos, h, hb))
    fb = dict(np.load(LAB / "vec" / f"{b}.npz"))
    da = "; ".join("{:+.1f} [{:+.1f}, {:+.1f}]".format(*paired_all(videos, f[k], fb[k])) for k in ("max", "mean"))
    hf = hits(videos, fused(videos, f["max"], fz, 0.5))
    df = "{:+.1f} [{:+.1f}, {:+.1f}]".format(*paired(videos, hf, h_frozen))
    s = " ".join(f"{k}={v}" for k, v in r["set"].items() if k not in ("budget", "clips"))
    p = lambda a: "/".join(f"{x:.1f}" for x in a)  # noqa: E731
    print(f"| {name} | {s} | {r['steps']} | {r['cpu']} | {p(100 * h.mean(0))} | {p(r['mean'][:3])} | {r['max'][3]} / {r['mean'][3]} / {r['mean+w'][3]} | {d} | {da} | {p(100 * hf.mean(0))} | {df} |")
