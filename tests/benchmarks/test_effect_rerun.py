"""Repeated runs against committed ones, the choice of runs, and the crossed tables."""

from pathlib import Path

import pytest

import effect_rerun
import effect_study
from effect import crossed
from effect.grids import CROSSED, WAYS
from effect.studies import STUDIES
from effect.training import Record


def record(last: float, seed: int, method: str = "ELR", machine: str = "one") -> Record:
    return Record(
        cell="digits/clean", method=method, seed=seed, test=[50.0, last], validation=[], train=[],
        auroc={}, seconds=1.0, machine=machine,
    )  # fmt: skip


FIRST = [record(last, seed) for seed, last in enumerate((90.0, 92.0, 94.0))]  # 92.0 ± 2.0


@pytest.mark.parametrize(("shift", "within"), [(0.0, True), (-2.0, True), (2.1, False)])
def test_a_mean_is_within_the_spread_that_its_table_states(shift: float, within: bool) -> None:
    [row] = effect_rerun.rows(FIRST, [record(r.last + shift, r.seed) for r in FIRST])
    assert row.spread == 2.0
    assert row.is_whole
    assert row.shift == pytest.approx(shift)
    assert row.within == within


def test_a_part_is_compared_seed_by_seed() -> None:
    again = [record(94.5, 2, machine="another")]
    rows = effect_rerun.rows([*FIRST, record(10.0, 0, method="SCE")], again)
    assert [(row.method, row.is_whole, row.shift) for row in rows] == [("ELR", False, 0.5)]
    study, runs, elsewhere, same, largest, within, whole, shift = effect_rerun.line("x", rows, 4)
    assert (study, runs, elsewhere, same) == ("x", "1 of 4", "1", "0")
    assert (largest, within, whole, shift) == ("0.5", "1 of 1", "0 of 0", "")


def test_a_run_without_a_committed_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Found digits/clean, ELR with seed 3"):
        effect_rerun.rows(FIRST, [record(90.0, 3)])


def test_a_folder_without_runs_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["effect_rerun.py", str(tmp_path)])
    with pytest.raises(SystemExit):
        effect_rerun.main()
    assert "holds no runs" in capsys.readouterr().err


def test_a_pattern_chooses_runs() -> None:
    keys = list(STUDIES["digits"].runs())
    assert effect_study.matching(keys, "*") == keys
    chosen = effect_study.matching(keys, "*/clean, ELR, [01]")
    assert chosen == [("digits/clean", "ELR", 0), ("digits/clean", "ELR", 1)]
    assert effect_study.matching(keys, "ELR") == []


def test_unseen_seeds_are_none_that_the_other_studies_use() -> None:
    unseen = {seed for _, _, seed in STUDIES["unseen"].runs()}
    seen = {s for name in STUDIES if name != "unseen" for _, _, s in STUDIES[name].runs()}
    assert unseen
    assert not unseen & seen


def test_crossed_gains_are_against_cross_entropy_in_the_same_way() -> None:
    ways = {str(way): number for number, way in enumerate(WAYS)}
    records = []
    for method in CROSSED:
        name, way = method.split(", ", 1)
        gain = {"cross-entropy": 0, "default": 5}.get(name, 2)
        records.append(record(50.0 + ways[way] + gain, 0, method=method))
    text = crossed.tables(["digits/clean"], records)
    number = ways[str(WAYS[7])]
    assert f"| {WAYS[7]} | {50 + number:.1f} | +2.0 | +2.0 | +2.0 | +5.0 |" in text
    assert "| 512 wide | +2.0 | +2.0 | +2.0 | +5.0 |" in text
    assert "| lowest | +2.0 | +2.0 | +2.0 | +5.0 |" in text
