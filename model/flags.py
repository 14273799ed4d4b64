"""What costs nothing to see of a model and must be known before its thoughts are believed; a sentence each, or None."""

from __future__ import annotations

from model.coconut import CoconutConfig, CoconutGPT2, ThoughtTrace

SAME_READING = 0.1
"""Total variation between two readings of the nodes up to which they are called the same."""
OFF_NORM = 2.0
"""A thought this many times longer or shorter than an embedding is off what the first block is used to."""


def unmixed(config: CoconutConfig, n_thoughts: int) -> str | None:
    """Read-outs before the last thought were never trained, as far as is known."""
    if not n_thoughts or config.uniform_prob:
        return None
    if config.uniform_prob is None:
        return "Stage mixing (uniform_prob) is unknown: read-outs before the last thought may be untrained."
    return "Trained without stage mixing (uniform_prob 0): read-outs before the last thought are untrained."


def norms(model: CoconutGPT2, trace: ThoughtTrace) -> tuple[float, float] | None:
    """Mean length of the thoughts that were fed, and of an embedding; None without thoughts."""
    if not trace.n_thoughts:
        return None
    embedding = model.transformer.wte.weight.detach().norm(dim=1).mean()
    return float(trace.thoughts.norm(dim=-1).mean()), float(embedding)


def off_norm(found: tuple[float, float] | None) -> str | None:
    """Thoughts are of another length than what a model reads."""
    if found is None or 1 / OFF_NORM <= found[0] / found[1] <= OFF_NORM:
        return None
    return f"Thoughts are {found[0]:.3g} long, embeddings {found[1]:.3g}: off what the first block is fed."


def idle(as_trained: float, zeroed: float, *, within: float) -> str | None:
    """The answers do not need what the thoughts hold."""
    if abs(as_trained - zeroed) > within:
        return None
    return "Thoughts idle: accuracy is the same with all thoughts zeroed."


def from_prompt(apart: float) -> str | None:
    """Nodes are read behind the thoughts as they would be without what these hold; ``apart``: total variation of their
    shares."""
    if apart > SAME_READING:
        return None
    return (
        f"Nodes are read behind the thoughts nearly the same (total variation {apart:.2f}) with all thoughts zeroed: "
        "from the prompt, not from the thoughts."
    )
