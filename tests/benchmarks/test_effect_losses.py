"""The peers' losses against values worked out by hand, and their gradients."""

import math

import pytest
import torch
from torch.testing import assert_close

from effect import losses

# softmax(log [1/2, 1/4, 1/4]) is [1/2, 1/4, 1/4]; the given class is the second: p_y = 1/4.
LOGITS = torch.tensor([[0.5, 0.25, 0.25]], dtype=torch.float64).log()
TARGET = torch.tensor([1])
LOG_4 = math.log(4)


@pytest.mark.parametrize(
    ("loss", "by_hand"),
    [
        (losses.generalized_cross_entropy, (1 - 0.25**0.7) / 0.7),
        (losses.reverse_cross_entropy, 4 * 0.75),
        (losses.symmetric_cross_entropy, 0.1 * LOG_4 + 4 * 0.75),
        (losses.normalized_cross_entropy, LOG_4 / (math.log(2) + 2 * LOG_4)),
        (losses.nce_and_rce, LOG_4 / (math.log(2) + 2 * LOG_4) + 4 * 0.75),
    ],
)
def test_losses_by_hand(loss, by_hand):
    assert_close(loss(LOGITS, TARGET), torch.tensor([by_hand], dtype=torch.float64))


@pytest.mark.parametrize(
    "loss",
    [
        losses.generalized_cross_entropy,
        losses.symmetric_cross_entropy,
        losses.nce_and_rce,
        losses.SuperLoss(3),
    ],
)
def test_gradients(loss):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([0, 2, 1, 1, 0])
    assert torch.autograd.gradcheck(lambda z: loss(z, target), logits, atol=1e-4)


def test_lambert_w_inverts_w_exp_w():
    w = torch.tensor([-0.999, -0.5, -0.1, 0.0, 0.3, 1.0, 5.0], dtype=torch.float64)
    assert_close(losses.lambert_w(w * w.exp()), w, atol=1e-6, rtol=0)
    assert_close(
        losses.lambert_w(torch.tensor([-1 / math.e])), torch.tensor([-1.0]), atol=1e-5, rtol=0
    )


def test_superloss_is_the_minimum_over_sigma():
    superloss = losses.SuperLoss(3, regularisation=0.7)
    excess = LOG_4 - math.log(3)
    sigmas = torch.linspace(0.05, 5, 100_001, dtype=torch.float64)
    least = (excess * sigmas + 0.7 * sigmas.log().square()).min()
    assert_close(superloss(LOGITS, TARGET)[0], least, atol=1e-6, rtol=0)


def test_early_learning_by_hand():
    elr = losses.EarlyLearningRegularization(2, 3)
    first = elr(LOGITS, TARGET, torch.tensor([1]))
    # The target of row 1 is now 0.3 p, and <p, p> = 1/4 + 2/16 = 3/8.
    assert_close(first, torch.tensor([LOG_4 + 3 * math.log(1 - 0.3 * 0.375)], dtype=torch.float64))
    assert_close(elr.targets, torch.tensor([[0, 0, 0], [0.15, 0.075, 0.075]]))
    second = elr(LOGITS, TARGET, torch.tensor([1]))
    assert_close(
        second, torch.tensor([LOG_4 + 3 * math.log(1 - 0.51 * 0.375)], dtype=torch.float64)
    )
