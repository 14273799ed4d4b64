"""A table of finished runs: ``python -m benchmarks.train_table DIR [--public FILE] [--device cuda]``.

Accuracy of each run's best checkpoint on its own validation problems (as recorded) and, with ``--public``, on a ProsQA
file, each with its 95 % interval and n; thoughts had and tokens written; then one JSON line.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from model import checkpoint
from model.files import read_json
from model.formats.graph import load_problems
from model.problems.arrays import ProblemTensors
from model.problems.generate import ProblemArrays
from model.training.config import load_train_config, stages
from model.training.dynamics import DynamicsRecord
from model.training.run import accuracy


def shown(value: dict[str, float]) -> str:
    return f"{100 * value['accuracy']:.1f} [{100 * value['low']:.1f}, {100 * value['high']:.1f}] ({value['n']})"


def aurocs(folder: Path) -> dict[str, float | None]:
    last = DynamicsRecord.load(folder / "best" / "emergence.json").points[-1]
    return {str(t.thought): t.auroc_beyond for t in last.thoughts if t.thought <= 3}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--public", help="ProsQA JSON file to evaluate on as well")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    rows = []
    for folder in sorted(path.parent for path in options.runs.glob("*/result.json")):
        config, result = load_train_config(folder / "config.yaml"), read_json(folder / "result.json")
        row = {"run": folder.name, "method": config.method, "seed": config.seed, **result}
        row["auroc"] = aurocs(folder) if config.n_dynamics else {}
        row["problems"] = round(config.num_epochs * config.n_train)
        if options.public:
            device = checkpoint.pick_device(options.device)
            model = checkpoint.load(folder / "best", device=device)
            problems = ProblemTensors.from_arrays(ProblemArrays.from_problems(load_problems(options.public)))
            row["public"] = accuracy(model, problems.to(device), stages(config)[-1]).model_dump()
        rows.append(row)
    columns = ["run", "balanced % [95 %] (n)", "thoughts", "tokens", "learned stop", "thoughts", "AUROC t = 1, 2, 3"]
    columns += ["public % [95 %] (n)"] if options.public else []
    print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))
    for row in rows:
        fixed, stop = row["fixed"], row.get("learned_stop")
        cells = [row["run"], shown(fixed), f"{fixed['n_thoughts']:g}", f"{fixed['n_written']:.1f}"]
        cells += [shown(stop), f"{stop['n_thoughts']:.2f}"] if stop else ["", ""]
        cells.append(", ".join("–" if value is None else f"{value:.3f}" for value in row["auroc"].values()))
        cells += [shown(row["public"])] if options.public else []
        print("| " + " | ".join(cells) + " |")
    print(json.dumps({"benchmark": "train_table", "rows": rows}))


if __name__ == "__main__":
    main()
