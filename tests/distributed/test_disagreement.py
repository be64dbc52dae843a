"""What goes wrong in one process stops all, with one message, and nothing hangs."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from data_parameters import DataParameters, SparseSGD, distributed
from data_parameters.distributed import GlobalBatchSampler
from processes import run_processes


def step(rank: int, case: str) -> tuple[str, torch.Tensor]:
    """One step of tables that differ in process 1; the error, and what the tables hold after it."""
    odd = rank == 1
    joint = DataParameters(
        num_classes=4 if odd and case == "classes" else 3,
        num_instances=21 if odd and case == "instances" else 20,
    )
    momentum = 0.5 if odd and case == "settings" else 0.9
    optimizer = SparseSGD(joint.param_groups(lr_class=0.1, lr_instance=0.1), momentum=momentum)
    if odd and case == "values":
        with torch.no_grad():
            joint.log_instance[7] = 0.5
    if odd and case == "state":
        joint(torch.tensor([0]), torch.tensor([0])).sum().backward()
        state = optimizer.state_dict()
        state["state"] = {1: {"momentum_buffer": torch.ones(20)}}
        optimizer.load_state_dict(state)
        optimizer.zero_grad()
    before = torch.cat([joint.log_class.detach(), joint.log_instance.detach()]).clone()
    joint(torch.tensor([1]), torch.tensor([2])).sum().backward()
    try:
        optimizer.step()
    except ValueError as error:
        message = str(error)
    after = torch.cat([joint.log_class.detach(), joint.log_instance.detach()])
    assert torch.equal(before, after)
    return message, after


@pytest.mark.long
@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("classes", "class: rows: 3 in process 0, 4 in process 1"),
        ("instances", "instance: rows: 20 in process 0, 21 in process 1"),
        ("settings", "momentum: 0.9 in process 0, 0.5 in process 1"),
        ("values", "instance: digest of the log-temperatures"),
        ("state", "instance: digest of momentum_buffer: None in process 0"),
    ],
)
def test_tables_that_differ_are_refused_in_all_processes(case: str, words: str) -> None:
    found = run_processes(step, 3, case)
    for message, _ in found:
        assert words in message
        assert "load a checkpoint in all" in message
    assert len({message for message, _ in found}) == 1


def look_up_out_of_range(rank: int) -> str:
    tables = DataParameters(num_instances=20)
    optimizer = SparseSGD(tables.param_groups())
    try:
        with distributed.fail_together():
            for number in range(5):
                row = 25 if rank == 1 and number == 3 else number
                tables(index=torch.tensor([row])).sum().backward()
                optimizer.step()
                optimizer.zero_grad()
    except (IndexError, RuntimeError) as error:
        return f"{type(error).__name__}: {error}"
    return "nothing was raised"


@pytest.mark.long
def test_an_index_out_of_range_in_one_process_stops_all_with_its_message() -> None:
    found = run_processes(look_up_out_of_range, 3)
    assert found[1].startswith("IndexError: `index` should lie in [0, 19]")
    for message in (found[0], found[2]):
        assert message.startswith(
            "OtherProcessError: Process 1 failed: IndexError: `index` should lie"
        )


def lose_a_process(rank: int) -> str:
    if rank == 1:
        dist.destroy_process_group()  # as if it were killed: without a word
        return ""
    with pytest.raises(distributed.OtherProcessError) as caught, distributed.fail_together():
        distributed.loss_weight(1)
    return str(caught.value)


@pytest.mark.long
def test_a_process_that_is_lost_is_said_to_be_lost() -> None:
    found = run_processes(lose_a_process, 3)
    for message in (found[0], found[2]):
        assert "was lost: it was killed" in message
        assert "torchrun names the process" in message


def own_error(rank: int) -> list[str]:
    """Errors of torch that have nothing to do with the others keep their type and words."""
    with pytest.raises(RuntimeError) as caught, distributed.fail_together():
        torch.ones(2, 3) @ torch.ones(2, 3)
    return [type(caught.value).__name__, str(caught.value)]


@pytest.mark.long
def test_an_error_that_all_have_is_raised_as_it_is() -> None:
    for name, message in run_processes(own_error, 2):
        assert name == "RuntimeError"
        assert "cannot be multiplied" in message


def test_alone_an_error_passes_through() -> None:
    with pytest.raises(KeyError), distributed.fail_together():
        raise KeyError


def wrapped_models() -> dict[str, Callable[[], nn.Module]]:
    class WithTables(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = nn.Linear(2, 2)
            self.temperatures = DataParameters(num_classes=2)

    def half_ignored() -> nn.Module:
        model = nn.Sequential(nn.Linear(2, 2), DataParameters(num_classes=2, num_instances=3))
        model._ddp_params_and_buffers_to_ignore = ["1.log_class"]
        return model

    return {
        "temperatures": WithTables,
        "0.1": lambda: nn.Sequential(nn.Sequential(nn.ReLU(), DataParameters(num_classes=2))),
        "the model": lambda: DataParameters(num_instances=2),
        "1": half_ignored,
    }


@pytest.fixture
def one_process_group(tmp_path: Any) -> Any:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/s", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize("place", wrapped_models())
def test_tables_inside_a_wrapped_model_are_refused(place: str, one_process_group: None) -> None:
    with pytest.raises(ValueError, match="beside the model") as caught:
        DistributedDataParallel(wrapped_models()[place]())
    assert repr(place) in str(caught.value)


def test_tables_that_the_wrapper_ignores_are_let_in(one_process_group: None) -> None:
    model = nn.Sequential(nn.Linear(2, 2), DataParameters(num_classes=2))
    model._ddp_params_and_buffers_to_ignore = ["1.log_class"]
    DistributedDataParallel(model)
    frozen = nn.Sequential(nn.Linear(2, 2), DataParameters(num_classes=2).requires_grad_(False))
    DistributedDataParallel(frozen)
    DistributedDataParallel(nn.Linear(2, 2))


def too_small(rank: int) -> str:
    with pytest.raises(ValueError, match="start fewer processes") as caught:
        GlobalBatchSampler(range(5), batch_size=2)
    return str(caught.value)


@pytest.mark.long
def test_a_minibatch_needs_a_sample_for_each_process() -> None:
    run_processes(too_small, 3)


def weights(rank: int) -> list[float]:
    sizes = [(4, 4), (3, 5), (8, 0), (0, 0)]
    return [distributed.loss_weight(of_rank[rank]) for of_rank in sizes]


@pytest.mark.long
def test_weights_make_the_mean_over_processes_the_mean_over_samples() -> None:
    assert run_processes(weights, 2) == [[1.0, 0.75, 2.0, 0.0], [1.0, 1.25, 0.0, 0.0]]
