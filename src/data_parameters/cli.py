"""The command ``data-parameters``: parses, then calls."""

import sys
from collections.abc import Sequence
from importlib.metadata import version

__all__ = ["main"]

DESCRIPTION = "Learnable temperatures for classes and training instances."
INTERRUPTED = 130  # as shells report a program that Ctrl-C ended


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command.

    Args:
        arguments: Words of the command line; ``None`` takes those of the process.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words == ["--version"]:
        print(f"data-parameters {version('data-parameters')}")
        return
    try:
        _run(words)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except OSError as error:
        sys.exit(f"data-parameters: {error}")


def _run(words: list[str]) -> None:
    try:
        import tyro

        from data_parameters.training.demo import DemoConfig
        from data_parameters.training.demo_report import demo
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "data_parameters":
            raise
        sys.exit(
            f"data-parameters: the command needs {error.name}, an optional dependency. Install it "
            "with: pip install 'data-parameters[train]'"
        )
    config = tyro.extras.subcommand_cli_from_dict(
        {"demo": DemoConfig}, prog="data-parameters", description=DESCRIPTION, args=words
    )
    demo(config)
