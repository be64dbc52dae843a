"""The page: its data as JSON, and the HTML that carries it.

Nothing of a data set becomes markup: the page's script puts every text in place as text, and a
content security policy lets the browser run and load nothing but what this module wrote.
"""

import base64
import hashlib
import json
import math
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt

from data_parameters.report.content import (
    Classes,
    Curves,
    Instances,
    Noise,
    ReportContent,
    RunFacts,
    Spread,
)

__all__ = ["embedded_json", "page_data", "render_page"]

SCRIPTS = (
    "dom.js",
    "charts.js",
    "overview.js",
    "decisions.js",
    "dialogs.js",
    "review.js",
    "main.js",
)
MAX_EPOCHS = 60  # that a trajectory keeps
MAX_PAIRS = 4000


def render_page(content: ReportContent) -> str:
    """Make the page.

    Args:
        content: What it shows.

    Returns:
        HTML that needs no other file and no network.
    """
    style = _asset("style.css")
    script = '"use strict";\n(() => {\n' + "".join(map(_asset, SCRIPTS)) + "})();\n"
    policy = (
        f"default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; "
        f"style-src '{_digest(style)}'; script-src '{_digest(script)}'"
    )
    parts = {
        "POLICY": policy,
        "STYLE": style,
        "SCRIPT": script,
        "DATA": embedded_json(page_data(content)),
    }
    # Split first: what is put in is not looked at again.
    page = _asset("page.html").split("%%")
    return "".join(parts[piece] if place % 2 else piece for place, piece in enumerate(page))


def embedded_json(value: Any) -> str:
    r"""JSON that can stand in a script element of an HTML page, whatever texts it holds.

    Args:
        value: Plain values.

    Returns:
        JSON without ``<``, ``>``, ``&`` and the two line separators that scripts trip over.

    Raises:
        ValueError: A number is not finite.

    Example:
        >>> print(embedded_json("</script>"))
        "\u003c/script\u003e"
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    # A file name may hold bytes that are no text; UTF-8 has no place for them.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def page_data(content: ReportContent) -> dict[str, Any]:
    """The plain values that the page's script reads.

    Args:
        content: What the page shows.

    Returns:
        Values that JSON can hold; what is not finite is ``None``.
    """
    return {
        "run": _run(content.run),
        "accuracy": content.accuracy and _curves(content.accuracy),
        "loss": content.loss and _curves(content.loss),
        "spread": content.spread and _spread(content.spread),
        "classes": content.classes and _classes(content.classes),
        "noise": content.noise and _noise(content.noise),
        "instances": content.instances and _instances(content.instances),
    }


def _asset(name: str) -> str:
    return files("data_parameters.report").joinpath("assets", name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _run(run: RunFacts) -> dict[str, Any]:
    return {**vars(run), **{name: list(getattr(run, name)) for name in _LISTS}}


_LISTS = ("class_names", "summary", "result", "missing")


def _curves(curves: Curves) -> dict[str, Any]:
    series = {name: _numbers(np.array(v, float), 5) for name, v in curves.series.items()}
    return {"epochs": list(curves.epochs), "series": series}


def _spread(spread: Spread) -> dict[str, Any]:
    return {
        "epochs": list(spread.epochs),
        "edges": _numbers(spread.edges, 3),
        "groups": [
            {
                "name": group.name,
                "count": group.count,
                "quantiles": _numbers(group.quantiles, 3),
                "histogram": group.histogram.tolist(),
            }
            for group in spread.groups
        ],
    }


def _classes(classes: Classes) -> dict[str, Any]:
    epochs, trajectories = _thinned(classes.epochs, classes.log_temperature)
    return {
        "count": classes.count.tolist(),
        "estimated_wrong": _numbers(classes.estimated_wrong, 4),
        "known_wrong": _numbers(classes.known_wrong, 4),
        "epochs": epochs,
        "log_temperature": _numbers(trajectories, 3),
        "meaning": classes.meaning,
    }


def _noise(noise: Noise) -> dict[str, Any]:
    pairs: list[list[int]] = []
    if noise.pairs is not None:
        given, suggested = np.nonzero(noise.pairs)
        counts = noise.pairs[given, suggested]
        order = np.argsort(-counts, kind="stable")[:MAX_PAIRS]
        pairs = np.stack([given, suggested, counts], 1)[order].tolist()
    return {**vars(noise), "pairs": pairs}


def _instances(instances: Instances) -> dict[str, Any]:
    epochs, trajectories = _thinned(instances.epochs, instances.log_temperature)
    integers = ("index", "given_label", "source_row", "predicted_label", "true_label")
    columns = {name: getattr(instances, name) for name in integers}
    return {
        **{name: None if column is None else column.tolist() for name, column in columns.items()},
        "is_label_issue": instances.is_label_issue.astype(int).tolist(),
        "label_score": _numbers(instances.label_score, 4),
        "temperature": _numbers(instances.temperature, 4),
        "margin": _numbers(instances.margin, 3),
        "epochs": epochs,
        "log_temperature": _numbers(None if trajectories is None else trajectories.T, 2),
        "previews": [
            {name: value for name, value in vars(preview).items() if value}
            for preview in instances.previews
        ],
    }


def _thinned(
    epochs: Any, trajectories: npt.NDArray[Any] | None
) -> tuple[list[int], npt.NDArray[Any] | None]:
    """At most so many epochs, the first and the last among them."""
    if trajectories is None:
        return [], None
    kept = np.unique(np.linspace(0, len(epochs) - 1, min(len(epochs), MAX_EPOCHS)).round())
    places = kept.astype(int)
    return [int(epochs[place]) for place in places], trajectories[places]


def _numbers(values: npt.NDArray[Any] | None, digits: int) -> list[Any] | None:
    """Rounded numbers as nested lists, with ``None`` for what is not finite."""
    if values is None:
        return None
    return [_rounded(row, digits) for row in values.tolist()]


def _rounded(value: Any, digits: int) -> Any:
    if isinstance(value, list):
        return [_rounded(each, digits) for each in value]
    return round(value, digits) if math.isfinite(value) else None
