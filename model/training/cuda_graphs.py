"""Training steps replayed as CUDA graphs. Used only on one CUDA device.

A step is hundreds of small kernels, so launching them one by one is what takes the time. One graph holds a whole
step (forward, backward, clipping, AdamW) for one shape: (thoughts, continuation length, prompt length).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from model.training.curriculum import TrainBatch
from model.training.state import Stepper, TrainState


class GraphedStep:
    """A stepper that captures the eager one. The first step of every shape is eager, the second is captured.

    A step that cannot be captured runs eagerly, as do all after it, with one message to ``say``. A new optimizer
    (after a reset) has new state tensors, so the graphs are dropped with the old one.
    """

    def __init__(self, eager: Stepper, say: Callable[[str], None]) -> None:
        self._eager, self._say = eager, say
        self._stream = torch.cuda.Stream()
        self._pool = torch.cuda.graph_pool_handle()
        self._graphs: dict[tuple[int, ...], tuple[torch.cuda.CUDAGraph, TrainBatch, Tensor, Tensor]] = {}
        self._seen: set[tuple[int, ...]] = set()
        self._optimizer: torch.optim.Optimizer | None = None
        self._capture = True

    def __call__(self, state: TrainState, batch: TrainBatch, n_scored: Tensor) -> Tensor:
        if self._optimizer is not state.optimizer:
            self._optimizer, self._graphs, self._seen = state.optimizer, {}, set()
        shape = (batch.n_thoughts, *batch.text.tokens.shape, *batch.prompt.input_ids.shape)
        if not self._capture or shape not in self._seen:
            self._seen.add(shape)
            return self._eager_on_stream(state, batch, n_scored)
        if shape not in self._graphs:
            try:
                self._graphs[shape] = self._captured(state, batch, n_scored)
            except RuntimeError as error:
                if isinstance(error, torch.OutOfMemoryError):
                    raise
                self._capture, self._graphs = False, {}
                self._say(f"steps run eagerly: CUDA graph capture failed ({str(error).splitlines()[0]})")
                return self._eager_on_stream(state, batch, n_scored)
        graph, held, held_scored, stats = self._graphs[shape]
        for mine, new in zip(held.tensors, batch.tensors, strict=True):
            mine.copy_(new)
        held_scored.copy_(n_scored)
        graph.replay()
        return stats.clone()

    def _eager_on_stream(self, state: TrainState, batch: TrainBatch, n_scored: Tensor) -> Tensor:
        # Gradients and optimizer state must be made on the stream that is captured later.
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            stats = self._eager(state, batch, n_scored)
        torch.cuda.current_stream().wait_stream(self._stream)
        return stats

    def _captured(
        self, state: TrainState, batch: TrainBatch, n_scored: Tensor
    ) -> tuple[torch.cuda.CUDAGraph, TrainBatch, Tensor, Tensor]:
        held, held_scored, graph = batch.map(torch.clone), n_scored.clone(), torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
            stats = self._eager(state, held, held_scored)
        return graph, held, held_scored, stats
