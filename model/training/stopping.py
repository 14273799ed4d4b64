"""When to stop thinking: a binary classifier of thoughts, the paper's alternative to a fixed number.

Hao et al. 2024, section 3 ("Inference process"): either a classifier on the latent thoughts lets the model decide when
to end them, or their number is constant. The classifier here is a logistic regression, fitted on a finished model's
states, that asks whether the chain is used up: after k thoughts, whether ``k >= c_thought * n_hops``.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from model.coconut import CoconutGPT2
from model.errors import CheckpointError, InputError
from model.training.data import Problems, samples_of
from model.values import Value


class StopClassifier(Value):
    """Stop after k thoughts where ``weight . h_k + bias > 0``."""

    called: ClassVar[str] = "a stop classifier"

    weight: tuple[float, ...]
    """One per dimension of the state."""
    bias: float

    def first_stop(self, states: Tensor) -> Tensor:
        """``B K+1 n_embd`` to ``B``: the fewest thoughts after which it says stop, K where it never does."""
        score = states @ torch.tensor(self.weight, dtype=states.dtype, device=states.device) + self.bias
        stop = score > 0
        stop[:, -1] = True
        return stop.int().argmax(dim=1)

    @classmethod
    def load(cls, path: str | Path, *, max_bytes: int | None = None) -> StopClassifier:
        """Raises CheckpointError if the file is not a stop classifier."""
        try:
            return super().load(path, max_bytes=max_bytes)
        except InputError as error:
            raise CheckpointError(str(error)) from None


@torch.no_grad()
def fit_stop_classifier(model: CoconutGPT2, problems: Problems, n_thoughts: int, *, seed: int) -> StopClassifier:
    """Fit on h_0..h_K of these problems, as prompt samples from ``seed``."""
    samples = samples_of(model.codec, problems, torch.Generator(problems.device).manual_seed(seed))
    states = model.think(samples.prompts, n_thoughts).states
    k = torch.arange(n_thoughts + 1, device=states.device)
    label = k >= model.config.c_thought * problems.n_hops.long()[:, None]
    x = states.flatten(0, 1).float().cpu().numpy().astype(np.float64)
    y = label.flatten().cpu().numpy()
    if y.all() or not y.any():  # no problem runs out of steps, or all do at once: nothing to tell apart
        return StopClassifier(weight=(0.0,) * x.shape[1], bias=1.0 if y.all() else -1.0)
    from sklearn.linear_model import LogisticRegression  # takes a second, and few fit

    fitted = LogisticRegression(C=1.0, max_iter=500).fit(x, y)
    return StopClassifier(weight=tuple(fitted.coef_[0].tolist()), bias=float(fitted.intercept_[0]))
