"""Features with labels that are wrong in part, for classifiers of scikit-learn.

Legend: N training instances, M test instances, F features.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer

from data_parameters import corrupt_labels
from data_parameters.training.sources.digits import digits
from stacks.sentences import DATA, Sentences, draw

PREPARED = Path(__file__).parents[2] / "build" / "stacks"


@dataclass(frozen=True)
class Features:
    """One draw.

    Attributes:
        train: Features, ``(N, F)``, dense or sparse.
        given: The labels to train on, ``(N,)``.
        changed: Whose label is wrong, ``(N,)``; nothing but reports may read it.
        test, test_labels: ``(M, F)`` and ``(M,)``, clean.
    """

    train: Any
    given: np.ndarray
    changed: np.ndarray
    test: Any
    test_labels: np.ndarray


def draw_digits(fraction: float, seed: int) -> Features:
    """Handwritten digits as they come, pixels in [0, 1]; the seed draws split and noise."""
    found = digits(seed=seed)
    given, _ = corrupt_labels(found.train_labels, fraction, kind="permute", seed=seed)
    return Features(
        found.train_images.numpy(),
        given.numpy(),
        (given != found.train_labels).numpy(),
        found.test_images.numpy(),
        found.test_labels.numpy(),
    )


def draw_sentences(cell: str, features: str, seed: int, data: Path = DATA) -> Features:
    """Sentences as ``"TF-IDF"`` or ``"embeddings"``."""
    sentences = draw(cell, seed, data)
    train, test = {"TF-IDF": tf_idf, "embeddings": embedded}[features](sentences)
    return Features(
        train,
        sentences.given.numpy(),
        sentences.changed.numpy(),
        test,
        sentences.test_labels.numpy(),
    )


def tf_idf(sentences: Sentences) -> tuple[Any, Any]:
    """Sparse, with scikit-learn's defaults."""
    vectorizer = TfidfVectorizer()
    return vectorizer.fit_transform(sentences.texts), vectorizer.transform(sentences.test_texts)


def embedded(sentences: Sentences) -> tuple[np.ndarray, np.ndarray]:
    """Of length 1 and 384 features; each sentence is embedded once."""
    from stacks import minilm  # needs a package that the rest does not

    return (
        _kept(minilm.embeddings, sentences.texts),
        _kept(minilm.embeddings, sentences.test_texts),
    )


def _kept(embed: Callable[[list[str]], torch.Tensor], texts: list[str]) -> np.ndarray:
    path = PREPARED / f"{hashlib.sha256(repr(texts).encode()).hexdigest()[:16]}.npy"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, embed(texts).numpy())
    found: np.ndarray = np.load(path)
    return found
