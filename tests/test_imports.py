"""Files of every family, made here small and at random, opened: what they compute is what a plain loop does."""

from __future__ import annotations

import io
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

from model import checkpoint
from model.__main__ import app
from model.cli import run
from model.coconut import CoconutConfig, CoconutGPT2
from model.errors import CheckpointError, InputError, OutputError
from model.imports import run as imports
from model.imports.run import import_checkpoint
from model.imports.told import NotToldError, Told, of_yaml
from model.problems.generate import generate

WIDTH, LAYERS, HEADS = 32, 2, 4
PROBLEM = next(generate("balanced", 1, 5, hops=(2, 2), nodes=(8, 8)))
TOLD = Told(thoughts=3, c_thought=1, task="prosqa", n_head=HEADS)
YAML = """
coconut: True
cot: False
no_thoughts: False
no_cot: False
only_eval: True
c_thought: 1
epochs_per_stage: 5
max_latent_stage: 6
uniform_prob: 0.1
resume: 40
train_path: data/prosqa_train.json
val_path: data/prosqa_test.json
lr: !!float "1e-4"
load_model_path: None
"""


def base(rows: int = 50260, seed: int = 0) -> GPT2LMHeadModel:
    torch.manual_seed(seed)
    config = GPT2Config(vocab_size=rows, n_positions=512, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS)
    config._attn_implementation = "eager"
    return GPT2LMHeadModel(config).eval()


def tensors(model: GPT2LMHeadModel, prefix: str = "") -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor.clone() for name, tensor in model.state_dict().items()}


def upstream(model: GPT2LMHeadModel, **more: Tensor) -> dict[str, Tensor]:
    wte = model.transformer.wte.weight.detach().clone()
    return tensors(model, "base_causallm.") | {"embedding.weight": wte} | more


def projector(dropout: str = "prj") -> dict[str, Tensor]:
    torch.manual_seed(9)
    return {
        f"{dropout}.1.weight": torch.randn(48, WIDTH) / 5, f"{dropout}.1.bias": torch.randn(48),
        f"{dropout}.3.weight": torch.randn(WIDTH, 48) / 5, f"{dropout}.3.bias": torch.randn(WIDTH),
        f"{dropout}.ln.weight": torch.rand(WIDTH), f"{dropout}.ln.bias": torch.randn(WIDTH),
    }  # fmt: skip


def mapped(state: Tensor) -> Tensor:
    """The map of ``projector``, spelt out."""
    p = projector()
    hidden = torch.nn.functional.gelu(state @ p["prj.1.weight"].T + p["prj.1.bias"])
    out = hidden @ p["prj.3.weight"].T + p["prj.3.bias"]
    return torch.nn.functional.layer_norm(out, (WIDTH,), p["prj.ln.weight"], p["prj.ln.bias"])


def saved(path: Path, state: dict[str, Any]) -> Path:
    torch.save(state, path)
    return path


@torch.no_grad()
def plain_loop(model: GPT2LMHeadModel, ids: list[int], k: int, end: int, feed) -> tuple[Tensor, list[int]]:
    """Hugging Face's own forward without a cache: (what is fed k times, 12 tokens written greedily behind ``end``)."""
    embedded = model.transformer.wte.weight[ids][None]
    fed = []
    for _ in range(k):
        state = model.transformer(inputs_embeds=embedded).last_hidden_state[0, -1]
        fed.append(feed(state))
        embedded = torch.cat([embedded, fed[-1][None, None]], dim=1)
    written: list[int] = []
    for _ in range(12):
        last = written[-1] if written else end
        embedded = torch.cat([embedded, model.transformer.wte.weight[[last]][None]], dim=1)
        written.append(int(model(inputs_embeds=embedded).logits[0, -1].argmax()))
    return torch.stack(fed) if fed else torch.empty(0, WIDTH), written


def check(ours: CoconutGPT2, theirs: GPT2LMHeadModel, *, end: int, feed=lambda state: state) -> None:
    """Thoughts within 1e-4 and tokens exactly, of 0 and of all thoughts."""
    codec = ours.codec
    prompt = codec.prompt(PROBLEM, np.random.default_rng(0))
    assert codec.after == (end,)
    for k in (0, ours.config.n_thoughts):
        fed, written = plain_loop(theirs, list(prompt.input_ids), k, end, feed)
        with torch.no_grad():
            trace = ours.think(codec.collate([prompt]), k)
            said = ours.write(trace, 12, first=codec.after)[0].tolist()
        torch.testing.assert_close(trace.thoughts[0], fed, atol=1e-4, rtol=0)
        assert said == written


def test_upstream_coconut(tmp_path) -> None:
    theirs = base()
    wrapped = {f"module.{name}": value for name, value in upstream(theirs).items()}
    wrapped["module.base_causallm.transformer.h.0.attn.bias"] = torch.ones(1, 1, 512, 512)
    file = saved(tmp_path / "checkpoint_40", {"model_state_dict": wrapped, "epoch": 40})
    (tmp_path / "args.yaml").write_text(YAML)
    report = import_checkpoint(file, tmp_path / "made", told=Told(n_head=HEADS), yaml=tmp_path / "args.yaml")
    ours = checkpoint.load(tmp_path / "made")
    assert (report["family"], report["n_thoughts"], report["uniform_prob"]) == ("coconut", 6, 0.1)
    assert report["equal_copies_of_the_embedding"] == ["base_causallm.lm_head.weight", "embedding.weight"]
    assert report["new_rows_equal"] is False
    assert set(report["accuracy"]) == {"thoughts", "markers only", "thoughts zeroed"}
    assert all(each["n"] == 20 for each in report["accuracy"].values())
    assert json.loads((tmp_path / "made" / "import.json").read_text()) == report
    assert "module.base_causallm.transformer.h.0.attn.bias" in report["dropped"]
    check(ours, theirs, end=50258)
    again = CoconutGPT2.from_pretrained(tmp_path / "made")
    assert checkpoint.fingerprint(again) == checkpoint.fingerprint(ours) == report["fingerprint"]
    assert again.codec.after == (50258,)
    again.save_pretrained(tmp_path / "again")  # what push_to_hub uploads
    assert checkpoint.fingerprint(checkpoint.load(tmp_path / "again")) == report["fingerprint"]
    assert AutoTokenizer.from_pretrained(tmp_path / "made").convert_tokens_to_ids("<|latent|>") == 50259


def test_new_rows_are_told_from_trained_ones(tmp_path) -> None:
    theirs = base()
    with torch.no_grad():
        theirs.transformer.wte.weight[50257:] = theirs.transformer.wte.weight[16791]
    report = import_checkpoint(saved(tmp_path / "x.pt", upstream(theirs)), tmp_path / "made", told=TOLD, check=False)
    assert report["new_rows_equal"] is True


@pytest.mark.parametrize(("family", "method"), [("cot", "cot"), ("no-cot", "no_cot"), ("no-thoughts", "no_thought")])
def test_plain(tmp_path, family: str, method: str) -> None:
    file = saved(tmp_path / "checkpoint_3", tensors(base(50257)))
    with pytest.raises(NotToldError, match="--family"):
        import_checkpoint(file, tmp_path / "made", told=TOLD)
    told = Told(family=family, task="prosqa", n_head=HEADS)
    import_checkpoint(file, tmp_path / "made", told=told, check=False)
    ours = checkpoint.load(tmp_path / "made")
    assert (ours.config.method, ours.config.n_thoughts, ours.codec.after) == (method, 0, ())
    prompt = ours.codec.prompt(PROBLEM, np.random.default_rng(0))
    assert ours.codec.vocabulary.text(prompt.input_ids) == PROBLEM.question + "\n"


def test_pause(tmp_path) -> None:
    theirs, pause = base(), torch.linspace(-1, 1, WIDTH)
    file = saved(tmp_path / "checkpoint_40", upstream(theirs, pause_embedding=pause))
    with pytest.raises(NotToldError, match="--passes"):
        import_checkpoint(file, tmp_path / "made", told=TOLD)
    told = Told(passes="single").over(TOLD)
    assert import_checkpoint(file, tmp_path / "made", told=told, check=False)["family"] == "pause"
    ours = checkpoint.load(tmp_path / "made")
    assert ours.config.single_pass
    check(ours, theirs, end=50258, feed=lambda state: pause)
    prompts = ours.codec.collate([ours.codec.prompt(PROBLEM, np.random.default_rng(0))])
    with torch.no_grad():  # an edit acts on the vector that is fed, whatever it comes from
        seen = ours.think(prompts, 3, edit=lambda t, thought: thought + t)
    torch.testing.assert_close(seen.thoughts[0, 2], pause + 3)


def codi(theirs: GPT2LMHeadModel) -> dict[str, Tensor]:
    """CODI's state dict of a GPT-2, into which its LoRA is merged."""
    state: dict[str, Tensor] = {}
    torch.manual_seed(4)
    for name, tensor in tensors(theirs, "codi.base_model.model.").items():
        if ".c_attn.weight" in name or ".c_fc.weight" in name or name.endswith("c_proj.weight"):
            down, up = torch.randn(128, tensor.shape[0]) / 40, torch.randn(tensor.shape[1], 128) / 40
            stem = name.removesuffix(".weight")
            state |= {f"{stem}.lora_A.default.weight": down, f"{stem}.lora_B.default.weight": up}
            state[f"{stem}.base_layer.weight"] = tensor
            with torch.no_grad():
                theirs.get_parameter(name.removeprefix("codi.base_model.model.")).add_(0.25 * (up @ down).T)
        elif name.endswith((".c_attn.bias", ".c_fc.bias", ".c_proj.bias")):
            state[name.replace(".bias", ".base_layer.bias")] = tensor
        else:
            state[name] = tensor
    return state | projector()


def test_codi(tmp_path) -> None:
    theirs = base()
    (tmp_path / "repo").mkdir()
    saved(tmp_path / "repo" / "pytorch_model.bin", codi(theirs))
    report = import_checkpoint(tmp_path / "repo", tmp_path / "made", told=TOLD, check=False)
    assert (report["family"], report["feed_map"]) == ("codi", "mlp")
    ours = checkpoint.load(tmp_path / "made")
    assert ours.codec.special["<|bocot|>"] == 50258
    check(ours, theirs, end=50259, feed=mapped)


@pytest.mark.parametrize(("damage", "says"), [
    ("half", "no other half"), ("flat", "do not fit"), ("rank", "--lora-scale"), ("norm", "no part of a linear"),
])  # fmt: skip
def test_a_codi_file_that_lacks_a_part_is_refused(tmp_path, damage: str, says: str) -> None:
    state = codi(base())
    down = next(name for name in state if ".lora_A." in name)
    if damage == "half":
        del state[down]
    elif damage == "flat":
        state[down] = state[down][:, :3]
    elif damage == "rank":
        state[down] = state[down][:64]
    elif damage == "norm":
        del state["prj.ln.weight"]
    with pytest.raises(InputError, match=says):
        import_checkpoint(saved(tmp_path / "x.bin", state), tmp_path / "made", told=TOLD, check=False)
    with pytest.raises(InputError, match="finite"):
        replace(TOLD, lora_scale=float("nan"))


def test_sim_cot(tmp_path) -> None:
    theirs = base()
    more = tensors(base(50260, seed=5), "expainable_llm.")
    report = import_checkpoint(
        saved(tmp_path / "x.pt", upstream(theirs, **more)), tmp_path / "made", told=TOLD, check=False
    )
    assert report["family"] == "sim-cot"
    assert {"the step decoder, which only training needs"} == {
        why for name, why in report["dropped"].items() if name.startswith("expainable_llm.")
    }
    check(checkpoint.load(tmp_path / "made"), theirs, end=50258)


@pytest.mark.parametrize("feed", ["identity", "mlp"])
def test_latent_tts(tmp_path, feed: str) -> None:
    theirs, folder = base(50261), tmp_path / "port"
    folder.mkdir()
    config = {"latent_id": 50257, "latent_start_id": 50259, "latent_end_id": 50260, "n_head": HEADS, "projector": feed}
    (folder / "config.json").write_text(json.dumps(config))
    state = tensors(theirs) | (projector("projector") if feed == "mlp" else {})
    del state["lm_head.weight"]
    save_file(state, folder / "model.safetensors")
    told = Told(thoughts=3, c_thought=1, task="prosqa")
    assert import_checkpoint(folder, tmp_path / "made", told=told, check=False)["family"] == "latent-tts"
    ours = checkpoint.load(tmp_path / "made")
    assert ours.codec.vocabulary.ids("<|start-latent|>") == (50259,)
    check(ours, theirs, end=50260, feed=mapped if feed == "mlp" else lambda state: state)


def test_superposition(tmp_path) -> None:
    theirs = base(40)
    assert (
        import_checkpoint(
            saved(tmp_path / "checkpoint_300", upstream(theirs)), tmp_path / "made", told=Told(n_head=HEADS)
        )["thoughts_by"]
        == "hops"
    )
    ours = checkpoint.load(tmp_path / "made")
    prompt = ours.codec.prompt(PROBLEM, np.random.default_rng(0))
    edges = [token for edge in PROBLEM.edges for token in (*edge, 34)]
    assert prompt.input_ids[: len(edges)] == (38, *edges[:-1])
    assert prompt.input_ids[-5:] == (35, *sorted((PROBLEM.target, PROBLEM.neg_target)), 36, PROBLEM.root)
    fed, written = plain_loop(theirs, list(prompt.input_ids), 2, 37, lambda state: state)
    with torch.no_grad():
        trace = ours.think(ours.codec.collate([prompt]), ours.config.thoughts_for(PROBLEM))
        assert ours.write(trace, 1, first=ours.codec.after)[0].tolist() == written[:1]
    torch.testing.assert_close(trace.thoughts[0], fed, atol=1e-4, rtol=0)


def test_pccot_is_recognised_and_refused(tmp_path) -> None:
    (tmp_path / "pccot_args.json").write_text("{}")
    with pytest.raises(CheckpointError, match="PCCoT"):
        import_checkpoint(tmp_path, tmp_path / "made")


def test_a_yaml_says_the_thoughts_and_a_training_yaml_those_of_the_epoch(tmp_path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(YAML)
    assert of_yaml(path, 12) == Told(thoughts=6, c_thought=1, task="prosqa", uniform_prob=0.1)
    path.write_text(YAML.replace("only_eval: True", "only_eval: False").replace("c_thought: 1", "c_thought: 2"))
    assert of_yaml(path, 16).thoughts == 2 * 3  # epoch 16, from 1, is the first of stage 3
    assert of_yaml(path, 15).thoughts == 2 * 2
    path.write_text(YAML.replace("coconut: True", "coconut: False").replace("no_cot: False", "no_cot: True"))
    assert of_yaml(path, 3) == Told(family="no-cot", task="prosqa")
    path.write_text("a: 1")
    with pytest.raises(InputError, match="c_thought"):
        of_yaml(path, 1)


def broken(kind: str, folder: Path) -> Path:
    state, file = upstream(base()), folder / "checkpoint_9"
    if kind == "text":
        file.write_text("hello there, no checkpoint")
    elif kind == "empty":
        file.write_bytes(b"")
    elif kind == "cut":
        saved(file, state)
        file.write_bytes(file.read_bytes()[:200_000])
    elif kind == "code":

        class Run:
            def __reduce__(self):
                return os.system, (f"touch {folder}/ran",)

        saved(file, {"x": Run()})
    elif kind == "missing":
        saved(file, {name: value for name, value in state.items() if "h.1.mlp.c_fc.bias" not in name})
    elif kind == "shape":
        saved(file, state | {"base_causallm.transformer.h.1.ln_1.bias": torch.zeros(7)})
    elif kind == "untied":
        saved(file, state | {"embedding.weight": state["embedding.weight"] + 1})
    elif kind == "rows":
        saved(file, upstream(base(777)))
    elif kind == "nan":
        saved(file, state | {"base_causallm.transformer.h.1.ln_1.bias": torch.full((WIDTH,), torch.nan)})
    elif kind == "no gpt":
        saved(file, {"model.embed_tokens.weight": torch.zeros(3, 3)})
    elif kind == "no tensors":
        saved(file, {"a": {"b": 1}})
    elif kind == "whole numbers":
        saved(file, {name: (100 * value).int() for name, value in state.items()})
    elif kind == "complex":
        saved(file, {name: value.to(torch.complex64) for name, value in state.items()})
    elif kind == "pipe":
        os.mkfifo(file)
    elif kind == "flat":
        name = "base_causallm.transformer.h.0.mlp.c_fc.weight"
        saved(file, state | {name: state[name].flatten()})
    elif kind == "no positions":
        name = "base_causallm.transformer.wpe.weight"
        saved(file, state | {name: state[name][:0]})
    elif kind == "layers":
        saved(file, state | {"base_causallm.transformer.h.3000.ln_1.bias": torch.zeros(WIDTH)})
    return file


@pytest.mark.parametrize(("kind", "says"), [
    ("text", "not written by torch.save"), ("empty", "damaged"), ("cut", "damaged"), ("code", "would run code"),
    ("missing", r"h\.1\.mlp\.c_fc\.bias is missing"), ("shape", r"ln_1\.bias is \(7,\)"), ("untied", "differs from"),
    ("rows", "777 rows"), ("nan", "not finite"), ("no gpt", "no GPT-2"), ("no tensors", "no tensors"),
    ("whole numbers", "holds int32"), ("complex", "holds complex64"), ("pipe", "not a regular file"),
    ("layers", "n_layer: .* 128"),
    ("flat", r"c_fc\.weight is \(4096,\)"), ("no positions", r"wpe\.weight is \(0, 32\)"),
])  # fmt: skip
def test_bad_files_are_one_sentence_and_leave_nothing(tmp_path, kind: str, says: str) -> None:
    file = broken(kind, tmp_path)
    with pytest.raises(CheckpointError, match=says) as error:
        import_checkpoint(file, tmp_path / "made", told=TOLD, check=False)
    assert "\n" not in str(error.value)
    assert kind == "pipe" or "Hub" not in str(error.value)  # of a file that is there, no name of the Hub is asked
    assert not (tmp_path / "ran").exists()
    assert [path.name for path in tmp_path.iterdir() if path != file] == []


@pytest.mark.parametrize(("key", "value"), [
    ("n_head", "4"), ("n_head", 0), ("n_head", 4.0), ("n_head", [4]), ("activation_function", "mine"),
    ("activation_function", [1]), ("latent_id", True),
])  # fmt: skip
def test_what_a_strangers_config_says_is_one_sentence(tmp_path, key: str, value: object) -> None:
    config = {"latent_id": 50257, "latent_start_id": 50258, "latent_end_id": 50259, "n_head": HEADS, key: value}
    (tmp_path / "port").mkdir()
    (tmp_path / "port" / "config.json").write_text(json.dumps(config))
    save_file(tensors(base(50260)), tmp_path / "port" / "model.safetensors")
    told = Told(thoughts=3, c_thought=1, task="prosqa")
    with pytest.raises(InputError, match=key):
        import_checkpoint(tmp_path / "port", tmp_path / "made", told=told, check=False)
    assert not (tmp_path / "made").exists()


def test_more_thoughts_than_can_be_opened_again_are_refused(tmp_path) -> None:
    file = saved(tmp_path / "checkpoint_9", upstream(base()))
    with pytest.raises(CheckpointError, match="64"):
        import_checkpoint(file, tmp_path / "made", told=replace(TOLD, thoughts=300), check=False)


def test_an_import_takes_the_place_of_an_import_alone(tmp_path) -> None:
    file, out = saved(tmp_path / "checkpoint_9", upstream(base())), tmp_path / "made"
    for _ in range(2):  # the second in place of the first
        import_checkpoint(file, out, told=TOLD, check=False)
    (out / "thesis.txt").write_text("mine")
    before = sorted(path.name for path in out.iterdir())
    with pytest.raises(OutputError, match=r"thesis\.txt"):
        import_checkpoint(file, out, told=TOLD, check=False)
    (out / "thesis.txt").unlink()
    with pytest.raises(InputError, match="to be imported"):
        import_checkpoint(out, out, told=TOLD, check=False)
    assert sorted([*(path.name for path in out.iterdir()), "thesis.txt"]) == before


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch) -> None:
    file = saved(tmp_path / "checkpoint_9", upstream(base()))

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(InputError, match="cannot be written"):
        import_checkpoint(file, tmp_path / "made", told=TOLD, check=False)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint_9"]


def test_the_command_names_what_is_to_be_told(tmp_path, monkeypatch, capsys) -> None:
    file = saved(tmp_path / "checkpoint_9", upstream(base()))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(sys, "stdin", io.StringIO())

    def command(*more: str) -> str:
        monkeypatch.setattr(sys, "argv", ["model", "import", *more, "--out", str(tmp_path / "made")])
        with pytest.raises(SystemExit) as stopped:
            run(app)
        assert stopped.value.code == 2
        return capsys.readouterr().err

    said = command(str(file), "--thoughts", "6")
    for option in ("--n-head", "--c-thought", "--task"):
        assert option in said
    assert "--thoughts" not in said
    said = command("nobody/nothing:checkpoint_1")
    assert said.count("\n") == 1
    assert "Hub" in said
    assert not (tmp_path / "made").exists()


def test_problems_that_do_not_fit_are_said(tmp_path) -> None:
    theirs = base()
    theirs.transformer.wpe.weight = torch.nn.Parameter(theirs.transformer.wpe.weight[:64].clone())
    report = import_checkpoint(saved(tmp_path / "x.pt", upstream(theirs)), tmp_path / "made", told=TOLD)
    assert report["accuracy"] is None
    assert any("64 positions" in note for note in report["notes"])


def test_flags() -> None:
    def report(**values: Any) -> dict[str, Any]:
        told = {"thought_norm": 1.0, "embedding_norm": 1.0, "n_thoughts": 6}
        shares = values.pop("shares")
        accuracy = dict(
            zip(("thoughts", "markers only", "thoughts zeroed"), [{"value": v} for v in shares], strict=True)
        )
        return told | {"accuracy": accuracy} | values

    mixed, unknown = (CoconutConfig(uniform_prob=each) for each in (0.1, None))
    assert imports.flags(report(shares=(0.95, 0.9, 0.5)), mixed) == []
    assert "idle" in imports.flags(report(shares=(0.95, 0.9, 0.95)), mixed)[0]
    assert "does not answer" in imports.flags(report(shares=(0.0, 0.0, 0.0)), mixed)[0]
    assert "9" in imports.flags(report(shares=(1.0, 0.0, 0.0), thought_norm=9.0), mixed)[0]
    assert "unknown" in imports.flags(report(shares=(1.0, 0.0, 0.0)), unknown)[0]
