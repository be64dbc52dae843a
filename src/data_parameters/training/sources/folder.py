"""The folder that holds the data."""

from pathlib import Path

from data_parameters.training.data import DataConfig

__all__ = ["existing_folder"]


def existing_folder(config: DataConfig) -> Path:
    """The folder that a configuration names.

    Args:
        config: Whose path.

    Returns:
        The folder.

    Raises:
        FileNotFoundError: No folder is named, or it is not there.
    """
    if config.path is None or not config.path.is_dir():
        found = "no path" if config.path is None else f"no folder {config.path}"
        raise FileNotFoundError(
            f"`data.path` should be the folder of the data of kind {config.name}. Found {found}. "
            "Name it with --data.path."
        )
    return config.path
