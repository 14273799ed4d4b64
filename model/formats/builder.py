"""What every reader of a format collects: named nodes and edges, where each was said, and the question."""

from __future__ import annotations

from model.errors import GraphError


class Builder:
    """Collects named nodes and edges, remembering where each was said."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.number: dict[str, int] = {}
        self.edges: dict[tuple[int, int], str] = {}
        self.again: list[str] = []
        """Edges that were given before, in words; each is read once."""
        self.root: int | None = None
        self.candidates: tuple[int, int] | None = None

    def node(self, name: str) -> int:
        return self.number.setdefault(name, len(self.number))

    def edge(self, source: str, target: str, place: str) -> None:
        pair = (self.node(source), self.node(target))
        if source == target:
            raise GraphError(f"{self.where}, {place}: {source!r:.80} has an edge to itself")
        if pair in self.edges:
            self.again.append(f"{place}: {source:.80} -> {target:.80}, given before at {self.edges[pair]}")
            return
        self.edges[pair] = place

    def asking(self, root: str | None = None, candidates: tuple[str, str] | None = None, *, place: str = "") -> Builder:
        """The same with a question. Raises GraphError if it names what is not in the graph."""
        for what, name in (("root", root), *(("candidate", name) for name in candidates or ())):
            if name is not None and name not in self.number:
                raise GraphError(f"{self.where}{place}: the question's {what} {name!r:.80} is not in the graph")
        self.root = None if root is None else self.number[root]
        self.candidates = None if candidates is None else (self.number[candidates[0]], self.number[candidates[1]])
        return self


class ByKey:
    """A graph whose file refers to nodes by a key, with names and roles beside it."""

    def __init__(self, where: str) -> None:
        self.builder = Builder(where)
        self.names: dict[object, str] = {}
        self.roles: dict[str, str] = {}

    def node(self, key: object, name: str, role: object, place: str) -> None:
        where = self.builder.where
        if key in self.names:
            raise GraphError(f"{where}, {place}: the node {key!r:.80} is given twice")
        if name in self.builder.number:
            raise GraphError(f"{where}, {place}: two nodes are named {name!r:.80}; names must differ")
        self.names[key] = name
        self.builder.node(name)
        if isinstance(role, str) and role in _ROLES:
            if role in self.roles:
                raise GraphError(f"{where}, {place}: a second node has the role {role}")
            self.roles[role] = name

    def edge(self, source: object, target: object, place: str) -> None:
        for key in (source, target):
            if key not in self.names:
                raise GraphError(f"{self.builder.where}, {place}: the node {key!r:.80} is not among the nodes")
        self.builder.edge(self.names[source], self.names[target], place)

    def found(self) -> Builder:
        first = self.roles.get("target", self.roles.get("candidate_1"))
        second = self.roles.get("neg_target", self.roles.get("candidate_2"))
        pair = None if first is None or second is None else (first, second)
        return self.builder.asking(self.roles.get("root"), pair)


_ROLES = ("root", "target", "neg_target", "candidate_1", "candidate_2")
