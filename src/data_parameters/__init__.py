"""Learnable data parameters for PyTorch: a temperature for every class and training instance."""

from data_parameters import distributed, functional
from data_parameters.dynamics import TrainingDynamics
from data_parameters.indexing import IndexedDataset, check_loader
from data_parameters.issues import find_label_issues, label_quality_scores
from data_parameters.noise import corrupt_labels
from data_parameters.optim import SparseAdamW, SparseSGD
from data_parameters.parameters import DataParameters

__all__ = [
    "DataParameters",
    "IndexedDataset",
    "SparseAdamW",
    "SparseSGD",
    "TrainingDynamics",
    "check_loader",
    "corrupt_labels",
    "distributed",
    "find_label_issues",
    "functional",
    "label_quality_scores",
]
