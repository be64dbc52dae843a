"""Timing side by side in one process, and the machine that it was done on."""

import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

RESULTS = Path(__file__).parent / "results"


def interleaved(
    functions: Mapping[str, Callable[[], None]], *, rounds: int, block: int, warmup: int = 20
) -> dict[str, list[float]]:
    """Seconds a call, one number a round: blocks of calls take turns, so that drift hits all."""
    for function in functions.values():
        for _ in range(warmup):
            function()
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.perf_counter()
            for _ in range(block):
                function()
            times[name].append((time.perf_counter() - start) / block)
    return times


def microseconds(times: list[float]) -> str:
    """The median with the quartiles."""
    low, middle, high = (1e6 * t for t in statistics.quantiles(times, n=4))
    return f"{middle:.0f} ({low:.0f}–{high:.0f})"


def ratio(times: list[float], base: list[float]) -> float:
    """The median over the rounds of the ratio within a round."""
    return statistics.median(t / b for t, b in zip(times, base, strict=True))


def machine() -> str:
    """What a reader needs in order to compare."""
    return (
        f"{cpu_model()}, {torch.get_num_threads()} threads; {platform.system()}; "
        f"Python {platform.python_version()}, torch {torch.__version__}."
    )


def cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), "CPU")


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A table."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def resident_bytes() -> int:
    """Memory of this process that is really there (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    [line] = [line for line in lines if line.startswith("VmRSS")]
    return int(line.split()[1]) * 1024
