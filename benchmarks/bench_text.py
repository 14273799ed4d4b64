"""Text models: thoughts and writing against the loop as the public code has it, and one probe of a long prompt.

    python -m benchmarks.bench_text [--repeats 3] [--layers 12]

A random model of GPT-2 small's size. The reference reads the whole sequence anew for every thought and every token, one
problem at a time and without a cache, as the public code does; both write the same tokens, which is checked. Times are
medians on the CPU; the ratio is what to quote. Prints a table, then one JSON line.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from model import checkpoint
from model.coconut import CODECS, CoconutConfig, CoconutGPT2
from model.codec import Prompt
from model.problems.generate import generate
from model.readout import forced_answers, node_log_probs
from probing.read.probe import probe

N_THOUGHTS = 6
N_WRITTEN = 32


def reference(model: CoconutGPT2, prompt: Prompt) -> list[int]:
    """What is written after the thoughts, everything read anew for every thought and token."""
    wte = model.transformer.wte.weight
    embedded = wte[list(prompt.input_ids)][None]

    def states(sequence: torch.Tensor) -> torch.Tensor:
        return model.transformer(inputs_embeds=sequence, use_cache=False).last_hidden_state

    for _ in range(N_THOUGHTS):
        embedded = torch.cat([embedded, states(embedded)[:, -1:]], dim=1)
    embedded = torch.cat([embedded, wte[list(model.codec.after)][None]], dim=1)
    written: list[int] = []
    for _ in range(N_WRITTEN):
        # As there: logits of the whole sequence, of which the last is used.
        written.append(int(model.lm_head(states(embedded))[0, -1].argmax()))
        embedded = torch.cat([embedded, wte[written[-1:]][None]], dim=1)
    return written


def ours(model: CoconutGPT2, prompts: list[Prompt]) -> list[list[int]]:
    trace = model.think(model.codec.collate(prompts), N_THOUGHTS)
    return model.write(trace, N_WRITTEN, first=model.codec.after).tolist()


def seconds(work: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--layers", type=int, default=12)
    options = parser.parse_args()
    codec = CODECS["text"](0)
    model = checkpoint.untrained(
        CoconutConfig(
            n_layer=options.layers, n_head=12, n_embd=768, vocab_size=codec.vocab_size, codec=codec.name,
            trained_stage=N_THOUGHTS, eos_token_id=None, bos_token_id=None,
        )
    )  # fmt: skip
    drawn = generate("balanced", 40, seed=1, nodes=(22, 24))
    prompts = [(codec.prompt(problem, np.random.default_rng(0)), problem) for problem in drawn]
    prompts.sort(key=lambda pair: abs(len(pair[0].input_ids) - 360))
    (prompt, problem), batch = prompts[0], [each for each, _ in prompts[:16]]
    rows: dict[str, float] = {"prompt tokens": len(prompt.input_ids)}
    with torch.inference_mode():
        # First what a probe takes, so that its peak memory is not that of the reference or of 16 problems.
        for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
            model.to(dtype)

            def read() -> None:
                trace = model.think(codec.collate([prompt]), N_THOUGHTS)
                node_log_probs(model, trace, [prompt])
                forced_answers(model, trace, [prompt])

            read()
            rows[f"all nodes after all k, R = 1, {name}, s"] = seconds(read, options.repeats)
            if dtype == torch.float32:
                rows["the whole probe with texts written after all k, R = 1, s"] = seconds(
                    lambda: probe(model, problem, n_samples=1), 1
                )
                rows["peak memory of a probe, MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        model.to(torch.float32)
        expected = [reference(model, each) for each in batch[:2]]
        assert ours(model, batch)[:2] == expected
        assert ours(model, batch[:1]) == expected[:1]
        alone = seconds(lambda: reference(model, prompt), options.repeats)
        rows["reference, one problem, s"] = alone
        rows["here, one problem, s"] = seconds(lambda: ours(model, [prompt]), options.repeats)
        rows["here, 16 problems, s"] = seconds(lambda: ours(model, batch), options.repeats)
        rows["ratio, batch 1"] = alone / rows["here, one problem, s"]
        rows["ratio, batch 16"] = 16 * alone / rows["here, 16 problems, s"]
    rows["peak memory of all, MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    for name, value in rows.items():
        print(f"{name:<60}{value:>10.2f}")
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
