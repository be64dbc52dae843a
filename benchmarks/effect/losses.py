"""The peers' losses, from the formulas of their papers.

Legend: B samples in the minibatch, C classes, N instances, z logits, y target, p softmax(z).
Each function takes logits ``(B, C)`` and classes ``(B,)`` and returns the losses of the samples,
``(B,)``. Settings are the papers' for CIFAR-10.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

# log 0 stands for this in the reverse cross-entropy, as its paper sets it.
LOG_ZERO = -4.0


def generalized_cross_entropy(logits: Tensor, target: Tensor, *, q: float = 0.7) -> Tensor:
    r"""GCE: :math:`(1 - p_y^q) / q`.

    Zhang and Sabuncu, "Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy
    Labels", NeurIPS 2018.
    """
    log_p_y = -F.cross_entropy(logits, target, reduction="none")
    return (1 - (q * log_p_y).exp()) / q


def reverse_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    r"""RCE: :math:`-\sum_j p_j \log \mathrm{onehot}(y)_j = -A (1 - p_y)` with log 0 = A = -4."""
    p_y = (-F.cross_entropy(logits, target, reduction="none")).exp()
    return -LOG_ZERO * (1 - p_y)


def symmetric_cross_entropy(
    logits: Tensor, target: Tensor, *, alpha: float = 0.1, beta: float = 1.0
) -> Tensor:
    r"""SCE: :math:`\alpha \cdot \mathrm{CE} + \beta \cdot \mathrm{RCE}`.

    Wang, Ma, Chen, Luo, Yi and Bailey, "Symmetric Cross Entropy for Robust Learning with Noisy
    Labels", ICCV 2019.
    """
    cross_entropy = F.cross_entropy(logits, target, reduction="none")
    return alpha * cross_entropy + beta * reverse_cross_entropy(logits, target)


def normalized_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    r"""NCE: :math:`\log p_y / \sum_j \log p_j`, in [0, 1]."""
    log_p = logits.log_softmax(1)
    return log_p.gather(1, target.unsqueeze(1)).squeeze(1) / log_p.sum(1)


def nce_and_rce(logits: Tensor, target: Tensor, *, alpha: float = 1.0, beta: float = 1.0) -> Tensor:
    r"""NCE+RCE: :math:`\alpha \cdot \mathrm{NCE} + \beta \cdot \mathrm{RCE}`.

    Ma, Huang, Wang, Romano, Erfani and Bailey, "Normalized Loss Functions for Deep Learning with
    Noisy Labels", ICML 2020.
    """
    active = alpha * normalized_cross_entropy(logits, target)
    return active + beta * reverse_cross_entropy(logits, target)


class SuperLoss:
    r"""SuperLoss: the least :math:`(\ell - \tau) \sigma + \lambda (\log \sigma)^2` over σ.

    It lies at :math:`\sigma = \exp(-W(\max(-2/e, (\ell - \tau) / \lambda) / 2))`, where W is
    Lambert's function and :math:`\tau = \log C` the loss of a uniform guess.

    Castells, Weinzaepfel and Revaud, "SuperLoss: A Generic Loss for Robust Curriculum Learning",
    NeurIPS 2020.
    """

    def __init__(self, num_classes: int, *, regularisation: float = 1.0) -> None:
        self.threshold = math.log(num_classes)
        self.regularisation = regularisation

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        excess = F.cross_entropy(logits, target, reduction="none") - self.threshold
        with torch.no_grad():  # at the minimiser the gradient through σ is 0
            half = (excess / self.regularisation).clamp_min(-2 / math.e) / 2
            log_sigma = -lambert_w(half)
        return excess * log_sigma.exp() + self.regularisation * log_sigma.square()


def lambert_w(x: Tensor) -> Tensor:
    """The principal branch: w with w exp(w) = x, for x >= -1/e, by Halley's iteration."""
    precision, x = x.dtype, x.double()
    # Near the branch point -1/e the series in the square root, elsewhere log(1 + x).
    near = -1 + (2 * (math.e * x + 1)).clamp_min(0).sqrt()
    w = torch.where(x < -0.25, near, torch.log1p(x.clamp_min(-0.25)))
    for _ in range(8):
        exp_w = w.exp()
        error = w * exp_w - x
        slope = exp_w * (w + 1) - (w + 2) * error / (2 * w + 2).clamp_min(1e-12)
        w = torch.where(error == 0, w, w - error / slope)
    return w.to(precision)


class EarlyLearningRegularization:
    r"""ELR: :math:`\mathrm{CE} + \lambda \log(1 - \langle p, t \rangle)`.

    Each instance keeps a target :math:`t \leftarrow \beta t + (1 - \beta) p / \sum_j p_j` over its
    visits: N × C numbers.

    Liu, Niles-Weed, Razavian and Fernandez-Granda, "Early-Learning Regularization Prevents
    Memorization of Noisy Labels", NeurIPS 2020.
    """

    def __init__(
        self,
        num_instances: int,
        num_classes: int,
        *,
        regularisation: float = 3.0,
        momentum: float = 0.7,
        device: torch.device | str | None = None,
    ) -> None:
        self.targets = torch.zeros(num_instances, num_classes, device=device)
        self.regularisation, self.momentum = regularisation, momentum

    def __call__(self, logits: Tensor, target: Tensor, index: Tensor) -> Tensor:
        p = logits.softmax(1).clamp(1e-4, 1 - 1e-4)
        now = (p / p.sum(1, keepdim=True)).detach().to(self.targets)
        self.targets[index] = self.momentum * self.targets[index] + (1 - self.momentum) * now
        agreement = (self.targets[index] * p).sum(1)
        cross_entropy = F.cross_entropy(logits, target, reduction="none")
        return cross_entropy + self.regularisation * torch.log(1 - agreement)
