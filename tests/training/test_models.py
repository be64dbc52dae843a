"""Models by name: what they take, what they give, and what is said where there is none."""

import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data_parameters.training.models import ModelConfig, build_model
from data_parameters.training.wide_resnet import WideResNet


@pytest.mark.parametrize(
    ("name", "input_shape"),
    [
        ("mlp", (64,)),
        ("mlp", (1, 8, 8)),
        ("linear", (64,)),
        ("linear", (3, 8, 8)),
        ("cnn", (1, 8, 8)),
        ("cnn", (3, 33, 17)),
        ("wrn-10-2", (3, 32, 32)),
        ("wrn-10-1", (1, 8, 8)),
        ("wrn-16-1", (3, 64, 64)),
        ("resnet18", (3, 32, 32)),
        ("timm:test_resnet", (1, 32, 32)),
        ("timm:test_resnet.r160_in1k", (3, 32, 32)),
    ],
)
def test_a_minibatch_becomes_logits_and_gradients(name: str, input_shape: tuple[int, ...]) -> None:
    model = build_model(ModelConfig(name=name), input_shape, num_classes=7)
    logits = model(torch.randn(4, *input_shape))
    assert logits.shape == (4, 7)
    F.cross_entropy(logits, torch.arange(4)).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("name", "pixels"),
    [("googlenet", 224), ("inception_v3", 299), ("vit_b_16", 224), ("mobilenet_v3_small", 224)],
)
def test_classifiers_of_torchvision_give_logits_alone(name: str, pixels: int) -> None:
    with torch.device("meta"):
        model = build_model(ModelConfig(name=name), (3, pixels, pixels), num_classes=7)
        assert model(torch.empty(2, 3, pixels, pixels)).shape == (2, 7)


def test_the_published_network() -> None:
    model = build_model(ModelConfig(name="wrn-28-10"), (3, 32, 32), num_classes=100)
    assert sum(parameter.numel() for parameter in model.parameters()) == 36_546_980
    loss = F.cross_entropy(model(torch.randn(2, 3, 32, 32)), torch.tensor([3, 99]))
    loss.backward()
    assert loss.isfinite()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_wide_resnet_has_what_sets_the_published_one_apart() -> None:
    model = WideResNet(16, 2, num_classes=5)
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    momenta = [m.momentum for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    # Three shortcuts beside the 13 on the way: each stage changes the number of channels.
    assert len(convolutions) == 1 + 2 * 6 + 3
    assert all(convolution.bias is not None for convolution in convolutions)
    assert momenta == [0.1] * 12 + [0.9]


def test_wide_resnet_starts_as_torch_does() -> None:
    """A convolution of torch draws from ±1/sqrt(fan in), weights and biases alike."""
    for layer in WideResNet(10, 4, num_classes=50).modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            limit = layer.weight[0].numel() ** -0.5
            assert layer.bias is not None
            assert 0.9 * limit < layer.weight.abs().max() <= limit
            assert 0.5 * limit < layer.bias.abs().max() <= limit
        elif isinstance(layer, nn.BatchNorm2d):
            assert (layer.weight == 1).all() and (layer.bias == 0).all()


def literal_wide_resnet(weights: dict[str, Tensor], images: Tensor) -> Tensor:
    """A depth of 10, written out in full: one block in each stage."""

    def norm(x: Tensor, name: str) -> Tensor:
        mean, variance = weights[f"{name}.running_mean"], weights[f"{name}.running_var"]
        scale, shift = weights[f"{name}.weight"], weights[f"{name}.bias"]
        x = (x - mean[:, None, None]) / (variance[:, None, None] + 1e-5).sqrt()
        return (x * scale[:, None, None] + shift[:, None, None]).clamp(min=0)

    def conv(x: Tensor, name: str, stride: int = 1, padding: int = 1) -> Tensor:
        return F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], stride, padding)

    x = conv(images, "conv1")
    for stage, stride in (("layer1.0", 1), ("layer2.0", 2), ("layer3.0", 2)):
        residual = conv(norm(x, f"{stage}.bn1"), f"{stage}.conv1")
        residual = conv(norm(residual, f"{stage}.bn2"), f"{stage}.conv2", stride)
        x = residual + conv(x, f"{stage}.shortcut.0", stride, padding=0)
    pooled = F.avg_pool2d(norm(x, "bn1"), 8).flatten(1)
    return pooled @ weights["linear.weight"].T + weights["linear.bias"]


def test_wide_resnet_equals_the_literal_network_under_the_published_names() -> None:
    model = WideResNet(10, 2, num_classes=5)
    for _ in range(3):
        model(2 + torch.randn(8, 3, 32, 32))  # running means and variances of their own
    model.eval()
    images = torch.randn(4, 3, 32, 32)
    expected = literal_wide_resnet(model.state_dict(), images)
    torch.testing.assert_close(model(images), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "input_shape"), [("mlp", (3, 8, 8)), ("cnn", (3, 8, 8)), ("wrn-10-1", (3, 8, 8))]
)
def test_dropout(name: str, input_shape: tuple[int, ...]) -> None:
    model = build_model(ModelConfig(name=name, dropout=0.5), input_shape, num_classes=7)
    inputs = torch.randn(4, *input_shape)
    assert not torch.equal(model(inputs), model(inputs))
    model.eval()
    assert torch.equal(model(inputs), model(inputs))


def test_the_same_seed_gives_the_same_weights() -> None:
    models = []
    for _ in range(2):
        torch.manual_seed(3)
        models.append(build_model(ModelConfig(name="cnn"), (3, 8, 8), num_classes=7))
    for first, second in zip(*(model.parameters() for model in models), strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize(
    ("name", "input_shape", "message"),
    [
        ("resnet81", (3, 32, 32), "Did you mean .*resnet18"),
        ("wrn-28", (3, 32, 32), "Did you mean wrn-28-10"),
        ("mpl", (64,), "Did you mean .*mlp"),
        ("what?!", (64,), r"Found what\?!. No name comes close"),
        ("fasterrcnn_resnet50_fpn", (3, 32, 32), "a classifier of torchvision"),
        ("timm:resnet81", (3, 32, 32), "Did you mean .*timm:resnet18"),
        ("wrn-27-10", (3, 32, 32), r"depth 6n \+ 4"),
        ("wrn-4-10", (3, 32, 32), r"depth 6n \+ 4"),
        ("wrn-28-0", (3, 32, 32), "width 1 or more"),
        ("resnet18", (1, 28, 28), "3 channels. Found 1. Take cnn"),
        ("resnet18", (64,), "Take mlp or linear"),
        ("timm:test_resnet", (64,), "Take mlp or linear"),
        ("wrn-10-1", (64,), "Take mlp or linear"),
        ("cnn", (64,), "Take mlp or linear"),
        ("cnn", (1, 8, 7), "8x8 pixels or more"),
    ],
)
def test_what_does_not_fit_is_refused(
    name: str, input_shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build_model(ModelConfig(name=name), input_shape, num_classes=7)


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match=r"`model.hidden` should be at least 1"):
        ModelConfig(hidden=0)
    with pytest.raises(ValueError, match=r"`model.dropout` should lie in \[0, 1\)"):
        ModelConfig(dropout=1.0)
    with pytest.raises(ValueError, match="serves mlp, cnn and wrn-DEPTH-WIDTH"):
        ModelConfig(name="resnet18", dropout=0.1)


@pytest.mark.parametrize(
    ("name", "library", "extra"),
    [("resnet18", "torchvision", "vision"), ("timm:test_resnet", "timm", "timm")],
)
def test_a_missing_library_is_named_with_its_extra(
    name: str, library: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ModuleNotFoundError, match=rf"pip install 'data-parameters\[{extra}\]'"):
        build_model(ModelConfig(name=name), (3, 32, 32), num_classes=7)


MODULE = """
from torch import nn

NUMBER = 3

def build(input_shape, num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(input_shape[0], num_classes))

def nothing(input_shape, num_classes):
    return None
"""


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module in the working directory, which is not on Python's path."""
    name = "own_models_of_a_test"
    (tmp_path / f"{name}.py").write_text(MODULE)
    (tmp_path / "module_with_a_missing_import.py").write_text("import not_installed_anywhere")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, name, raising=False)
    return name


def test_a_model_of_the_user(own_module: str) -> None:
    model = build_model(ModelConfig(name=f"{own_module}:build"), (6,), num_classes=7)
    assert model(torch.zeros(2, 6)).shape == (2, 7)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("{}:nothing", "should return a torch.nn.Module. Found NoneType"),
        ("{}:biuld", "It has: build"),
        ("{}:NUMBER", "Found int"),
        ("no_such_module_anywhere:build", "neither installed nor in"),
        ("{}.inner:build", "Found no `own_models_of_a_test.inner`"),
        ("{}:", "module:function"),
        ("models.py:build:again", "module:function"),
    ],
)
def test_what_the_user_has_not_is_named(reference: str, message: str, own_module: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_model(ModelConfig(name=reference.format(own_module)), (6,), num_classes=7)


@pytest.mark.usefixtures("own_module")
def test_an_error_inside_the_users_module_passes_through() -> None:
    with pytest.raises(ModuleNotFoundError, match="not_installed_anywhere"):
        build_model(ModelConfig(name="module_with_a_missing_import:build"), (6,), num_classes=7)
