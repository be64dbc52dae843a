"""The methods of each study, by the names of their rows."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from effect import losses
from effect.methods import (
    EarlyLearning,
    Method,
    Mixup,
    Objective,
    cross_entropy,
    judged,
    plain,
    tempered,
)

PLAIN = Method("cross-entropy", plain(cross_entropy()))
INSTANCE = tempered("instance lr 1", lr_instance=1.0)

METHODS = {
    method.name: method
    for method in (
        PLAIN,
        Method("label smoothing 0.1", plain(cross_entropy(0.1))),
        Method("GCE 0.7", plain(losses.generalized_cross_entropy)),
        Method("SCE", plain(losses.symmetric_cross_entropy)),
        Method("NCE+RCE", plain(losses.nce_and_rce)),
        Method(
            "SuperLoss",
            lambda problem, seed: Objective(losses.SuperLoss(problem.num_classes)),
        ),
        Method("mixup", lambda problem, seed: Mixup(seed)),
        Method("ELR", lambda problem, seed: EarlyLearning(problem)),
        tempered("class lr 0.1", lr_class=0.1),
        *(tempered(f"instance lr {lr:g}", lr_instance=lr) for lr in (0.2, 1.0, 3.0)),
        tempered("joint lr 1", lr_class=0.1, lr_instance=1.0),
        judged(PLAIN),
        judged(INSTANCE),
    )
}

# The settings of the peers' authors for CIFAR-100, whose classes are as many as those of banking77.
MANY_CLASSES = {
    method.name: method
    for method in (
        Method("SCE 6, 0.1", plain(partial(losses.symmetric_cross_entropy, alpha=6.0, beta=0.1))),
        Method("NCE+RCE 10, 0.1", plain(partial(losses.nce_and_rce, alpha=10.0, beta=0.1))),
        Method(
            "ELR 7, 0.9",
            lambda problem, seed: EarlyLearning(problem, regularisation=7.0, momentum=0.9),
        ),
    )
}
# The prototype's rule: nothing planted, and who has a mean margin below 0 is doubted.
NEGATIVE = {"rule": "negative", "learned": 2.0, "latest": 1 / 3, "weights": "kept"}
# The second phase, one setting at a time.
JUDGEMENTS = {
    method.name: method
    for method in (
        judged(INSTANCE),
        judged(PLAIN),
        *(judged(tempered(f"instance lr {lr:g}", lr_instance=lr)) for lr in (0.2, 3.0)),
        judged(INSTANCE, ", planted 0.05", planted=0.05),
        judged(INSTANCE, ", cost 1", cost=1.0),
        judged(INSTANCE, " at 2/3 at the latest", latest=0.67),
        judged(INSTANCE, " when a quarter is learned by heart", learned=0.25),
        judged(INSTANCE, " when three quarters are learned by heart", learned=0.75),
        judged(INSTANCE, ", weights kept", weights="kept"),
        judged(INSTANCE, ", first weights", weights="first"),
        judged(INSTANCE, ", rivals' labels at once", rejoin="at once"),
        judged(INSTANCE, ", rivals' labels at the drop", rejoin="at the drop"),
        judged(INSTANCE, ", down-weighted", down_weighted=True),
        judged(INSTANCE, " by σ", score="temperature"),
        judged(INSTANCE, " by σ and margin", score="both"),
        judged(INSTANCE, ": negative margins left out at 1/3, weights kept", **NEGATIVE),
        judged(
            INSTANCE, ": negative margins left out at 1/2, afresh",
            rule="negative", learned=2.0, weights="first",
        ),
        judged(INSTANCE, ": negative margins renamed at 1/3", **NEGATIVE, rejoin="at once"),
        judged(PLAIN, ": negative margins renamed at 1/3", **NEGATIVE, rejoin="at once"),
    )
}  # fmt: skip


def _with_budget(text: str, budget: Mapping[str, Any], lrs: Sequence[float]) -> Iterator[Method]:
    """Cross-entropy and instance parameters, both with another network, batch or length."""
    yield replace(PLAIN, name=f"cross-entropy, {text}", budget=budget)
    for lr in lrs:
        yield tempered(f"instance lr {lr:g}, {text}", budget, lr_instance=lr)


# From a network that cannot learn wrong labels by heart to one that can.
CAPACITIES = {
    method.name: method
    for hidden in (4, 16, 64, 256, 1024)
    for method in _with_budget(f"{hidden} wide", {"hidden": hidden}, (0.2, 1.0, 3.0))
}
# One setting at a time, from instance parameters at 1, batch 64 and 60 epochs.
SETTINGS = {
    method.name: method
    for method in (
        PLAIN,
        INSTANCE,
        tempered("momentum 0", lr_instance=1.0, momentum=0.0),
        tempered("momentum 0, lr 10", lr_instance=10.0, momentum=0.0),
        tempered("σ from 1/2", lr_instance=1.0, bounds=(0.5, 20.0)),
        tempered("σ from 1", lr_instance=1.0, bounds=(1.0, 20.0)),
        tempered("σ to 2", lr_instance=1.0, bounds=(0.05, 2.0)),
        tempered("weight decay 0.01", lr_instance=1.0, weight_decay=0.01),
        tempered("σ waits 5 epochs", lr_instance=1.0, waits=5),
        tempered("σ's rate follows the model's", lr_instance=1.0, follows=True),
        tempered("centred in each class", lr_instance=1.0, centred=True),
        tempered("constant step size", lr_instance=1.0, constant_step=True),
        *_with_budget("batch 16", {"batch_size": 16}, (1.0,)),
        tempered(
            "per_sample 1/64, batch 16", {"batch_size": 16}, lr_instance=1 / 64, per_sample=True
        ),
        *_with_budget("batch 256", {"batch_size": 256}, (1.0,)),
        tempered(
            "per_sample 1/64, batch 256", {"batch_size": 256}, lr_instance=1 / 64, per_sample=True
        ),
        *_with_budget("15 epochs", {"epochs": 15}, (1.0,)),
        *_with_budget("120 epochs", {"epochs": 120}, (1.0,)),
    )
}
# From the authors' way of training (SGD with drops, weight decay, a stop four epochs after a drop)
# to that of an independent re-test (CurBench: Adam at a constant rate, no stop). The rate of
# the instances is nearly the same in both: 0.2 / 128 and 0.1 / 50 a sample, and here 0.1 / 64.
REGIMES = {
    method.name: method
    for text, budget in (
        ("SGD with drops", {}),
        ("SGD, constant", {"drops": False}),
        ("Adam 1e-3, constant", {"drops": False, "adam": True, "lr": 1e-3}),
        ("Adam 1e-4, constant", {"drops": False, "adam": True, "lr": 1e-4}),
        (
            "Adam 1e-3, constant, 200 epochs",
            {"drops": False, "adam": True, "lr": 1e-3, "epochs": 200},
        ),
        ("SGD with drops, decay 1e-3, 120 epochs", {"weight_decay": 1e-3, "epochs": 120}),
        ("SGD with drops, decay 3e-3, 120 epochs", {"weight_decay": 3e-3, "epochs": 120}),
    )
    for method in _with_budget(text, budget, (0.1, 1.0))
}


@dataclass(frozen=True)
class Way:
    """A network and a way of training it, one of the crossed study."""

    hidden: int
    drops: bool
    epochs: int
    batch_size: int

    def __str__(self) -> str:
        schedule = "drops" if self.drops else "constant"
        return f"{self.hidden} wide, {schedule}, {self.epochs} epochs, batch {self.batch_size}"


WAYS = [Way(*way) for way in itertools.product((32, 512), (True, False), (15, 60), (16, 64, 256))]
CROSSED_LRS = (0.25, 1.0, 4.0)  # 1 / 64 a sample at each of the batch sizes


def _crossed(way: Way) -> Iterator[Method]:
    """Cross-entropy, three rates of the instances, and the program's default, in one way."""
    yield from _with_budget(str(way), vars(way), CROSSED_LRS)
    default = judged(tempered("default", lr_instance=min(1.0, way.batch_size / 64)))
    yield replace(default, name=f"default, {way}", budget=vars(way))


CROSSED = {method.name: method for way in WAYS for method in _crossed(way)}
# The same a sample at any batch size: a rate of 2 at batches of 128.
A_SAMPLE = judged(tempered("per_sample 1/64", lr_instance=1 / 64, per_sample=True))
# What leaving out wrong labels could reach at the most: no wrong one kept, no right one lost.
ORACLE = replace(PLAIN, name="cross-entropy, right labels alone", knows=True)
ALL_METHODS = (
    METHODS
    | MANY_CLASSES
    | CAPACITIES
    | SETTINGS
    | CROSSED
    | REGIMES
    | JUDGEMENTS
    | {method.name: method for method in (A_SAMPLE, ORACLE)}
)
# What `data-parameters train` does where nothing is set, at batches of 64 and more.
DEFAULT = "instance lr 1, second phase"
