"""`data-parameters train` and the published command lines, driven as a user does."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from command import run, script, start
from data_parameters.training.checkpoint import load_checkpoint

QUICK = ("train", "--recipe", "digits", "--epochs", "2", "--schedule.milestones", "1")
NOISE = ("--noise.kind", "permute", "--noise.fraction", "0.4")


def words_of(done: subprocess.CompletedProcess[str]) -> str:
    """All that was said, without the frames and line breaks of a terminal."""
    return " ".join((done.stdout + done.stderr).replace("│", " ").split())


def lines(folder: Path, event: str) -> list[dict[str, Any]]:
    text = (folder / "metrics.jsonl").read_text()
    return [line for line in map(json.loads, text.splitlines()) if line["event"] == event]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    cwd = tmp_path_factory.mktemp("finished")
    done = run(
        *QUICK, *NOISE, "--classes.learn", "--validation-fraction", "0.2", "--output", "r",
        "--runtime.tensorboard", "--runtime.table-steps", "5", "--read-epochs", "1", cwd=cwd,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return cwd / "r", done.stdout


def test_folder_first_and_result_last(finished: tuple[Path, str]) -> None:
    folder, stdout = finished
    said = stdout.splitlines()
    assert said[0] == "Run folder: r"
    assert said[-2] == "Everything is in r."
    assert said[-1].startswith("Result: test accuracy after epoch ")
    assert "selected on held out training labels: top-1" in said[-1]
    assert "1,297 training instances, 474 of them with a wrong label, 259 held out" in stdout
    assert "class and instance parameters" in stdout
    assert "AUROC" in stdout
    assert (folder / "log.txt").read_text().splitlines() == said
    for name in ("accuracy.png", "temperature.png", "model.pt", "best.pt", "instances.csv"):
        assert (folder / name).stat().st_size > 0
    assert list(folder.glob("events.out.tfevents*"))
    result = json.loads((folder / "result.json").read_text())
    assert result["selected_by"] == "validation"
    assert result["read"].keys() == {"1"}


def test_metrics(finished: tuple[Path, str]) -> None:
    epochs = lines(finished[0], "epoch")
    assert [line["epoch"] for line in epochs] == [1, 2]
    last = epochs[-1]
    assert {"train_loss", "validation_top1", "test_top5", "lr", "skipped_rows"} <= last.keys()
    # The clean and the corrupted instances apart.
    assert any("corrupted" in name for name in last)
    assert any("class/" in name for name in last)
    looks = lines(finished[0], "tables")
    assert [line["step"] for line in looks] == [5, 10, 15, 20, 25, 30]
    assert looks[0]["instance/highest"] >= looks[0]["instance/corrupted/mean"]
    assert epochs[0]["lr"] == pytest.approx(0.1)
    assert last["lr"] == pytest.approx(0.01)


def test_held_out_rows_are_never_touched(finished: tuple[Path, str]) -> None:
    folder = finished[0]
    rows = (folder / "instances.csv").read_text().splitlines()[1:]
    counts = [int(row.rsplit(",", 1)[1]) for row in rows]
    assert counts.count(0) == int(0.2 * 1297)
    assert set(counts) == {0, 2}


def test_the_written_configuration_gives_the_same_run(finished: tuple[Path, str]) -> None:
    folder = finished[0]
    done = run("train", "--config", folder / "config.json", "--output", "again", cwd=folder.parent)
    assert done.returncode == 0, done.stderr
    again = folder.parent / "again"
    assert (again / "metrics.jsonl").read_bytes() == (folder / "metrics.jsonl").read_bytes()
    assert (again / "tables.npy").read_bytes() == (folder / "tables.npy").read_bytes()


def test_resuming_a_finished_run_says_its_result(finished: tuple[Path, str]) -> None:
    folder = finished[0]
    before = (folder / "metrics.jsonl").read_bytes()
    done = run("train", "--resume", folder, cwd=folder.parent)
    assert done.returncode == 0, done.stderr
    assert "Resumed at epoch 2" in done.stdout
    assert (folder / "metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--epochs", "3"], "epochs: 2 in the run, 3 now"),
        (["--instances.lr", "0.5"], "instances.lr: None in the run, 0.5 now"),
        (["--noise.seed", "1"], "noise.seed: 0 in the run, 1 now"),
        (["--output", "elsewhere"], "`--output` should be left out"),
    ],
)
def test_a_resume_that_changes_the_mathematics_is_refused(
    finished: tuple[Path, str], words: list[str], message: str
) -> None:
    folder = finished[0]
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    done = run("train", "--resume", folder, *words, cwd=folder.parent)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert before == {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_resume_on_other_data_is_refused(tmp_path: Path) -> None:
    module = "from noisy import Noisy\ndef data():\n    return Noisy(SIZE), Noisy(20)\n"
    source = (Path(__file__).parent / "noisy_images.py").read_text()
    (tmp_path / "noisy.py").write_text(source)
    (tmp_path / "mine.py").write_text(module.replace("SIZE", "60"))
    words = ["--data.name", "mine:data", "--model.name", "linear", "--epochs", "1"]
    done = run("train", *words, "--output", "r", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (tmp_path / "mine.py").write_text(module.replace("SIZE", "61"))
    done = run("train", "--resume", "r", cwd=tmp_path)
    assert done.returncode == 1
    assert "instances with given labels: 60 in the run, 61 now" in done.stderr
    (tmp_path / "mine.py").write_text(module.replace("SIZE", "60"))
    other = source.replace("manual_seed(num_instances)", "manual_seed(num_instances + 1)")
    (tmp_path / "noisy.py").write_text(other)
    done = run("train", "--resume", "r", cwd=tmp_path)
    assert done.returncode == 1
    assert "of 60 differ; the first at index" in done.stderr


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["--data.name", "imagefolder", "--data.path", "absent"], 1, "absent"),
        (["--data.name", "nothing"], 2, "nothing"),
        (["--model.name", "resnet19"], 1, "resnet19"),
        (["--model.name", "mine:absent"], 1, "absent"),
        (["--epochs", "0"], 2, "`epochs` should lie in"),
        (["--patience", "0", "--validation-fraction", "0.1"], 2, "`patience` should lie in"),
        (["--data.limit", "9", "--validation-fraction", "0.1"], 1, "hold out at least one"),
        (["--data.name", "mine:two"], 1, "pair of data sets"),
        (["--model.name", "mine:narrow"], 1, "one logit a class"),
        (["--model.name", "mine:wide"], 1, "should take inputs of shape"),
        (["--restart"], 1, "should come with `--output`"),
        (["--noise.fraction", "0.4"], 2, "come together"),
        (["--unknown", "1"], 2, "--unknown"),
        (["--runtime.device", "cuda:99"], 1, "`runtime.device`"),
        (["--config", "absent.json"], 1, "absent.json"),
        (["--resume", "absent"], 1, "should be the folder of a run"),
        (["--resume", "absent", "--restart"], 2, "not allowed with argument --resume"),
        (
            [
                "--noise.kind",
                "transition",
                "--noise.fraction",
                "0.1",
                "--noise.transition",
                "m.csv",
            ],
            1,
            "m.csv should hold a matrix of numbers",
        ),
    ],
)
def test_errors(words: list[str], status: int, message: str, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("cat,dog\n")
    (tmp_path / "mine.py").write_text(
        "import torch\n"
        "def two(): return 3\n"
        "def narrow(input_shape, num_classes):\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2))\n"
        "def wide(input_shape, num_classes):\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(65, 10))\n"
    )
    done = run("train", *words, cwd=tmp_path)
    assert done.returncode == status, done.stderr
    assert message in words_of(done)
    assert "Traceback" not in done.stderr


def test_a_folder_that_is_taken_and_restart(tmp_path: Path) -> None:
    words = [*QUICK, "--output", "r", "--limit-batches", "2"]
    assert run(*words, cwd=tmp_path).returncode == 0
    done = run(*words, cwd=tmp_path)
    assert done.returncode == 1
    assert "--resume" in done.stderr
    (tmp_path / "r" / "metrics.jsonl").write_text("old\n")
    # What cannot be built removes nothing.
    failed = run(*words, "--restart", "--model.name", "cnnn", cwd=tmp_path)
    assert failed.returncode == 1
    assert "cnn" in failed.stderr
    assert (tmp_path / "r" / "metrics.jsonl").read_text() == "old\n"
    failed = run(*QUICK, "--output", "new", "--model.name", "cnnn", cwd=tmp_path)
    assert failed.returncode == 1
    assert not (tmp_path / "new").exists()
    assert run(*words, "--restart", cwd=tmp_path).returncode == 0
    assert "old" not in (tmp_path / "r" / "metrics.jsonl").read_text()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    done = run(*QUICK, "--output", "mine", "--restart", cwd=tmp_path)
    assert done.returncode == 1
    assert (tmp_path / "mine" / "notes.txt").read_text() == "keep"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no such signals to a process")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_saves_and_the_run_can_be_continued(number: signal.Signals, tmp_path: Path) -> None:
    words = ["train", "--recipe", "digits", "--epochs", "2000", "--output", "r"]
    process = start(*words, cwd=tmp_path)
    try:
        assert process.stdout is not None
        while not process.stdout.readline().startswith("Epoch 1/"):
            assert process.poll() is None
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 128 + number
    assert "Continue with: data-parameters train --resume r" in stdout
    assert "Stopping after this step" in stderr
    assert "Traceback" not in stderr
    assert len(list((tmp_path / "r" / "checkpoints").iterdir())) in (1, 2)


def test_a_full_disk_is_said_and_the_run_can_be_continued(tmp_path: Path) -> None:
    """A limit on the size of files stands in for a disk: the checkpoint no longer fits."""
    resource = pytest.importorskip("resource", reason="Windows has no limit on the size of a file")

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    words = [*QUICK, "--output", "r"]
    done = run(*words, cwd=tmp_path, preexec_fn=limit)
    assert done.returncode == 1
    assert "could not write" in done.stderr
    assert "--resume r" in done.stderr
    assert "Traceback" not in done.stderr
    done = run("train", "--resume", "r", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [line["epoch"] for line in lines(tmp_path / "r", "epoch")] == [1, 2]


def test_start_epoch_takes_its_place_in_the_schedule(tmp_path: Path) -> None:
    words = ["--epochs", "60", "--start-epoch", "58", "--limit-batches", "2", "--output", "r"]
    done = run("train", "--recipe", "digits", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = lines(tmp_path / "r", "epoch")
    assert [line["epoch"] for line in found] == [59, 60]
    assert [line["lr"] for line in found] == pytest.approx([0.001, 0.001])


def test_statistics_are_those_of_trained_instances(finished: tuple[Path, str]) -> None:
    folder = finished[0]
    last = lines(folder, "epoch")[-1]
    rows = [line.split(",") for line in (folder / "instances.csv").read_text().splitlines()]
    header = rows[0]
    columns = [header.index(n) for n in ("given_label", "true_label", "temperature", "count")]
    values = [[row[c] for c in columns] for row in rows[1:]]
    corrupted = [float(v[2]) for v in values if v[0] != v[1] and v[3] != "0"]
    expected = sum(corrupted) / len(corrupted)
    assert last["instance/corrupted/mean"] == pytest.approx(expected, rel=1e-4)


def test_early_stopping(tmp_path: Path) -> None:
    done = run(
        *QUICK[:3], "--epochs", "50", "--schedule.milestones", "1", "--optimizer.lr", "0.5",
        "--validation-fraction", "0.2", "--patience", "2", "--output", "r", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = [line["validation_top1"] for line in lines(tmp_path / "r", "epoch")]
    assert len(found) < 50
    assert found.index(max(found)) == len(found) - 3


@pytest.mark.parametrize(
    "options",
    [
        ["--precision", "bfloat16"],
        ["--precision", "float16"],
        ["--model.name", "cnn", "--augment.crop-padding", "1", "--augment.flip"],
        ["--model.name", "cnn", "--runtime.channels-last", "--accumulate", "4"],
        ["--optimizer.name", "adamw", "--optimizer.lr", "1e-3", "--tables.optimizer", "adamw"],
        ["--tables.per-sample", "--instances.lr", "0.01", "--tables.bounds", "None"],
        ["--label-smoothing", "0.1", "--optimizer.clip-norm", "1.0"],
        ["--start-epoch", "1"],
        ["--instances.no-learn"],
    ],
)
def test_options_train(options: list[str], tmp_path: Path) -> None:
    done = run(*QUICK, *NOISE, *options, "--output", "r", "--limit-batches", "8", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    weights = torch.load(tmp_path / "r" / "model.pt", weights_only=True)
    assert all(value.isfinite().all() for value in weights.values())


@pytest.mark.long
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_network_trains_as_an_eager_one(tmp_path: Path) -> None:
    words = [*QUICK, *NOISE, "--schedule.kind", "cosine", "--schedule.warmup-epochs", "0.5"]
    for name, more in (("eager", []), ("compiled", ["--runtime.compile"])):
        done = run(*words, *more, "--output", name, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    eager, compiled = (lines(tmp_path / name, "epoch")[0] for name in ("eager", "compiled"))
    assert compiled["train_loss"] == pytest.approx(eager["train_loss"], rel=1e-3)


def test_accumulation_leaves_no_sample_alone(tmp_path: Path) -> None:
    """Batch norm cannot train on one sample, such as the third of three cut into two parts."""
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "def model(input_shape, num_classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, num_classes))\n"
    )
    words = ["--data.limit", "67", "--accumulate", "2", "--model.name", "mine:model"]
    done = run(*QUICK, *words, "--output", "r", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_damaged_checkpoint_does_not_take_the_place_of_a_sound_one(tmp_path: Path) -> None:
    words = [*QUICK, "--runtime.checkpoint-steps", "10", "--output", "r"]
    assert run(*words, cwd=tmp_path).returncode == 0
    metrics = (tmp_path / "r" / "metrics.jsonl").read_bytes()
    folder = tmp_path / "r" / "checkpoints"
    newest = max(folder.iterdir())
    newest.write_bytes(newest.read_bytes()[:1000])
    (folder / "step-7.tmp").write_bytes(b"begun by a killed run")
    done = run("train", "--resume", "r", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"{newest.name} should hold what was written to it" in done.stdout
    assert "Resumed at epoch 1, step 40" in done.stdout
    assert (tmp_path / "r" / "metrics.jsonl").read_bytes() == metrics
    assert [path.name for path in folder.glob("*.damaged")] == [f"{newest.stem}.damaged"]
    assert not list(folder.glob("*.tmp"))
    sound = [load_checkpoint(path) for path in sorted(folder.glob("*.pt"))]
    assert [state["progress"]["step"] for state in sound] == [40, 42]


def test_accumulation_is_the_whole_minibatch(tmp_path: Path) -> None:
    for parts in ("1", "4"):
        words = [*QUICK, *NOISE, "--accumulate", parts, "--output", parts]
        assert run(*words, cwd=tmp_path).returncode == 0
    whole, cut = (lines(tmp_path / parts, "epoch") for parts in ("1", "4"))
    assert cut[0]["train_loss"] == pytest.approx(whole[0]["train_loss"], rel=1e-3)


def test_a_logger_of_the_users_own(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "class Mine:\n"
        "    def __init__(self, folder, purge_step): self.file = open(folder / 'mine.txt', 'w')\n"
        "    def scalars(self, step, values): print(step, sorted(values), file=self.file)\n"
        "    def histogram(self, step, name, histogram): print(step, name, file=self.file)\n"
        "    def images(self, step, name, images): print(step, name, file=self.file)\n"
        "    def close(self): self.file.close()\n"
    )
    done = run(*QUICK, "--runtime.logger", "mine:Mine", "--output", "r", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "r" / "mine.txt").read_text()
    assert "test_top1" in text
    assert "instance/highest" in text


def test_published_cifar_command_names_both_ways_to_data(tmp_path: Path) -> None:
    done = script("main_cifar.py", "--rand_fraction", "0.4", cwd=tmp_path)
    assert done.returncode == 2
    assert "--download" in done.stderr
    assert "cifar-100-python" in done.stderr
    assert "parquet" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [([], "--data should name"), (["--data", "x", "--lr_drop_epoch_step", "0"], "at least 1")],
)
def test_published_imagenet_command_names_its_own_flags(
    words: list[str], message: str, tmp_path: Path
) -> None:
    done = script("main_imagenet.py", *words, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr


def test_published_flags_are_translated(monkeypatch: pytest.MonkeyPatch) -> None:
    from data_parameters.training.published_flags import apply_flags, parse_flags
    from data_parameters.training.recipes import RECIPES

    parser = parse_flags("x", weight_decay=1e-4, batch_size=256, job_name="temp")
    words = (
        "--data PATH --init_class_param 1.0 --lr_class_param 0.1 --wd_class_param 1e-4",
        "--learn_class_paramters --init_inst_param 0.001 --lr_inst_param 0.8",
        "--wd_inst_param 1e-8 --learn_inst_parameters --gpu 1 --epochs 100 --start-epoch 3 -b 64",
        "--learning-rate 0.2 --momentum 0.8 --wd 1e-3 -j 5 -p 7 --seed 9 --job_name mine",
        "--skip_clamp_data_param --limit-batches 3",
    )
    flags = parser.parse_args(" ".join(words).split())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert apply_flags(RECIPES["imagenet"], flags).runtime.device == "auto"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    config = apply_flags(RECIPES["imagenet"], flags)
    assert config.classes.learn
    assert config.instances.learn
    assert (config.instances.init, config.instances.lr) == (0.001, 0.8)
    assert (config.classes.weight_decay, config.instances.weight_decay) == (1e-4, 1e-8)
    assert config.runtime.device == "cuda:1"
    assert (config.runtime.num_workers, config.runtime.log_steps) == (5, 7)
    assert (config.epochs, config.start_epoch, config.batch_size) == (100, 3, 64)
    assert (config.optimizer.lr, config.optimizer.momentum) == (0.2, 0.8)
    assert config.optimizer.weight_decay == 1e-3
    assert (config.seed, config.limit_batches) == (9, 3)
    assert config.tables.bounds is None
    assert config.output == Path("runs/mine")
