"""Labels that are wrong on purpose say how many others are, and where to cut."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_parameters.issues import planted_issues, planted_noise_rate, planted_threshold

Arrays = tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_], npt.NDArray[np.bool_]]


def margins(rate: float, seed: int, *, num_others: int = 4000, num_planted: int = 400) -> Arrays:
    """Clipped margins; which are planted; which of all are wrong."""
    generator = np.random.default_rng(seed)
    num_wrong = int(rate * num_others)
    wrong = np.zeros(num_others + num_planted, dtype=bool)
    wrong[: num_wrong + num_planted] = True
    planted = np.zeros_like(wrong)
    planted[:num_planted] = True
    scores = generator.normal(np.where(wrong, -1.5, 1.0), 0.7).clip(max=1.0)
    return scores, planted, wrong


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.4, 0.8])
@pytest.mark.parametrize("seed", range(3))
def test_the_rate_of_labels_that_are_wrong_like_planted_ones(rate: float, seed: int) -> None:
    scores, planted, _ = margins(rate, seed)
    found = planted_noise_rate(scores, planted)
    # The least of many ratios lies below the rate by chance, and hardly ever above it.
    assert 0.85 * rate - 0.02 < found < rate + 0.03


@pytest.mark.parametrize(("num_classes", "rate"), [(2, 0.1), (2, 0.3), (3, 0.4), (6, 0.6)])
def test_planted_labels_of_few_classes_come_out_right_by_chance(
    num_classes: int, rate: float
) -> None:
    generator = np.random.default_rng(0)
    size = 8000
    planted = np.arange(size) < 400
    true = generator.integers(num_classes, size=size)

    def moved(labels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return (labels + generator.integers(1, num_classes, size=size)) % num_classes

    given = np.where(generator.random(size) < rate, moved(true), true)
    wrong = np.where(planted, moved(given), given) != true
    scores = generator.normal(np.where(wrong, -1.5, 1.0), 0.7).clip(max=1.0)
    found = planted_noise_rate(scores, planted, num_classes=num_classes)
    assert 0.8 * rate < found < rate + 0.03
    left_out = planted_issues(given, scores, planted)
    assert np.array_equal(left_out, planted_issues(given, scores, planted, num_classes=num_classes))
    assert left_out.mean() == pytest.approx(rate, abs=0.08)
    assert wrong[left_out].mean() > 0.8


@pytest.mark.parametrize("rate", [0.1, 0.4, 0.8])
def test_the_threshold_misjudges_hardly_more_than_the_best_one(rate: float) -> None:
    scores, planted, wrong = margins(rate, 0)
    others, is_wrong = scores[~planted], wrong[~planted]

    def misjudged(threshold: float) -> float:
        return float(((others < threshold) != is_wrong).mean())

    best = min(misjudged(t) for t in np.linspace(-3, 1, 200))
    assert misjudged(planted_threshold(scores, planted)) < best + 0.02


def test_a_right_label_that_costs_more_is_left_out_less() -> None:
    scores, planted, _ = margins(0.3, 1)
    cuts = [planted_threshold(scores, planted, cost=cost) for cost in (0.2, 1.0, 5.0)]
    assert cuts == sorted(cuts, reverse=True)
    assert cuts[0] > cuts[-1]


def test_sound_labels_are_not_cut() -> None:
    scores, planted, _ = margins(0.0, 0)
    assert (scores[~planted] < planted_threshold(scores, planted)).mean() < 0.01


@pytest.mark.parametrize("seed", range(5))
def test_a_network_that_tells_nothing_apart_judges_nothing(seed: int) -> None:
    planted = np.arange(2100) < 100
    scores = np.random.default_rng(seed).normal(size=2100)
    assert planted_noise_rate(scores, planted) == 0.0
    assert planted_threshold(scores, planted) == float("-inf")
    assert not planted_issues(planted.astype(int), scores, planted).any()


@pytest.mark.parametrize("apart", [0.3, 0.5])
def test_labels_that_are_not_learned_yet_are_hardly_ever_taken_for_wrong(apart: float) -> None:
    planted = np.arange(4400) < 400
    judged = 0
    for seed in range(20):
        scores = np.random.default_rng(seed).normal(np.where(planted, -apart, 0.0))
        judged += bool(planted_issues(np.arange(4400) % 50, scores, planted).any())
    assert judged <= 2  # where two standard errors alone let nearly all pass


def test_a_network_that_is_known_to_have_learned_may_judge_by_less() -> None:
    planted = np.arange(4400) < 400
    scores = np.random.default_rng(0).normal(np.where(planted, -0.5, 0.0))
    assert planted_noise_rate(scores, planted) == 0.0
    rate = planted_noise_rate(scores, planted, least_auroc=0.0)
    assert rate > 0.1
    assert planted_threshold(scores, planted) == float("-inf")
    cut = planted_threshold(scores, planted, cost=0.5, least_auroc=0.0)
    left_out = planted_issues(np.zeros(4400, int), scores, planted, least_auroc=0.0)
    assert np.array_equal(left_out, (scores < cut) & ~planted)
    assert left_out.any()
    with pytest.raises(ValueError, match=r"`least_auroc` should lie in \[0, 1\]. Found 2"):
        planted_noise_rate(scores, planted, least_auroc=2.0)
    with pytest.raises(ValueError, match=r"`num_classes` should be at least 2. Found 1"):
        planted_noise_rate(scores, planted, num_classes=1)


def test_scores_that_do_not_differ_judge_nothing() -> None:
    planted = np.arange(100) < 40
    assert planted_noise_rate(np.ones(100), planted) == 0.0
    assert planted_threshold(np.ones(100), planted) == float("-inf")


@pytest.mark.parametrize("cost", [0.01, 0.5])
def test_hardly_more_is_cut_than_is_wrong(cost: float) -> None:
    scores, planted, _ = margins(0.3, 0)
    scores -= np.random.default_rng(1).uniform(0, 1.5, len(scores))  # far from well apart
    rate = planted_noise_rate(scores, planted)
    cut = planted_issues(np.zeros(len(scores), int), scores, planted, cost=cost)
    assert rate > 0
    assert cut[~planted].mean() <= 1.5 * rate + 0.01
    assert not cut[planted].any()


def test_a_rare_class_that_is_hard_is_not_left_out() -> None:
    scores, planted, _ = margins(0.0, 0)
    rare = (np.arange(len(scores)) % 12 == 0) & ~planted  # predicted as others throughout
    generator = np.random.default_rng(2)
    scores[rare] = generator.normal(-1.5, 0.7, int(rare.sum()))
    assert planted_noise_rate(scores, planted) > 0.05
    assert not planted_issues(rare.astype(int), scores, planted)[rare].any()
    # The same scores spread over the classes are wrong labels.
    spread = np.arange(len(scores)) % 7
    assert planted_issues(spread, scores, planted)[rare].mean() > 0.8


@given(st.integers(0, 1000), st.floats(-5, 5), st.floats(0.1, 10))
def test_only_the_order_of_the_scores_counts(seed: int, shift: float, scale: float) -> None:
    scores, planted, _ = margins(0.3, seed, num_others=300, num_planted=60)
    moved = shift + scale * scores
    assert planted_noise_rate(moved, planted) == pytest.approx(
        planted_noise_rate(scores, planted), abs=0.02
    )
    cut, moved_cut = planted_threshold(scores, planted), planted_threshold(moved, planted)
    assert (scores < cut).mean() == pytest.approx((moved < moved_cut).mean(), abs=0.02)


def test_what_was_never_seen_says_nothing() -> None:
    scores, planted, _ = margins(0.3, 0)
    with_unseen = np.concatenate([scores, np.full(50, np.nan)])
    mask = np.concatenate([planted, np.arange(50) < 25])
    assert planted_noise_rate(with_unseen, mask) == planted_noise_rate(scores, planted)


@pytest.mark.parametrize(
    ("scores", "planted", "cost", "message"),
    [
        (np.zeros(50), np.zeros(50), 1.0, "should be boolean, of shape"),
        (np.zeros(50), np.zeros(40, dtype=bool), 1.0, "should be boolean, of shape"),
        (np.zeros(50), np.arange(50) < 39, 1.0, "Found 39 planted and 11 others"),
        (np.zeros(50), np.ones(50, dtype=bool), 1.0, "Found 50 planted and 0 others"),
        (None, np.arange(50) < 45, 1.0, "`scores` should be numbers, one for each"),
        (np.full(50, np.inf), np.arange(50) < 45, 1.0, "`scores` should be finite"),
        (np.zeros((5, 5)), np.ones(25, dtype=bool), 1.0, "`scores` should be numbers of shape"),
        (np.zeros(50), np.arange(50) < 45, 0.0, "`cost` should be above 0"),
    ],
)
def test_wrong_arguments(
    scores: npt.NDArray[np.float64], planted: npt.NDArray[np.bool_], cost: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        planted_threshold(scores, planted, cost=cost)
