"""When does the method work, and how does it compare: one network, one budget, five seeds.

    python benchmarks/effect_study.py digits          # run what is missing, then write the tables
    python benchmarks/effect_study.py digits --table  # write the tables of what is there
    python benchmarks/effect_study.py digits --results build/again  # all of it anew, beside them
    python benchmarks/effect_study.py digits --results build/again --only "*/clean, ELR, 0"
    python benchmarks/effect_study.py cifar100 --full # the larger grid, for a GPU

A run is a line in `benchmarks/results/effect/STUDY.jsonl`. A study can be interrupted at any time
and goes on where it stopped. `cifar100`, `banking77` and `trec6` lie in `../shared/data`.
"""

import argparse
import fnmatch
import json
import os
import signal
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import torch

from effect import tables
from effect.cells import Cell
from effect.grids import ALL_METHODS
from effect.studies import STUDIES, Study
from effect.training import Record, run, to_line
from timing import RESULTS, machine

Key = tuple[str, str, int]


def read(path: Path) -> list[Record]:
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:  # an interruption left half a line
        path.write_text(whole, encoding="utf-8")
    return [Record(**json.loads(line)) for line in whole.splitlines()]


def missing(study: Study, done: list[Record]) -> list[Key]:
    """Runs that no line tells of, seeds outermost: an interrupted study has whole tables."""
    have = {(record.cell, record.method, record.seed) for record in done}
    return [key for key in study.runs() if key not in have]


def matching(keys: list[Key], pattern: str) -> list[Key]:
    """Those whose ``cell, method, seed`` a pattern of the shell matches."""
    return [k for k in keys if fnmatch.fnmatchcase(f"{k[0]}, {k[1]}, {k[2]}", pattern)]


def run_one(key: Key) -> dict[str, object]:
    torch.set_num_threads(1)
    cell, method, seed = key
    record = run(Cell.parse(cell), ALL_METHODS[method], seed)
    gpu = f" {torch.cuda.get_device_name()}." if torch.cuda.is_available() else ""
    return {**to_line(record), "machine": machine() + gpu}


def run_all(todo: list[Key], path: Path, processes: int) -> None:
    quiet = {"initializer": signal.signal, "initargs": (signal.SIGINT, signal.SIG_DFL)}
    with ProcessPoolExecutor(processes, **quiet) as pool, path.open("a", encoding="utf-8") as file:
        try:
            for number, done in enumerate(as_completed(pool.submit(run_one, k) for k in todo), 1):
                line = done.result()
                file.write(json.dumps(line) + "\n")
                file.flush()
                name = f"{line['cell']} {line['method']} {line['seed']}"
                print(f"{number}/{len(todo)} {name}", flush=True)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # or the rest would run for nothing
            raise


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", choices=[name for name in STUDIES if not name.endswith("-full")])
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--table", action="store_true", help="run nothing")
    parser.add_argument("--full", action="store_true", help="the larger grid (cifar100), for a GPU")
    parser.add_argument(
        "--results", type=Path, default=RESULTS, help="folder of runs and tables (%(default)s)"
    )
    parser.add_argument(
        "--only", default="*", metavar="PATTERN", help='of "cell, method, seed": "*/clean, ELR, 0"'
    )
    arguments = parser.parse_args()
    if arguments.processes < 1:
        parser.error(f"--processes should be at least 1. Found {arguments.processes}.")
    name = arguments.study + ("-full" if arguments.full else "")
    if name not in STUDIES:
        parser.error(f"`{arguments.study}` has no larger grid: it is whole. Leave out --full.")
    if not matching(list(STUDIES[name].runs()), arguments.only):
        parser.error(f'--only should match a "cell, method, seed". Found `{arguments.only}`.')
    path = arguments.results / "effect" / f"{name}.jsonl"
    todo = matching(missing(STUDIES[name], read(path)), arguments.only)
    path.parent.mkdir(parents=True, exist_ok=True)
    if todo and not arguments.table:
        try:
            run_all(todo, path, arguments.processes)
        except (KeyboardInterrupt, BrokenProcessPool):  # Ctrl-C reaches the workers too
            parser.exit(130, "Interrupted. The same command goes on with what is missing.\n")
    text = tables.report(name, read(path))
    (arguments.results / f"effect_{name}.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
