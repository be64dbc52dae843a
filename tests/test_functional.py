"""The loss: closed forms, plain cross-entropy at temperature 1, and the options of torch's own."""

import itertools
import shutil
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import reference
from data_parameters.functional import cross_entropy

DOUBLE = torch.float64
SHAPES = [(5, 3), (4, 3, 2), (2, 3, 4, 5), (3,)]


def problem(
    shape: tuple[int, ...], dtype: torch.dtype = DOUBLE, *, probabilities: bool = False
) -> tuple[Tensor, Tensor]:
    logits = torch.randn(shape, dtype=dtype)
    class_dim = 0 if len(shape) == 1 else 1
    if probabilities:
        return logits, torch.randn(shape, dtype=dtype).softmax(class_dim)
    elements = shape[:class_dim] + shape[class_dim + 1 :]
    return logits, torch.randint(shape[class_dim], elements)


def ones_for(target: Tensor, logits: Tensor) -> Tensor:
    elements = target.shape
    if target.is_floating_point():
        elements = target.shape[1:] if logits.ndim == 1 else target.select(1, 0).shape
    return torch.ones(elements if logits.ndim > 1 else (), dtype=logits.dtype)


def target_dims(logits: Tensor) -> int:
    return max(logits.ndim - 1, 0)


@given(st.integers(0, 99), st.integers(1, 6), st.integers(2, 5))
def test_closed_forms(seed: int, batch_size: int, num_classes: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch_size, num_classes, generator=generator, dtype=DOUBLE)
    target = torch.randint(num_classes, (batch_size,), generator=generator)
    temperature = torch.empty(batch_size, dtype=DOUBLE).uniform_(0.05, 20, generator=generator)
    logits.requires_grad_()
    temperature.requires_grad_()
    loss = cross_entropy(logits, target, temperature, reduction="none")
    loss.sum().backward()

    expected = torch.tensor(reference.cross_entropy(logits, target, temperature), dtype=DOUBLE)
    torch.testing.assert_close(loss.detach(), expected, rtol=1e-10, atol=1e-10)
    of_logits, of_temperature = reference.gradients(logits, target, temperature)
    for found, given_values in ((logits, of_logits), (temperature, of_temperature)):
        expected = torch.tensor(given_values, dtype=DOUBLE)
        torch.testing.assert_close(found.grad, expected, rtol=1e-8, atol=1e-10)


OPTIONS = [
    {"reduction": reduction, "label_smoothing": smoothing, "weighted": weighted, "ignored": ignored}
    for reduction, smoothing, weighted, ignored in itertools.product(
        ["mean", "sum", "none"], [0.0, 0.1], [False, True], [False, True]
    )
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
@pytest.mark.parametrize("differentiated", [True, False])
@pytest.mark.parametrize("probabilities", [True, False])
def test_temperature_one_is_cross_entropy_bit_for_bit(
    shape: tuple[int, ...], dtype: torch.dtype, differentiated: bool, probabilities: bool
) -> None:
    for option in OPTIONS:
        logits, target = problem(shape, dtype, probabilities=probabilities)
        options: dict[str, Any] = {k: option[k] for k in ("reduction", "label_smoothing")}
        if option["weighted"]:
            options["weight"] = torch.rand(logits.shape[min(logits.ndim - 1, 1)], dtype=dtype)
        if option["ignored"] and not probabilities:
            options["ignore_index"] = 1
        logits.requires_grad_(differentiated)
        found = cross_entropy(logits, target, ones_for(target, logits), **options)
        expected = F.cross_entropy(logits, target, **options)
        torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [True, False])
def test_temperature_one_has_the_gradient_of_cross_entropy(reduction: str, weighted: bool) -> None:
    logits, target = problem((64, 10), torch.float32)
    weight = torch.rand(10) if weighted else None
    grads = []
    for plain in (False, True):
        leaf = logits.clone().requires_grad_()
        if plain:
            loss = F.cross_entropy(leaf, target, weight, reduction=reduction)
        else:
            sigma = torch.ones(64)
            loss = cross_entropy(leaf, target, sigma, weight=weight, reduction=reduction)
        loss.sum().backward()
        grads.append(leaf.grad)
    torch.testing.assert_close(*grads, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("per_element", [True, False])
@pytest.mark.parametrize("probabilities", [True, False])
def test_gradient_is_that_of_the_division(
    shape: tuple[int, ...], per_element: bool, probabilities: bool
) -> None:
    """Every option, against autograd's own derivative of the loss as it is written down."""
    for option in OPTIONS:
        logits, target = problem(shape, probabilities=probabilities)
        sigma = 0.5 + torch.rand_like(ones_for(target, logits))
        if not per_element and sigma.ndim > 1:
            sigma = sigma.flatten(1).mean(1)
        options: dict[str, Any] = {k: option[k] for k in ("reduction", "label_smoothing")}
        if option["weighted"]:
            options["weight"] = torch.rand(logits.shape[min(logits.ndim - 1, 1)], dtype=DOUBLE)
        if option["ignored"] and not probabilities:
            options["ignore_index"] = 1
            target.view(-1)[0] = 1
        results = []
        for plain in (False, True):
            leaves = [logits.clone().requires_grad_(), sigma.clone().requires_grad_()]
            if plain:
                trailing = (1,) * (target_dims(logits) - sigma.ndim)
                spread = leaves[1].reshape(sigma.shape + trailing)
                spread = spread.unsqueeze(1) if logits.ndim > 1 else spread
                loss = F.cross_entropy(leaves[0] / spread, target, **options)
            else:
                loss = cross_entropy(leaves[0], target, leaves[1], **options)
            (loss * torch.arange(1, loss.numel() + 1).reshape(loss.shape)).sum().backward()
            results.append([loss.detach(), *(leaf.grad for leaf in leaves)])
        for found, expected in zip(*results, strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12, equal_nan=True)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_gradcheck(shape: tuple[int, ...], reduction: str) -> None:
    logits, target = problem(shape)
    sigma = (0.5 + torch.rand_like(ones_for(target, logits))).requires_grad_()
    logits.requires_grad_()

    def loss(logits: Tensor, sigma: Tensor) -> Tensor:
        return cross_entropy(logits, target, sigma, reduction=reduction)

    assert torch.autograd.gradcheck(loss, (logits, sigma))
    assert torch.autograd.gradgradcheck(loss, (logits, sigma))


def test_gradient_of_ignored_targets_is_zero() -> None:
    logits, target = problem((4, 3))
    target[:] = -100
    sigma = torch.ones(4, dtype=DOUBLE, requires_grad=True)
    logits.requires_grad_()
    loss = cross_entropy(logits, target, sigma)
    loss.backward()
    assert loss.isnan()  # as in torch: the mean over nothing
    assert torch.equal(logits.grad, torch.zeros(4, 3, dtype=DOUBLE))
    assert torch.equal(sigma.grad, torch.zeros(4, dtype=DOUBLE))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    logits, target = problem((6, 4), dtype)
    logits.requires_grad_()
    sigma = torch.full((6,), 0.05, requires_grad=True)
    loss = cross_entropy(logits, target, sigma)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, F.cross_entropy(logits.float() / 0.05, target))
    loss.backward()
    assert logits.grad.dtype == dtype
    assert sigma.grad.isfinite().all()


def test_autocast() -> None:
    model, target = torch.nn.Linear(8, 4), torch.randint(4, (6,))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(torch.randn(6, 8))
        loss = cross_entropy(logits, target, torch.ones(6))
    assert logits.dtype == torch.bfloat16
    assert loss.dtype == torch.float32
    loss.backward()
    assert model.weight.grad is not None


def test_channels_last() -> None:
    logits, target = problem((2, 3, 4, 5), torch.float32)
    sigma = torch.rand(2) + 0.5
    grads = []
    for layout in (torch.contiguous_format, torch.channels_last):
        leaf = logits.clone(memory_format=layout).requires_grad_()
        cross_entropy(leaf, target, sigma).backward()
        grads.append(leaf.grad)
    torch.testing.assert_close(*grads)


# Building a kernel needs a C++ compiler; tracing does not.
BACKENDS = [
    "aot_eager",
    pytest.param(
        "inductor",
        marks=pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler"),
    ),
]


# Some releases of torch warn of their own use of `torch.jit` on newer Pythons.
@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("probabilities", [True, False])
def test_compiles_whole(backend: str, probabilities: bool) -> None:
    compiled = torch.compile(cross_entropy, fullgraph=True, backend=backend)
    logits, target = problem((8, 5), torch.float32, probabilities=probabilities)
    sigma = torch.rand(8) + 0.5
    results = []
    for function in (cross_entropy, compiled):
        leaves = [logits.clone().requires_grad_(), sigma.clone().requires_grad_()]
        loss = function(leaves[0], target, leaves[1])
        loss.backward()
        results.append([loss.detach(), *(leaf.grad for leaf in leaves)])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("logits", "target", "temperature", "error", "message"),
    [
        ((4, 3), (4,), (4, 1), ValueError, "Squeeze or expand it"),
        ((4, 3), (4,), (3,), ValueError, "one value per target element"),
        ((4, 3), (4,), (), ValueError, r"should have shape \(B,\)"),
        ((4, 3), (3,), (4,), ValueError, "`target` should hold classes"),
        ((4, 3), (4, 1), (4,), ValueError, "`target` should hold classes"),
        ((), (), (), ValueError, "`logits` should have shape"),
    ],
)
def test_wrong_shapes(
    logits: tuple[int, ...],
    target: tuple[int, ...],
    temperature: tuple[int, ...],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        cross_entropy(
            torch.zeros(logits), torch.zeros(target, dtype=torch.int64), torch.ones(temperature)
        )


def test_wrong_types() -> None:
    target = torch.zeros(4, dtype=torch.int64)
    with pytest.raises(TypeError, match="order of the arguments"):
        cross_entropy(torch.zeros(4, 3), torch.zeros(4, 3), target)
    with pytest.raises(ValueError, match="`target` should hold classes"):
        cross_entropy(torch.zeros(4, 3), torch.zeros(4), torch.ones(4))
    with pytest.raises(TypeError, match=r"`\.long\(\)`"):
        cross_entropy(torch.zeros(4, 3), target.int(), torch.ones(4))
    with pytest.raises(ValueError, match="averaged is not a valid value for reduction"):
        cross_entropy(torch.zeros(4, 3), target, torch.ones(4), reduction="averaged")


@pytest.mark.parametrize("of_logits", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("of_sigma", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_precisions_may_differ(
    of_logits: torch.dtype, of_sigma: torch.dtype, reduction: str
) -> None:
    logits, target = problem((4, 3), of_logits)
    logits.requires_grad_()
    sigma = torch.full((4,), 2.0, dtype=of_sigma, requires_grad=True)
    weight = torch.ones(3, dtype=of_logits)
    loss = cross_entropy(logits, target, sigma, weight=weight, reduction=reduction)
    assert loss.dtype == (torch.float64 if of_logits == torch.float64 else torch.float32)
    loss.sum().backward()
    assert logits.grad.dtype == of_logits
    assert sigma.grad.dtype == of_sigma


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("differentiated", [True, False])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("wrong", ["too high", "negative"])
def test_target_out_of_range_is_named(
    shape: tuple[int, ...], differentiated: bool, smoothing: float, wrong: str
) -> None:
    logits, target = problem(shape)
    num_classes = logits.shape[min(logits.ndim - 1, 1)]
    found = num_classes if wrong == "too high" else -1
    sigma = ones_for(target, logits)
    target.view(-1)[-1] = found
    logits.requires_grad_(differentiated)
    with pytest.raises(IndexError, match=rf"\[0, {num_classes - 1}\].*Found \[{found}\].*Likely"):
        cross_entropy(logits, target, sigma, label_smoothing=smoothing)


def test_a_class_in_uint8_is_not_taken_for_the_ignored_one() -> None:
    """In uint8, torch takes -100 for 156."""
    logits = torch.randn(3, 200, requires_grad=True)
    target = torch.tensor([156, 3, 199], dtype=torch.uint8)
    for create_graph in (False, True):
        loss = cross_entropy(logits, target, torch.ones(3))
        assert torch.equal(loss, F.cross_entropy(logits, target.long()))
        [grad] = torch.autograd.grad(loss, logits, create_graph=create_graph)
        assert grad[0, 156] < 0


def test_weight_with_a_gradient_is_refused_as_torch_does() -> None:
    logits, target = problem((4, 3))
    weight = torch.ones(3, dtype=DOUBLE, requires_grad=True)
    with pytest.raises(RuntimeError, match="weight"):
        cross_entropy(logits.requires_grad_(), target, torch.ones(4), weight=weight).backward()


def test_mixup_keeps_both_sources() -> None:
    """The recipe of the guide: two calls, both temperatures with a gradient of their own."""
    logits, first = problem((4, 3))
    second, share = torch.randint(3, (4,)), 0.3
    sigma = [torch.full((4,), value, dtype=DOUBLE, requires_grad=True) for value in (1.0, 2.0)]
    loss = share * cross_entropy(logits, first, sigma[0])
    loss = loss + (1 - share) * cross_entropy(logits, second, sigma[1])
    loss.backward()
    for target, leaf, factor in ((first, sigma[0], share), (second, sigma[1], 1 - share)):
        _, slope = reference.gradients(logits, target, leaf)
        expected = factor * torch.tensor(slope, dtype=DOUBLE) / 4
        torch.testing.assert_close(leaf.grad, expected)
