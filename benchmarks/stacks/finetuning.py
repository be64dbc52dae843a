"""One fine-tuning with the Trainer of Transformers, without or with instance parameters.

Legend: N training instances, C classes.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import DataCollatorWithPadding, EvalPrediction, TrainingArguments

from data_parameters import DataParameters, IndexedDataset, SparseSGD, TrainingDynamics
from data_parameters.integrations.transformers import DataParametersTrainer
from stacks.sentences import Sentences
from stacks.signals import aurocs, suspicions

MAX_TOKENS = 48  # all of trec6 and 98 % of banking77; what is longer is cut


@dataclass(frozen=True)
class Network:
    """What is fine-tuned.

    Attributes:
        tokenizer: Of Transformers.
        build: From C, the model with a new head.
    """

    tokenizer: Any
    build: Callable[[int], Any]


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What both methods get. The learning rate falls linearly to 0."""

    epochs: int = 15
    batch_size: int = 32
    lr: float = 1e-3


def run(
    sentences: Sentences, network: Network, budget: Budget, lr_instance: float | None, seed: int
) -> dict[str, Any]:
    """Train once; accuracies in %.

    Args:
        sentences: What to train and test on.
        network: What to fine-tune.
        budget: For how long.
        lr_instance: Of `SparseSGD(per_sample=True)`, or `None` for the plain `Trainer`'s loss: then
            σ stays 1, so that one trainer gives the margins of both.
        seed: Of the head, dropout and order.

    Returns:
        Test accuracy after each epoch, accuracies on the training set's labels, and AUROC.
    """
    torch.manual_seed(seed)
    model = network.build(sentences.num_classes)
    train_set = _encode(network.tokenizer, sentences.texts, sentences.given)
    test_set = _encode(network.tokenizer, sentences.test_texts, sentences.test_labels)
    data_parameters = DataParameters(num_instances=len(train_set))
    groups = data_parameters.param_groups(lr_instance=lr_instance or 0.0)
    dynamics = TrainingDynamics(len(train_set))
    with tempfile.TemporaryDirectory() as folder:
        trainer = DataParametersTrainer(
            model,
            _arguments(folder, budget, seed),
            train_dataset=IndexedDataset(train_set),
            eval_dataset=test_set,
            data_collator=DataCollatorWithPadding(network.tokenizer),
            compute_metrics=_accuracy,
            data_parameters=data_parameters,
            data_optimizer=SparseSGD(groups, momentum=0.9, per_sample=True),
            dynamics=dynamics,
        )
        start = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - start
        test = [
            100 * entry["eval_accuracy"]
            for entry in trainer.state.log_history
            if "eval_accuracy" in entry
        ]
        trainer.args.train_sampling_strategy = "sequential"  # or predictions come by length
        fitted = torch.from_numpy(trainer.predict(train_set).predictions.argmax(1))
    changed = sentences.changed
    agrees = 100 * (fitted == sentences.given).double()
    temperature = None if lr_instance is None else data_parameters.instance_temperature
    return {
        "num_instances": len(train_set),
        "num_left_out": sentences.num_left_out,
        "wrong": round(100 * float(changed.double().mean()), 2),
        "test": [round(value, 2) for value in test],
        "given": round(float(agrees.mean()), 2),
        "given_wrong": round(float(agrees[changed].mean()), 2),
        "auroc": aurocs(changed.numpy(), suspicions(sentences.given, temperature, dynamics)),
        "seconds": round(seconds, 1),
    }


def _encode(tokenizer: Any, texts: list[str], labels: Tensor) -> list[dict[str, Any]]:
    tokens = tokenizer(texts, truncation=True, max_length=MAX_TOKENS)["input_ids"]
    return [
        {"input_ids": ids, "labels": label}
        for ids, label in zip(tokens, labels.tolist(), strict=True)
    ]


def _arguments(folder: str, budget: Budget, seed: int) -> TrainingArguments:
    return TrainingArguments(
        folder,
        num_train_epochs=budget.epochs,
        per_device_train_batch_size=budget.batch_size,
        per_device_eval_batch_size=128,
        learning_rate=budget.lr,
        train_sampling_strategy="group_by_length",  # little of a minibatch is padding
        seed=seed,
        eval_strategy="epoch",
        logging_strategy="epoch",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        dataloader_pin_memory=False,
    )


def _accuracy(found: EvalPrediction) -> dict[str, float]:
    return {"accuracy": float(np.mean(found.predictions.argmax(1) == found.label_ids))}
