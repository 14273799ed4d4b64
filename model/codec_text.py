"""English with GPT-2's tokenizer, as the public Coconut code writes ProsQA: the only place that knows its token ids.

Layout, with the public code's markers (facebookresearch/coconut)::

    Every shumpus is a rempus. ... Is Alex a rempus or terpus?\\n<|start-latent|>   then thoughts, then
    <|end-latent|>Every shumpus is a rempus.\\n ... ### Alex is a rempus.<|endoftext|>

``TextCodec(opened=True)`` writes the chain's first words in the prompt, and thoughts in place of those of later lines::

    ... Is Alex a rempus or terpus?\nAlex is a   then thoughts, then   rempus.\nEvery rempus is a ...

``TextCodec()`` is the public format with all of GPT-2's tokens; ``TextCodec(compact=True)`` the same with only the
tokens that ProsQA's names and sentences need (fewer than 300), for models trained from scratch; ``start``,
``end_marks``, ``newline``, ``answer`` and ``added`` say what other families put there. A config records ``codec.name``
and ``codec.format``, and ``model.coconut.codec_for`` makes the codec again from the two.

Names stand in a problem as they are, so a problem is written as its question says where that can be, and its further
prompt samples reorder facts and candidates and exchange the names of its nodes, people among people. Nodes are read
after the thoughts where training has a name next (opened: at once; else behind ``Every``, after 0 thoughts behind
``<Root> is a``), as the product over the name's tokens and the word that ends it, so that no name begins another.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from functools import cache, cached_property
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import ConfigDict, Field, with_config
from torch import Tensor
from typing_extensions import TypedDict

from model.codec import (
    EMPTY,
    NO_KEY,
    NO_NODE,
    Codec,
    Continuation,
    EdgeSpan,
    Prompt,
    PromptBatch,
    Reading,
    Size,
    Written,
    distractor_facts,
    pushed_together,
)
from model.errors import GraphError, ProblemTooLargeError
from model.problems.arrays import ProblemTensors
from model.problems.generate import CONCEPTS, PEOPLE
from model.problems.prosqa import ProsQAProblem
from model.tokenizer import END_OF_TEXT, Vocabulary

START, END, LATENT = "<|start-latent|>", "<|end-latent|>", "<|latent|>"
NAMES = (*CONCEPTS, *PEOPLE)
_WORDS = ("Every", " Every", "Is", " is", " a", " or", "?", ".", "\n", "###", *PEOPLE)
_FACT = re.compile(r"(?:(?:Every|Each) )?(.+) is an? (.+)\.")


@dataclass(frozen=True)
class TextSample:
    """One way to write a problem."""

    names: tuple[str, ...]
    """Name of each node."""
    edge_order: tuple[int, ...]
    """A permutation of the edges, distractor facts counted after the problem's own."""
    candidates: tuple[int, int]
    """The two candidate nodes in the order they are asked."""
    distractors: tuple[tuple[str, str], ...] = ()
    """Distractor facts between names that no node has."""
    question: str | None = None
    """The problem's own question, where its sentences are not those that are written here."""


_Mark = Annotated[str, Field(min_length=1, max_length=40)]
_Marks = Annotated[tuple[_Mark, ...], Field(max_length=1_000)]


@with_config(ConfigDict(strict=True, extra="forbid"))
class TextFormat(TypedDict, total=False):
    """What a config may say of a ``TextCodec``, whose fields these are."""

    start: _Marks
    end_marks: _Marks
    added: _Marks
    newline: bool
    answer: _Mark
    opened: bool
    compact: bool
    names: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=100)], ...], Field(min_length=1, max_length=10_000)
    ]


@dataclass(frozen=True)
class TextCodec(Codec):
    """English, as ``model.codec.Codec`` describes."""

    rows: int = 0
    """Rows of the embedding; more than tokens where some rows have no token; 0: as many as tokens."""
    start: tuple[str, ...] = (START,)
    """Tokens that end a prompt, after the question."""
    end_marks: tuple[str, ...] = (END,)
    """Tokens between the thoughts and what is written."""
    added: tuple[str, ...] = (START, END, LATENT)
    """Names of the tokens after GPT-2's, in the order of their rows."""
    newline: bool = True
    """Whether a line break follows the question."""
    answer: str = "###"
    """What begins an answer."""
    opened: bool = False
    """Whether a prompt ends with "<Root> is a", the thoughts stand for what opens later sentences, and what is written
    begins with the next name: then a state says it itself. Else a sentence is written whole, and the place behind its
    "Every" can look the name up in the question."""
    compact: bool = False
    """Only the tokens that names and ProsQA's sentences need, in GPT-2's order."""
    names: tuple[str, ...] = NAMES
    """The names that training gives to nodes; a node's key is the place of its name here."""

    def __post_init__(self) -> None:
        for name in ("added", "names"):
            if len(set(listed := getattr(self, name))) < len(listed):
                raise ValueError(f"{name} has one twice")
        if not self.rows:
            object.__setattr__(self, "rows", self.vocabulary.size)
        unknown = [mark for mark in (*self.start, *self.end_marks) if len(self.vocabulary.ids(mark)) != 1]
        if unknown or self.rows < self.vocabulary.size:
            raise ValueError(
                f"the text format has {self.vocabulary.size} tokens and {self.rows} rows"
                + (f"; {unknown[0]!r} is none of its tokens" if unknown else "")
            )

    # --- what it is -------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return f"text-{self.rows}"

    @property
    def format(self) -> dict[str, Any]:
        """The other fields, where they are not the default."""
        named = {
            field.name: (getattr(self, field.name), field.default) for field in fields(self) if field.name != "rows"
        }
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, (value, default) in named.items()
            if default is MISSING or value != default
        }

    @cached_property
    def vocabulary(self) -> Vocabulary:
        texts = (*_WORDS, self.answer, *(f" {name}" for name in self.names)) if self.compact else ()
        return Vocabulary(self.added, texts)

    @property
    def vocab_size(self) -> int:
        return self.rows

    @property
    def n_keys(self) -> int:
        return len(self.names)

    @property
    def lag(self) -> int:
        return 0 if self.opened else 1

    @cached_property
    def special(self) -> Mapping[str, int]:
        marks = ("Every", self.answer_mark, *dict.fromkeys((*self.start, *self.end_marks)))
        return {mark: self._ids(mark)[0] for mark in marks} | {"<|endoftext|>": self.end}

    @cached_property
    def answer_mark(self) -> str:
        return self.vocabulary.text(self._ids(self.answer)[:1])

    @cached_property
    def after(self) -> tuple[int, ...]:
        return tuple(token for mark in self.end_marks for token in self._ids(mark))

    @property
    def end(self) -> int:
        return self.vocabulary.end

    @property
    def pause(self) -> int:
        return self._ids(self.added[-1])[0] if self.added else self.end

    def has_room(self, n_nodes: int, n_parentless: int) -> bool:
        return n_parentless <= len(self.people_places) and n_nodes - n_parentless <= len(self.concept_places)

    def key_tokens(self) -> tuple[tuple[int, ...], ...]:
        return tuple(self._name(name) for name in self.names)

    def words(self, token: int, prompt: Prompt) -> str:
        return self.vocabulary.word(token)

    # --- prompts ----------------------------------------------------------------------------------------------------

    def check_fits(self, problem: ProsQAProblem, *, n_positions: int, n_thoughts: int, generates: bool = False) -> None:
        names = self.names_of(problem)
        for name in names:
            if self._unwritten(name):
                raise ProblemTooLargeError(
                    f"the name {name!r} cannot be written with this model's tokens, and the graph has more nodes than "
                    f"it has names ({len(self.concept_places)}, and {len(self.people_places)} of people)"
                )
        degree = np.bincount(np.array(problem.edges).flatten(), minlength=problem.n_nodes)
        degree[[problem.root, problem.target, problem.neg_target]] += 1
        length = [len(self._name(name)) for name in names]
        # Of all ways to exchange names, the longest gives the longest names to the nodes that are named most often.
        needed = int(np.sort(degree) @ np.sort(length)) + 4 * len(problem.edges) + 6 + len(self.start) + n_thoughts
        needed += (max(length) + 2) * self.opened
        needed += self.longest_generation(problem) if generates else len(self.after) + 2 * max(length) + 5
        if needed > n_positions:
            raise ProblemTooLargeError(
                f"the graph's {len(problem.edges)} facts and {n_thoughts} thoughts need {needed} token positions; "
                f"this model has {n_positions}"
            )

    def prompt(self, problem: ProsQAProblem, rng: np.random.Generator, *, pad_to: Size | None = None) -> Prompt:
        if pad_to is not None:
            return self.drawn(problem, rng, pad_to=pad_to)
        names = self.names_of(problem)
        if names == problem.idx_to_symbol:
            return self.encode(problem, as_written(problem))
        order, pair = tuple(range(len(problem.edges))), sorted((problem.target, problem.neg_target))
        return self.encode(problem, TextSample(names, order, (pair[0], pair[1])))

    def names_of(self, problem: ProsQAProblem) -> tuple[str, ...]:
        """What nodes are called in prompts: their names, or where one cannot be written, all by names of training."""
        if not any(map(self._unwritten, problem.idx_to_symbol)) or not self.has_room(
            problem.n_nodes, sum(not parents for parents in problem.parents)
        ):
            return problem.idx_to_symbol
        people, concepts = iter(self.people_places), iter(self.concept_places)
        return tuple(self.names[next(concepts if parents else people)] for parents in problem.parents)

    def drawn(self, problem: ProsQAProblem, rng: np.random.Generator, *, pad_to: Size | None = None) -> Prompt:
        own = self.names_of(problem)
        names, distractors = list(own), list[tuple[str, str]]()
        people = [node for node in range(problem.n_nodes) if not problem.parents[node]]
        for group in (people, [node for node in range(problem.n_nodes) if problem.parents[node]]):
            for node, other in zip(group, rng.permutation(group).tolist(), strict=True):
                names[node] = own[other]
        if pad_to is not None and len(problem.edges) < pad_to.edges:
            free = rng.permutation([self.names[i] for i in self.concept_places if self.names[i] not in names]).tolist()
            distractors = distractor_facts(free, problem, pad_to, rng)
        pair = (problem.target, problem.neg_target)
        order = rng.permutation(len(problem.edges) + len(distractors)).tolist()
        chosen_pair = pair if rng.random() < 0.5 else pair[::-1]
        return self.encode(problem, TextSample(tuple(names), tuple(order), chosen_pair, tuple(distractors)))

    def rewritten(self, prompt: Prompt, problem: ProsQAProblem) -> Prompt:
        """With the same names, order of facts and order of candidates, in the sentences written here."""
        sample: TextSample = prompt.sample
        return self.encode(problem, TextSample(sample.names, sample.edge_order, sample.candidates, sample.distractors))

    def encode(self, problem: ProsQAProblem, sample: TextSample) -> Prompt:
        """The prompt of a problem in one way to write it."""
        keys = tuple(self._keys.get(name, NO_KEY) for name in sample.names)
        names, closing = sample.names, self.closing
        if self.opened:
            root = names[problem.root]
            closing += (*(self._ids(root) if closing else self._name(root)), *self._ids(" is"), *self._ids(" a"))
        if sample.question is not None:
            ids, spans = self._verbatim(problem, sample.question)
            return Prompt(problem, (*ids, *closing), keys, spans, 0, sample)
        facts = [(names[source], names[target], bool(problem.parents[source])) for source, target in problem.edges] + [
            (source, target, True) for source, target in sample.distractors
        ]
        assert sorted(sample.edge_order) == list(range(len(facts)))
        out: list[int] = []
        span: dict[int, EdgeSpan] = {}
        for i in sample.edge_order:
            source, target, every = facts[i]
            space, start = " " if out else "", len(out)
            subject = [*self._ids(f"{space}Every"), *self._name(source)] if every else self._ids(f"{space}{source}")
            out += (*subject, *self._ids(" is"), *self._ids(" a"))
            at = len(out)
            out += (*self._name(target), *self._ids("."))
            span[i] = EdgeSpan(start, at, len(out) - 1, len(out))
        first, second = (names[node] for node in sample.candidates)
        out += (*self._ids(" Is" if out else "Is"), *self._name(names[problem.root]), *self._ids(" a"))
        out += (*self._name(first), *self._ids(" or"), *self._name(second), *self._ids("?"), *closing)
        spans = tuple(span[i] for i in range(len(problem.edges)))
        return Prompt(problem, tuple(out), keys, spans, len(sample.distractors), sample)

    def prompt_length(self, n_edges: int) -> int:
        longest = self._longest_name
        return n_edges * (2 * longest + 4) + 3 * longest + 5 + len(self.start) + (longest + 2) * self.opened

    # --- reading ----------------------------------------------------------------------------------------------------

    def node_tokens(self, prompt: Prompt) -> tuple[tuple[int, ...], ...]:
        return tuple(self._name(name) for name in prompt.sample.names)

    def reading(self, prompt: Prompt, k: int) -> Reading:
        return self.reading_of(prompt.sample.names, prompt.problem.root, k)

    def reading_of(self, names: Sequence[str], root: int, k: int) -> Reading:
        """``reading`` of nodes that have these names."""
        tokens = [self._name(name) for name in names]
        if self.opened:
            return Reading(self.after, tuple((*name, *self._ids(".")) for name in tokens))
        if k:
            return Reading((*self.after, *self._ids("Every")), tuple((*name, *self._ids(" is")) for name in tokens))
        prefix = (*self.after, *self._ids(names[root]), *self._ids(" is"), *self._ids(" a"))
        return Reading(prefix, tuple((*name, *self._ids(".")) for name in tokens))

    def answer_reading(self, prompt: Prompt) -> Reading:
        names, root = self.node_tokens(prompt), prompt.sample.names[prompt.problem.root]
        prefix = (*self.after, *self._ids(self.answer), *self._name(root), *self._ids(" is"), *self._ids(" a"))
        return Reading(prefix, tuple((*name, *self._ids(".")) for name in names))

    def longest_generation(self, problem: ProsQAProblem) -> int:
        longest = max(len(self._ids(f" {name}")) for name in self.names_of(problem))
        return problem.height_longest[problem.root] * (2 * longest + 5) + 2 * longest + 6 + len(self._ids(self.answer))

    def has_ended(self, written: Tensor) -> Tensor:
        return (written == self.end).any(dim=-1)

    def parse(self, written: Sequence[int], prompt: Prompt) -> Written:
        """Sentences up to what begins an answer; the answer is what follows the last of these, the whole sentence."""
        problem, names = prompt.problem, prompt.sample.names
        node_of = {name: node for node, name in enumerate(names)}
        ended = list(written).index(self.end) if self.end in written else len(written)
        chain, *answers = self.vocabulary.text(written[:ended]).split(self.answer)
        path: list[int] = []
        lines = [line for line in map(str.strip, chain.split("\n")) if line]
        if self.opened and lines:
            node = node_of.get(lines.pop(0).removesuffix("."), NO_NODE)
            path.append(node if node != NO_NODE and problem.parents[node] else NO_NODE)
        for line in lines:
            found = _FACT.fullmatch(line)
            edge = tuple(node_of.get(name, NO_NODE) for name in found.groups()) if found else (NO_NODE, NO_NODE)
            path.append(edge[1] if edge in problem.edges and (not path or path[-1] == edge[0]) else NO_NODE)
        said = answers[-1].replace(",", "").strip() if answers else ""
        prefix = f"{names[problem.root]} is a "
        answer = (
            node_of.get(said[len(prefix) : -1], NO_NODE)
            if said[: len(prefix)] == prefix and said[-1] == "."
            else NO_NODE
        )
        return Written(tuple(path), answer)

    def continuation_length(self, n_hops: int) -> int:
        longest = self._longest_name
        return len(self.after) + n_hops * (2 * longest + 5) + 2 * longest + 5 + len(self._ids(self.answer))

    # --- any text ---------------------------------------------------------------------------------------------------

    def asked(self, question: str) -> tuple[int, ...]:
        return (*self._ids(question), *self.closing)

    def told(self, step: str) -> tuple[int, ...]:
        return (*self._ids(step), *self._ids("\n"))

    def answered(self, answer: str) -> tuple[int, ...]:
        return (*self._ids(f"{self.answer} {answer}"), self.end)

    def said(self, written: Sequence[int]) -> str:
        ended = list(written).index(self.end) if self.end in written else len(written)
        _, mark, answer = self.vocabulary.text(written[:ended]).rpartition(self.answer)
        return answer.strip() if mark else ""

    # --- training ---------------------------------------------------------------------------------------------------

    def samples(self, problems: ProblemTensors, generator: torch.Generator, *, align: int = 1) -> TextSamples:
        """All at once: distributed as ``drawn`` is of problems whose nodes were named anew."""
        return TextSamples.draw(self, problems, generator, align=align)

    # --- private ----------------------------------------------------------------------------------------------------

    def _unwritten(self, name: str) -> bool:
        """Whether the tokens have no way to write a name, or a way that training never took."""
        return name not in self._keys if self.compact else not self.vocabulary.writes(f" {name}")

    def _ids(self, text: str) -> tuple[int, ...]:
        return self.vocabulary.ids(text)

    def _name(self, name: str) -> tuple[int, ...]:
        return self.vocabulary.ids(f" {name}")

    @cached_property
    def closing(self) -> tuple[int, ...]:
        """What ends a prompt."""
        return tuple(token for mark in (*["\n"] * self.newline, *self.start) for token in self._ids(mark))

    @cached_property
    def people_places(self) -> tuple[int, ...]:
        """Which of ``names`` are people's: nodes without parents have these in training, the others the rest."""
        return tuple(i for i, name in enumerate(self.names) if name in PEOPLE)

    @cached_property
    def concept_places(self) -> tuple[int, ...]:
        return tuple(i for i in range(len(self.names)) if i not in self.people_places)

    @cached_property
    def _keys(self) -> dict[str, int]:
        return {name: key for key, name in enumerate(self.names)}

    @cached_property
    def _longest_name(self) -> int:
        return max(map(len, self.key_tokens()))

    def _verbatim(self, problem: ProsQAProblem, question: str) -> tuple[list[int], tuple[EdgeSpan, ...]]:
        """A question as it is: of each edge, the shortest sentence that has its two names in order."""
        encoded = self.vocabulary.tokenizer.encode(question, add_special_tokens=False)
        starts = np.array([start for start, _ in encoded.offsets])
        sentences = [(m.start(), m.end(), m.group().casefold()) for m in re.finditer(r"[^.?!]+[.?!]?", question)]
        spans = []
        for source, target in problem.edges:
            a, b = (problem.idx_to_symbol[node].casefold() for node in (source, target))
            holding = [
                (e - s, s, e, text) for s, e, text in sentences if a in text and b in text[text.find(a) + len(a) :]
            ]
            if not holding:
                raise GraphError(f"the question does not say that {a!r} is {b!r}; leave it out to have it written")
            _, first, last, text = min(holding)
            at = first + text.find(b, text.find(a) + len(a)) - 1
            tokens = [int(np.searchsorted(starts, place, side="left")) for place in (first, at, last - 1, last)]
            spans.append(EdgeSpan(tokens[0], max(tokens[1], tokens[0] + 1), max(tokens[2], tokens[1] + 1), tokens[3]))
        return encoded.ids, tuple(spans)


@dataclass(frozen=True)
class TextSamples:
    """As ``model.codec.Samples`` describes: many problems at once, on one device.

    A text is laid out in places of fixed width, some of them EMPTY, and then pushed together.
    """

    codec: TextCodec
    problems: ProblemTensors
    prompts: PromptBatch
    names: Tensor
    """``N V``: which of the codec's names each node has."""
    every: Tensor
    """``N V`` (bool): nodes with parents, of which sentences say "Every"."""

    @classmethod
    def draw(cls, codec: TextCodec, problems: ProblemTensors, generator: torch.Generator, *, align: int) -> TextSamples:
        """Nodes with parents are named as concepts, the others as people; facts and candidates in random order."""
        device, (n, most_edges, _), n_nodes = problems.device, problems.edges.shape, problems.distance.shape[1]

        def random(*size: int) -> Tensor:
            return torch.rand(*size, generator=generator, device=device)

        real = problems.edges[:, :, 0] >= 0
        edges = problems.edges.long()
        heads = torch.where(real, edges[:, :, 1], n_nodes)
        every = torch.zeros(n, n_nodes + 1, dtype=torch.bool, device=device).scatter(1, heads, True)[:, :-1]

        def named(group: Tensor, places: Sequence[int]) -> Tensor:
            drawn = torch.tensor(places, device=device)[random(n, len(places)).argsort(dim=1)]
            # A group that is larger than its names is refused before training.
            return drawn.gather(1, (group.long().cumsum(dim=1) - 1).clamp(0, len(places) - 1))

        names = torch.where(every, named(every, codec.concept_places), named(~every, codec.people_places))
        table = _table(codec, device)
        order = torch.where(real, random(n, most_edges), -1.0).argsort(dim=1, stable=True)  # padding comes first
        edges = edges.gather(1, order[:, :, None].expand(-1, -1, 2)).clamp(min=0)
        place = torch.arange(most_edges, device=device)[None] - (most_edges - problems.n_edges.long())[:, None]
        facts = table.facts(names, every, *edges.unbind(dim=2), begins=place == 0)
        facts = facts.masked_fill((place < 0)[:, :, None], EMPTY).flatten(1)
        asked = torch.stack([problems.target, problems.neg_target], dim=1).long()
        asked = torch.where(random(n, 1) < 0.5, asked, asked.flip(1))
        root, first, second = (
            table.spaced[names.gather(1, node[:, None])[:, 0]]
            for node in (problems.root.long(), asked[:, 0], asked[:, 1])
        )
        closing = [torch.tensor(codec.closing, dtype=torch.long, device=device).expand(n, -1)]
        if codec.opened:
            bare = table.bare[names.gather(1, problems.root.long()[:, None])[:, 0]]
            closing += [bare if codec.closing else root, table.text(n, " is", " a")]
        parts = [table.text(n, " Is"), root, table.text(n, " a"), first, table.text(n, " or"), second]
        ids = torch.cat([facts, *parts, table.text(n, "?"), *closing], dim=1)
        valid = ids >= 0
        ids = ids.gather(1, valid.int().argsort(dim=1, stable=True))  # left padding
        if device.type == "cpu":  # CUDA graphs want shapes that repeat
            ids = ids[:, ids.shape[1] - int(valid.sum(dim=1).max()) :]
        ids = F.pad(ids, (-ids.shape[1] % align, 0), value=EMPTY)
        mask = (ids >= 0).long()
        return cls(codec, problems, PromptBatch(ids.masked_fill(ids < 0, codec.end), mask), names, every)

    def continuation(self, n_skip: Tensor, *, least: int) -> Continuation:
        problems, codec, device = self.problems, self.codec, self.problems.device
        n, most_hops = problems.path.shape
        table = _table(codec, device)
        way = torch.cat([problems.root[:, None], problems.path], dim=1).long().clamp(min=0)
        steps = torch.arange(max(most_hops - least, 0), device=device)[None].expand(n, -1)
        hop = n_skip[:, None].clamp(max=most_hops) + steps
        left = hop < problems.n_hops.long()[:, None]
        before, after = (way.gather(1, (hop + i).clamp(max=most_hops)) for i in (0, 1))
        facts, of_source, of_target = table.lines(self.names, self.every, before, after, left)
        last = (hop == problems.n_hops.long()[:, None] - 1)[:, :, None] & of_target
        begins = (steps == 0)[:, :, None]
        if codec.opened:
            facts = facts.masked_fill(begins & table.of_opening, EMPTY)
            first = begins & of_target
        else:  # first comes the source, which stands before its target; without thoughts it is the root
            first = begins & torch.where((n_skip > 0)[:, None, None], of_source, of_target)
        none_left = ~left.any(dim=1, keepdim=True)
        root, target = (
            table.spaced[self.names.gather(1, node.long()[:, None])[:, 0]] for node in (problems.root, problems.target)
        )
        answer = [table.text(n, codec.answer), torch.cat([root, table.text(n, " is", " a")], dim=1), target]
        parts = [
            # tokens, scored, first, due
            (torch.tensor(codec.after, dtype=torch.long, device=device).expand(n, -1), False, False, False),
            (facts.flatten(1), True, first.flatten(1), last.flatten(1)),
            (answer[0], True, none_left, False),
            (answer[1], True, False, False),
            (answer[2], True, False, none_left),
            (table.text(n, ".", END_OF_TEXT), True, False, False),
        ]

        def column(i: int) -> Tensor:
            wide = [torch.as_tensor(part[i], device=device).broadcast_to(part[0].shape) for part in parts]
            return torch.cat(wide, dim=1)

        return pushed_together([column(i) for i in range(4)], codec.end)

    def recited(self, generator: torch.Generator) -> Continuation:
        problems, device = self.problems, self.problems.device
        real = problems.edges[:, :, 0] >= 0
        order = torch.rand(real.shape, generator=generator, device=device).argsort(dim=1)
        edges, real = problems.edges.long().gather(1, order[:, :, None].expand(-1, -1, 2)), real.gather(1, order)
        table = _table(self.codec, device)
        source, target = edges.clamp(min=0).unbind(dim=2)
        facts, _, of_target = table.lines(self.names, self.every, source, target, real)
        after = torch.tensor(self.codec.after, dtype=torch.long, device=device).expand(len(problems), -1)
        if self.codec.opened:  # the sentence that the prompt opened is closed first
            child = self.names.gather(1, problems.path[:, :1].long())[:, 0]
            closed = [table.spaced[child], table.text(len(problems), ".", "\n")]
            after = torch.cat([after, *closed], dim=1)
        end = table.text(len(problems), END_OF_TEXT)
        asked = of_target.expand_as(facts).flatten(1)
        nothing, no_end = (torch.zeros_like(part, dtype=torch.bool) for part in (after, end))
        named = torch.cat([nothing, asked, no_end], dim=1)
        scored = torch.cat([nothing, torch.ones_like(asked), ~no_end], dim=1)
        tokens = torch.cat([after, facts.flatten(1), end], dim=1)
        return pushed_together([tokens, scored, named, named], self.codec.end)

    def answers(self, written: Tensor) -> Tensor:
        """The node of whose answer what follows the last mark is, word for word up to the end."""
        codec, problems, device = self.codec, self.problems, written.device
        n, table = len(problems), _table(codec, device)
        texts = written.reshape(n, -1, written.shape[-1])
        places = torch.arange(texts.shape[-1], device=device)
        ended = (texts == codec.end).int().cumsum(dim=-1) > 0
        mark = table.text(1, codec.answer)[0]
        marked = (
            F.pad(texts, (0, len(mark) - 1), value=codec.end).unfold(-1, len(mark), 1).eq(mark).all(dim=-1) & ~ended
        )
        at = torch.where(marked, places + len(mark), EMPTY).amax(dim=-1)
        v = self.names.shape[1]
        root = table.spaced[self.names.gather(1, problems.root.long()[:, None])].expand(-1, v, -1)
        words, full = (table.text(n, *w)[:, None].expand(-1, v, -1) for w in ((" is", " a"), (".",)))
        wanted = torch.cat([root, words, table.spaced[self.names], full], dim=2)
        order = (wanted < 0).int().argsort(dim=2, stable=True)
        wanted = wanted.gather(2, order)
        wanted = torch.cat([wanted, torch.full_like(wanted[..., :1], EMPTY)], dim=2)
        wanted = wanted.masked_fill(wanted < 0, codec.end)
        texts = texts.masked_fill(ended, codec.end)
        size = wanted.shape[2]
        window = F.pad(texts, (0, size), value=codec.end).gather(
            2, (at.clamp(min=0)[..., None] + torch.arange(size, device=device))
        )
        same = (window[:, :, None] == wanted[:, None]).all(dim=-1) & problems.real[:, None]
        node = torch.where(same.any(dim=-1) & (at >= 0), same.int().argmax(dim=-1), NO_NODE)
        return node.view(written.shape[:-1])

    def readings(self, k: int) -> list[Reading]:
        rows = zip(self.names.tolist(), self.problems.n_nodes.tolist(), self.problems.root.tolist(), strict=True)
        names = [(tuple(self.codec.names[i] for i in row[:n]), root) for row, n, root in rows]
        return [self.codec.reading_of(each, root, k) for each, root in names]


@dataclass(frozen=True)
class _Table:
    """Tokens of names and words on one device; ``M L`` each, EMPTY where a name is shorter."""

    codec: TextCodec
    spaced: Tensor
    """Names as they stand within a sentence."""
    bare: Tensor
    """Names as they begin a text or a line."""

    @property
    def longest(self) -> int:
        return self.spaced.shape[1]

    def text(self, n: int, *words: str) -> Tensor:
        """``n T``: the tokens of words, for n problems."""
        ids = [token for word in words for token in self.codec.vocabulary.ids(word)]
        return torch.tensor(ids, dtype=torch.long, device=self.spaced.device).expand(n, -1)

    def facts(self, names: Tensor, every: Tensor, source: Tensor, target: Tensor, *, begins: Tensor) -> Tensor:
        """``N E T``: the sentences of edges given by source and target (``N E``); ``begins``: with nothing before."""
        n, m = source.shape
        begun, within = (self.codec.vocabulary.ids(word)[0] for word in ("Every", " Every"))
        of_all = every.gather(1, source)
        start = torch.where(begins, begun, within).masked_fill(~of_all, EMPTY)[..., None]
        place = names.gather(1, source)
        subject = torch.where((begins & ~of_all)[..., None], self.bare[place], self.spaced[place])
        words, full = (self.text(n, *w)[:, None].expand(-1, m, -1) for w in ((" is", " a"), (".",)))
        return torch.cat([start, subject, words, self.spaced[names.gather(1, target)], full], dim=2)

    @property
    def of_opening(self) -> Tensor:
        """Which places of a line stand before its target. A line is: Every, source, is a, target, full stop, break."""
        return torch.arange(2 * self.longest + 5, device=self.spaced.device) <= self.longest + 2

    def lines(
        self, names: Tensor, every: Tensor, source: Tensor, target: Tensor, real: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """``facts``, a line each, EMPTY where they are not ``real``; which places are the source's and the target's."""
        found = self.facts(names, every, source, target, begins=torch.ones_like(real))
        found = torch.cat([found, self.text(len(names), "\n")[:, None].expand(-1, found.shape[1], -1)], dim=2)
        place = torch.arange(found.shape[2], device=found.device)
        of_target = (place > self.longest + 2) & (place <= 2 * self.longest + 2)
        return found.masked_fill(~real[:, :, None], EMPTY), (place > 0) & (place <= self.longest), of_target


@cache
def _table(codec: TextCodec, device: torch.device) -> _Table:
    spaced, bare = ([codec.vocabulary.ids(f"{space}{name}") for name in codec.names] for space in (" ", ""))
    longest = max(map(len, (*spaced, *bare)))

    def padded(rows: Sequence[Sequence[int]]) -> Tensor:
        return torch.tensor([[*row, *[EMPTY] * (longest - len(row))] for row in rows], device=device)

    return _Table(codec, padded(spaced), padded(bare))


def as_written(problem: ProsQAProblem) -> TextSample:
    """The problem as its question says it."""
    number = {problem.edge_sentence(edge): i for i, edge in enumerate(problem.edges)}
    order = [number.get(f"{part}.", -1) for part in problem.question.split(". ")[:-1]]
    pair = (problem.target, problem.neg_target)
    if sorted(order) == list(range(len(problem.edges))):
        for candidates in (pair, pair[::-1]):
            if problem.question.endswith(f". {problem.question_sentence(candidates)}"):
                return TextSample(problem.idx_to_symbol, tuple(order), candidates)
    return TextSample(problem.idx_to_symbol, tuple(range(len(problem.edges))), pair, question=problem.question)
