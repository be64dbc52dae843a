"""Texts as fixed features: TF-IDF, as scikit-learn computes it.

Legend: N texts, D features.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

try:
    from sklearn.feature_extraction.text import TfidfVectorizer
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "Texts need scikit-learn, an optional dependency. Install it with: "
        "pip install 'data-parameters[train]'",
        name=error.name,
    ) from error

__all__ = ["text_features"]


def text_features(
    train_texts: Sequence[str], test_texts: Sequence[str], *, max_features: int
) -> tuple[Tensor, Tensor]:
    """TF-IDF of single words; words and their frequencies are those of the training texts.

    Args:
        train_texts: N texts.
        test_texts: Other texts, of which only words of the training texts count.
        max_features: Highest D: the most frequent words are kept.

    Returns:
        Dense float32 features of the training texts, shape ``(N, D)``, and of the test texts.

    Raises:
        ValueError: The training texts have no words.
    """
    vectorizer = TfidfVectorizer(max_features=max_features, dtype=np.float32)
    try:
        train = vectorizer.fit_transform(train_texts)
    except ValueError as error:
        raise ValueError(
            "Training texts should have words of two letters or more. Found none in "
            f"{len(train_texts)} texts. Name the column that holds the texts with "
            "--data.input-column."
        ) from error
    test = vectorizer.transform(test_texts)
    return torch.from_numpy(train.toarray()), torch.from_numpy(test.toarray())
