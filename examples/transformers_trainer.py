"""Fine-tune with the Trainer of Transformers on labels of which 30 % are wrong, and find them.

    pip install 'data-parameters[transformers]'
    python examples/transformers_trainer.py

Sentences of made-up words, of which a few tell the class; a small network with random weights.
"""

import tempfile

import torch
from transformers import BertConfig, BertForSequenceClassification, TrainingArguments

from data_parameters import DataParameters, IndexedDataset, SparseSGD, corrupt_labels
from data_parameters.integrations.transformers import DataParametersTrainer

NUM_SENTENCES, NUM_WORDS, NUM_CLASSES = 600, 12, 4
VOCABULARY, TELLING = 200, 10  # the first 4 x 10 words tell the class


def sentences(labels: torch.Tensor) -> torch.Tensor:
    """Four telling words of the class in front, then any."""
    tokens = torch.randint(NUM_CLASSES * TELLING, VOCABULARY, (len(labels), NUM_WORDS))
    tokens[:, :4] = labels[:, None] * TELLING + torch.randint(TELLING, (len(labels), 4))
    return tokens


def main() -> None:
    """Train, and say how many of the hottest labels are wrong."""
    torch.manual_seed(0)
    right_labels = torch.randint(NUM_CLASSES, (NUM_SENTENCES,))
    labels, _ = corrupt_labels(right_labels, 0.3, num_classes=NUM_CLASSES)
    train_set = [
        {"input_ids": tokens, "labels": label}
        for tokens, label in zip(sentences(right_labels).tolist(), labels.tolist(), strict=True)
    ]
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        num_labels=NUM_CLASSES,
    )

    data_parameters = DataParameters(num_instances=len(train_set))
    data_optimizer = SparseSGD(data_parameters.param_groups(lr_instance=2.0), momentum=0.9)
    with tempfile.TemporaryDirectory() as folder:
        trainer = DataParametersTrainer(
            BertForSequenceClassification(config),
            TrainingArguments(
                folder,
                num_train_epochs=12,
                per_device_train_batch_size=32,
                learning_rate=2e-3,
                report_to="none",
                save_strategy="no",
                disable_tqdm=True,
                use_cpu=True,
                dataloader_pin_memory=False,
            ),
            train_dataset=IndexedDataset(train_set),
            data_parameters=data_parameters,
            data_optimizer=data_optimizer,
        )
        trainer.train()

    temperature = data_parameters.instance_temperature
    assert temperature is not None
    is_wrong = labels != right_labels
    num_wrong = int(is_wrong.sum())
    hottest = temperature.argsort(descending=True)[:num_wrong]
    print(
        f"{int(is_wrong[hottest].sum())} of the {num_wrong} hottest labels are wrong; "
        f"{num_wrong} of {NUM_SENTENCES} are wrong in all."
    )


if __name__ == "__main__":
    main()
