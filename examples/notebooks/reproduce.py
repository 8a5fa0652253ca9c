# %% [markdown]
# # Reproduce a table
#
# The paper's tables, at a size that takes minutes: the same code, methods and protocol, on generated videos. The
# numbers mean nothing beside the paper's; that every row comes to its end does. The real thing:
# `cacl reproduce table1 --scale paper --data DATA`.

# %%
import tempfile
from pathlib import Path

import cacl

place = Path(tempfile.mkdtemp())

# %% [markdown]
# Figure 3 needs one training: where the video transformer looks.

# %%
results = cacl.reproduce("fig3", out=place / "paper")

# %%
print(sorted(path.name for path in (place / "paper").iterdir()))
for note in results["notes"]:
    print(note)
