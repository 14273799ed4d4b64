"""Training speed by number of thoughts: our step against a simple reference, on the same batches, in one run.

The reference is written by us from the paper's algorithm, as one would first write it: each pass runs the model on the
positions up to the next thought, with the cache cut to what is still valid, then rebuilds the input embeddings of the
whole batch, problem by problem and position by position, with the new thought in its place. Both take the same AdamW
step, and their losses are checked to agree.

    python -m benchmarks.bench_train [CONFIG] [--thoughts 0 1 3 6] [--batch N] [--steps N]
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import DynamicCache

from model import checkpoint
from model.coconut import CoconutGPT2
from model.codec import SlotCodec
from model.config import TrainConfig, load_train_config
from model.curriculum import TrainBatch, make_batch, scored
from model.generate import Recipe, generate_arrays
from model.tensors import ProblemTensors
from model.train import TrainState, World, autocast, eager_step, make_optimizer, model_config, stepper

ROOT = Path(__file__).parent.parent
IGNORE = -100


def reference_loss(model: CoconutGPT2, batch: TrainBatch) -> Tensor:
    """Summed loss of the scored tokens. Rows are left-padded, so thoughts sit at the same places in all of them."""
    ids, mask = batch.prompt.input_ids, batch.prompt.attention_mask
    n_rows, n_prompt = ids.shape
    n_thoughts, n_tokens = batch.n_thoughts, batch.tokens.shape[1]
    blank = torch.zeros(n_rows, n_thoughts, dtype=torch.long, device=ids.device)
    ids = torch.cat([ids, blank, batch.tokens], dim=1)
    mask = torch.cat([mask, mask.new_ones(n_rows, n_thoughts + n_tokens)], dim=1)
    position = (mask.cumsum(dim=1) - 1).clamp(min=0)
    embeddings = model.transformer.wte(ids)
    done, logits, past = 0, [], None
    for t in range(n_thoughts + 1):
        end = n_prompt + t if t < n_thoughts else ids.shape[1]
        cache = DynamicCache(config=model.config)
        if past is not None:
            for layer, (keys, values) in enumerate(past):
                cache.update(keys[:, :, :done], values[:, :, :done], layer)
        out = model.transformer(
            inputs_embeds=embeddings[:, done:end],
            attention_mask=mask[:, :end],
            position_ids=position[:, done:end],
            past_key_values=cache,
            use_cache=True,
        )
        logits.append(model.lm_head(out.last_hidden_state))
        past = [(layer.keys, layer.values) for layer in cache.layers]
        done = end
        if t < n_thoughts:
            rows = [[embeddings[b, place] for place in range(embeddings.shape[1])] for b in range(n_rows)]
            for b in range(n_rows):
                rows[b][end] = out.last_hidden_state[b, -1]
            embeddings = torch.stack([torch.stack(row) for row in rows])
    places = torch.cat(logits, dim=1)[:, n_prompt + n_thoughts - 1 : -1]
    labels = batch.tokens.masked_fill(~scored(batch.tokens), IGNORE)
    return F.cross_entropy(places.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORE, reduction="sum")


def reference_step(config: TrainConfig, state: TrainState, batch: TrainBatch, n_scored: Tensor) -> Tensor:
    state.optimizer.zero_grad()
    with autocast(config, batch.tokens.device):
        loss = reference_loss(state.model, batch)
        (loss / n_scored).backward()
    torch.nn.utils.clip_grad_norm_(state.model.parameters(), config.clip)
    state.optimizer.step()
    return loss.detach()


def median_rate(step: Callable[[int], None], n_steps: int, batch_size: int, device: torch.device) -> float:
    """Problems per second: the median over steps, after as many as it takes to warm up (and capture graphs)."""
    times = []
    for i in range(n_steps + 3):
        started = time.perf_counter()
        step(i)
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return batch_size / statistics.median(times[3:])


def compare(config: TrainConfig, problems: ProblemTensors, n_thoughts: int, options: argparse.Namespace) -> dict:
    """One row of the table: both on batches of these problems with so many thoughts."""
    codec, device, size = SlotCodec(config.n_slots), problems.device, len(problems)
    generator = torch.Generator(device).manual_seed(0)
    batch = make_batch(config, codec, problems, n_thoughts, generator)
    n_scored = scored(batch.tokens).sum()
    model = checkpoint.untrained(model_config(config, problems))
    torch.nn.Module.to(model, device)
    state = TrainState(model, make_optimizer(config, model))
    with torch.no_grad(), autocast(config, device):
        theirs = float(reference_loss(model, batch) / n_scored)
    stats = eager_step(config, World(), state, batch, n_scored)
    assert abs(float(stats[0] / stats[1]) - theirs) < 2e-2 * theirs, (stats, theirs)
    step_on = stepper(config, device, World(), print)

    def ours(i: int) -> None:
        fresh = make_batch(config, codec, problems, n_thoughts, generator)  # making a batch is part of a step
        step_on(state, fresh, scored(fresh.tokens).sum())

    def reference(i: int) -> None:
        reference_step(config, state, batch, n_scored)

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    row: dict[str, float] = {"thoughts": n_thoughts, "ours": median_rate(ours, options.steps, size, device)}
    if device.type == "cuda":
        row["ours_gib"] = torch.cuda.max_memory_allocated() / 2**30
    row["reference"] = median_rate(reference, options.reference_steps, size, device)
    row["ratio"] = row["ours"] / row["reference"]
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", nargs="?", default=str(ROOT / "configs" / "tiny.yaml"))
    parser.add_argument("--thoughts", type=int, nargs="+", default=[0, 1, 2, 3, 6])
    parser.add_argument("--batch", type=int, help="problems per step (default: the config's)")
    parser.add_argument("--steps", type=int, default=10, help="timed steps of ours")
    parser.add_argument("--reference-steps", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], metavar="key=value")
    options = parser.parse_args()
    sizes = [f"batch_size_training={options.batch}"] if options.batch else []
    most = max(options.thoughts)
    config = load_train_config(
        options.config,
        ["method=coconut", f"max_latent_stage={most}", "uniform_prob=0", "epochs_per_stage=1", *sizes, *options.set],
    )
    device, size = checkpoint.pick_device(config.device), config.batch_size_training
    recipe = Recipe("balanced", config.n_hops, config.n_nodes, deep_share=config.deep_share)
    problems = ProblemTensors.from_arrays(generate_arrays(recipe, size, 0)).to(device)
    rows = [compare(config, problems, n_thoughts, options) for n_thoughts in options.thoughts]
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{config.name}: width {config.n_embd}, {config.n_layer} layers, batch {size}, {name}")
    print(
        f"{'thoughts':>8} {'ours/s':>10} {'reference/s':>12} {'ratio':>7}" + ("  GiB" if "ours_gib" in rows[0] else "")
    )
    for row in rows:
        memory = f" {row['ours_gib']:5.1f}" if "ours_gib" in row else f" {'-':>5}"
        print(f"{row['thoughts']:>8} {row['ours']:>10,.0f} {row['reference']:>12,.1f} {row['ratio']:>7.1f}{memory}")
    facts = {"benchmark": "train", "device": name, "machine": platform.machine(), "torch": torch.__version__}
    facts |= {"n_embd": config.n_embd, "n_layer": config.n_layer, "batch": size, "rows": rows}
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
