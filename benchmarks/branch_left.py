"""Where the target's branch stands in a thought beside its frontier: taking it out in directions of other features too.

    python -m benchmarks.branch_left fit.json held.json

Fits one ridge of each thought on its frontier, the nodes one step nearer, the candidates and the target (columns of
their own for every key), takes the target's branch out of single thoughts in some of these groups, and prints what
accuracy is left. Control: the same of the nodes that do not lead to the target. See docs/results/studies.md.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from sklearn.linear_model import Ridge

from model import checkpoint
from model.formats.graph import load_problems
from model.problems.prosqa import ProsQAProblem
from model.readout import forced_answers
from model.stats import share, text
from probing.edit.batch import clean_run, prompt_batches

THOUGHTS = (1, 2, 3)
ARMS = {
    "nothing": (), "its frontier nodes": (0,), "its nodes one step nearer": (1,), "the target": (3,),
    "frontier and nearer": (0, 1), "frontier, nearer and target": (0, 1, 3),
    "control: frontier and nearer of the rest": (0, 1),
}  # fmt: skip


def groups(problem: ProsQAProblem, t: int, *, rest: bool | None = None) -> tuple[frozenset[int], ...]:
    """Nodes of the four groups; of the target's branch alone, or of the rest alone, if ``rest`` is given."""
    leads = problem.leads_to(problem.target)
    some = range(problem.n_nodes) if rest is None else [v for v in range(problem.n_nodes) if (v in leads) != rest]
    ends = frozenset({problem.target}), frozenset({problem.target, problem.neg_target})
    return problem.frontier(t) & set(some), problem.frontier(t - 1) & set(some), ends[1], ends[0]


def main(fit: str, held: str) -> None:
    model, many = checkpoint.load(), load_problems(fit)
    n_keys, n_thoughts = model.codec.n_keys, model.config.n_thoughts
    thoughts = np.zeros((len(many), len(THOUGHTS), model.config.n_embd), np.float32)
    columns = np.zeros((len(many), len(THOUGHTS), 4, n_keys), np.float32)
    for rows, prompts in prompt_batches(model, many, seed=3, size=64):
        run = clean_run(model, prompts, rows)
        thoughts[rows] = run.trace.thoughts[:, : len(THOUGHTS)].cpu().numpy()
        for row, prompt in zip(rows, prompts, strict=True):
            for i, t in enumerate(THOUGHTS):
                for group, nodes in enumerate(groups(prompt.problem, t)):
                    columns[row, i, group, [prompt.keys[v] for v in nodes]] = 1
    fits = [Ridge(alpha=10).fit(columns[:, i].reshape(len(many), -1), thoughts[:, i]) for i in range(len(THOUGHTS))]
    vectors = [torch.tensor(each.coef_.T, dtype=torch.float32).reshape(4, n_keys, -1) for each in fits]
    right: dict[tuple[int, str], list[bool]] = {(t, arm): [] for t in THOUGHTS for arm in ARMS}
    with torch.inference_mode():
        for rows, prompts in prompt_batches(model, load_problems(held), seed=0, size=64):
            run = clean_run(model, prompts, rows)
            for i, t in enumerate(THOUGHTS):
                for arm, taken in ARMS.items():
                    change = torch.zeros(len(prompts), model.config.n_embd)
                    for row, prompt in enumerate(prompts):
                        found = groups(prompt.problem, t, rest=arm.startswith("control"))
                        for group in taken:
                            change[row] += vectors[i][group, [prompt.keys[v] for v in found[group]]].sum(dim=0)
                    trace = model.think(
                        run.trace.upto(t - 1), n_thoughts - t + 1,
                        edit=lambda step, thought, t=t, change=change: thought - change if step == t else thought,
                    )  # fmt: skip
                    answers = forced_answers(model, trace, prompts, last_only=True)
                    right[t, arm] += (answers.log_odds[:, 0] > 0).tolist()
    for (t, arm), flags in right.items():
        print(f"thought {t}, taken out: {arm}: {text(share(flags), 'percent')} right, n = {len(flags):,}")


if __name__ == "__main__":
    main(*sys.argv[1:])
