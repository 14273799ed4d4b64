"""A checkpoint loads as it was saved, or not at all, and the reason is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from model import checkpoint
from model.coconut import CoconutConfig
from model.errors import CheckpointError, InputError, OutputError


@pytest.fixture
def saved(tiny, tmp_path) -> Path:
    checkpoint.save(tiny, tmp_path / "saved")
    return tmp_path / "saved"


def change_config(**values: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | values))

    return change


def change_weights(edit: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        edit(tensors)
        save_file(tensors, folder / "model.safetensors")

    return change


def truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), "no model.safetensors"),
        (lambda folder: (folder / "config.json").unlink(), r"config\.json: cannot be read"),
        (lambda folder: (folder / "config.json").write_text("{"), "not JSON at line 1"),
        (lambda folder: (folder / "config.json").write_text("[]"), "model_type is None"),
        (
            lambda folder: (folder / "model.safetensors").write_bytes(b"PK\x03\x04 not weights"),
            "damaged or not safetensors",
        ),
        (truncate, "damaged or not safetensors"),
        (change_config(model_type="gpt2"), "model_type is 'gpt2'; expected 'coconut_gpt2'"),
        (change_config(method="magic"), "method 'magic' is unknown"),
        (change_config(codec="bpe"), "codec is 'bpe'"),
        (change_config(vocab_size=50257), "50257 tokens, but its codec 'slots-40' needs 48"),
        (change_config(n_embd=48), "does not fit its config.json"),
        (change_config(n_layer=3), "does not fit its config.json"),
        (change_weights(lambda t: t.pop("transformer.wpe.weight")), "wpe.weight is missing"),
        (change_weights(lambda t: t.update(extra=torch.zeros(1))), "extra is"),
        (change_weights(lambda t: t["transformer.ln_f.bias"].fill_(float("nan"))), "not finite"),
    ],
)
def test_anything_else_than_a_whole_checkpoint_is_refused(saved, damage, message) -> None:
    damage(saved)
    with pytest.raises(CheckpointError, match=message):
        checkpoint.load(saved)


def test_a_missing_folder_is_named(tmp_path) -> None:
    with pytest.raises(CheckpointError, match="no such folder"):
        checkpoint.load(tmp_path / "nowhere")


def test_half_precision_is_only_how_it_is_stored(tiny, tmp_path) -> None:
    checkpoint.save(tiny, tmp_path / "half", dtype=torch.float16)
    assert {tensor.dtype for tensor in load_file(tmp_path / "half" / "model.safetensors").values()} == {torch.float16}
    again = checkpoint.load(tmp_path / "half")
    assert {tensor.dtype for tensor in again.state_dict().values()} == {torch.float32}
    for name, tensor in tiny.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor.half().float()), name


def test_config_survives(tmp_path, tiny) -> None:
    config = CoconutConfig.from_dict(
        tiny.config.to_dict()
        | {"method": "pause", "c_thought": 2, "trained_stage": 3, "uniform_prob": 0.1, "trained_nodes": [4, 6, 9]}
    )
    checkpoint.save(checkpoint.untrained(config), tmp_path / "it")
    again = checkpoint.load_config(tmp_path / "it")
    assert (again.method, again.n_thoughts, again.uniform_prob) == ("pause", 6, 0.1)
    assert list(again.trained_nodes) == [4, 6, 9]


def test_saving_over_a_checkpoint_replaces_it_whole(saved, tiny) -> None:
    (saved / "tokenizer.json").write_text("of another model")
    checkpoint.save(tiny, saved)
    assert not (saved / "tokenizer.json").exists()
    assert [path.name for path in saved.parent.iterdir()] == ["saved"]


def test_saving_over_anything_else_is_refused(saved, tiny) -> None:
    (saved / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"thesis\.txt"):
        checkpoint.save(tiny, saved)
    assert (saved / "thesis.txt").read_text() == "mine"
    assert [path.name for path in saved.parent.iterdir()] == ["saved"]


def test_untrained_is_seeded_and_leaves_the_global_seed_alone(tiny) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first = checkpoint.untrained(tiny.config, seed=3).lm_head.weight
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(first, checkpoint.untrained(tiny.config, seed=3).lm_head.weight)
    assert not torch.equal(first, checkpoint.untrained(tiny.config, seed=4).lm_head.weight)


@pytest.mark.parametrize("name", ["tpu", "cuda:99", "cuda" if not torch.cuda.is_available() else "cuda:98", "mps", ""])
def test_a_device_that_is_not_there_is_an_error(name) -> None:
    with pytest.raises(InputError, match="device"):
        checkpoint.pick_device(name)


def test_the_fingerprint_is_of_every_weight_and_is_kept_until_one_changes(tiny, tmp_path) -> None:
    model = checkpoint.untrained(tiny.config, seed=1)
    found = checkpoint.fingerprint(model)
    assert found == checkpoint.fingerprint(tiny) == checkpoint.fingerprint(model)
    checkpoint.save(model, tmp_path / "m")
    assert checkpoint.fingerprint(checkpoint.open(tmp_path / "m", device="cpu")) == found
    with torch.no_grad():
        model.transformer.wte.weight[20, 3] += 1
    assert checkpoint.fingerprint(model) != found
    other = checkpoint.open(tmp_path / "m", device="cpu", trained=False, seed=2)
    assert checkpoint.fingerprint(other) == checkpoint.fingerprint(checkpoint.untrained(tiny.config, seed=2)) != found
