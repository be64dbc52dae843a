"""The configuration of a run: frozen dataclasses, whose field docstrings are the command's help."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from data_parameters.training.data import DataConfig
from data_parameters.training.models import ModelConfig

__all__ = [
    "AugmentConfig",
    "NoiseConfig",
    "OptimizerConfig",
    "RuntimeConfig",
    "ScheduleConfig",
    "SecondPhaseConfig",
    "TableConfig",
    "TemperatureConfig",
    "TrainConfig",
]

DEFAULT_LR = 0.1  # of log-temperatures


@dataclass(frozen=True, kw_only=True)
class NoiseConfig:
    """Wrong labels on purpose. The run knows which they are, and uses that for reporting only."""

    kind: Literal["none", "permute", "symmetric", "pair", "transition"] = "none"
    """How a drawn instance gets its wrong label; see `corrupt_labels`."""

    fraction: float = 0.0
    """Share of the training instances that are drawn."""

    seed: int = 0
    """Of the draws."""

    transition: Path | None = None
    """A CSV file with the (C, C) matrix of kind `transition`, old labels in rows."""

    def __post_init__(self) -> None:
        _in_range("noise.fraction", self.fraction, 0.0, 1.0)
        if (self.kind == "transition") != (self.transition is not None):
            raise ValueError(
                "`noise.transition` should be given for kind `transition`, and for no other. Found "
                f"kind {self.kind} and {self.transition}."
            )
        if (self.kind == "none") != (self.fraction == 0.0):
            raise ValueError(
                "`noise.kind` and `noise.fraction` should come together. Found kind "
                f"{self.kind} and fraction {self.fraction}. Write 40 % as 0.4."
            )


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """How the network learns."""

    name: Literal["sgd", "adamw"] = "sgd"
    """SGD or AdamW, torch's own."""

    lr: float = 0.1
    """Learning rate before the schedule."""

    momentum: float = 0.9
    """Momentum of SGD."""

    nesterov: bool = False
    """Nesterov momentum of SGD."""

    weight_decay: float = 5e-4
    """Weight decay of all weights."""

    clip_norm: float | None = None
    """Highest norm of the network's gradient; the tables stay out of clipping."""

    def __post_init__(self) -> None:
        _above_zero("optimizer.lr", self.lr)
        _in_range("optimizer.momentum", self.momentum, 0.0, 1.0)
        _in_range("optimizer.weight_decay", self.weight_decay, 0.0, float("inf"))
        if self.clip_norm is not None:
            _above_zero("optimizer.clip_norm", self.clip_norm)


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """The learning rate of the network over the epochs. The tables keep theirs."""

    kind: Literal["constant", "step", "cosine"] = "step"
    """Constant, dropping at milestones, or half a cosine down to 0."""

    milestones: tuple[int, ...] = ()
    """Epochs, counted from 0, before which the learning rate drops."""

    gamma: float = 0.1
    """Factor of each drop."""

    warmup_epochs: float = 0.0
    """Epochs over which the learning rate first rises linearly."""

    def __post_init__(self) -> None:
        if list(self.milestones) != sorted(set(self.milestones)) or min((*self.milestones, 0)) < 0:
            raise ValueError(f"`schedule.milestones` should rise from 0. Found {self.milestones}.")
        _above_zero("schedule.gamma", self.gamma)
        _in_range("schedule.warmup_epochs", self.warmup_epochs, 0.0, float("inf"))


@dataclass(frozen=True, kw_only=True)
class TemperatureConfig:
    """One table of temperatures, and how it is learned."""

    learn: bool = False
    """Whether there is such a table."""

    init: float | None = None
    """First temperature: 1, or 1/20 for instances that join a class table."""

    lr: float | None = None
    """Learning rate. None: 0.1; for instances 1, and below batch 64 as much a sample."""

    weight_decay: float = 0.0
    """Pull towards temperature 1, once for each occurrence."""

    def __post_init__(self) -> None:
        if self.lr is not None:
            _above_zero("lr of a table", self.lr)
        _in_range("weight_decay of a table", self.weight_decay, 0.0, float("inf"))
        if self.init is not None:
            _above_zero("init of a table", self.init)


@dataclass(frozen=True, kw_only=True)
class TableConfig:
    """What both tables share."""

    optimizer: Literal["sgd", "adamw"] = "sgd"
    """SparseSGD or SparseAdamW."""

    momentum: float = 0.9
    """Momentum of SparseSGD."""

    bounds: tuple[float, float] | None = (1 / 20, 20.0)
    """Lowest and highest temperature, or None for no projection."""

    per_sample: bool = False
    """Free the learning rates of the batch size: gradients are those of a sum, not of a mean."""

    def __post_init__(self) -> None:
        _in_range("tables.momentum", self.momentum, 0.0, 1.0)
        if self.bounds is not None and not 0 < self.bounds[0] < self.bounds[1] < float("inf"):
            raise ValueError(f"`tables.bounds` should satisfy 0 < low < high. Found {self.bounds}.")


@dataclass(frozen=True, kw_only=True)
class SecondPhaseConfig:
    """Judge the labels once the network begins to learn wrong ones by heart, and leave those out.

    A few labels are wrong on purpose until then. How the network takes to them says when to judge,
    how many labels are wrong, and below which margin. Where hardly any is, nothing is left out.
    Where the network has learned them by heart, it begins again from its first weights.
    """

    run: bool = False
    """Whether there is a second phase."""

    planted: float = 0.02
    """Share of the training instances that have a wrong label on purpose in the first phase, but at
    least 60 of them."""

    learned: float = 0.5
    """Share of the planted labels that the network has learned by heart when labels are judged."""

    latest: float = 0.5
    """Share of the epochs after which labels are judged at the latest."""

    cost: float = 0.5
    """Cost of a right label left out, against that of a wrong one kept."""

    least_rate: float = 0.05
    """Estimated share of wrong labels below which none is left out."""

    def __post_init__(self) -> None:
        _in_range("phase2.planted", self.planted, 0.001, 0.5)
        _in_range("phase2.learned", self.learned, 0.0, 1.0)
        _in_range("phase2.latest", self.latest, 0.0, 0.9)
        _above_zero("phase2.cost", self.cost)
        _in_range("phase2.least_rate", self.least_rate, 0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Random changes of images that are held in memory, a batch at a time."""

    crop_padding: int = 0
    """Pixels of padding around an image before a crop of its own size."""

    flip: bool = False
    """Flip half of the images left to right."""

    def __post_init__(self) -> None:
        _in_range("augment.crop_padding", self.crop_padding, 0, 1000)


@dataclass(frozen=True, kw_only=True)
class RuntimeConfig:
    """Where and how the run is carried out. Another device may round differently, no more."""

    device: str = "auto"
    """`auto` takes CUDA, then MPS, then the CPU."""

    num_workers: int = 0
    """Processes that decode images of a folder, for each that trains; 0 decodes in that one."""

    report: bool = True
    """Make report.html at the end: the run as one web page, with a table to review its labels."""

    channels_last: bool = False
    """Memory format that convolutions on CUDA prefer."""

    compile: bool = False
    """Compile the network with torch.compile."""

    fsdp: bool = False
    """Spread the network over the processes of torchrun (FSDP2) instead of copying it (DDP)."""

    tensorboard: bool = False
    """Write TensorBoard files into the run folder."""

    logger: str | None = None
    """`module:function` that makes a logger of your own, given the run folder."""

    log_steps: int = 50
    """Steps between two lines of metrics within an epoch."""

    table_steps: int | None = None
    """Steps between two looks at the whole tables within an epoch; by default only after each."""

    checkpoint_steps: int | None = None
    """Save every so many steps, besides at the end of each epoch."""

    checkpoint_minutes: float | None = None
    """Save every so many minutes, besides at the end of each epoch."""

    def __post_init__(self) -> None:
        _in_range("runtime.num_workers", self.num_workers, 0, 1024)
        _in_range("runtime.log_steps", self.log_steps, 1, float("inf"))
        if self.table_steps is not None:
            _in_range("runtime.table_steps", self.table_steps, 1, float("inf"))
        if self.checkpoint_steps is not None:
            _in_range("runtime.checkpoint_steps", self.checkpoint_steps, 1, float("inf"))
        if self.checkpoint_minutes is not None:
            _above_zero("runtime.checkpoint_minutes", self.checkpoint_minutes)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Train a classifier with class, instance or joint data parameters, or without."""

    data: DataConfig = field(default_factory=DataConfig)
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    classes: TemperatureConfig = field(default_factory=TemperatureConfig)
    instances: TemperatureConfig = field(default_factory=TemperatureConfig)
    tables: TableConfig = field(default_factory=TableConfig)
    phase2: SecondPhaseConfig = field(default_factory=SecondPhaseConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)

    epochs: int = 60
    """Passes over the training instances."""

    batch_size: int = 64
    """Samples in a step."""

    accumulate: int = 1
    """Parts into which a minibatch is cut, one after the other, to save memory."""

    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of the network under autocast; the tables stay in float32."""

    label_smoothing: float = 0.0
    """Share of each target that is spread over all classes."""

    validation_fraction: float = 0.0
    """Share of the (noisy) training instances that is held out to select the epoch."""

    patience: int | None = None
    """Stop after so many epochs without a better validation accuracy."""

    labels: tuple[Path, ...] = ()
    """Decisions of reviews (CSV files), applied to the labels in the order given."""

    dynamics: bool = True
    """Keep the margins, predictions and losses of each instance, which reviews use."""

    read_epochs: tuple[int, ...] = ()
    """Epochs after which the result is read as well, counted from 1, as far as the run gets."""

    limit_batches: int | None = None
    """Only so many minibatches an epoch, and in evaluation, for a quick look."""

    start_epoch: int = 0
    """Epoch to count from: the learning rate is the one of its place in the schedule."""

    seed: int = 0
    """Of the first weights, the held out share, the order and the augmentation."""

    output: Path | None = None
    """The run folder, new or empty. By default a new one under `runs`."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulate"):
            _in_range(name, getattr(self, name), 1, float("inf"))
        _in_range("label_smoothing", self.label_smoothing, 0.0, 1.0)
        _in_range("validation_fraction", self.validation_fraction, 0.0, 0.9)
        if self.limit_batches is not None:
            _in_range("limit_batches", self.limit_batches, 1, float("inf"))
        if self.patience is not None:
            _in_range("patience", self.patience, 1, float("inf"))
        if self.patience is not None and self.validation_fraction == 0.0:
            raise ValueError(
                "`patience` should come with a `validation_fraction` above 0, so that nobody "
                "selects on the test set. Found 0. Hold out 0.1, for example."
            )
        if self.phase2.run and not self.dynamics:
            raise ValueError(
                "`phase2.run` should go with `dynamics`, by which labels are judged. Found them "
                "off. Keep the dynamics, or leave the second phase out (--phase2.no-run)."
            )
        _in_range("seed", self.seed, 0, 2**63 - 1)
        _in_range("start_epoch", self.start_epoch, 0, self.epochs - 1)
        if self.accumulate > self.batch_size:
            raise ValueError(
                f"`accumulate` should be at most `batch_size`. Found {self.accumulate} and "
                f"{self.batch_size}."
            )

    @property
    def level(self) -> str:
        """Which data parameters the run learns, in words."""
        levels = {
            (False, False): "no data parameters",
            (True, False): "class parameters",
            (False, True): "instance parameters",
            (True, True): "class and instance parameters",
        }
        return levels[self.classes.learn, self.instances.learn]

    @property
    def lr_class(self) -> float:
        """Learning rate of the class table."""
        return DEFAULT_LR if self.classes.lr is None else self.classes.lr

    @property
    def lr_instance(self) -> float:
        """Learning rate of the instance table."""
        if self.instances.lr is not None:
            return self.instances.lr
        if self.tables.optimizer != "sgd":
            return DEFAULT_LR
        # At batch 16 a rate of 1 ruins a run, and as much a sample as at 64 does not
        # (docs/how_to_set.md). Above 64 a rate of 1 was no worse than more (docs/design.md).
        rate = min(1.0, self.batch_size / 64)
        return rate / self.batch_size if self.tables.per_sample else rate


def _in_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ValueError(f"`{name}` should lie in [{low}, {high}]. Found {value}.")


def _above_zero(name: str, value: float) -> None:
    if not 0 < value < float("inf"):
        raise ValueError(f"`{name}` should be above 0 and finite. Found {value}.")
