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
from model.codec_slots import SlotCodec
from model.problems.arrays import ProblemTensors
from model.problems.generate import Recipe, generate_arrays
from model.training.config import TrainConfig, load_train_config
from model.training.curriculum import TrainBatch, make_batch
from model.training.loop import (
    TrainState,
    World,
    batch_order,
    make_optimizer,
    model_config,
    precision,
    stepper,
)

ROOT = Path(__file__).parent.parent
IGNORE = -100


def reference_loss(model: CoconutGPT2, batch: TrainBatch) -> Tensor:
    """Summed loss of the scored tokens. Rows are left-padded, so thoughts sit at the same places in all of them."""
    ids, mask = batch.prompt.input_ids, batch.prompt.attention_mask
    n_rows, n_prompt = ids.shape
    n_thoughts, n_tokens = batch.n_thoughts, batch.text.tokens.shape[1]
    blank = torch.zeros(n_rows, n_thoughts, dtype=torch.long, device=ids.device)
    ids = torch.cat([ids, blank, batch.text.tokens], dim=1)
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
    labels = batch.text.tokens.masked_fill(~batch.text.scored, IGNORE)
    return F.cross_entropy(places.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORE, reduction="sum")


def autocast(config: TrainConfig, device: torch.device) -> torch.autocast:
    dtype = precision(config, device)
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


def reference_step(config: TrainConfig, state: TrainState, batch: TrainBatch, n_scored: Tensor) -> Tensor:
    state.optimizer.zero_grad()
    with autocast(config, batch.text.tokens.device):
        loss = reference_loss(state.model, batch)
        (loss / n_scored).backward()
    torch.nn.utils.clip_grad_norm_(state.model.parameters(), config.clip)
    state.optimizer.step()
    return loss.detach()


def sustained_rate(step: Callable[[int], None], n_steps: int, batch_size: int, *, warm_up: int) -> float:
    """Problems per second over many steps on CUDA that are only waited for at the end, as in training."""
    for i in range(warm_up):
        step(i)
    torch.cuda.synchronize()
    started = time.perf_counter()
    for i in range(n_steps):
        step(i)
    torch.cuda.synchronize()
    return batch_size * n_steps / (time.perf_counter() - started)


def median_rate(
    step: Callable[[int], None], n_steps: int, batch_size: int, device: torch.device, *, warm_up: int = 3
) -> float:
    """Problems per second: the median over steps, after as many as it takes to warm up (and capture graphs)."""
    times = []
    for i in range(n_steps + warm_up):
        started = time.perf_counter()
        step(i)
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return batch_size / statistics.median(times[warm_up:])


def fresh_batches(config: TrainConfig, problems: ProblemTensors, n_thoughts: int) -> Callable[[int], TrainBatch]:
    """The batch of step i as training makes it: problems of like length, in the order and with the shapes of a run."""
    order, codec = batch_order(config, problems), SlotCodec(config.n_slots)
    generator = torch.Generator(problems.device).manual_seed(0)

    def fresh(i: int) -> TrainBatch:
        rows, width = order(i)
        return make_batch(config, codec, problems[rows].narrow(width), n_thoughts, generator)

    return fresh


def compare(config: TrainConfig, problems: ProblemTensors, n_thoughts: int, options: argparse.Namespace) -> dict:
    """One row of the table: both on batches of these problems with so many thoughts."""
    device, size, fresh = problems.device, config.batch_size_training, fresh_batches(config, problems, n_thoughts)
    batch = fresh(0)
    n_scored = batch.text.scored.sum()
    model = checkpoint.untrained(model_config(config, problems))
    torch.nn.Module.to(model, device)
    state = TrainState(model.train(), make_optimizer(config, model))
    with torch.no_grad(), autocast(config, device):
        theirs = float(reference_loss(model, batch) / n_scored)
    step_on = stepper(config, device, World(), print)
    stats = step_on(state, batch, n_scored)
    assert abs(float(stats[0] / stats[1]) - theirs) < 2e-2 * theirs, (stats, theirs)

    def ours(i: int) -> None:
        batch = fresh(i)  # making a batch is part of a step
        step_on(state, batch, batch.text.scored.sum())

    def reference(i: int) -> None:
        batch = fresh(i)
        reference_step(config, state, batch, batch.text.scored.sum())

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    row: dict[str, float] = {"thoughts": n_thoughts}
    if device.type == "cpu":
        row["ours"] = median_rate(ours, options.steps, size, device)
    else:
        row["ours"] = sustained_rate(ours, options.steps, size, warm_up=3 * config.length_buckets)
        row["ours_gib"] = torch.cuda.max_memory_allocated() / 2**30
    if options.reference_steps:
        row["reference"] = median_rate(reference, options.reference_steps, size, device, warm_up=1)
        row["ratio"] = row["ours"] / row["reference"]
    return row


def profile(config: TrainConfig, problems: ProblemTensors, n_thoughts: int, n_steps: int = 24) -> None:
    """Where the device's time of a step goes, by kind of kernel; what is left of the wall time is gaps."""
    device, fresh = problems.device, fresh_batches(config, problems, n_thoughts)
    model = checkpoint.untrained(model_config(config, problems))
    torch.nn.Module.to(model, device)
    state, step_on = TrainState(model.train(), make_optimizer(config, model)), stepper(config, device, World(), print)

    def step(i: int) -> None:
        batch = fresh(i)
        step_on(state, batch, batch.text.scored.sum())

    for i in range(5 * config.length_buckets):
        step(i)
    torch.cuda.synchronize()
    started = time.perf_counter()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        for i in range(n_steps):
            step(i)
        torch.cuda.synchronize()
    wall = (time.perf_counter() - started) / n_steps * 1e3
    kernels = [(event.key, event.self_device_time_total, event.count) for event in profiler.key_averages()]
    kinds = {
        "matrix products": ("gemm", "cutlass_80_tensorop", "nvjet", "xmma", "gemv", "splitK", "cublas"),
        "attention": ("fmha", "attention", "flash", "softmax"),
        "layer norm": ("layer_norm", "LayerNorm", "GammaBeta"),
        "AdamW and clipping": ("multi_tensor", "Adam", "lpnorm"),
        "sums": ("reduce",),
        "copies, fills": ("copy", "Memset", "Memcpy", "fill", "FillFunctor"),
        "sorts": ("sort", "Sort", "radix"),
    }
    sums: dict[str, tuple[float, int]] = {}
    for key, microseconds, count in kernels:
        kind = next((name for name, words in kinds.items() if any(word in key for word in words)), "elementwise, rest")
        total, n = sums.get(kind, (0.0, 0))
        sums[kind] = total + microseconds, n + count
    busy = sum(total for total, _ in sums.values()) / n_steps / 1e3
    print(f"profile at {n_thoughts} thoughts: {wall:.2f} ms a step under the profiler, device busy {busy:.2f} ms")
    for kind, (total, count) in sorted(sums.items(), key=lambda item: -item[1][0]):
        print(f"  {kind:<20} {total / n_steps / 1e3:6.3f} ms  {count / n_steps:6.0f} kernels")
    for key, microseconds, count in sorted(kernels, key=lambda row: -row[1])[:14]:
        print(f"    {microseconds / n_steps / 1e3:6.3f} ms {count / n_steps:5.0f}  {key[:110]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", nargs="?", default=str(ROOT / "configs" / "tiny.yaml"))
    parser.add_argument("--thoughts", type=int, nargs="+", default=[0, 1, 2, 3, 6])
    parser.add_argument("--batch", type=int, help="problems per step (default: the config's)")
    parser.add_argument("--steps", type=int, default=10, help="timed steps of ours (on CUDA give some hundred)")
    parser.add_argument("--reference-steps", type=int, default=3, help="timed steps of the reference; 0: leave it out")
    parser.add_argument("--profile", action="store_true", help="on CUDA: where the time of a step goes")
    parser.add_argument("--set", action="append", default=[], metavar="key=value")
    options = parser.parse_args()
    sizes = [f"batch_size_training={options.batch}"] if options.batch else []
    most = max(options.thoughts)
    config = load_train_config(
        options.config,
        ["method=coconut", f"max_latent_stage={most}", "uniform_prob=0", "epochs_per_stage=1", *sizes, *options.set],
    )
    device, size = checkpoint.pick_device(config.device), config.batch_size_training
    recipe = Recipe("balanced", config.n_hops, config.n_nodes, deep_share=config.deep_share, depth_gap=config.depth_gap)
    problems = ProblemTensors.from_arrays(generate_arrays(recipe, 24 * size, 0)).to(device)
    rows = [compare(config, problems, n_thoughts, options) for n_thoughts in options.thoughts]
    if options.profile and device.type == "cuda":
        for n_thoughts in (min(options.thoughts), most):
            profile(config, problems, n_thoughts)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{config.name}: width {config.n_embd}, {config.n_layer} layers, batch {size}, {name}")
    print(
        f"{'thoughts':>8} {'ours/s':>10} {'reference/s':>12} {'ratio':>7}" + ("  GiB" if "ours_gib" in rows[0] else "")
    )
    for row in rows:
        memory = f" {row['ours_gib']:5.1f}" if "ours_gib" in row else f" {'-':>5}"
        theirs = f"{row['reference']:>12,.1f} {row['ratio']:>7.1f}" if "ratio" in row else f"{'-':>12} {'-':>7}"
        print(f"{row['thoughts']:>8} {row['ours']:>10,.0f} {theirs}{memory}")
    facts = {"benchmark": "train", "device": name, "machine": platform.machine(), "torch": torch.__version__}
    facts |= {"n_embd": config.n_embd, "n_layer": config.n_layer, "batch": size, "rows": rows}
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
