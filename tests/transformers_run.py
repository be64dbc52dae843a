"""A small training with the Trainer of Transformers. A module of its own, for processes to run."""

import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    PreTrainedModel,
    TrainerCallback,
    TrainingArguments,
)

from data_parameters import DataParameters, IndexedDataset, SparseSGD, TrainingDynamics
from data_parameters.integrations.transformers import DataParametersTrainer

NUM_INSTANCES, NUM_CLASSES, LENGTH, VOCABULARY = 40, 3, 6, 30
RATES = {
    "lr_class": 0.1,
    "lr_instance": 2.0,
    "weight_decay_class": 0.01,
    "weight_decay_instance": 0.001,
}
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 16,
}


def samples(num_instances: int = NUM_INSTANCES, seed: int = 1) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(VOCABULARY, (num_instances, LENGTH), generator=generator)
    labels = torch.randint(NUM_CLASSES, (num_instances,), generator=generator)
    return [
        {"input_ids": row.tolist(), "labels": int(label)}
        for row, label in zip(tokens, labels, strict=True)
    ]


def joint_tables() -> DataParameters:
    return DataParameters(num_classes=NUM_CLASSES, num_instances=NUM_INSTANCES, init_instance=1.0)


def classifier(dropout: float = 0.0) -> PreTrainedModel:
    torch.manual_seed(2)
    config = BertConfig(
        **SIZES,
        num_labels=NUM_CLASSES,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    return BertForSequenceClassification(config)


def trainer(
    folder: Path,
    *,
    model: nn.Module | None = None,
    dropout: float = 0.0,
    train_dataset: Any = None,
    data_parameters: DataParameters | None = None,
    dynamics: bool = True,
    data_collator: Any = None,
    optimizers: Any = (None, None),
    callbacks: list[TrainerCallback] | None = None,
    **arguments: Any,
) -> DataParametersTrainer:
    """A trainer of three epochs in minibatches of 8, unless told otherwise."""
    if data_parameters is None:
        data_parameters = joint_tables()
    groups = data_parameters.param_groups(**RATES)
    settings = {
        "optim": "sgd",
        "learning_rate": 0.5,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 0.0,
        "per_device_train_batch_size": 8,
        "num_train_epochs": 3,
        "logging_steps": 5,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "use_cpu": True,
        "seed": 3,
    }
    return DataParametersTrainer(
        classifier(dropout) if model is None else model,
        TrainingArguments(str(folder), **{**settings, **arguments}),
        train_dataset=IndexedDataset(samples()) if train_dataset is None else train_dataset,
        data_parameters=data_parameters,
        data_optimizer=SparseSGD(groups, momentum=0.9),
        dynamics=TrainingDynamics(NUM_INSTANCES) if dynamics else None,
        data_collator=data_collator,
        optimizers=optimizers,
        callbacks=callbacks,
    )


def learned(trained: DataParametersTrainer) -> dict[str, torch.Tensor]:
    """All that a training leaves behind, by name."""
    found = {f"model.{name}": value for name, value in trained.model.state_dict().items()}
    found |= trained.data_parameters.state_dict()
    for number, state in trained.data_optimizer.state_dict()["state"].items():
        found |= {f"{number}.{name}": value for name, value in state.items()}
    if trained.dynamics is not None:
        found |= trained.dynamics.state_dict()
    return {name: value.detach().clone() for name, value in found.items()}


class Stop(Exception):
    """What StopAt raises."""


class StopAt(TrainerCallback):
    """Breaks a training off after some step: by an error, or as a power cut would."""

    def __init__(self, step: int, by: signal.Signals | None = None) -> None:
        self.step, self.by = step, by

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            if self.by is not None:
                os.kill(os.getpid(), self.by)
            raise Stop


def break_and_resume(path: Path, **options: Any) -> DataParametersTrainer:
    """Stop in the second epoch, a step after a checkpoint, and go on with all things built anew."""
    options |= {"save_strategy": "steps", "save_steps": 2}
    with contextlib.suppress(Stop):
        trainer(path, callbacks=[StopAt(9)], **options).train()
    resumed = trainer(path, **options)
    resumed.train(resume_from_checkpoint=True)
    assert resumed.state.global_step == 15
    return resumed


def main(folder: str, job: str) -> None:
    """What the long tests start: one process of a training."""
    torch.set_num_threads(1)
    path = Path(folder)
    if job == "killed":
        options = {"save_strategy": "steps", "save_steps": 2, "dropout": 0.1}
        trainer(path, callbacks=[StopAt(9, signal.SIGKILL)], **options).train()
    elif job == "processes":
        half = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}
        uneven = trainer(path, train_dataset=IndexedDataset(samples(39)), **half)
        rank = uneven.args.process_index
        try:
            uneven.train()
        except ValueError as error:
            Path(path, f"{rank}.txt").write_text(str(error))
        torch.save(learned(break_and_resume(path, **half)), path / f"{rank}.pt")
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
