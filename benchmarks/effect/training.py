"""One run of the study: one network, one budget, whatever the method.

Legend: N instances, C classes.
"""

import itertools
import time
from dataclasses import asdict, dataclass

import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from data_parameters import TrainingDynamics
from data_parameters.training.models import ModelConfig, build_model
from effect.cells import BUDGETS, Cell, Problem, draw
from effect.methods import Method


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a run says of itself: a line of the results file. Accuracies in %.

    Attributes:
        test: Clean test accuracy after each epoch; for reports only.
        validation: Accuracy on the held out noisy labels after each epoch: it selects.
        train: Accuracy on the given labels during each epoch.
        auroc: How well each signal finds the labels that changed, where any did.
        seconds: How long it took.
        machine: Where it ran.
    """

    cell: str
    method: str
    seed: int
    test: list[float]
    validation: list[float]
    train: list[float]
    auroc: dict[str, float]
    seconds: float
    machine: str = ""

    @property
    def last(self) -> float:
        """Test accuracy at the end."""
        return self.test[-1]

    @property
    def best(self) -> float:
        """Test accuracy of the best epoch, which nobody can choose without clean labels."""
        return max(self.test)

    @property
    def selected(self) -> float:
        """Test accuracy of the epoch that the noisy validation labels select."""
        return self.test[self.validation.index(max(self.validation))]


def run(cell: Cell, method: Method, seed: int) -> Record:
    """Train once. The seed is that of the noise, the split, the first weights and the order.

    Images are not augmented: a small network that sees each image anew learns no wrong label by
    heart within such a budget, and then there is nothing to compare.
    """
    start = time.perf_counter()
    budget = BUDGETS[cell.data]
    problem = draw(cell, seed)
    torch.manual_seed(seed)
    images = problem.inputs.ndim == 4
    model = _perceptron(problem, budget.layers, budget.hidden)
    if images:
        shape = tuple(problem.inputs.shape[1:])
        model = build_model(ModelConfig(name="cnn"), shape, problem.num_classes)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=budget.lr, momentum=0.9, weight_decay=budget.weight_decay
    )
    milestones = [round(0.67 * budget.epochs), round(0.84 * budget.epochs)]
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones)
    objective = method.build(problem, seed)
    dynamics = TrainingDynamics(len(problem.given))
    chance = torch.Generator().manual_seed(seed)
    test, validation, train = [], [], []
    for _ in range(budget.epochs):
        model.train()
        right = 0
        order = problem.train[torch.randperm(len(problem.train), generator=chance)]
        for index in order.split(budget.batch_size):
            inputs, target = problem.inputs[index], problem.given[index]
            loss, logits = objective.loss(model, inputs, target, index)
            optimizer.zero_grad()
            objective.zero_grad()
            loss.backward()
            optimizer.step()
            objective.step()
            dynamics.update(logits.detach(), target, index)
            right += int((logits.argmax(1) == target).sum())
        schedule.step()
        model.eval()
        test.append(_accuracy(model, problem.test_inputs, problem.test_labels))
        held_out = problem.validation
        validation.append(_accuracy(model, problem.inputs[held_out], problem.given[held_out]))
        train.append(100 * right / len(order))
    return Record(
        cell=str(cell),
        method=method.name,
        seed=seed,
        test=test,
        validation=validation,
        train=train,
        auroc=_auroc(problem, dynamics, objective.log_instance),
        seconds=time.perf_counter() - start,
    )


def to_line(record: Record) -> dict[str, object]:
    """Plain values, rounded a digit beyond what the tables show."""
    line = asdict(record)
    for name in ("test", "validation", "train"):
        line[name] = [round(value, 2) for value in line[name]]
    line["auroc"] = {name: round(value, 4) for name, value in record.auroc.items()}
    line["seconds"] = round(record.seconds, 1)
    return line


def _perceptron(problem: Problem, layers: int, hidden: int) -> nn.Module:
    sizes = [problem.inputs[0].numel(), *[hidden] * layers]
    parts: list[nn.Module] = [nn.Flatten()]
    for before, after in itertools.pairwise(sizes):
        parts += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*parts, nn.Linear(sizes[-1], problem.num_classes))


@torch.no_grad()
def _accuracy(model: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    right = sum(
        int((model(part).argmax(1) == answer).sum())
        for part, answer in zip(inputs.split(1000), labels.split(1000), strict=True)
    )
    return 100 * right / len(labels)


def _auroc(
    problem: Problem, dynamics: TrainingDynamics, log_instance: Tensor | None
) -> dict[str, float]:
    """Of labels that changed, among the instances trained on."""
    rows = problem.train
    changed = (problem.given != problem.true)[rows]
    if not 0 < int(changed.sum()) < len(rows):
        return {}
    signals = {
        "margin": -dynamics.margin,
        "wrong_fraction": dynamics.wrong_fraction,
        "last_loss": dynamics.last_loss,
    }
    if log_instance is not None:
        signals["temperature"] = log_instance
    return {name: float(roc_auc_score(changed, s[rows].numpy())) for name, s in signals.items()}
