"""What ``--scale paper`` is going to cost: runs and their steps, times a step measured on this device.

A step is measured on random clips in the preset's shapes, so that it says nothing of how fast videos are read. On a CPU
it is measured with two clips and scaled to the preset's batch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cacl.config import Settings
from cacl.data.layouts import read_lists
from cacl.data.walk import walk
from cacl.experiments.measured_step import finetune_step, frames_step, pretrain_step, seconds_a_step
from cacl.experiments.paper_tables import PaperTable, Pretraining, SetName, folder_name
from cacl.experiments.reproduce_scale import Place, Scale, scale_of
from cacl.training.auto import device_auto
from cacl.training.finetune_settings import resolve_finetune
from cacl.training.pretrain import resolve_settings
