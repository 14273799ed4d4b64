"""The lens grid, the tokens of a cell and the way of a token, as charts."""

from __future__ import annotations

from probing.draw.of_report import state_labels
from probing.draw.values import Chart, Series
from probing.read.lens import LensGrid
from probing.read.numbers import N_OTHERS, NumbersRead


def grid(found: LensGrid) -> Chart:
    """Layers down, thoughts across: the most probable token of each cell and, as colour, its probability."""
    columns = state_labels(found.n_states - 1)
    return Chart(
        name="lens", title="Logit lens by layer and thought", kind="heatmap", x_label="thought", y_label="layer",
        y_range=(0, 1), categories=columns, note=about(found), labelled=True,
        series=tuple(
            Series(
                name=f"layer {layer}", x=columns, y=tuple(cell.probability[0] for cell in row),
                labels=tuple(visible(cell.words[0]) for cell in row),
            )
            for layer, row in enumerate(found.cells, start=1)
        ),
    )  # fmt: skip


def tokens(found: LensGrid, layer: int, k: int) -> Chart:
    """The ten most probable tokens of a cell."""
    cell = found.cells[layer - 1][k]
    names = tuple(visible(word) for word in cell.words)
    return Chart(
        name="lens_tokens", title=f"Layer {layer}, {where(found, k)}", kind="ranked", x_label="token",
        y_label="probability", y_range=(0, 1), categories=tuple(dict.fromkeys(names)),
        series=(Series(name="probability", x=names, y=cell.probability),),
    )  # fmt: skip


def way(found: LensGrid, word: str) -> Chart:
    """The probability of one token at every thought, a line per layer."""
    columns, values = state_labels(found.n_states - 1), found.way(word)
    return Chart(
        name="lens_way", title=f"{visible(word)} through layers and thoughts", kind="lines", x_label="thought",
        y_label="probability", y_range=(0, 1), categories=columns,
        series=tuple(
            Series(name=f"layer {layer}", x=columns, y=row, tint=layer / len(values))
            for layer, row in enumerate(values, start=1)
        ),
    )  # fmt: skip


def numbers(found: NumbersRead) -> Chart:
    """Numbers in the states of a question, a line each, beside the most probable of others."""
    columns = state_labels(len(found.control) - 1)
    lines = zip(found.numbers, found.probability, strict=True)
    return Chart(
        name="numbers", title="Numbers in the thoughts (logit lens)", kind="lines", x_label="thought",
        y_label="probability", y_range=(0, 1), categories=columns,
        note=f"One question (n = 1). Control: the most probable of {N_OTHERS} other numbers of as many digits.",
        series=(
            *(
                Series(name=name, x=columns, y=row, tint=(i + 1) / len(found.numbers))
                for i, (name, row) in enumerate(lines)
            ),
            Series(name=f"most probable of {N_OTHERS} others", x=columns, y=found.control, source="control"),
        ),
    )  # fmt: skip


def where(found: LensGrid, k: int) -> str:
    return f"thought {k + 1}" if k < found.n_states - 1 else "the answer state"


def visible(word: str) -> str:
    """A token as it can be read: blanks and line breaks made visible."""
    return word.replace("\n", "⏎").replace(" ", "·") if word.strip() != word or not word else word


def about(found: LensGrid) -> str:
    return (
        f"One prompt sample (n = 1); a guess has probability {1 / found.n_tokens:.2g}. What could be read, not what is "
        "used."
    )
