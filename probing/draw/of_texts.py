"""Charts of what can be said of thoughts on questions without a graph."""

from __future__ import annotations

from probing.draw.values import Chart, Series
from probing.edit.texts import CHANGES, TextFindings


def charts(found: TextFindings) -> tuple[Chart, ...]:
    """Numbers read from thoughts, answers after k thoughts, and answers when other thoughts are fed."""
    steps = sorted({one.step for one in found.numbers})
    numbers = []
    for step in steps:
        of_step = [one for one in found.numbers if one.step == step]
        thoughts = [one.thought for one in of_step]
        tint = step / steps[-1]
        numbers.append(Series.of(f"result of step {step}", thoughts, [one.probability for one in of_step], tint=tint))
    controls = [one for one in found.numbers if one.step == steps[0]] if steps else []
    numbers.append(
        Series.of(
            "another problem's first result", [one.thought for one in controls], [one.control for one in controls],
            control=True, source="control",
        )
    )  # fmt: skip
    names = tuple(CHANGES.values())
    answers = [
        Series.of(label, names, [getattr(change, what) for change in found.changes], control=what == "other")
        for what, label in (("own", "right answer"), ("other", "answer of the problem whose thoughts are fed"))
    ]
    return (
        Chart(name="numbers", title="Results of the chain in the thoughts (logit lens)", kind="lines",
              x_label=f"thought ({found.n_thoughts + 1}: the state after the last)", y_label="probability",
              y_range=(0, 1), series=tuple(numbers)),
        Chart(name="by_k", title="Right answers after k thoughts", kind="lines", x_label="thoughts k",
              y_label="share of problems", y_range=(0, 1),
              series=(Series.of("accuracy", range(len(found.accuracy_by_k)), found.accuracy_by_k),)),
        Chart(name="changes", title="Answers when something else is fed as thoughts", kind="bars", x_label="fed",
              y_label="share of problems", y_range=(0, 1), categories=names, series=tuple(answers)),
    )  # fmt: skip
