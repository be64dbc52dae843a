"""A small BERT with random weights, and words of the training sentences."""

from typing import Any

from tokenizers import BertWordPieceTokenizer
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from stacks.finetuning import Network


def network(texts: list[str], *, hidden: int = 128, num_layers: int = 2) -> Network:
    """The tokenizer knows the training sentences alone."""
    words = BertWordPieceTokenizer(lowercase=True)
    words.train_from_iterator(texts, vocab_size=3000, show_progress=False)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words._tokenizer, pad_token="[PAD]", unk_token="[UNK]",
        cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]",
    )  # fmt: skip

    def build(num_classes: int) -> Any:
        config = BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=hidden,
            num_hidden_layers=num_layers,
            num_attention_heads=4,
            intermediate_size=2 * hidden,
            num_labels=num_classes,
        )
        return BertForSequenceClassification(config)

    return Network(tokenizer, build)
