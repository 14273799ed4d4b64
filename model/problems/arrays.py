"""Many problems as tensors: what training batches are drawn from on the device, without Python in the loop."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from model.problems.generate import PaddedProblems, ProblemArrays


@dataclass(frozen=True)
class ProblemTensors(PaddedProblems[Tensor]):
    """N problems with at most E edges, V nodes and H hops; int16 on one device.

    ``path`` (``N H``) is without the root here: the steps that a model learns to write.
    """

    @classmethod
    def from_arrays(cls, arrays: ProblemArrays) -> ProblemTensors:
        """The same problems on the CPU."""
        values = {field.name: torch.from_numpy(getattr(arrays, field.name)) for field in fields(cls)}
        return cls(**values | {"path": values["path"][:, 1:]})

    def __getitem__(self, rows: Tensor | slice) -> ProblemTensors:
        """The problems at these rows (int64, repeats allowed)."""
        return ProblemTensors(*(getattr(self, field.name)[rows] for field in fields(self)))

    def to(self, device: torch.device | str) -> ProblemTensors:
        return ProblemTensors(*(getattr(self, field.name).to(device) for field in fields(self)))

    def narrow(self, n_edges: int) -> ProblemTensors:
        """The same problems with room for ``n_edges`` edges, which must hold them all."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return ProblemTensors(**values | {"edges": self.edges[:, :n_edges]})

    @property
    def device(self) -> torch.device:
        return self.edges.device

    @property
    def real(self) -> Tensor:
        """``N V`` (bool): where there is a node."""
        return torch.arange(self.distance.shape[1], device=self.device) < self.n_nodes[:, None]

    @property
    def optimal(self) -> Tensor:
        """``N V`` (bool): nodes on a shortest path from the root to the target, both ends included."""
        known = (self.distance >= 0) & (self.to_target >= 0)
        return known & (self.distance + self.to_target == self.n_hops[:, None])
