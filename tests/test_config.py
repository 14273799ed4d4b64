"""Settings: what is accepted, and the one clear sentence for what is not."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from model.coconut import METHODS
from model.errors import InputError
from model.training.config import TrainConfig, load_train_config, parse_train_config, save_train_config, stages

CONFIGS = Path(__file__).parent.parent / "configs"
SMALL = {"name": "x", "epochs_per_stage": 1, "num_epochs": 2}


def parse(**values: object) -> TrainConfig:
    return parse_train_config(SMALL | values, where="settings")


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_config_is_valid_and_named_as_its_file(path: Path) -> None:
    assert load_train_config(path).name == path.stem


def test_every_method_has_a_config_at_the_budget_of_superposition() -> None:
    flagship = load_train_config(CONFIGS / "superposition.yaml")
    same = ("num_epochs", "n_train", "batch_size_training", "lr", "n_layer", "n_embd", "data_seed", "n_hops", "n_nodes")
    for method in set(METHODS) - {"coconut"}:
        control = load_train_config(CONFIGS / f"{method}.yaml")
        assert control.method == method
        assert all(getattr(control, key) == getattr(flagship, key) for key in same)


def test_overrides_are_yaml_and_the_resolved_config_is_read_back_equal(tmp_path: Path) -> None:
    config = load_train_config(
        CONFIGS / "tiny.yaml", ["lr=2e-4", "reset_optimizer=stage", "n_nodes=[7, 8]", "method = no_thought"]
    )
    assert (config.lr, config.reset_optimizer, config.n_nodes, config.method) == (2e-4, "stage", (7, 8), "no_thought")
    save_train_config(config, tmp_path / "c.yaml")
    assert load_train_config(tmp_path / "c.yaml") == config
    assert set(yaml.safe_load((tmp_path / "c.yaml").read_text())) == set(TrainConfig.model_fields)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"c_thougt": 2}, "unknown setting 'c_thougt'; did you mean 'c_thought'"),
        ({"zzzzzz": 2}, "unknown setting 'zzzzzz'; known are name, method"),
        ({"lr": "fast"}, "lr: .*number.*got 'fast'"),
        ({"lr": -1}, "lr: .*greater than 0"),
        ({"uniform_prob": 1.5}, "uniform_prob: .*less than or equal to 1"),
        ({"method": "cocnut"}, "method: .*'coconut'.*got 'cocnut'"),
        ({"c_thought": 0}, "c_thought: .*greater than or equal to 1"),
        ({"lr": float("nan")}, "lr: .*finite"),
        ({"n_embd": 10, "n_head": 3}, "n_embd 10 is not a multiple of n_head 3"),
        ({"epochs_per_stage": [1, 2]}, "lists 2 lengths; coconut with max_latent_stage 6 needs 6"),
        ({"epochs_per_stage": "many"}, "epochs_per_stage: "),
        ({"removal_smoothing": 4}, "removal_smoothing is for method icot"),
        ({"n_hops": [5, 3]}, r"n_hops is \(?\[?5, 3"),
        ({"n_slots": 20}, "do not fit 20 slots"),
        ({"log_with": ["wandb"]}, "log_with: "),
        ({"reset_optimizer": True}, "reset_optimizer: "),
    ],
)
def test_a_bad_setting_is_named_with_what_is_accepted(values: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=f"settings: .*{message}"):
        parse(**values)


def test_missing_settings_and_malformed_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"num_epochs: Field required"):
        parse_train_config({"name": "x", "epochs_per_stage": 1}, where="settings")
    path = tmp_path / "c.yaml"
    for text, message in [
        ("a: [1", "not YAML at line"),
        ("- 1", "got list"),
        ("", "got NoneType"),
        ("!!python/object:os.system {}", "not YAML"),
    ]:
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            load_train_config(path)
    with pytest.raises(InputError, match="cannot be read"):
        load_train_config(tmp_path / "none.yaml")
    for override in ("lr", "=3", "lr=[1"):
        with pytest.raises(InputError, match="--set"):
            load_train_config(CONFIGS / "tiny.yaml", [override])


def test_stages_counted_by_the_config_are_those_of_the_curriculum() -> None:
    for method in METHODS:
        for final in (False, True):
            config = parse(method=method, final_stage=final, max_latent_stage=4)
            assert len(stages(config)) == config.n_stages


def test_the_old_name_of_a_setting_is_accepted() -> None:
    values = {"name": "x", "epochs_per_stage": 1, "num_epochs": 9, "n_emergence": 7}
    assert parse_train_config(values, where="x").n_dynamics == 7
