"""A user's own function, named on the command line as ``module:function``."""

import difflib
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["load_function"]


def load_function(reference: str) -> Callable[..., Any]:
    """Import a function by name; modules in the working directory are found too.

    Args:
        reference: ``module:function``, such as ``my_package.models:build``.

    Returns:
        The function.

    Raises:
        ValueError: The reference has another form, or there is no such module or function. What
            the module itself raises while it is imported passes through.

    Example:
        >>> load_function("math:sqrt")(9.0)
        3.0
    """
    module_name, _, name = reference.partition(":")
    if not all(part.isidentifier() for part in [*module_name.split("."), name]):
        raise ValueError(
            f"A function of your own should be named `module:function`. Found {reference!r}. "
            "Write my_package.models:build for `build` in my_package/models.py."
        )
    # An installed command does not look into the working directory, as `python -m` does.
    working_directory = str(Path.cwd())
    if working_directory not in sys.path:
        sys.path.insert(0, working_directory)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if not f"{module_name}.".startswith(f"{missing}."):
            raise
        raise ValueError(
            f"There should be a module `{module_name}` for {reference!r}. Found no `{missing}`, "
            f"neither installed nor in {working_directory}. Install it, or start where it lies."
        ) from error
    function: Callable[..., Any] | None = getattr(module, name, None)
    if not callable(function):
        callables = [key for key, value in vars(module).items() if callable(value)]
        close = difflib.get_close_matches(name, callables) or callables[:5]
        raise ValueError(
            f"`{module_name}` should have a function `{name}`. Found "
            f"{'none of that name' if function is None else type(function).__name__}. "
            f"It has: {', '.join(close) or 'no functions'}."
        )
    return function
