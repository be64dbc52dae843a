"""What the trainings say about the labels: scores, estimated noise rates, suggestions.

Legend: N training instances, C classes. Here a higher suspicion is worse.
"""

from pathlib import Path

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from data_parameters.issues import (
    find_label_issues,
    label_quality_scores,
    memorised_margin,
    score_threshold,
    trusted_margin,
)
from settings import NAMES
from trainings import NUM_FOLDS

SAMPLES_PERCENTILE = 99  # Pleiss et al. 2020


def load(folder: Path, name: str, seed: int, part: str) -> dict[str, np.ndarray]:
    with np.load(folder / f"{name}-{seed}-{part}.npz") as arrays:
        return dict(arrays)


def suspicions(folder: Path, name: str, seed: int) -> dict[str, np.ndarray]:
    """The compared ways to rank instances, worst highest."""
    run = load(folder, name, seed, "instance")
    labels, sigma = run["given"], run["temperature"]
    of_one_training = {
        "σ": np.log(sigma),
        "mean margin": -run["margin"],
        "clipped margin": -run["clipped_margin"],
        "trusted margin": -trusted_margin(run),
        "trusted margin and σ (default)": -label_quality_scores(
            labels, temperature=sigma, dynamics=run
        ),
        "clipped margin and σ": -label_quality_scores(
            labels, temperature=sigma, margin=run["clipped_margin"]
        ),
        "mean margin and σ": -label_quality_scores(labels, temperature=sigma, margin=run["margin"]),
        "last loss": run["last_loss"],
        "fraction misclassified": run["wrong_fraction"],
    }
    if name not in NAMES:
        return of_one_training
    plain = load(folder, name, seed, "plain")
    return of_one_training | {
        "mean margin, trained without σ": -plain["margin"],
        "clipped margin, trained without σ": -plain["clipped_margin"],
        "trusted margin, trained without σ": -trusted_margin(plain),
        "cleanlab": cleanlab_suspicion(folder, name, seed),
    }


COST = {"cleanlab": f"{NUM_FOLDS - 1}", "AUM threshold samples": "2"}  # others: the run itself


def detection(changed: np.ndarray, suspicion: np.ndarray) -> dict[str, float]:
    """How well a ranking finds the changed labels."""
    worst = np.argsort(-suspicion, kind="stable")[: changed.sum()]
    return {
        "AUROC": float(roc_auc_score(changed, suspicion)),
        "average precision": float(average_precision_score(changed, suspicion)),
        "precision": float(changed[worst].mean()),
    }


def memorised(folder: Path, name: str, seed: int) -> dict[str, float]:
    """How far labels that were long disbelieved rose above the cut, in logits."""
    parts = {"with σ": "instance"} | ({"without σ": "plain"} if name in NAMES else {})
    return {key: memorised_margin(load(folder, name, seed, part)) for key, part in parts.items()}


def noise_rates(folder: Path, name: str, seed: int) -> dict[str, np.ndarray]:
    """Which labels each way of setting a threshold calls wrong."""
    run = load(folder, name, seed, "instance")
    issues = find_label_issues(run["given"], temperature=run["temperature"], dynamics=run)
    score = issues["label_score"].to_numpy()
    of_one_training = {
        "default: two Gaussians, capped, rival": issues["is_label_issue"].to_numpy(),
        "two Gaussians": score < score_threshold(score, highest=1.0),
        "Otsu": score < otsu(score),
    }
    if name not in NAMES:
        return of_one_training
    return of_one_training | {
        "AUM threshold samples": threshold_samples(folder, name, seed),
        "cleanlab": cleanlab_issues(folder, name, seed),
    }


def otsu(score: np.ndarray) -> float:
    """The cut with the largest variance between the two sides (Otsu 1979)."""
    counts, edges = np.histogram(score, bins=256)
    centres, share = (edges[1:] + edges[:-1]) / 2, np.cumsum(counts) / counts.sum()
    mean = np.cumsum(counts * centres) / counts.sum()
    inside = (share > 0) & (share < 1)
    between = np.zeros(len(share))
    between[inside] = (mean[-1] * share - mean)[inside] ** 2 / (share * (1 - share))[inside]
    return float(edges[1:][between.argmax()])


def threshold_samples(folder: Path, name: str, seed: int) -> np.ndarray:
    """Two trainings with threshold samples: each judges what were no samples in it."""
    first, second = (load(folder, name, seed, f"samples{place}") for place in range(2))
    is_issue = np.zeros(len(first["given"]), dtype=bool)
    for run, judged in ((first, slice(None)), (second, first["samples"])):
        threshold = np.percentile(run["margin"][run["samples"]], SAMPLES_PERCENTILE)
        is_issue[judged] = run["margin"][judged] <= threshold
    return is_issue


def out_of_sample(folder: Path, name: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and probabilities from the trainings that did not see the instance."""
    parts = [load(folder, name, seed, f"fold{fold}") for fold in range(NUM_FOLDS)]
    found = np.zeros((len(parts[0]["given"]), int(parts[0]["num_classes"])))
    for part in parts:
        found[part["rows"]] = part["probabilities"]
    return parts[0]["given"], found


def cleanlab_suspicion(folder: Path, name: str, seed: int) -> np.ndarray:
    from cleanlab.rank import get_label_quality_scores

    return -np.asarray(get_label_quality_scores(*out_of_sample(folder, name, seed)))


def cleanlab_issues(folder: Path, name: str, seed: int) -> np.ndarray:
    from cleanlab.filter import find_label_issues as cleanlab_find

    return np.asarray(cleanlab_find(*out_of_sample(folder, name, seed), n_jobs=1))


def right_suggestions(folder: Path, name: str, seed: int) -> dict[str, float]:
    """Share of the changed labels, of classes that the network knows, that are put right."""
    run = load(folder, name, seed, "instance")
    given, true, num_classes = run["given"], run["true"], int(run["num_classes"])
    changed = (given != true) & (true < num_classes)
    _, probabilities = out_of_sample(folder, name, seed)
    suggested = {"rival": run["rival"], "cleanlab": probabilities.argmax(1)}
    return {key: float((value == true)[changed].mean()) for key, value in suggested.items()}
