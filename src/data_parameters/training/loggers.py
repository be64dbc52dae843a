"""Where the curves of a run go, besides its own files: TensorBoard, or a logger of the user's.

Legend: K images, C channels, H and W pixels.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from data_parameters.monitor import Histogram
from data_parameters.training.user_function import load_function

__all__ = ["Logger", "TensorBoardLogger", "check_loggers", "load_logger"]


@runtime_checkable
class Logger(Protocol):
    """What the training tells; the step counts minibatches since the start."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Take numbers by name, such as ``"instance/mean"``.

        Args:
            step: Minibatches so far.
            values: The numbers.
        """

    def histogram(self, step: int, name: str, histogram: Histogram) -> None:
        """Take counts, already binned.

        Args:
            step: Minibatches so far.
            name: Such as ``"instance/clean"``.
            histogram: Edges and counts.
        """

    def images(self, step: int, name: str, images: Tensor) -> None:
        """Take images.

        Args:
            step: Minibatches so far.
            name: What they show.
            images: In [0, 1], shape ``(K, C, H, W)``.
        """

    def close(self) -> None:
        """Write what is left; nothing follows."""


class TensorBoardLogger:
    """Event files for TensorBoard. What was logged is on its way to the disk when a call returns.

    Args:
        folder: Where the files go; it is made where absent.
        purge_step: A run that is resumed here logs this step next: TensorBoard hides what an
            earlier process had logged at it or later.

    Raises:
        ModuleNotFoundError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path, purge_step: int | None = None) -> None:
        self._writer = _summary_writer()(str(folder), purge_step=purge_step)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Add one point to each curve.

        Args:
            step: Minibatches so far.
            values: The numbers by the name of their curve.
        """
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def histogram(self, step: int, name: str, histogram: Histogram) -> None:
        """Add counts as they are: TensorBoard never sees the table.

        Args:
            step: Minibatches so far.
            name: Name of the histogram.
            histogram: Edges and counts.
        """
        self._writer.add_histogram_raw(
            name,
            min=histogram.minimum,
            max=histogram.maximum,
            num=histogram.num,
            sum=histogram.sum,
            sum_squares=histogram.sum_squares,
            bucket_limits=histogram.edges[1:].tolist(),
            bucket_counts=histogram.counts.tolist(),
            global_step=step,
        )
        self._writer.flush()

    def images(self, step: int, name: str, images: Tensor) -> None:
        """Add images, side by side.

        Args:
            step: Minibatches so far.
            name: What they show.
            images: In [0, 1], shape ``(K, C, H, W)`` with 1 or 3 channels.

        Raises:
            ValueError: The images have another shape.
        """
        if images.ndim != 4 or images.shape[1] not in (1, 3):
            raise ValueError(
                "`images` should have shape (K, C, H, W) with 1 or 3 channels. Found "
                f"{tuple(images.shape)}. Choose the channels to show."
            )
        self._writer.add_images(name, images, step)
        self._writer.flush()

    def close(self) -> None:
        """Write what is left and close the file."""
        self._writer.close()


def check_loggers(reference: str | None, *, tensorboard: bool) -> None:
    """Find out before a run starts whether its loggers are there.

    Args:
        reference: ``module:function`` of the user's own logger, or ``None``.
        tensorboard: Whether TensorBoard is needed.

    Raises:
        ModuleNotFoundError: TensorBoard is not installed.
        ValueError: There is no such function.
    """
    if tensorboard:
        _summary_writer()
    if reference is not None:
        load_function(reference)


def load_logger(reference: str, folder: Path, purge_step: int | None = None) -> Logger:
    """Make a logger of the user's own: Weights & Biases, MLflow, trackio or any other.

    Args:
        reference: ``module:function``. The function is called with the run folder and
            ``purge_step``, and returns an object with the methods of :class:`Logger`.
        folder: The run folder.
        purge_step: The first step that will be logged again, after a resume; else ``None``.

    Returns:
        What the function returned.

    Raises:
        ValueError: There is no such function, or what it returned lacks a method.
    """
    logger = load_function(reference)(folder, purge_step)
    if not isinstance(logger, Logger):
        methods = ("scalars", "histogram", "images", "close")
        missing = [name for name in methods if not callable(getattr(logger, name, None))]
        raise ValueError(
            f"`{reference}` should return an object with the methods {', '.join(methods)}. Found "
            f"{type(logger).__name__} without {', '.join(missing)}."
        )
    return logger


def _summary_writer() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "TensorBoardLogger needs tensorboard, an optional dependency. Install it with: "
            "pip install 'data-parameters[tensorboard]'",
            name=error.name,
        ) from error
    return SummaryWriter
