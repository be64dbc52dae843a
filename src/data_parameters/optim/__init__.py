"""Optimizers that move the touched rows of a table and nothing else."""

from data_parameters.optim.sparse_adamw import SparseAdamW
from data_parameters.optim.sparse_sgd import SparseSGD

__all__ = ["SparseAdamW", "SparseSGD"]
