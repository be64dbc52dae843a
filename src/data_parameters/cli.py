"""The command ``data-parameters``: parses, then calls."""

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

__all__ = ["main", "report_errors"]

INTERRUPTED = 130  # as shells report a program that Ctrl-C ended

USAGE = """usage: data-parameters COMMAND [OPTIONS]

Learnable temperatures for classes and training instances.

commands:
  demo        digits with wrong labels, without and with data parameters, in seconds
  train       train a classifier on your data
  issues      which labels of a run are probably wrong, and how many
  explain     what a run knows about one instance
  report      a run as one web page, to look at it and to review its labels
  --version   print the version

data-parameters COMMAND --help lists the options of a command."""

TRAIN_DESCRIPTION = """Train a classifier with class, instance or joint data parameters, or without.

First of all:
--recipe NAME  start from published or small settings: {recipes}.
--config FILE  start from a JSON or TOML file, such as the config.json of a run.
--resume RUN  continue the run in this folder.
--restart  remove the run in the output folder first.

Then any of the options below. Without a recipe and a file, a run learns instance parameters and has
a second phase (--instances.no-learn and --phase2.no-run leave them out)."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command.

    Args:
        arguments: Words of the command line; ``None`` takes those of the process.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    commands = {
        "demo": _demo,
        "train": _train,
        "issues": _issues,
        "explain": _explain,
        "report": _report,
    }
    if words == ["--version"]:
        print(f"data-parameters {version('data-parameters')}")
    elif words and words[0] in commands:
        with report_errors():
            commands[words[0]](words[1:])
    elif words in (["--help"], ["-h"]):
        print(USAGE)
    else:
        print(USAGE, file=sys.stderr)
        sys.exit(2)


@contextlib.contextmanager
def report_errors() -> Iterator[None]:
    """End the program with one clear message where a person can mend the cause.

    Yields:
        Nothing.
    """
    try:
        yield
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except ModuleNotFoundError as error:
        _exit_for_missing(error)
    except (OSError, ValueError) as error:
        rank = os.environ.get("RANK", "0")  # of several processes each says what it met
        who = "data-parameters" if rank == "0" else f"data-parameters, process {rank}"
        sys.exit("\n".join([f"{who}: {error}", *getattr(error, "__notes__", [])]))
    except RuntimeError as error:
        from data_parameters.distributed import OtherProcessError

        if not isinstance(error, OtherProcessError):
            raise
        sys.exit(f"data-parameters: {error}" if _speaks() else 1)


def _exit_for_missing(error: ModuleNotFoundError) -> None:
    if (error.name or "").split(".")[0] == "data_parameters":
        raise error
    # Parts that need another extra name it themselves.
    if "pip install" in str(error):
        sys.exit(f"data-parameters: {error}")
    sys.exit(
        f"data-parameters: the command needs {error.name}, an optional dependency. Install it "
        "with: pip install 'data-parameters[train]'"
    )


def _demo(words: list[str]) -> None:
    import tyro

    from data_parameters.training.demo import DemoConfig
    from data_parameters.training.demo_report import demo

    demo(tyro.cli(DemoConfig, prog="data-parameters demo", args=words))


def _train(words: list[str]) -> None:
    from dataclasses import replace

    import tyro

    from data_parameters.training.config import TrainConfig
    from data_parameters.training.config_file import read_config
    from data_parameters.training.processes import joined_processes
    from data_parameters.training.recipes import DEFAULT, RECIPES
    from data_parameters.training.run import resume_run, start_run

    parser = argparse.ArgumentParser(
        prog="data-parameters train", add_help=False, allow_abbrev=False
    )
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--recipe", choices=sorted(RECIPES))
    start.add_argument("--config", type=Path)
    start.add_argument("--resume", type=Path)
    parser.add_argument("--restart", action="store_true")
    known, rest = parser.parse_known_args(words)
    if known.resume is not None and known.restart:
        parser.error("argument --restart: not allowed with argument --resume")
    if known.recipe is not None:
        default = RECIPES[known.recipe]
    elif known.config is not None:
        # A run's own file names its folder, which is taken.
        default = replace(read_config(known.config), output=None)
    elif known.resume is not None and (known.resume / "config.json").is_file():
        default = read_config(known.resume / "config.json")
    else:
        default = DEFAULT
    config = tyro.cli(
        TrainConfig,
        default=default,
        args=rest,
        prog="data-parameters train",
        description=TRAIN_DESCRIPTION.format(recipes=", ".join(RECIPES)),
        console_outputs=_speaks(),
    )
    if known.resume is not None and config.output != default.output:
        raise ValueError(
            "`--output` should be left out with `--resume`, because a run continues in its own "
            f"folder. Found {config.output}. Move the folder first, or start a new run."
        )
    with joined_processes(config.runtime.device):
        if known.resume is not None:
            resume_run(known.resume, config)
        else:
            start_run(config, restart=known.restart)


def _speaks() -> bool:
    """Of several processes that have the same to say, the first says it."""
    return os.environ.get("RANK", "0") == "0"


def _issues(words: list[str]) -> None:
    import tyro

    from data_parameters.training.show_issues import IssuesConfig, show_issues

    show_issues(tyro.cli(IssuesConfig, prog="data-parameters issues", args=words))


def _explain(words: list[str]) -> None:
    import tyro

    from data_parameters.training.explain import ExplainConfig, explain

    explain(tyro.cli(ExplainConfig, prog="data-parameters explain", args=words))


def _report(words: list[str]) -> None:
    import tyro

    from data_parameters.training.run_report import ReportConfig, write_report

    page = write_report(tyro.cli(ReportConfig, prog="data-parameters report", args=words))
    print(f"Open {page} in a browser.")
