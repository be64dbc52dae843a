"""Both optimizers in the terms of `torch.optim`, and what they refuse."""

import copy
import io
import pickle
import warnings
from typing import Any

import pytest
import torch

from data_parameters import DataParameters, SparseAdamW, SparseSGD, functional
from data_parameters.optim.rows import entries

Optimizer = SparseSGD | SparseAdamW
OPTIMIZERS = [
    pytest.param(lambda groups, **o: SparseSGD(groups, **{"momentum": 0.9, **o}), id="sgd"),
    pytest.param(
        lambda groups, **o: SparseSGD(groups, **{"momentum": 0.9, "dampening": 0.5, **o}),
        id="dampened",
    ),
    pytest.param(SparseAdamW, id="adamw"),
]
each_optimizer = pytest.mark.parametrize("make", OPTIMIZERS)


def tables(**options: Any) -> DataParameters:
    return DataParameters(num_classes=4, num_instances=50, init_instance=1.0, **options)


def train(data_parameters: DataParameters, optimizer: Optimizer, steps: range) -> None:
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        logits = torch.randn(8, 4, generator=generator)
        target = torch.randint(4, (8,), generator=generator)
        index = torch.randint(50, (8,), generator=generator)
        optimizer.zero_grad()
        functional.cross_entropy(logits, target, data_parameters(target, index)).backward()
        optimizer.step()


def snapshot(data_parameters: DataParameters, optimizer: Optimizer) -> dict[str, torch.Tensor]:
    state = optimizer.state_dict()["state"]
    kept = {f"{key}.{name}": value for key in state for name, value in state[key].items()}
    return copy.deepcopy({**data_parameters.state_dict(), **kept})


def assert_same_bits(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


@each_optimizer
def test_loads_more_than_once(make: Any) -> None:
    groups = tables().param_groups()
    optimizer, state = make(groups), make(groups).state_dict()
    for _ in range(2):
        optimizer.load_state_dict(state)


@each_optimizer
def test_resumes_to_the_bit(make: Any) -> None:
    whole = tables()
    optimizer = make(whole.param_groups(), lr=0.1)
    train(whole, optimizer, range(6))

    half = tables()
    first = make(half.param_groups(), lr=0.1)
    train(half, first, range(3))
    file = io.BytesIO()
    torch.save({"tables": half.state_dict(), "optimizer": first.state_dict()}, file)
    file.seek(0)
    checkpoint = torch.load(file, weights_only=True)
    resumed = tables()
    second = make(resumed.param_groups(), lr=123.0)
    resumed.load_state_dict(checkpoint["tables"])
    second.load_state_dict(checkpoint["optimizer"])
    train(resumed, second, range(3, 6))
    assert_same_bits(snapshot(whole, optimizer), snapshot(resumed, second))


@each_optimizer
def test_loaded_state_is_a_copy(make: Any) -> None:
    data_parameters = tables()
    optimizer = make(data_parameters.param_groups())
    train(data_parameters, optimizer, range(2))
    state = optimizer.state_dict()
    before = copy.deepcopy(state)
    other = tables()
    second = make(other.param_groups())
    second.load_state_dict(state)
    train(other, second, range(2, 4))
    for key, values in before["state"].items():
        for name, value in values.items():
            assert torch.equal(state["state"][key][name], value)


@each_optimizer
@pytest.mark.parametrize("wrong", ["size", "optimizer", "groups"])
def test_state_that_does_not_fit_changes_nothing(make: Any, wrong: str) -> None:
    data_parameters = tables()
    optimizer = make(data_parameters.param_groups(), lr=0.1)
    train(data_parameters, optimizer, range(2))
    # The class table fits; the instance table does not.
    larger = DataParameters(num_classes=4, num_instances=51)
    source: torch.optim.Optimizer = make(larger.param_groups(), lr=0.2)
    if wrong == "optimizer":
        source = torch.optim.RMSprop(data_parameters.param_groups())
    elif wrong == "groups":
        source = make([larger.log_class], lr=0.2)
    else:
        larger(torch.tensor([0]), torch.tensor([0])).sum().backward()
        source.step()
    before = snapshot(data_parameters, optimizer)
    with pytest.raises(ValueError, match=r"another data set|another optimizer|parameter group"):
        optimizer.load_state_dict(source.state_dict())
    assert_same_bits(before, snapshot(data_parameters, optimizer))
    assert optimizer.param_groups[0]["lr"] == 0.1


@each_optimizer
def test_schedulers(make: Any) -> None:
    data_parameters = tables()
    optimizer = make(data_parameters.param_groups(lr_class=0.4), lr=0.8)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[1], gamma=0.5)
    for step in range(2):
        train(data_parameters, optimizer, range(step, step + 1))
        scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == [0.2, 0.4]
    one_cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.3, total_steps=5)
    train(data_parameters, optimizer, range(2))
    one_cycle.step()


@each_optimizer
def test_learning_rate_as_tensor(make: Any) -> None:
    results = []
    for lr in (0.1, torch.tensor(0.1)):
        data_parameters = tables()
        train(data_parameters, make(data_parameters.param_groups(), lr=lr), range(3))
        results.append(data_parameters.log_instance.detach())
    torch.testing.assert_close(*results)


@each_optimizer
def test_grad_scaler_changes_nothing_but_skips_infinite_steps(make: Any) -> None:
    results = []
    for scale in (False, True):
        data_parameters = tables()
        optimizer = make(data_parameters.param_groups(weight_decay_class=0.1), lr=0.1)
        scaler = torch.amp.GradScaler("cpu", enabled=scale, init_scale=1024.0)
        for step in range(3):
            target, index = torch.tensor([1, 1, 3]), torch.tensor([step, step, 9])
            # The second half of an accumulated step: its single rows would merge in the gradient.
            optimizer.zero_grad()
            for _ in range(2):
                scaler.scale(data_parameters(target, index).mean()).backward()
            scaler.unscale_(optimizer)
            scaler.step(optimizer)
            scaler.update()
        results.append(torch.cat([data_parameters.log_class, data_parameters.log_instance]))
        if scale:
            before = snapshot(data_parameters, optimizer)
            optimizer.zero_grad()
            scaler.scale(data_parameters(target, index).sum() * torch.inf).backward()
            scaler.step(optimizer)
            assert_same_bits(before, snapshot(data_parameters, optimizer))
    torch.testing.assert_close(*results)


@each_optimizer
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_scaled_half_precision_logits_move_the_tables_alike(make: Any, dtype: torch.dtype) -> None:
    results = []
    for scale in (False, True):
        data_parameters = tables()
        optimizer = make(data_parameters.param_groups(), lr=0.1)
        scaler = torch.amp.GradScaler("cpu", enabled=scale, init_scale=2.0**16)
        for step in range(3):
            generator = torch.Generator().manual_seed(step)
            logits = torch.randn(3, 4, generator=generator).to(dtype).requires_grad_()
            target, index = torch.tensor([1, 1, 3]), torch.tensor([step, step, 9])
            temperature = data_parameters(target, index)
            optimizer.zero_grad()
            scaler.scale(functional.cross_entropy(logits, target, temperature)).backward()
            scaler.step(optimizer)
            scaler.update()
        results.append(torch.cat([data_parameters.log_class, data_parameters.log_instance]))
    torch.testing.assert_close(*results)
    assert results[0].dtype == torch.float32


@each_optimizer
def test_closure(make: Any) -> None:
    data_parameters = tables()
    optimizer = make(data_parameters.param_groups(), lr=0.1)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = data_parameters(torch.tensor([0]), torch.tensor([7])).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure) == 2.0
    assert data_parameters.log_instance[7] < 0


@each_optimizer
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_copies_train_on(make: Any, duplicate: Any) -> None:
    data_parameters = tables()
    optimizer = make(data_parameters.param_groups(), lr=0.1)
    train(data_parameters, optimizer, range(3))
    pair = duplicate({"tables": data_parameters, "optimizer": optimizer})
    train(data_parameters, optimizer, range(3, 5))
    train(pair["tables"], pair["optimizer"], range(3, 5))
    assert_same_bits(
        snapshot(data_parameters, optimizer), snapshot(pair["tables"], pair["optimizer"])
    )


@each_optimizer
def test_empty_minibatch_changes_nothing(make: Any) -> None:
    data_parameters = tables()
    optimizer = make(data_parameters.param_groups(weight_decay_instance=0.5), lr=0.1)
    train(data_parameters, optimizer, range(2))
    before = snapshot(data_parameters, optimizer)
    optimizer.zero_grad()
    empty = torch.empty(0, dtype=torch.int64)
    data_parameters(empty, empty).sum().backward()
    optimizer.step()
    assert_same_bits(before, snapshot(data_parameters, optimizer))


CLEAR: dict[str, Any] = {
    "optimizer": lambda optimizer, tables: optimizer.zero_grad(),
    "to zero": lambda optimizer, tables: optimizer.zero_grad(set_to_none=False),
    "module": lambda optimizer, tables: tables.zero_grad(),
}


@each_optimizer
@pytest.mark.parametrize("clear", CLEAR)
@pytest.mark.parametrize("when", ["before the lookup", "before backward"])
@pytest.mark.parametrize("stepped", [True, False])
def test_clearing_the_gradient_clears_the_occurrences(
    make: Any, clear: str, when: str, stepped: bool
) -> None:
    """Also where the step of the cleared gradient was skipped, as by a GradScaler."""
    results = []
    for discarded in (False, True):
        data_parameters = tables(init_class=2.0)
        start = {name: value.clone() for name, value in data_parameters.state_dict().items()}
        optimizer = make(data_parameters.param_groups(weight_decay_class=0.1), lr=0.1)
        if discarded:
            data_parameters(torch.tensor([0, 3]), torch.tensor([5, 5])).sum().backward()
            if stepped:
                optimizer.step()
                data_parameters.load_state_dict(start)
                optimizer.state.clear()
        if when == "before the lookup":
            CLEAR[clear](optimizer, data_parameters)
        temperature = data_parameters(torch.tensor([0, 1]), torch.tensor([3, 3]))
        if when == "before backward":
            CLEAR[clear](optimizer, data_parameters)
        temperature.sum().backward()
        optimizer.step()
        results.append(torch.cat([data_parameters.log_class, data_parameters.log_instance]))
    assert torch.equal(*results)


def test_gradients_that_are_not_cleared_act_again_as_in_torch() -> None:
    data_parameters = tables()
    optimizer = SparseSGD(data_parameters.param_groups(), lr=0.1)
    dense = torch.nn.Parameter(torch.zeros(50))
    reference = torch.optim.SGD([dense], lr=0.1)
    for row in (3, 8):
        data_parameters(torch.tensor([0]), torch.tensor([row])).log().sum().backward()
        (0.5 * dense[row]).backward()  # d log(1 + exp(s)) / ds at s = 0
        dense.grad = data_parameters.log_instance.grad.to_dense()
        optimizer.step()
        reference.step()
    torch.testing.assert_close(data_parameters.log_instance.detach(), dense.detach())


@each_optimizer
def test_tables_may_change_precision_between_steps(make: Any) -> None:
    data_parameters = tables()
    optimizer = make(data_parameters.param_groups(), lr=0.1)
    train(data_parameters, optimizer, range(2))
    data_parameters.double()
    train(data_parameters, optimizer, range(2, 4))
    assert data_parameters.log_instance.dtype == torch.float64
    assert all(
        state.dtype == torch.float64
        for name, state in optimizer.state[data_parameters.log_instance].items()
        if name != "num_skipped_rows"
    )


@each_optimizer
@pytest.mark.parametrize("damage", ["not a tensor", "not finite", "setting"])
def test_damaged_state_is_refused(make: Any, damage: str) -> None:
    data_parameters = tables()
    optimizer = make(data_parameters.param_groups(), lr=0.1)
    train(data_parameters, optimizer, range(2))
    before = snapshot(data_parameters, optimizer)
    state = copy.deepcopy(optimizer.state_dict())
    name = next(iter(state["state"][1]))
    if damage == "not a tensor":
        state["state"][1][name] = [1.0]
    elif damage == "not finite":
        state["state"][1][name][3] = torch.nan
    else:
        state["param_groups"][1]["lr"] = -5.0
    with pytest.raises(ValueError, match=r"finite values|`lr` should be"):
        optimizer.load_state_dict(state)
    assert_same_bits(before, snapshot(data_parameters, optimizer))


# Some releases of torch warn of missing checks even where these are asked for.
sparse_warning = pytest.mark.filterwarnings("ignore:Sparse invariant checks")


def sparse(rows: list[int], values: list[float], size: int) -> torch.Tensor:
    index = torch.tensor([rows])
    return torch.sparse_coo_tensor(index, torch.tensor(values), (size,), check_invariants=True)


@each_optimizer
@sparse_warning
def test_sparse_gradients_of_others_count_each_entry_once(make: Any) -> None:
    table = torch.nn.Parameter(torch.ones(6))
    optimizer = make([table], lr=0.1)
    table.grad = sparse([1, 1, 4], [1.0, 1.0, -1.0], 6)
    optimizer.step()
    assert (table.detach() != 1).nonzero().flatten().tolist() == [1, 4]


@each_optimizer
@pytest.mark.parametrize("clear", CLEAR)
@sparse_warning
def test_a_gradient_put_there_by_hand_moves_its_own_rows(make: Any, clear: str) -> None:
    """What lookups of an earlier step have counted is not taken for its occurrences."""
    data_parameters = tables()
    optimizer = make(data_parameters.param_groups(weight_decay_instance=0.1), lr=0.1)
    train(data_parameters, optimizer, range(2))
    before = snapshot(data_parameters, optimizer)
    CLEAR[clear](optimizer, data_parameters)
    data_parameters.log_instance.grad = sparse([40, 41, 40], [1.0, -1.0, 1.0], 50)
    optimizer.step()
    moved = data_parameters.log_instance.detach() != before["log_instance"]
    assert moved.nonzero().flatten().tolist() == [40, 41]
    assert torch.equal(data_parameters.log_class, before["log_class"])


@each_optimizer
def test_a_merged_gradient_keeps_its_occurrences(make: Any) -> None:
    results = []
    for merged in (False, True):
        data_parameters = tables(init_class=2.0)
        optimizer = make(data_parameters.param_groups(weight_decay_class=0.1), lr=0.1)
        data_parameters(torch.tensor([2, 0, 2]), torch.tensor([5, 6, 7])).sum().backward()
        if merged:
            data_parameters.log_class.grad = data_parameters.log_class.grad.coalesce()
        optimizer.step()
        results.append(data_parameters.log_class.detach())
    torch.testing.assert_close(*results, rtol=1e-6, atol=0)


@each_optimizer
@pytest.mark.parametrize("clear", CLEAR)
def test_a_step_after_the_gradient_was_cleared_touches_no_row(make: Any, clear: str) -> None:
    data_parameters = tables()
    optimizer = make(data_parameters.param_groups(weight_decay_instance=0.1), lr=0.1)
    train(data_parameters, optimizer, range(2))
    before = snapshot(data_parameters, optimizer)
    CLEAR[clear](optimizer, data_parameters)
    optimizer.step()
    assert_same_bits(before, snapshot(data_parameters, optimizer))


@each_optimizer
def test_dense_gradient_is_refused_and_nothing_changed(make: Any) -> None:
    data_parameters = tables()
    dense = torch.nn.Parameter(torch.ones(3))
    optimizer = make([*data_parameters.param_groups(), {"params": [dense]}], lr=0.1)
    train(data_parameters, optimizer, range(2))
    before = snapshot(data_parameters, optimizer)
    data_parameters(torch.tensor([0]), torch.tensor([0])).sum().backward()
    dense.sum().backward()
    with pytest.raises(ValueError, match=r"optimizer of torch\.optim"):
        optimizer.step()
    assert_same_bits(before, snapshot(data_parameters, optimizer))


@each_optimizer
def test_tables_have_one_dimension(make: Any) -> None:
    embedding = torch.nn.Embedding(4, 2, sparse=True)
    optimizer = make(embedding.parameters(), lr=0.1)
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(ValueError, match=r"should have shape \(N,\)"):
        optimizer.step()


@each_optimizer
@pytest.mark.parametrize("poison", [float("nan"), float("inf"), 3e38])
def test_non_finite_rows_are_skipped_counted_and_warned_of_once(make: Any, poison: float) -> None:
    data_parameters = tables()
    optimizer = make(data_parameters.param_groups(weight_decay_instance=0.1), lr=0.1)
    train(data_parameters, optimizer, range(2))
    before = snapshot(data_parameters, optimizer)
    index = torch.tensor([3, 8, 3, 9, 9])
    # Two entries of 3e38 are finite each, and infinite as a sum.
    factor = torch.tensor([1.0, 1.0, 1.0, poison, poison])
    optimizer.zero_grad()
    (factor * data_parameters(torch.zeros(5, dtype=torch.int64), index)).sum().backward()
    with pytest.warns(UserWarning, match="num_skipped_rows") as caught:
        optimizer.step()
    assert len(caught) == 1
    after = snapshot(data_parameters, optimizer)
    for name, value in before.items():
        if value.shape == (50,):
            assert torch.equal(after[name][9], value[9])
    assert after["log_instance"][3] != before["log_instance"][3]
    assert all(value.isfinite().all() for value in after.values())
    assert optimizer.num_skipped_rows == 2  # row 9, and the one class
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer.zero_grad()
        (poison * data_parameters(torch.tensor([0, 0]), torch.tensor([9, 9]))).sum().backward()
        optimizer.step()
    assert optimizer.num_skipped_rows == 4


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (SparseSGD, {"lr": -0.1}, "`lr` should be at least 0"),
        (SparseSGD, {"lr": float("nan")}, "`lr` should be at least 0"),
        (SparseSGD, {"momentum": -1}, "`momentum` should be"),
        (SparseSGD, {"weight_decay": -1}, "`weight_decay` should be"),
        (SparseSGD, {"dampening": float("nan")}, "`dampening` should be finite"),
        (SparseAdamW, {"betas": (0.9,)}, "two numbers"),
        (SparseSGD, {"nesterov": True}, "momentum above 0"),
        (SparseSGD, {"nesterov": True, "momentum": 0.9, "dampening": 0.1}, "no dampening"),
        (SparseSGD, {"bounds": (1.0, -1.0)}, "the lower one first"),
        (SparseAdamW, {"bounds": (0.0, float("nan"))}, "the lower one first"),
        (SparseAdamW, {"betas": (0.9, 1.0)}, r"`betas` should be two numbers in \[0, 1\)"),
        (SparseAdamW, {"eps": -1e-8}, "`eps` should be"),
        (SparseAdamW, {"lr": -1.0}, "`lr` should be"),
    ],
)
def test_wrong_settings(kind: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(tables().param_groups(), **options)
    with pytest.raises(ValueError, match=message):
        kind([{**tables().param_groups()[0], **options}])


def test_one_lookup_leaves_one_entry_a_sample() -> None:
    """So processes exchange no more; several lookups or backward calls keep counts apart."""
    data_parameters = tables()
    target, index = torch.tensor([0, 1, 1]), torch.tensor([7, 7, 9])
    data_parameters(target, index).sum().backward()
    for table, rows in ((data_parameters.log_class, target), (data_parameters.log_instance, index)):
        found = entries(table)
        assert torch.equal(found.rows, rows)
        assert torch.equal(found.occurrences, torch.ones(3))
        torch.testing.assert_close(found.grad, table.grad._values(), rtol=0, atol=0)
    data_parameters(target, index).sum().backward()
    found = entries(data_parameters.log_instance)
    counts = torch.zeros(50).index_add_(0, found.rows, found.occurrences)
    assert counts[[7, 9]].tolist() == [4.0, 2.0]
    assert counts.sum() == 6.0
