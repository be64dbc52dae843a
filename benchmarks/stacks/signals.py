"""How well each signal of a training finds the labels that changed.

Legend: N training instances.
"""

from collections.abc import Mapping

import numpy as np
from sklearn.metrics import roc_auc_score
from torch import Tensor

from data_parameters import TrainingDynamics, label_quality_scores


def suspicions(
    given: Tensor, temperature: Tensor | None, dynamics: TrainingDynamics
) -> dict[str, np.ndarray]:
    """Signals of shape ``(N,)``, higher is worse: σ, the mean margin, and the library's score."""
    scores = label_quality_scores(given, temperature=temperature, margin=dynamics.clipped_margin)
    found = {"margin": -dynamics.margin.numpy(), "score": -scores}
    return found if temperature is None else {"sigma": temperature.numpy(), **found}


def aurocs(changed: np.ndarray, signals: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The area under the ROC curve of each signal; one half is chance."""
    return {name: round(float(roc_auc_score(changed, s)), 4) for name, s in signals.items()}
