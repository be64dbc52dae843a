"""The studies of real use, on tiny data: what they draw, run, keep and tabulate."""

import json

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch

import sklearn_study
import transformers_study
from stacks import classifiers, features, finetuning, random_bert, records, sentences

WORDS = ("red blue green", "cat dog eel", "oak elm ash")


def texts_of(labels):
    """Sentences of two to six words, which tell the class."""
    generator = np.random.default_rng(0)
    return [
        " ".join(generator.choice(WORDS[label].split(), 2 + row % 5))
        for row, label in enumerate(labels)
    ]


@pytest.fixture(name="data")
def make_data(tmp_path):
    """A folder of sentences with weak labels: three are wrong, two missing."""
    for name in ("trec6", "banking77"):
        (tmp_path / name).mkdir()
        for split, num in (("train", 60), ("test", 18)):
            labels = [row % 3 for row in range(num)]
            weak = [1, 2, 0, -1, -1, *labels[5:]]
            table = {"text": texts_of(labels), "label": labels, "weak_label": weak[:num]}
            pyarrow.parquet.write_table(pyarrow.table(table), tmp_path / name / f"{split}.parquet")
    return tmp_path


def test_weak_labels_that_are_missing_are_left_out_and_counted(data):
    drawn = sentences.draw("trec6/weak", 0, data)
    assert drawn.num_left_out == 2
    assert len(drawn.texts) == len(drawn.given) == len(drawn.true) == 58
    assert drawn.changed.nonzero().flatten().tolist() == [0, 1, 2]
    everything = texts_of([row % 3 for row in range(60)])
    assert drawn.texts == everything[:3] + everything[5:]
    assert drawn.num_classes == 3


def test_the_seed_draws_symmetric_noise(data):
    first, same, other = (sentences.draw("banking77/symmetric/0.3", s, data) for s in (0, 0, 1))
    assert torch.equal(first.given, same.given)
    assert not torch.equal(first.given, other.given)
    assert int(first.changed.sum()) == int(other.changed.sum()) == 18


@pytest.mark.parametrize("method", transformers_study.METHODS)
def test_fine_tuning(method, data):
    drawn = sentences.draw("trec6/weak", 0, data)
    network = random_bert.network(drawn.texts, hidden=16, num_layers=1)
    budget = finetuning.Budget(epochs=6, batch_size=8, lr=0.01)
    found = finetuning.run(drawn, network, budget, transformers_study.METHODS[method], seed=0)
    assert len(found["test"]) == 6
    assert found["test"][-1] > 80
    # Predictions are in the order of the labels, though batches are made by length.
    assert found["given"] > 80
    assert found["given_wrong"] < 80
    assert found["wrong"] == pytest.approx(100 * 3 / 58, abs=0.01)
    assert ("sigma" in found["auroc"]) == (method != "without")
    assert all(value > 0.9 for value in found["auroc"].values())


def test_classifiers_of_features():
    drawn = features.draw_digits(0.4, seed=0)
    assert 0.3 < drawn.changed.mean() < 0.4
    for method in set(classifiers.METHODS) - {"CleanLearning of LogisticRegression"}:
        found = classifiers.run(drawn, method, seed=0)
        assert found["test"] > 85
        assert all(value > 0.9 for value in found["auroc"].values())


def test_clean_learning():
    pytest.importorskip("cleanlab", reason="cleanlab, a peer, is installed for the study alone")
    found = classifiers.run(
        features.draw_digits(0.4, seed=0), "CleanLearning of LogisticRegression", 0
    )
    assert found["test"] > 85
    assert found["auroc"]["score"] > 0.9


def test_word_counts_are_those_of_the_training_sentences(data):
    drawn = features.draw_sentences("trec6/weak", "TF-IDF", 0, data)
    assert drawn.train.shape == (58, 9)
    assert drawn.test.shape == (18, 9)


def test_what_was_run_is_not_run_again(tmp_path):
    path, ran = tmp_path / "new" / "study.jsonl", []

    def run(key):
        ran.append(key)
        return {"test": 50.0}

    keys = [("a", "m", 0), ("a", "m", 1)]
    records.run_missing(path, keys[:1], run, ["torch"])
    records.run_missing(path, keys, run, ["torch"])
    assert ran == keys
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["cell"], line["method"], line["seed"]) for line in lines] == keys
    assert f"torch {torch.__version__}" in records.where(lines)


def test_tables():
    lines = [
        {
            "cell": "some, noise",
            "method": method,
            "seed": seed,
            "machine": "here",
            "versions": "one",
            "num_instances": 10,
            "num_left_out": 2,
            "wrong": 30.0,
            "test": 90.0 + seed,
            "given": 80.0,
            "given_wrong": 10.0,
            "auroc": {"margin": 0.75, "score": 0.75},
            "seconds": 5.0,
        }
        for method in ("a", "b")
        for seed in (0, 2)
    ]
    text = sklearn_study.report(lines)
    assert "## some, noise" in text
    assert "| a | 91.0 ± 1.4 | 0.750 ± 0.000 |  | 5.0 ± 0.0 |" in text
    for line in lines:
        line["test"] = [95.0, line["test"]]
    text = transformers_study.report(lines)
    assert "10 training sentences, 30.0 % of whose labels are wrong; 2 more" in text
    assert "| b | 91.0 ± 1.4 | 95.0 ± 0.0 | 80.0 ± 0.0 | 10.0 ± 0.0 |" in text
