"""The Trainer of Transformers trains as the user's own loop does, and resumes to the bit."""

import copy
import os
import re
import runpy
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

pytest.importorskip("transformers", reason="the extra `transformers` is not installed")
pytest.importorskip("accelerate", reason="the extra `transformers` is not installed")

import transformers

import transformers_run
from data_parameters import (
    DataParameters,
    IndexedDataset,
    SparseSGD,
    TrainingDynamics,
    functional,
)
from data_parameters.integrations.transformers import (
    TABLES_NAME,
    DataParametersMixin,
    DataParametersTrainer,
)
from processes import torchrun
from small_training import assert_same
from transformers_run import (
    NUM_CLASSES,
    NUM_INSTANCES,
    RATES,
    SIZES,
    VOCABULARY,
    break_and_resume,
    classifier,
    joint_tables,
    learned,
    samples,
    trainer,
)

ROOT = Path(__file__).parents[2]


def order_of(trained: DataParametersTrainer) -> list[Tensor]:
    """The rows of each minibatch, in the order in which the Trainer visits them."""
    loader, order = trained.get_train_dataloader(), []
    for epoch in range(int(trained.args.num_train_epochs)):
        loader.set_epoch(epoch)
        order += [batch["index"] for batch in loader]
    return order


def plain_loop(model: nn.Module, order: list[Tensor], loss_of: Any) -> dict[str, Tensor]:
    """The loop of the README, with the settings of `trainer`."""
    tables = joint_tables()
    data_optimizer = SparseSGD(tables.param_groups(**RATES), momentum=0.9)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    model.train()
    for index in order:
        loss = loss_of(model, tables, index)
        optimizer.zero_grad()
        data_optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        data_optimizer.step()
    return {name: value.clone() for name, value in tables.state_dict().items()}


def test_a_training_is_that_of_the_plain_loop(tmp_path: Path) -> None:
    trained = trainer(tmp_path)
    twin, order = copy.deepcopy(trained.model), order_of(trained)
    assert not torch.equal(order[0], order[5])  # epochs are shuffled
    trained.train()

    tokens = torch.tensor([sample["input_ids"] for sample in samples()])
    labels = torch.tensor([sample["labels"] for sample in samples()])
    dynamics = TrainingDynamics(NUM_INSTANCES)

    def loss_of(model: nn.Module, tables: DataParameters, index: Tensor) -> Tensor:
        logits = model(input_ids=tokens[index]).logits
        dynamics.update(logits, labels[index], index)
        return functional.cross_entropy(logits, labels[index], tables(labels[index], index))

    tables = plain_loop(twin, order, loss_of)
    found = learned(trained)
    assert_same({name: found[name] for name in tables}, tables)
    assert_same({name: found[name] for name in dynamics.state_dict()}, dynamics.state_dict())
    assert_same(trained.model.state_dict(), twin.state_dict())
    assert tables["log_instance"].std() > 0.01  # something was learned


def token_samples() -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(4)
    found = samples()
    for sample in found:
        labels = torch.randint(NUM_CLASSES, (len(sample["input_ids"]),), generator=generator)
        labels[torch.rand(len(labels), generator=generator) < 0.3] = -100
        labels[1] = 1  # none is without target
        sample["labels"] = labels.tolist()
    return found


@pytest.mark.parametrize("task", ["tokens", "causal", "gpt2", "masked"])
def test_all_tokens_of_a_sequence_share_its_temperature(tmp_path: Path, task: str) -> None:
    """The loss is the mean over tokens, each at the temperature of its sequence."""
    torch.manual_seed(5)
    data = token_samples()
    dropless = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    model: nn.Module
    if task == "tokens":
        config = transformers.BertConfig(**SIZES, **dropless, num_labels=NUM_CLASSES)
        model = transformers.BertForTokenClassification(config)
    elif task == "masked":
        model = transformers.BertForMaskedLM(transformers.BertConfig(**SIZES, **dropless))
    elif task == "causal":
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES))
    else:
        drops = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
        config = transformers.GPT2Config(
            vocab_size=VOCABULARY, n_embd=16, n_layer=1, n_head=2, n_positions=16, **drops
        )
        model = transformers.GPT2LMHeadModel(config)
    tables = DataParameters(num_instances=NUM_INSTANCES)
    trained = trainer(
        tmp_path,
        model=model,
        train_dataset=IndexedDataset(data),
        data_parameters=tables,
        num_train_epochs=2,
        learning_rate=0.1,
    )
    twin, order = copy.deepcopy(model), order_of(trained)
    trained.train()

    tokens = torch.tensor([sample["input_ids"] for sample in data])
    labels = torch.tensor([sample["labels"] for sample in data])
    shift = task in ("causal", "gpt2")
    log_instance = nn.Parameter(torch.zeros(NUM_INSTANCES))
    momentum = torch.zeros(NUM_INSTANCES)
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1)
    for index in order:
        logits, target = twin(input_ids=tokens[index]).logits, labels[index]
        if shift:
            logits, target = logits[:, :-1], target[:, 1:]
        scaled = logits / log_instance[index].exp()[:, None, None]
        optimizer.zero_grad()
        log_instance.grad = None
        F.cross_entropy(scaled.transpose(1, 2), target, ignore_index=-100).backward()
        optimizer.step()
        with torch.no_grad():
            grad = log_instance.grad[index] + 0.001 * log_instance[index]
            momentum[index] = 0.9 * momentum[index] + grad
            log_instance[index] = (log_instance[index] - 2.0 * momentum[index]).clamp(-3, 3)
    assert tables.log_instance is not None
    torch.testing.assert_close(
        tables.log_instance.detach(), log_instance.detach(), rtol=0, atol=1e-5
    )
    assert log_instance.std() > 0.01
    assert trained.dynamics is not None
    targets = (labels[:, 1:] if shift else labels) != -100
    assert torch.equal(trained.dynamics.count, 2 * targets.sum(1))


@pytest.mark.parametrize("task", ["sequence", "tokens"])
def test_accumulated_minibatches_are_one(tmp_path: Path, task: str) -> None:
    """Also where they hold unequally many targets, as those of tokens do."""

    def run(**arguments: Any) -> dict[str, Tensor]:
        if task == "sequence":
            trained = trainer(tmp_path, **arguments)
        else:
            config = transformers.BertConfig(
                **SIZES,
                num_labels=NUM_CLASSES,
                hidden_dropout_prob=0.0,
                attention_probs_dropout_prob=0.0,
            )
            torch.manual_seed(5)
            trained = trainer(
                tmp_path,
                model=transformers.BertForTokenClassification(config),
                train_dataset=IndexedDataset(token_samples()),
                **arguments,
            )
        trained.train()
        return learned(trained)

    whole = run(per_device_train_batch_size=8)
    assert_same(run(per_device_train_batch_size=4, gradient_accumulation_steps=2), whole)


def test_resumed_within_an_epoch_ends_where_the_unbroken_run_ends(tmp_path: Path) -> None:
    halves = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
    unbroken = trainer(tmp_path / "unbroken", dropout=0.1, **halves)
    unbroken.train()
    resumed = break_and_resume(tmp_path / "broken", dropout=0.1, **halves)
    assert_same(learned(resumed), learned(unbroken), atol=0)
    checkpoint = tmp_path / "broken" / "checkpoint-8"
    assert not list(checkpoint.glob("*.unfinished"))
    state = torch.load(checkpoint / TABLES_NAME, weights_only=True)
    assert state["data_parameters"].keys() == {"log_class", "log_instance"}


def test_index_outlives_unused_columns_and_any_collator(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="the extra `datasets` is not installed")
    rows = [{**sample, "text": "a word", "index": n} for n, sample in enumerate(samples())]
    column = datasets.Dataset.from_list(rows)

    def own_collator(features: list[dict[str, Any]]) -> dict[str, Tensor]:
        names = ("input_ids", "labels")
        return {name: torch.tensor([feature[name] for feature in features]) for name in names}

    expected = [batch["index"] for batch in trainer(tmp_path).get_train_dataloader()]
    for dataset in (column, IndexedDataset(column.remove_columns("index"))):
        for collator in (None, own_collator):
            trained = trainer(tmp_path, train_dataset=dataset, data_collator=collator)
            found = list(trained.get_train_dataloader())
            for batch, rows_of_batch in zip(found, expected, strict=True):
                assert torch.equal(batch["index"], rows_of_batch)
                assert "text" not in batch
            # Evaluation drops the index, as the model knows nothing of it.
            assert "index" not in next(iter(trained.get_eval_dataloader(dataset)))


def test_evaluation_knows_no_temperature(tmp_path: Path) -> None:
    trained = trainer(tmp_path, num_train_epochs=1)
    trained.train()
    before = learned(trained)
    tokens = torch.tensor([sample["input_ids"] for sample in samples()])
    labels = torch.tensor([sample["labels"] for sample in samples()])
    trained.model.eval()
    with torch.no_grad():
        logits = trained.model(input_ids=tokens).logits
    for keep_columns in (True, False):
        trained.args.remove_unused_columns = not keep_columns
        metrics = trained.evaluate(IndexedDataset(samples()))
        assert metrics["eval_loss"] == pytest.approx(
            float(F.cross_entropy(logits, labels)), abs=1e-5
        )
    assert_same(learned(trained), before, atol=0)


def test_class_level_alone_needs_no_index(tmp_path: Path) -> None:
    tables = DataParameters(num_classes=NUM_CLASSES)
    trained = trainer(
        tmp_path,
        data_parameters=tables,
        train_dataset=samples(),
        dynamics=False,
        num_train_epochs=1,
    )
    trained.train()
    assert tables.log_class is not None
    assert tables.log_class.abs().min() > 0


def test_half_precision_keeps_tables_in_float32(tmp_path: Path) -> None:
    exact, rounded = trainer(tmp_path), trainer(tmp_path, bf16=True)
    exact.train()
    rounded.train()
    table, expected = rounded.data_parameters.log_instance, exact.data_parameters.log_instance
    assert table is not None
    assert table.dtype == torch.float32
    torch.testing.assert_close(table, expected, rtol=0, atol=0.05)
    assert not torch.equal(table, expected)


def test_scaled_losses_give_the_same_tables(tmp_path: Path) -> None:
    """As fp16 scales them, which the Trainer itself does on an accelerator only."""

    def run(scale: float | None) -> dict[str, Tensor]:
        trained = trainer(tmp_path, num_train_epochs=1)
        if scale is not None:
            trained.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        trained.train()
        return learned(trained)

    plain = run(None)
    assert_same(run(2.0**10), plain)


def test_a_step_that_overflows_moves_no_row(tmp_path: Path) -> None:
    trained = trainer(tmp_path, max_steps=1)
    before = learned(trained)
    trained.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=3.4e38)
    trained.train()
    after = learned(trained)
    for name in ("log_class", "log_instance"):
        assert torch.equal(after[name], before[name])


def test_statistics_are_logged_with_the_loss(tmp_path: Path) -> None:
    heard = []

    class Listen(transformers.TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any, **kwargs: Any) -> None:
            heard.append(dict(logs))

    trained = trainer(tmp_path, callbacks=[Listen()])
    trained.train()
    with_loss = [logs for logs in heard if "loss" in logs]
    assert len(with_loss) == 3
    tables = trained.data_parameters
    assert tables.instance_temperature is not None
    assert with_loss[-1]["temperature/instance/mean"] == pytest.approx(
        float(tables.instance_temperature.mean()), rel=1e-5
    )
    assert "temperature/class/highest" in with_loss[0]


def test_the_mixin_serves_other_trainers(tmp_path: Path) -> None:
    class Own(DataParametersMixin, transformers.Seq2SeqTrainer):
        pass

    tables = DataParameters(num_instances=NUM_INSTANCES)
    groups = tables.param_groups(lr_instance=0.1)
    arguments = transformers.Seq2SeqTrainingArguments(
        str(tmp_path),
        max_steps=2,
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        save_strategy="no",
        dataloader_pin_memory=False,
    )
    Own(
        classifier(),
        arguments,
        train_dataset=IndexedDataset(samples()),
        data_parameters=tables,
        data_optimizer=SparseSGD(groups),
    ).train()
    assert tables.log_instance is not None
    assert tables.log_instance.count_nonzero() == 16


def test_the_example_finds_wrong_labels(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(ROOT / "examples" / "transformers_trainer.py"), run_name="__main__")
    found = re.search(r"(\d+) of the 180 hottest .* wrong; (\d+) of 600", capsys.readouterr().out)
    assert found is not None
    assert int(found[1]) > 100
    assert int(found[2]) == 180


# Bad use: each is refused with its remedy.


def test_samples_without_index_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"IndexedDataset\(train_dataset\)"):
        trainer(tmp_path, train_dataset=samples()).train()


def test_a_loader_that_drops_the_index_is_refused(tmp_path: Path) -> None:
    class Own(DataParametersTrainer):
        def get_train_dataloader(self) -> Any:
            return self.get_eval_dataloader(self.train_dataset)

    built = trainer(tmp_path)
    built.__class__ = Own
    with pytest.raises(ValueError, match="get_train_dataloader"):
        built.train()


def test_a_collator_that_packs_samples_is_refused(tmp_path: Path) -> None:
    def pack(features: list[dict[str, Any]]) -> dict[str, Tensor]:
        return transformers.default_data_collator(features[:-1])

    with pytest.raises(ValueError, match="neither packs, drops nor repeats"):
        trainer(tmp_path, data_collator=pack).train()


def test_tables_inside_the_model_are_refused(tmp_path: Path) -> None:
    model = classifier()
    model.tables = DataParameters(num_instances=NUM_INSTANCES)
    with pytest.raises(ValueError, match="not in an attribute of the model"):
        trainer(tmp_path, model=model, data_parameters=model.tables)


def test_two_optimizers_of_one_table_are_refused(tmp_path: Path) -> None:
    model, tables = classifier(), DataParameters(num_instances=NUM_INSTANCES)
    both = torch.optim.SGD([*model.parameters(), *tables.parameters()], lr=0.1)
    with pytest.raises(ValueError, match="to `data_optimizer` alone"):
        trainer(tmp_path, model=model, data_parameters=tables, optimizers=(both, None))


def test_an_optimizer_of_other_tables_is_refused(tmp_path: Path) -> None:
    tables, others = (DataParameters(num_instances=NUM_INSTANCES) for _ in range(2))
    with pytest.raises(ValueError, match=r"Build it from `data_parameters.param_groups\(\.\.\.\)`"):
        DataParametersTrainer(
            classifier(),
            transformers.TrainingArguments(str(tmp_path), use_cpu=True, report_to="none"),
            data_parameters=tables,
            data_optimizer=SparseSGD(others.param_groups(lr_instance=0.1)),
        )


def test_another_loss_is_refused(tmp_path: Path) -> None:
    config = transformers.BertConfig(**SIZES)
    with pytest.raises(ValueError, match="Trainer of your own"):
        trainer(tmp_path, model=transformers.BertForQuestionAnswering(config))
    regression = [{**sample, "labels": 0.5} for sample in samples()]
    with pytest.raises(ValueError, match="Regression"):
        trainer(tmp_path, train_dataset=IndexedDataset(regression)).train()


@pytest.mark.parametrize("change", ["labels", "order", "length"])
def test_resuming_with_another_data_set_changes_nothing(tmp_path: Path, change: str) -> None:
    options: dict[str, Any] = {"save_strategy": "steps", "save_steps": 2, "max_steps": 2}
    trainer(tmp_path, **options).train()
    data = samples()
    if change == "labels":
        data[7]["labels"] = (data[7]["labels"] + 1) % NUM_CLASSES
    elif change == "order":
        data.reverse()
    else:
        data = data[:-8]
    resumed = trainer(tmp_path, train_dataset=IndexedDataset(data), **options)
    before = learned(resumed)
    with pytest.raises(ValueError, match="same data"):
        resumed.train(resume_from_checkpoint=True)
    assert_same(learned(resumed), before, atol=0)


def test_a_checkpoint_that_does_not_fit_changes_nothing(tmp_path: Path) -> None:
    options: dict[str, Any] = {"save_strategy": "steps", "save_steps": 2, "max_steps": 2}
    trainer(tmp_path, **options).train()
    path = tmp_path / "checkpoint-2" / TABLES_NAME
    good = torch.load(path, weights_only=True)
    for part, wrong in {
        "data_parameters": {"log_class": torch.zeros(3)},
        "data_optimizer": {"state": {}, "param_groups": []},
        "dynamics": {"count": torch.zeros(3)},
    }.items():
        torch.save({**good, part: wrong}, path)
        resumed = trainer(tmp_path, **options)
        before = learned(resumed)
        with pytest.raises((ValueError, RuntimeError)):
            resumed.train(resume_from_checkpoint=True)
        assert_same(learned(resumed), before, atol=0)
    torch.save({**good, "dynamics": None}, path)
    with pytest.raises(ValueError, match="as before"):
        trainer(tmp_path, **options).train(resume_from_checkpoint=True)
    path.unlink()
    with pytest.raises(ValueError, match="save_only_model"):
        trainer(tmp_path, **options).train(resume_from_checkpoint=True)


# Real processes.

SCRIPT = Path(transformers_run.__file__)
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.mark.long
def test_a_killed_process_resumes_to_the_bit(tmp_path: Path) -> None:
    killed = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path / "killed"), "killed"],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    torch.set_num_threads(1)  # as in the process
    options = {"save_strategy": "steps", "save_steps": 2}
    resumed = trainer(tmp_path / "killed", dropout=0.1, **options)
    resumed.train(resume_from_checkpoint=True)
    unbroken = trainer(tmp_path / "unbroken", dropout=0.1, **options)
    unbroken.train()
    assert_same(learned(resumed), learned(unbroken), atol=0)


@pytest.mark.long
def test_two_processes_are_one(tmp_path: Path) -> None:
    """Broken off and resumed, 2 processes x 2 minibatches of 2 are one minibatch of 8."""
    done = torchrun(transformers_run.__file__, tmp_path, "processes")
    assert done.returncode == 0, done.stderr
    whole = trainer(tmp_path / "whole")
    whole.train()
    expected = learned(whole)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert_same(first, expected)
    assert_same(second, first, atol=0)
    for rank in range(2):
        assert "dataloader_drop_last=True" in (tmp_path / f"{rank}.txt").read_text()
