"""Run the published implementation beside ours on fresh random problems: `make parity PEER=path`.

PEER is a clone of the published code (apple/ml-data-parameters). Its own modules are loaded from
there; none of its code is here. `--write FOLDER` records small trajectories of it, which the tests
replay.
"""

import argparse
import contextlib
import io
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from replay import (
    Problem,
    Trajectory,
    differences,
    linear_model,
    random_problem,
    replay,
    trajectory,
)

LEVELS = ("class", "instance", "joint")


def load_peer(path: Path) -> Any:
    """The published `utils` module, with a stand-in for the logger that it imports."""
    if not (path / "utils.py").is_file():
        raise FileNotFoundError(
            f"{path} should be a clone of the published code. Found no utils.py in it. Clone "
            "apple/ml-data-parameters, and give its path."
        )
    logger = types.ModuleType("tensorboard_logger")
    for name in ("configure", "log_value", "log_histogram"):
        setattr(logger, name, lambda *arguments, **options: None)
    sys.modules["tensorboard_logger"] = logger
    sys.path.insert(0, str(path))
    import utils

    return utils


def published(problem: Problem, peer: Any) -> Trajectory:
    """Run the problem with the published functions, in the order of the published loop."""
    settings = argparse.Namespace(
        learn_class_parameters=bool(problem["learn_class"]),
        learn_inst_parameters=bool(problem["learn_instance"]),
        init_class_param=float(problem["init_class"]),
        init_inst_param=float(problem["init_instance"]),
        lr_class_param=float(problem["lr_class"]),
        lr_inst_param=float(problem["lr_instance"]),
        wd_class_param=float(problem["wd_class"]),
        wd_inst_param=float(problem["wd_instance"]),
        skip_clamp_data_param=False,
    )
    limits = {"min": float(problem["clamp_min"]), "max": float(problem["clamp_max"])}
    config = {"clamp_inst_sigma": limits, "clamp_cls_sigma": limits}
    X, y = (torch.from_numpy(np.asarray(problem[name])) for name in ("X", "y"))
    model = linear_model(problem)
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=float(problem["lr_model"]),
        momentum=0.9,
        weight_decay=float(problem["wd_model"]),
    )
    with contextlib.redirect_stdout(io.StringIO()):
        classes, instances, class_optimizer, instance_optimizer = (
            peer.get_class_inst_data_params_n_optimizer(
                settings, len(problem["W_init"]), len(X), "cpu"
            )
        )
    losses, snapshots = [], []
    for step, index in enumerate(torch.from_numpy(np.asarray(problem["order"])), start=1):
        class_rows, instance_rows = classes[y[index]], instances[index]
        for each in (optimizer, class_optimizer, instance_optimizer):
            each.zero_grad()
        temperature = peer.get_data_param_for_minibatch(settings, class_rows, instance_rows)
        loss = torch.nn.functional.cross_entropy(model(X[index]) / temperature, y[index])
        losses.append(loss.item())
        peer.apply_weight_decay_data_parameters(
            settings, loss, class_rows, instance_rows
        ).backward()
        for each in (optimizer, class_optimizer, instance_optimizer):
            each.step()
        peer.clamp_data_parameters(settings, classes, config, instances)
        if step in problem["snapshot_steps"]:
            snapshots.append([table.detach().numpy().copy() for table in (classes, instances)])
    return trajectory(losses, snapshots, model)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peer", type=Path, help="a clone of the published code")
    parser.add_argument("--problems", type=int, default=3, help="random problems a level")
    parser.add_argument("--write", type=Path, help="record one small trajectory a level here")
    arguments = parser.parse_args()
    peer = load_peer(arguments.peer.resolve())
    # The published optimizer calls torch in a form that torch deprecated in 2020.
    warnings.filterwarnings("ignore", message="(?s).*This overload of add_? is deprecated")

    largest = 0.0
    for level in LEVELS:
        for seed in range(arguments.problems):
            problem = random_problem(level, seed)
            found = differences(replay(problem), published(problem, peer))
            shown = "  ".join(f"{name} {value:.1e}" for name, value in found.items())
            print(f"{level:9} problem {seed}: {shown}")
            largest = max(largest, *found.values())
    print(f"largest difference: {largest:.2e}")
    if arguments.write is not None:
        arguments.write.mkdir(parents=True, exist_ok=True)
        for level in LEVELS:
            small = random_problem(
                level, 7, num_instances=60, num_features=5, num_classes=4, batch_size=12,
                num_steps=40,
            )  # fmt: skip
            np.savez_compressed(arguments.write / f"{level}.npz", **small, **published(small, peer))
    if not largest < 1e-5:
        raise SystemExit("The two implementations should agree within 1e-5.")


if __name__ == "__main__":
    main()
