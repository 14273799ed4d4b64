"""Passes in float32 and in bfloat16, in turn in one run: what it saves, and what it changes.

    python -m benchmarks.bench_precision [--problems 1000] [--seed 11] [--threads 1]

First times of the shipped model, medians in milliseconds; also of torch's own float32 products, which float32 passes
used before they went to oneDNN. Then, over generated problems, every figure in both precisions, each with its interval,
and the mean of the paired differences with its own. Prints tables, then one JSON line.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import torch
import typer

from model import checkpoint, transformer
from model.coconut import CoconutGPT2
from model.evaluate import evaluate
from model.metrics import frontier_metrics, problem_groups
from model.precision import use, worth_it
from model.problems.generate import generate
from model.problems.prosqa import ProsQAProblem
from model.readout import node_log_probs
from model.stats import Floats, mean, paired, share
from model.store import read_rows
from probing.edit import directions as directions_module
from probing.edit.data_set import run_to_folder
from probing.edit.one_problem import intervene
from probing.edit.spec import EditPlan
from probing.read.probe import probe

BATCH, REPEATS = 16, 5
WAYS = ("float32 of torch", "float32", "bfloat16")
AUROC = ("auroc_other_root", "auroc_beyond")


@contextmanager
def way(name: str, *models: CoconutGPT2) -> Iterator[None]:
    """Passes of the block go one of WAYS."""
    before = transformer.ONEDNN
    transformer.ONEDNN = before and name != WAYS[0]
    for model in models:
        use(model, "bfloat16" if name == "bfloat16" else "float32")
    try:
        yield
    finally:
        transformer.ONEDNN = before


def times(models: tuple[CoconutGPT2, CoconutGPT2], problem: ProsQAProblem) -> dict[str, dict[str, list[float]]]:
    """Median wall and processor milliseconds, by what is done and by way."""
    model, control = models
    fitted = directions_module.load(checkpoint.DEFAULT_CHECKPOINT / directions_module.FILE_NAME)
    plan, k = EditPlan.parse("swap:t=1,strength=1.5"), model.config.n_thoughts
    work: dict[str, Callable[[], object]] = {}
    for r in (1, 4, 16):
        batch = model.codec.collate(model.codec.prompts(problem, r, seed=0))
        work[f"thought loop, R = {r}"] = lambda batch=batch: model.think(batch, k)  # type: ignore[misc]
        work[f"probe, R = {r}"] = lambda r=r: probe(model, problem, n_samples=r)  # type: ignore[misc]
    work["probe, R = 16, untrained control"] = lambda: probe(model, problem, n_samples=16, control=control)
    work["one edit with its controls, R = 4"] = lambda: intervene(model, problem, plan, directions=fitted, n_samples=4)
    found: dict[str, dict[str, list[float]]] = {}
    for what, run in work.items():
        spent: dict[str, list[tuple[float, float]]] = {name: [] for name in WAYS}
        for i in range(REPEATS + 1):
            for name in WAYS:
                with way(name, *models), torch.inference_mode():
                    wall, processor = time.perf_counter(), time.process_time()
                    run()
                    after = time.perf_counter() - wall, time.process_time() - processor
                spent[name] += [after] * (i > 0)
        found[what] = {name: [1000 * median(each) for each in zip(*all_, strict=True)] for name, all_ in spent.items()}
    return found


def figures(model: CoconutGPT2, problems: list[ProsQAProblem]) -> tuple[dict[str, Floats], Floats]:
    """One value a problem of each figure: right after k thoughts, frontier AUROC, answers that follow a swap. Then the
    probabilities of next tokens, ``M K+1 vocab``."""
    n_thoughts, found, said = model.config.n_thoughts, dict[str, Floats](), []
    for k, right in enumerate(evaluate(model, problems).correct[:, 0].T):
        found[f"right after {k} thoughts"] = right
    areas = {name: np.full((len(problems), n_thoughts), np.nan) for name in AUROC}
    for start in range(0, len(problems), BATCH):
        part = problems[start : start + BATCH]
        prompts = [model.codec.prompt(p, np.random.default_rng([0, start + i])) for i, p in enumerate(part)]
        with torch.inference_mode():
            trace = model.think(model.codec.collate(prompts), n_thoughts)
            scores = node_log_probs(model, trace, prompts)
            said.append(model.logits(trace.states).double().softmax(dim=-1).numpy())
        for i, problem in enumerate(part):
            p, logit = (each[i, :-1, : problem.n_nodes] for each in (scores.probability, scores.logit))
            values = frontier_metrics(p, logit, problem_groups(problem, n_thoughts))
            for name in AUROC:
                areas[name][start + i] = values[name]
    for name, columns in areas.items():
        found |= {f"{name}, thought {t}": column for t, column in enumerate(columns.T, 1)}
    fitted = directions_module.load(checkpoint.DEFAULT_CHECKPOINT / directions_module.FILE_NAME)
    plans = [EditPlan.parse(f"swap:t={t},coefficient=measured") for t in (1, 2, 3)]
    with TemporaryDirectory() as folder:
        run_to_folder(model, problems, plans, folder, directions=fitted, source="made", controls=(), batch_size=BATCH)
        rows = list(read_rows(Path(folder) / "rows.jsonl"))
    for t, plan in enumerate(plans, 1):
        of = {row["row"]: row for row in rows if row["edit"] == str(plan) and row["defined"]}
        odds = np.array([of[i]["log_odds"] if i in of else np.nan for i in range(len(problems))])
        clean = np.array([of[i]["clean_log_odds"] if i in of else np.nan for i in range(len(problems))])
        found[f"swap at thought {t}: the other candidate"] = np.where(np.isnan(odds), np.nan, odds <= 0)
        found[f"swap at thought {t}: change of log odds"] = odds - clean
    return found, np.concatenate(said)


def main(problems: int = 1000, seed: int = 11, threads: int = 1) -> None:
    torch.set_num_threads(threads)
    model = checkpoint.load().requires_grad_(False)
    control = checkpoint.untrained(model.config).requires_grad_(False)
    data = list(generate("balanced", problems, seed))
    print(f"auto takes {'bfloat16' if worth_it(model) else 'float32'} here")
    spent = times((model, control), data[0])
    print(f"{'wall / processor ms':<36}" + "".join(f"{name:>22}" for name in WAYS))
    for what, by_way in spent.items():
        cells = (f"{wall:.0f} / {processor:.0f}" for wall, processor in by_way.values())
        print(f"{what:<36}" + "".join(f"{cell:>22}" for cell in cells), flush=True)
    found = []
    for name in WAYS[1:]:
        with way(name, model):
            found.append(figures(model, data))
    (exact, p), (rough, q) = found
    same, far = (p.argmax(axis=-1) == q.argmax(axis=-1)).mean(), np.abs(p - q).max(axis=-1)
    print(
        f"\nnext tokens: the most probable is the same in {same:.2%} of {far.size:,}; probabilities differ by at most"
    )
    print(f"{far.max():.3f}, in 99.9 % of the distributions by at most {np.quantile(far, 0.999):.3f}")
    table = {}
    print(
        f"\n{'':<42}{'float32':>26}{'bfloat16':>26}{'paired difference':>30}  how many differ, or by how much at most"
    )
    for what, ours in exact.items():
        theirs, within = rough[what], None if "odds" in what else (0, 1)
        if not (kept := ~np.isnan(ours)).any():
            continue
        assert (kept == ~np.isnan(theirs)).all()
        binary = set(np.unique(ours[kept])) <= {0, 1} and "auroc" not in what
        both = [share(x[kept]) if binary else mean(x, within=within or (None, None)) for x in (ours, theirs)]
        apart = paired(theirs, ours, within=(-1, 1) if within else (None, None))
        words = ["–" if each is None else each.text() for each in (*both, apart)]
        differ = int((ours[kept] != theirs[kept]).sum()) if binary else float(np.abs(ours - theirs)[kept].max())
        table[what] = [*words, int(kept.sum()), differ]
        print(f"{what:<42}{words[0]:>26}{words[1]:>26}{words[2]:>30}  {differ:.4g} (n = {kept.sum():,})", flush=True)
    print(json.dumps({
        "benchmark": "precision", "ms": spent, "figures": table, "same": float(same),
        "apart": float(far.max()), "problems": problems, "seed": seed,
        "threads": threads, "cores": os.cpu_count(), "machine": torch.cpu.get_capabilities().get("cpu_name"),
        "python": platform.python_version(), "torch": torch.__version__, "load": os.getloadavg()[0],
    }))  # fmt: skip


if __name__ == "__main__":
    typer.run(main)
