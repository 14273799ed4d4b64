"""Many problems as tensors: what training batches are drawn from on the device, without Python in the loop."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from model.problems.generate import PaddedProblems, ProblemArrays
from model.problems.prosqa import ProsQAProblem


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

    def problems(self) -> list[ProsQAProblem]:
        """One problem each; nodes are named by number."""
        given = (self.n_nodes, self.edges, self.n_edges, self.root, self.target, self.neg_target)
        return [
            ProsQAProblem(tuple(f"x{i}" for i in range(n)), tuple(map(tuple, edges[:m])), root, target, other)
            for n, edges, m, root, target, other in zip(*(field.tolist() for field in given), strict=True)
        ]

    @property
    def device(self) -> torch.device:
        return self.edges.device

    @property
    def size(self) -> Tensor:
        """``N``: edges, by which batches are packed."""
        return self.n_edges

    @property
    def trained(self) -> dict[str, Any]:
        """What the config of a model that learns from these records (``CoconutConfig``)."""
        n_nodes, n_edges = self.n_nodes.float(), self.n_edges.float()
        fewest, most = (int(n_edges.quantile(q)) for q in (0.005, 0.995))
        return {
            "trained_nodes": (int(n_nodes.min()), round(float(n_nodes.mean())), int(n_nodes.max())),
            "trained_edges": (fewest, round(float(n_edges.mean())), most),
            "trained_hops": (int(self.n_hops.min()), int(self.n_hops.max())),
        }

    def guess(self, n_skip: int, lag: int) -> Tensor:
        """``N``: nats that a uniform guess costs among the nodes that what is written first may name.

        Without ``n_skip`` steps; ``lag`` is the codec's: with 1 a step begins with its source, one hop nearer. 0 where
        no step is left and the answer begins.
        """
        size = (self.distance == max(min(n_skip, 999) + 1 - lag, 1)).sum(dim=1).clamp(min=1)
        return torch.where(self.n_hops > n_skip, size.double().log(), 0.0)

    @property
    def real(self) -> Tensor:
        """``N V`` (bool): where there is a node."""
        return torch.arange(self.distance.shape[1], device=self.device) < self.n_nodes[:, None]

    @property
    def optimal(self) -> Tensor:
        """``N V`` (bool): nodes on a shortest path from the root to the target, both ends included."""
        known = (self.distance >= 0) & (self.to_target >= 0)
        return known & (self.distance + self.to_target == self.n_hops[:, None])

    @cached_property
    def hops_between(self) -> Tensor:
        """``N V V`` (int64): edges on a shortest way from one node to another; -1 where there is none."""
        n, v = self.distance.shape
        edges = self.edges.long()
        real = edges[..., 0] >= 0
        step = torch.zeros(n, v, v, device=self.device)
        rows = torch.arange(n, device=self.device)[:, None].expand(real.shape)
        step[rows[real], edges[..., 0][real], edges[..., 1][real]] = 1
        found = torch.where(torch.eye(v, device=self.device).bool(), 0, -1).repeat(n, 1, 1)
        reach = torch.eye(v, device=self.device).repeat(n, 1, 1)
        for hops in range(1, v):
            reach = ((reach @ step) > 0).float()
            new = (reach > 0) & (found < 0)
            if not bool(new.any()):
                break
            found[new] = hops
        return found

    def below_parentless(self, t: int) -> tuple[Tensor, Tensor]:
        """Two ``N V`` (bool): nodes t edges below the counterfactual question's root (``ProsQAProblem.counterfactual``;
        none where there is no such), and t edges below any node without parents."""
        hops, rows = self.hops_between, torch.arange(len(self.edges), device=self.device)
        root, target, other = (x.long() for x in (self.root, self.target, self.neg_target))
        parentless = ((hops > 0).sum(dim=1) == 0) & self.real
        node = torch.arange(hops.shape[1], device=self.device)
        to_other, to_target = hops[rows, :, other], hops[rows, :, target]
        options = parentless & (to_other > 0) & (to_target < 0) & (node != root[:, None])
        rank = (to_other - self.n_hops[:, None]).abs() * hops.shape[1] + node
        best = torch.where(options, rank, torch.iinfo(torch.int64).max).argmin(dim=1)
        theirs = (hops[rows, best] == t) & options.any(dim=1)[:, None]
        return theirs, ((hops == t) & parentless[:, :, None]).any(dim=1)
