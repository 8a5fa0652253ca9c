# %% [markdown]
# # Search my folder
#
# A folder of videos, nothing else known about them. After some minutes of learning it can be searched by a video, or by
# a part of one. To use your own folder, put its path in `videos` and skip the next cell.

# %%
import tempfile
from pathlib import Path

from cacl.data.synthetic.generate import make_videos

place = Path(tempfile.mkdtemp())
videos = make_videos(place / "videos", videos_per_class=(6, 1)) / "train"  # moving shapes, as real files

# %% [markdown]
# ## What is usable?
#
# Each file is looked at: used, or skipped with the reason.

# %%
from cacl.data.videos.scan import scan

print(scan(videos).summary())

# %% [markdown]
# ## Learn
#
# No labels. `epochs=6` keeps this notebook short; leave it out for a real folder, and what fits is chosen. Stop it when
# you like: `cacl.resume` goes on.

# %%
import cacl

run = cacl.pretrain(videos, out=place / "run", epochs=6, settings={"model.width": 8})
print(run)

# %% [markdown]
# ## Search
#
# An index holds a vector for every stretch of every video. The query may be a part of a video: `file@start-end`, in
# seconds.

# %%
cacl.index(videos, model=run.path, out=place / "videos.index")
query = sorted(videos.rglob("*.mp4"))[0]
with cacl.Index(place / "videos.index") as index:
    hits = index.search(f"{query}@0.5-1.5", k=5)
for hit in hits:
    print(f"{hit.score:.3f}  {hit.start_s:4.1f}-{hit.end_s:4.1f} s  {hit.path}  {hit.words}")

# %% [markdown]
# The first hit is the query itself, which lies in the folder. On a page, with the videos playing:
# `cacl serve videos.index`.
