"""A row ends where torch's dense optimizer, run on that row's own steps only, would leave it."""

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data_parameters import DataParameters, SparseAdamW, SparseSGD
from reference import Row

NUM_ROWS = 5
LOOKUP = st.lists(st.integers(0, NUM_ROWS - 1), max_size=5)
# A step is a list of backward calls, a backward call a list of lookups.
STEPS = st.lists(st.lists(st.lists(LOOKUP, min_size=1, max_size=2), max_size=3), max_size=6)
BOUNDS = st.sampled_from([None, (-0.3, 0.2), (-3.0, 3.0)])

SGD_SETTINGS = [
    {},
    {"momentum": 0.9},
    {"momentum": 0.5, "dampening": 0.4},
    {"momentum": 0.9, "nesterov": True},
    {"momentum": 0.9, "maximize": True},
    {"momentum": 0.9, "maximize": True, "nesterov": True},
    {"momentum": 0.9, "maximize": True, "dampening": 0.4},
]
ADAMW_SETTINGS = [
    {"weight_decay": 0.0},
    {"weight_decay": 0.3},
    {"betas": (0.0, 0.9), "eps": 1e-2, "weight_decay": 0.0},
    {"betas": (0.5, 0.0), "weight_decay": 0.3},
]


def walk(
    steps: list[Any],
    optimizer: torch.optim.Optimizer,
    data_parameters: DataParameters,
    rows: list[Row],
    seed: int,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    table = data_parameters.log_instance
    assert table is not None
    for step in steps:
        before = table.detach().clone()
        state_before = copy.deepcopy(dict(optimizer.state[table]))
        gradients: list[list[float]] = [[] for _ in rows]
        optimizer.zero_grad()
        for lookups in step:
            loss = torch.zeros((), dtype=torch.float64)
            for lookup in lookups:
                index = torch.tensor(lookup, dtype=torch.int64)
                factor = torch.randn(len(lookup), generator=generator, dtype=torch.float64)
                # d(factor * σ)/ds = factor * σ
                loss = loss + (factor * data_parameters(index=index)).sum()
                for row, value in zip(lookup, factor.tolist(), strict=True):
                    gradients[row].append(value * before[row].exp().item())
            loss.backward()
        optimizer.step()
        for row, given_gradients in zip(rows, gradients, strict=True):
            row.step(given_gradients)

        expected = torch.cat([row.value for row in rows])
        torch.testing.assert_close(table.detach(), expected, rtol=1e-10, atol=1e-12)
        untouched = torch.tensor([not each for each in gradients])
        assert torch.equal(table.detach()[untouched], before[untouched])
        for name, kept in state_before.items():
            if kept.ndim == 1:
                assert torch.equal(optimizer.state[table][name][untouched], kept[untouched])


@pytest.mark.parametrize("options", SGD_SETTINGS, ids=str)
@settings(max_examples=50)
@given(
    steps=STEPS, bounds=BOUNDS, weight_decay=st.sampled_from([0.0, 0.1]), seed=st.integers(0, 99)
)
def test_sgd(
    options: dict[str, Any],
    steps: list[Any],
    bounds: tuple[float, float] | None,
    weight_decay: float,
    seed: int,
) -> None:
    data_parameters = DataParameters(num_instances=NUM_ROWS).double()
    optimizer = SparseSGD(
        data_parameters.parameters(), lr=0.1, bounds=bounds, weight_decay=weight_decay, **options
    )
    rows = [
        Row(torch.optim.SGD, {"lr": 0.1, **options}, weight_decay, bounds) for _ in range(NUM_ROWS)
    ]
    walk(steps, optimizer, data_parameters, rows, seed)


@pytest.mark.parametrize("options", ADAMW_SETTINGS, ids=str)
@settings(max_examples=50)
@given(steps=STEPS, bounds=BOUNDS, seed=st.integers(0, 99))
def test_adamw(
    options: dict[str, Any], steps: list[Any], bounds: tuple[float, float] | None, seed: int
) -> None:
    data_parameters = DataParameters(num_instances=NUM_ROWS).double()
    optimizer = SparseAdamW(data_parameters.parameters(), lr=0.1, bounds=bounds, **options)
    rows = [Row(torch.optim.AdamW, {"lr": 0.1, **options}, 0.0, bounds) for _ in range(NUM_ROWS)]
    walk(steps, optimizer, data_parameters, rows, seed)


@settings(max_examples=30)
@given(STEPS, st.integers(0, 99))
def test_float32_tables_follow(steps: list[Any], seed: int) -> None:
    """The same in the precision that users have, to its rounding."""
    single, double = (DataParameters(num_instances=NUM_ROWS) for _ in range(2))
    double.double()
    optimizers = [
        SparseAdamW(tables.parameters(), lr=0.1, weight_decay=0.1) for tables in (single, double)
    ]
    for tables, optimizer in zip((single, double), optimizers, strict=True):
        generator = torch.Generator().manual_seed(seed)
        for step in steps:
            optimizer.zero_grad()
            for lookup in [lookup for lookups in step for lookup in lookups]:
                factor = 0.5 + torch.rand(len(lookup), generator=generator)
                index = torch.tensor(lookup, dtype=torch.int64)
                (factor * tables(index=index)).sum().backward()
            optimizer.step()
    assert single.log_instance is not None
    assert double.log_instance is not None
    torch.testing.assert_close(
        single.log_instance.double(), double.log_instance, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("weight_decay", [0.0, 0.2])
@pytest.mark.parametrize("rows", [[3], [1, 1], [0, 1, 1, 2]])
def test_two_halves_are_one_whole(rows: list[int], weight_decay: float) -> None:
    """2 x B accumulated equals 2B in one call, decay included, also where B is a single row."""
    tables = []
    for parts in ([rows + rows], [rows, rows]):
        data_parameters = DataParameters(num_instances=NUM_ROWS, init_instance=2.0).double()
        optimizer = SparseSGD(
            data_parameters.param_groups(lr_instance=0.1, weight_decay_instance=weight_decay)
        )
        for _ in range(3):
            optimizer.zero_grad()
            for part in parts:
                data_parameters(index=torch.tensor(part)).sum().backward()
            optimizer.step()
        tables.append(data_parameters.log_instance)
    torch.testing.assert_close(*tables, rtol=1e-12, atol=0)


def test_decay_counts_occurrences_whatever_factor_the_loss_carries() -> None:
    tables = []
    for factor in (0.0, 1.0):
        data_parameters = DataParameters(num_classes=3, init_class=2.0).double()
        optimizer = SparseSGD(data_parameters.param_groups(lr_class=1.0, weight_decay_class=0.1))
        loss = factor * data_parameters(torch.tensor([0, 0, 0, 2])).detach().sum()
        loss = loss + 0.0 * data_parameters(torch.tensor([0, 0, 0, 2])).sum()
        loss.backward()
        optimizer.step()
        tables.append(data_parameters.log_class)
    start = torch.tensor(2.0, dtype=torch.float64).log()
    start = start.float().double()  # the table was made in float32
    expected = start * torch.tensor([1 - 0.3, 1.0, 1 - 0.1], dtype=torch.float64)
    for table in tables:
        torch.testing.assert_close(table.detach(), expected, rtol=1e-12, atol=0)


def test_per_sample_frees_the_step_of_the_batch_size() -> None:
    steps = []
    for batch_size in (2, 64):
        data_parameters = DataParameters(num_instances=100)
        optimizer = SparseSGD(data_parameters.parameters(), lr=0.1, per_sample=True)
        data_parameters(index=torch.arange(batch_size)).mean().backward()
        optimizer.step()
        steps.append(data_parameters.log_instance.detach()[:2])
    torch.testing.assert_close(steps[0], torch.full((2,), -0.1))
    torch.testing.assert_close(steps[0], steps[1])
