# %% [markdown]
# # Few labels
#
# Learn from all videos without labels, then tell classes apart with the labels of a few: the encoder as a step of a
# scikit-learn pipeline.

# %%
import tempfile
from pathlib import Path

from cacl.data.synthetic.generate import make_videos

place = Path(tempfile.mkdtemp())
videos = make_videos(place / "videos", videos_per_class=(6, 4))  # train/CLASS and test/CLASS

# %%
import cacl

run = cacl.pretrain(videos, out=place / "run", epochs=10, settings={"model.width": 8})  # train/ alone, no label used

# %% [markdown]
# ## Two labelled videos a class

# %%
train = sorted((videos / "train").rglob("*.mp4"))
test = sorted((videos / "test").rglob("*.mp4"))
labelled = [path for path in train if path.stem.endswith(("_000", "_001"))]
print(len(labelled), "labelled videos,", len(test), "to be told")

# %%
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cacl.sklearn import CaclFeatures


def accuracy(model):
    pipeline = make_pipeline(CaclFeatures(model), StandardScaler(), LogisticRegression(max_iter=1000))
    pipeline.fit(labelled, [path.parent.name for path in labelled])
    return pipeline.score(test, [path.parent.name for path in test])


learned, untrained = accuracy(run.path / "encoder"), accuracy(run.path / "initial")
print(f"learned {learned:.0%}, the same network untrained {untrained:.0%}, chance 10%")

# %% [markdown]
# After a training this short the two may lie close together. `cacl finetune videos/ --model run --labels-per-class
# 1,2,5,all` draws the whole curve, with several draws of the labels.
