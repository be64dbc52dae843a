"""Ten other classes of CIFAR-100, as the first ten of a data set of their own."""

import json
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

SHIFT = 10


def write_other_classes(source: Path, target: Path) -> None:
    """Copy the instances of classes 10 to 19, whose classes become 0 to 9.

    Args:
        source: Folder of CIFAR-100 as Parquet.
        target: Folder of the copies, made unless it is there.
    """
    target.mkdir(parents=True, exist_ok=True)
    for path in source.glob("*.parquet"):
        if (target / path.name).exists():
            continue
        table = pq.read_table(path)
        columns = [
            name for name in ("fine_label", "noisy_fine_label") if name in table.schema.names
        ]
        for name in columns:
            # Class 10 becomes 0, and 0 becomes 90.
            shifted = pc.subtract(table[name], SHIFT)
            shifted = pc.if_else(pc.less(shifted, 0), pc.add(shifted, 100), shifted)
            table = table.set_column(table.schema.get_field_index(name), name, shifted)
        wanted = pc.less(table[columns[0]], SHIFT)
        if len(columns) > 1:
            wanted = pc.or_(wanted, pc.less(table[columns[1]], SHIFT))
        pq.write_table(
            table.filter(wanted).replace_schema_metadata(_metadata(table)), target / path.name
        )


def _metadata(table) -> dict[bytes, bytes]:
    """The names of the classes, shifted alike."""
    metadata = json.loads(table.schema.metadata[b"huggingface"])
    for feature in metadata["info"]["features"].values():
        if len(feature.get("names", ())) == 100:
            feature["names"] = feature["names"][SHIFT:] + feature["names"][:SHIFT]
    return {b"huggingface": json.dumps(metadata).encode()}
