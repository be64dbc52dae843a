"""Which models and which settings of a Trainer can have data parameters."""

from typing import Any

from transformers import PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

__all__ = ["check_even", "check_settings", "is_causal"]

# Models whose loss is the mean cross-entropy of logits (B, ..., C) and labels (B, ...).
PLAIN_LOSSES = {
    f"For{task}"
    for task in (
        "SequenceClassification",
        "TokenClassification",
        "MaskedLM",
        "ImageClassification",
        "AudioClassification",
        "VideoClassification",
    )
}


def check_settings(trainer: Any) -> None:
    """Refuse settings under which the loss or the processes would be others than ours.

    Args:
        trainer: A Trainer that has been built.

    Raises:
        ValueError: A setting is not supported.
    """
    if trainer.compute_loss_func is not None:
        raise ValueError(
            "`compute_loss_func` should be None, because the loss is the cross-entropy at a "
            "temperature. Found one. Leave it out, or use the tables in a Trainer of your own."
        )
    if trainer.model_init is not None:
        raise ValueError(
            "`model_init` should be None: a second model would start with the temperatures of "
            "the first. Give `model`, and for each trial tables and a trainer of their own."
        )
    if trainer.args.n_gpu > 1:
        raise ValueError(
            "There should be one process for each GPU. Found one process for "
            f"{trainer.args.n_gpu}. Start with `torchrun --nproc-per-node {trainer.args.n_gpu}`."
        )
    config = getattr(trainer.accelerator, "parallelism_config", None)
    sizes = [getattr(config, f"{kind}_size", 1) for kind in ("tp", "cp", "sp")]
    if trainer.is_deepspeed_enabled or max(*sizes, trainer.get_tp_size()) > 1:
        raise ValueError(
            "Processes should differ in their minibatches alone. Found DeepSpeed, or tensor, "
            "context or sequence parallelism, which are not supported. Use data parallelism."
        )


def check_even(trainer: Any) -> None:
    """Refuse an epoch whose last minibatch would be filled up with samples of the first.

    Args:
        trainer: A Trainer with a training set.

    Raises:
        ValueError: Minibatches of all processes don't divide the data set.
    """
    num_processes, dataset = trainer.args.world_size, trainer.train_dataset
    if num_processes == 1 or trainer.args.dataloader_drop_last or not hasattr(dataset, "__len__"):
        return
    batch_size = trainer._train_batch_size * num_processes
    if len(dataset) % batch_size:
        raise ValueError(
            f"No sample should occur twice in an epoch. Found {len(dataset)} samples for "
            f"minibatches of {batch_size} over {num_processes} processes, and the last one would "
            "be filled up with samples of the first. Set `dataloader_drop_last=True`."
        )


def is_causal(model: Any) -> bool:
    """Whether the logits at a token are of the next one.

    Args:
        model: The model, not wrapped.

    Returns:
        ``True`` for causal language models.

    Raises:
        ValueError: Its loss is of another kind.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model  # PEFT
    loss_type = getattr(base, "loss_type", None) if isinstance(base, PreTrainedModel) else None
    name = type(base).__name__
    if loss_type == "ForCausalLM" or name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values():
        return True
    if loss_type is not None and loss_type not in PLAIN_LOSSES:
        raise ValueError(
            "The model should classify sequences or tokens, or be a causal or masked language "
            f"model. Found {name}, whose loss is {loss_type}. Use the tables in a Trainer of your "
            "own, with a loss that divides the logits by the temperature."
        )
    return False
