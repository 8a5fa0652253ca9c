"""SIGKILL at random instants of trainings, fine-tunings, evaluations and decoding; each goes on and ends the same.

``python tests/chaos/campaign.py --kills 100 --seed 0`` prints the counts, and ends with status 1 at the first loss: a
file of a result that differs from that of an undisturbed run by one bit, a file left half written, a command that would
not go on, or a process left behind.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

for library in ("OMP", "OPENBLAS", "MKL"):  # before any is loaded: a process with threads must not fork
    os.environ[f"{library}_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).parents[1]))

from chaos.kills import MOST_KILLS, Counts, LossError, campaign  # noqa: E402
from chaos.spawn import warm  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100, help="at least (100)")
    parser.add_argument("--seed", type=int, default=0, help="of the instants (0)")
    parser.add_argument("--most", type=int, default=MOST_KILLS, help=f"of one life ({MOST_KILLS})")
    parser.add_argument(
        "--only", nargs="+", default=[], help="of pretrain, finetune, evaluate, prepare, embed, index, reproduce"
    )
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="cacl-chaos-"))
    counts = Counts()
    warm()
    try:
        campaign(arguments.kills, arguments.seed, folder, counts, most=arguments.most, only=arguments.only, say=True)
    except (LossError, TimeoutError) as loss:
        print(counts)
        print(f"LOST: {loss}\nThe files are kept in {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    print(counts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
