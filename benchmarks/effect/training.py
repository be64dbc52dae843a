"""One run of the study: one network, one budget, whatever the method.

Legend: N instances, C classes.
"""

import itertools
import time
from dataclasses import asdict, dataclass, field, replace

import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from data_parameters import TrainingDynamics
from data_parameters.training.models import ModelConfig, build_model
from effect.cells import BUDGETS, Cell, Problem, draw, moved
from effect.methods import Method
from effect.second_phase import Phases

FIRST_DROP = 0.67  # of the epochs


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a run says of itself: a line of the results file. Accuracies in %.

    Attributes:
        test: Clean test accuracy after each epoch; for reports only.
        validation: Accuracy on the held out noisy labels after each epoch: it selects.
        train: Accuracy on the given labels during each epoch.
        auroc: How well each signal finds the labels that changed, where any did.
        judged: Of a second phase: the estimated noise rate, the share of the rows left out, and
            how many of these were wrong and of the wrong ones were left out (precision, recall).
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
    judged: dict[str, float] = field(default_factory=dict)
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
        """Test accuracy of the epoch that the noisy validation labels select.

        After a judgement, as in the program: none with planted labels.
        """
        begun = int(self.judged.get("epoch", 0))
        validation = self.validation[begun:]
        return self.test[begun + validation.index(max(validation))]


def run(cell: Cell, method: Method, seed: int) -> Record:
    """Train once. The seed is that of the noise, the split, the first weights and the order.

    Images are not augmented: a small network that sees each image anew learns no wrong label by
    heart within such a budget, and then there is nothing to compare.
    """
    start = time.perf_counter()
    budget = replace(BUDGETS[cell.data], **method.budget)
    problem = draw(cell, seed)
    if method.knows:
        right = problem.given == problem.true
        problem = replace(problem, train=problem.train[right[problem.train]])
    images = problem.inputs.ndim == 4
    device = "cuda" if images and torch.cuda.is_available() else "cpu"
    problem = moved(problem, device)

    def begin() -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(seed)
        model = perceptron(problem, budget.layers, budget.hidden)
        if images:
            shape = tuple(problem.inputs.shape[1:])
            model = build_model(ModelConfig(name="cnn"), shape, problem.num_classes)
        model.to(device)
        if images:
            model.to(memory_format=torch.channels_last)  # half the time on a CPU
        if budget.adam:
            return model, torch.optim.Adam(model.parameters(), lr=budget.lr)
        return model, torch.optim.SGD(
            model.parameters(), lr=budget.lr, momentum=0.9, weight_decay=budget.weight_decay
        )

    model, optimizer = begin()
    objective = method.build(problem, seed)
    dynamics = TrainingDynamics(len(problem.given), device=device)
    chance = torch.Generator().manual_seed(seed)
    phases = Phases(problem, method.second_phase, budget.epochs, seed)
    first = 0  # the epoch from which the schedule counts
    test, validation, train = [], [], []
    for epoch in range(budget.epochs):
        judgement = phases.judge_when_due(epoch, dynamics, objective.log_instance)
        if judgement is not None and bool(judgement.believed.all()):
            if objective.log_instance is not None:  # or a cold σ would meet the label given back
                objective.set_temperature(phases.planted_rows, 1.0)
        elif judgement is not None:
            objective = method.build(problem, seed)
            if len(phases.doubted):
                objective.set_temperature(phases.doubted, 20.0)
            if judgement.restarts:
                model, optimizer = begin()
                first = epoch
        milestones = (FIRST_DROP, 0.84) if budget.drops else ()
        drops = sum(epoch - first >= round(s * (budget.epochs - first)) for s in milestones)
        phases.rejoin(drops)
        for group in optimizer.param_groups:
            group["lr"] = budget.lr * 0.1**drops
        objective.begin_epoch(epoch - first, 0.1**drops)
        model.train()
        right = torch.zeros((), dtype=torch.int64, device=device)
        order = phases.rows[torch.randperm(len(phases.rows), generator=chance).to(device)]
        for index in order.split(budget.batch_size):
            inputs, target = problem.inputs[index], phases.given[index]
            loss, logits = objective.loss(model, inputs, target, index)
            optimizer.zero_grad()
            objective.zero_grad()
            loss.backward()
            optimizer.step()
            objective.step()
            dynamics.update(logits.detach(), target, index)
            right += (logits.argmax(1) == target).sum()
        model.eval()
        test.append(_accuracy(model, problem.test_inputs, problem.test_labels))
        held_out = problem.validation
        validation.append(_accuracy(model, problem.inputs[held_out], problem.given[held_out]))
        train.append(100 * int(right) / len(order))
    return Record(
        cell=str(cell),
        method=method.name,
        seed=seed,
        test=test,
        validation=validation,
        train=train,
        auroc=_auroc(problem, dynamics, objective.log_instance, ~phases.planted),
        seconds=time.perf_counter() - start,
        judged=phases.summary(),
    )


def to_line(record: Record) -> dict[str, object]:
    """Plain values, rounded a digit beyond what the tables show."""
    line = asdict(record)
    for name in ("test", "validation", "train"):
        line[name] = [round(value, 2) for value in line[name]]
    for name in ("auroc", "judged"):
        line[name] = {key: round(value, 4) for key, value in line[name].items()}
    line["seconds"] = round(record.seconds, 1)
    return line


def perceptron(problem: Problem, layers: int, hidden: int) -> nn.Module:
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
    problem: Problem,
    dynamics: TrainingDynamics,
    log_instance: Tensor | None,
    among: Tensor,
) -> dict[str, float]:
    """Of labels that changed, among the instances trained on and not planted."""
    rows = problem.train.cpu()[among]
    changed = (problem.given != problem.true).cpu()[rows]
    if not 0 < int(changed.sum()) < len(rows):
        return {}
    signals = {
        "margin": -dynamics.margin,
        "clipped_margin": -dynamics.clipped_margin,
        "wrong_fraction": dynamics.wrong_fraction,
        "last_loss": dynamics.last_loss,
    }
    if log_instance is not None:
        signals["temperature"] = log_instance
    return {
        name: float(roc_auc_score(changed, signal.cpu()[rows].numpy()))
        for name, signal in signals.items()
    }
