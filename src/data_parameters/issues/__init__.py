"""Which labels are probably wrong, how many, and what they should be."""

from data_parameters.issues.find import find_label_issues
from data_parameters.issues.margins import memorised_margin, trusted_margin
from data_parameters.issues.planted import (
    planted_issues,
    planted_noise_rate,
    planted_threshold,
)
from data_parameters.issues.rates import class_noise_rates, noise_rate, suggestion_matrix
from data_parameters.issues.scores import label_quality_scores
from data_parameters.issues.threshold import score_threshold

__all__ = [
    "class_noise_rates",
    "find_label_issues",
    "label_quality_scores",
    "memorised_margin",
    "noise_rate",
    "planted_issues",
    "planted_noise_rate",
    "planted_threshold",
    "score_threshold",
    "suggestion_matrix",
    "trusted_margin",
]
