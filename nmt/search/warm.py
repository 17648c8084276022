"""Loads what every child needs, for the process that children are forked from.

Importing is enough for most of it. PyTorch loads a second's worth of modules when the first
optimizer is made. Nothing is computed, since a process with other threads cannot be forked.
"""

from __future__ import annotations

import torch
import torch.utils.tensorboard
from torch import nn

import nmt.run.run
import nmt.search.pool  # noqa: F401 - for the processes that are forked

torch.optim.AdamW([nn.Parameter(torch.zeros(1))])
