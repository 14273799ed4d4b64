"""How long one probe and an evaluation take, against the cache-free loop, in one run.

    python -m benchmarks.bench_probe [--repeats 9]

Prints a table, then one JSON line. Times are medians in milliseconds on the CPU; the ratio is what to quote, since it
holds on other machines. The reference reads the whole sequence anew for every thought and every read-out, as the
thought loop is usually written down.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable

import torch

from model import checkpoint
from model.coconut import CoconutGPT2
from model.codec import Prompt
from model.codec_slots import ANSWER
from model.evaluate import evaluate
from model.problems.generate import generate
from probing.read.probe import probe


def reference(model: CoconutGPT2, prompt: Prompt, n_thoughts: int) -> None:
    """The same states and forced answers without cache or batch."""
    wte = model.transformer.wte.weight
    embeddings = wte[list(prompt.input_ids)]

    def last(sequence: torch.Tensor) -> torch.Tensor:
        return model.transformer(inputs_embeds=sequence[None], use_cache=False).last_hidden_state[0, -1]

    for k in range(n_thoughts + 1):
        state = last(embeddings)
        model.lm_head(state)
        model.lm_head(last(torch.cat([embeddings, wte[ANSWER][None]])))
        if k < n_thoughts:
            embeddings = torch.cat([embeddings, state[None]])


def median_ms(work: Callable[[], object], repeats: int) -> float:
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append((time.perf_counter() - start) * 1000)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--problems", type=int, default=128)
    options = parser.parse_args()
    start = time.perf_counter()
    model = checkpoint.load()
    loading = time.perf_counter() - start
    control = checkpoint.untrained(model.config)
    problems = list(generate("balanced", options.problems, seed=1, nodes=(23, 23)))
    problem, codec, k = problems[0], model.codec, model.config.n_thoughts
    prompts = codec.prompts(problem, 16, seed=0)
    with torch.inference_mode():
        reference_ms = median_ms(lambda: reference(model, prompts[0], k), options.repeats)
        loop_ms = median_ms(
            lambda: model.logits_after(model.think(codec.collate(prompts[:1]), k), ANSWER), options.repeats
        )
        loop16_ms = median_ms(
            lambda: model.logits_after(model.think(codec.collate(prompts), k), ANSWER), options.repeats
        )
    rows = {
        "cache-free loop, R = 1": reference_ms,
        "thought loop, R = 1": loop_ms,
        "thought loop, R = 16": loop16_ms,
        "probe, R = 1": median_ms(lambda: probe(model, problem, n_samples=1), options.repeats),
        "probe, R = 16": median_ms(lambda: probe(model, problem, n_samples=16), options.repeats),
        "probe, R = 1, untrained control": median_ms(
            lambda: probe(model, problem, n_samples=1, control=control), options.repeats
        ),
        "probe, R = 16, untrained control": median_ms(
            lambda: probe(model, problem, n_samples=16, control=control), options.repeats
        ),
    }
    start = time.perf_counter()
    evaluate(model, problems)
    rate = len(problems) / (time.perf_counter() - start)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{'':<36}{'median ms':>10}{'speed-up':>10}")
    for name, ms in rows.items():
        n = 16 if "16" in name else 1
        print(f"{name:<36}{ms:>10.1f}{reference_ms * n / ms:>9.1f}x")
    print(f"evaluate, all k from 0 to {k}: {rate:.1f} problems/s; peak memory {memory:.0f} MB; loading {loading:.2f} s")
    print(
        json.dumps(
            {
                "benchmark": "probe",
                "ms": {name: round(ms, 2) for name, ms in rows.items()},
                "loop_speed_up": round(reference_ms / loop_ms, 2),
                "evaluate_problems_per_s": round(rate, 2),
                "peak_mb": round(memory),
                "loading_s": round(loading, 2),
                "threads": torch.get_num_threads(),
                "torch": torch.__version__,
            }
        )
    )


if __name__ == "__main__":
    main()
