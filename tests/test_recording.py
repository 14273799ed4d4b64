"""A recording holds what the slow, obvious computation gives, whatever the batches, stops and processes."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from model import checkpoint
from model.coconut import CoconutGPT2
from model.codec_slots import ANSWER
from model.errors import InputError
from model.evaluate import evaluate
from model.problems.generate import generate
from model.problems.prosqa import ProsQAProblem
from model.readout import node_log_probs
from probing.dataset import recording
from probing.dataset.record import Settings, Source, make_sources, open_recording, record_all
from probing.dataset.recording import record_chunk
from probing.read.attention import copy_map, edge_attention, replay

PROBLEMS = list(generate("public", 70, 3))


@pytest.fixture(scope="module")
def saved(tiny, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "tiny"
    checkpoint.save(tiny, path)
    return path


def prompts_of(model: CoconutGPT2, n: int):
    codec = model.codec
    return [codec.prompt(problem, np.random.default_rng([0, i])) for i, problem in enumerate(PROBLEMS[:n])]


@torch.inference_mode()
def test_attention_and_layers_are_those_of_one_plain_eager_pass(tiny) -> None:
    """The replay over the cache against HF's own eager GPT-2 over prompt and thoughts at once, without padding."""
    prompts = prompts_of(tiny, 3)
    batch = tiny.codec.collate(prompts)
    trace = tiny.think(batch, 4)
    replayed = replay(tiny, batch, trace)
    maps = copy_map(tiny, batch, prompts)
    assert torch.allclose(replayed.states, trace.states, atol=1e-5)
    plain = checkpoint.untrained(tiny.config, seed=1)
    plain.set_attn_implementation("eager")
    for row, prompt in enumerate(prompts):
        ids = torch.tensor([prompt.input_ids])
        embeddings = torch.cat([plain.transformer.wte(ids), trace.thoughts[row : row + 1]], dim=1)
        out = plain.transformer(inputs_embeds=embeddings, output_attentions=True, output_hidden_states=True)
        n, n_edges = len(prompt.input_ids), len(prompt.problem.edges)
        found = edge_attention(replayed, batch, row, prompt)
        for layer in range(2):
            assert torch.allclose(replayed.residual[layer, row], out.hidden_states[layer][0, n - 1 :], atol=1e-5)
            weights = out.attentions[layer][0]
            for place, edge in enumerate(prompt.sample.edge_order):
                expected = weights[:, n - 1 :, 1 + 3 * place : 4 + 3 * place].sum(dim=(0, 2))
                assert torch.allclose(found[layer, :, edge], expected, atol=1e-5)
        for head in range(2):
            marks = [3 * (place + 1) for place in range(n_edges)]
            near = [np.mean([float(out.attentions[0][0, head, m, m - back]) for m in marks]) for back in (2, 1, 0)]
            assert maps[row, head].tolist() == pytest.approx([*near, 1 - sum(near)], abs=1e-5)


@torch.inference_mode()
def test_rows_hold_what_the_other_modules_compute(tiny) -> None:
    rows, states = record_chunk(tiny, PROBLEMS[:5], range(5), n_thoughts=6, seed=0, pad=False, n_states=3)
    answers = evaluate(tiny, PROBLEMS[:5], seed=0).answers[:, 0]
    for i, prompt in enumerate(prompts_of(tiny, 5)):
        trace = tiny.think(tiny.codec.collate([prompt]), 6)
        scores = node_log_probs(tiny, trace, [prompt])
        row, n = rows[i], prompt.problem.n_nodes
        logit = np.reshape(row["logit"], (7, n))
        assert logit == pytest.approx(scores.logit[0], abs=1e-4)
        assert np.exp(logit - np.array(row["log_norm"])[:, None]) == pytest.approx(scores.probability[0], abs=1e-5)
        assert row["p_answer_marker"] == pytest.approx(scores.special[0, :, ANSWER], abs=1e-5)
        assert row["norm"] == pytest.approx(scores.norm[0], abs=1e-4)
        forced = tiny.logits_after(trace, ANSWER).softmax(-1)[0, :, prompt.sample.tokens[prompt.problem.target]]
        assert row["p_target"] == pytest.approx(forced.numpy(), abs=1e-5)
        assert row["answer"] == answers[i].tolist()
    assert states["number"].tolist() == [0, 1, 2]
    assert states["states"].shape == (3, 3, 7, 32)
    # What a slot holds: node slots[node] is back where the draw put it.
    assert [states["slots"][1][slot] for slot in rows[1]["slots"]] == list(range(PROBLEMS[1].n_nodes))


def test_problems_the_model_cannot_take_are_listed(tiny, saved, tmp_path) -> None:
    names = [f"x{i}" for i in range(41)]
    edges = [*pairwise(names), ("o", "p")]
    big = ProsQAProblem.from_names(edges, root="x0", candidates=("x40", "p"))
    problems = [PROBLEMS[0], big, PROBLEMS[1]]
    models = record_all(make_sources(saved, untrained=False), problems, tmp_path, data="d", settings=Settings())
    assert models is not None
    found = open_recording(tmp_path, models[0])
    assert found.numbers.tolist() == [0, 2]
    assert models[0].n_taken == 2
    assert models[0].skipped == ((1, "the graph has 43 nodes; this model has 40 node slots"),)
    with pytest.raises(InputError, match="none of the 1 problems"):
        record_all(make_sources(saved, untrained=False), [big], tmp_path / "b", data="d", settings=Settings())


def rows_of(out, name="tiny"):
    return pq.read_table(out / name / "rows.parquet").to_pylist()


def test_a_stopped_run_goes_on_and_processes_change_nothing(saved, tmp_path) -> None:
    """One process; the same stopped after its first chunk and taken up again; two processes: the same rows."""
    sources = make_sources(saved, untrained=False)
    threads = torch.get_num_threads()

    def run(out, **options):
        return record_all(sources, PROBLEMS, out, data="d", settings=Settings(processes=options.pop("n", 1)), **options)

    whole = run(tmp_path / "a")
    assert whole is not None
    calls = []
    assert run(tmp_path / "b", cancelled=lambda: calls[-1][1] > 63, progress=lambda *what: calls.append(what)) is None
    chunks = tmp_path / "b" / "tiny" / "chunks"
    assert sorted(path.name for path in chunks.iterdir()) == ["00000.parquet", "00000.safetensors"]
    assert [done for _, done, _ in calls] == [0, 16, 32, 48, 64]
    (chunks / "00001.safetensors").write_bytes(b"half of a file")  # killed between the two files of a chunk
    calls.clear()
    assert run(tmp_path / "b", progress=lambda *what: calls.append(what)) == whole
    assert calls == [("running tiny", 64, 70), ("running tiny", 70, 70)]
    assert run(tmp_path / "c", n=2) == whole
    first = rows_of(tmp_path / "a")
    for other in ("b", "c"):
        for ours, theirs in zip(first, rows_of(tmp_path / other), strict=True):
            assert ours.keys() == theirs.keys()
            for key, value in ours.items():
                if isinstance(value, list) and value and isinstance(value[0], float):
                    assert theirs[key] == pytest.approx(value, abs=1e-5), key
                else:
                    assert theirs[key] == value, key
    assert torch.get_num_threads() == threads
    with pytest.raises(InputError, match="holds another run"):
        record_all(sources, PROBLEMS, tmp_path / "a", data="d", settings=Settings(seed=1))
    with pytest.raises(InputError, match="holds another run"):
        record_all(sources, PROBLEMS[:60], tmp_path / "a", data="d", settings=Settings())


def test_what_cannot_be_run_or_read_is_refused(saved, tmp_path) -> None:
    sources = make_sources(saved, untrained=False)
    with pytest.raises(InputError, match="no problem"):
        record_all(sources, [], tmp_path, data="d", settings=Settings())
    with pytest.raises(InputError, match="processes"):
        record_all(sources, PROBLEMS, tmp_path, data="d", settings=Settings(processes=0))
    with pytest.raises(InputError, match="no such folder"):
        record_all([Source("x", tmp_path / "none")], PROBLEMS, tmp_path, data="d", settings=Settings())
    (tmp_path / "rows.parquet").write_bytes(b"not parquet")
    with pytest.raises(InputError, match="cannot be read"):
        recording.read_recording(tmp_path, name="x", n_thoughts=6, n_layer=2, c_thought=1)


def test_sources_have_names_of_their_own(saved) -> None:
    names = [source.name for source in make_sources(saved, (saved, saved))]
    assert names == ["tiny", "untrained", "tiny-2", "tiny-3"]


def test_an_unfinished_recording_of_an_older_version_is_refused(saved, tmp_path) -> None:
    sources = make_sources(saved, untrained=False)
    assert record_all(sources, PROBLEMS, tmp_path, data="d", settings=Settings(), cancelled=lambda: True) is None
    run = tmp_path / "tiny" / "run.json"
    run.write_text(json.dumps(json.loads(run.read_text()) | {"version": 1}))
    with pytest.raises(InputError, match="holds a run made by another version; choose another folder or remove it"):
        record_all(sources, PROBLEMS, tmp_path, data="d", settings=Settings())
