"""One table over many processes: every process steps alike, and none works on its own.

Where ``torch.distributed`` is initialised, the optimizers and ``TrainingDynamics`` gather the rows
of all processes by themselves. What a loop needs besides is here.
"""

from data_parameters.distributed.agreement import check_agreement, digest
from data_parameters.distributed.failure import OtherProcessError, fail_together
from data_parameters.distributed.loss import loss_weight
from data_parameters.distributed.sampler import GlobalBatchSampler
from data_parameters.distributed.scaler import GradScaler

__all__ = [
    "GlobalBatchSampler",
    "GradScaler",
    "OtherProcessError",
    "check_agreement",
    "digest",
    "fail_together",
    "loss_weight",
]
