"""English with GPT-2's tokenizer, as the public Coconut code writes ProsQA: the only place that knows its token ids.

Layout, with the public code's markers (facebookresearch/coconut)::

    Every shumpus is a rempus. ... Is Alex a rempus or terpus?\\n<|start-latent|>   then thoughts, then
    <|end-latent|>Every shumpus is a rempus.\\n ... ### Alex is a rempus.<|endoftext|>

``TextCodec()`` is that format with all of GPT-2's tokens; ``TextCodec(compact=True)`` the same with only the tokens
that ProsQA's names and sentences need (fewer than 300), for models trained from scratch; ``start``, ``end_marks``,
``newline``, ``answer`` and ``added`` say what other families put there. A config records ``codec.name`` and
``codec.format``, and ``model.coconut.codec_for`` makes the codec again from the two.

Names stand in a problem as they are, so a problem is written as its question says where that can be, and its further
prompt samples reorder facts and candidates and exchange the names of its nodes, people among people. Nodes are read
after the thoughts where training has a name next: behind ``Every`` (after 0 thoughts behind ``<Root> is a``), as the
product over the name's tokens and the word that ends it, so that no name begins another.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.codec import NO_KEY, NO_NODE, EdgeSpan, Prompt, PromptBatch, PromptSamples, Reading, Size, Written
from model.errors import GraphError, ProblemTooLargeError
from model.problems.arrays import ProblemTensors
from model.problems.generate import CONCEPTS, PEOPLE
from model.problems.prosqa import ProsQAProblem
from model.tokenizer import Vocabulary

START, END, LATENT = "<|start-latent|>", "<|end-latent|>", "<|latent|>"
NAMES = (*CONCEPTS, *PEOPLE)
"""A node's key is the place of its name here."""
_KEY = {name: key for key, name in enumerate(NAMES)}
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


@dataclass(frozen=True)
class TextCodec:
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
    compact: bool = False
    """Only the tokens that ProsQA's names and sentences need, in GPT-2's order."""

    def __post_init__(self) -> None:
        for name in ("start", "end_marks", "added"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
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
        texts = (*_WORDS, self.answer, *(f" {name}" for name in NAMES)) if self.compact else ()
        return Vocabulary(self.added, texts)

    @property
    def vocab_size(self) -> int:
        return self.rows

    @property
    def n_keys(self) -> int:
        return len(NAMES)

    @property
    def lag(self) -> int:
        return 1

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

    def key_tokens(self) -> tuple[tuple[int, ...], ...]:
        return tuple(self._name(name) for name in NAMES)

    def words(self, token: int, prompt: Prompt) -> str:
        return self.vocabulary.text([token]) or f"row {token}"

    # --- prompts ----------------------------------------------------------------------------------------------------

    def check_fits(self, problem: ProsQAProblem, *, n_positions: int, n_thoughts: int, generates: bool = False) -> None:
        for name in problem.idx_to_symbol:
            if self.vocabulary.text(self._name(name)) != f" {name}":
                raise ProblemTooLargeError(f"the name {name!r} cannot be written with this model's tokens")
        degree = np.bincount(np.array(problem.edges).flatten(), minlength=problem.n_nodes)
        degree[[problem.root, problem.target, problem.neg_target]] += 1
        length = [len(self._name(name)) for name in problem.idx_to_symbol]
        # Of all ways to exchange names, the longest gives the longest names to the nodes that are named most often.
        needed = int(np.sort(degree) @ np.sort(length)) + 4 * len(problem.edges) + 6 + len(self.start) + n_thoughts
        needed += self.longest_generation(problem) if generates else len(self.after) + 2 * max(length) + 5
        if needed > n_positions:
            raise ProblemTooLargeError(
                f"the graph's {len(problem.edges)} facts and {n_thoughts} thoughts need {needed} token positions; "
                f"this model has {n_positions}"
            )

    def prompt(self, problem: ProsQAProblem, rng: np.random.Generator, *, pad_to: Size | None = None) -> Prompt:
        return self.encode(problem, as_written(problem)) if pad_to is None else self.drawn(problem, rng, pad_to=pad_to)

    def drawn(self, problem: ProsQAProblem, rng: np.random.Generator, *, pad_to: Size | None = None) -> Prompt:
        names, distractors = list(problem.idx_to_symbol), list[tuple[str, str]]()
        people = [node for node in range(problem.n_nodes) if not problem.parents[node]]
        for group in (people, [node for node in range(problem.n_nodes) if problem.parents[node]]):
            for node, other in zip(group, rng.permutation(group).tolist(), strict=True):
                names[node] = problem.idx_to_symbol[other]
        if pad_to is not None and len(problem.edges) < pad_to.edges:
            free = rng.permutation([name for name in CONCEPTS if name not in names]).tolist()
            free = free[: max(pad_to.nodes - problem.n_nodes, 6)]
            sources, targets = np.triu_indices(len(free), k=1)  # forward along a random order: no cycle
            chosen = rng.permutation(len(sources))[: pad_to.edges - len(problem.edges)]
            distractors = [(free[sources[i]], free[targets[i]]) for i in chosen]
        pair = (problem.target, problem.neg_target)
        order = rng.permutation(len(problem.edges) + len(distractors)).tolist()
        chosen_pair = pair if rng.random() < 0.5 else pair[::-1]
        return self.encode(problem, TextSample(tuple(names), tuple(order), chosen_pair, tuple(distractors)))

    def prompts(
        self, problem: ProsQAProblem, n_samples: int, *, seed: int, pad_to: Size | None = None
    ) -> tuple[Prompt, ...]:
        def of(i: int) -> np.random.Generator:
            return np.random.default_rng([seed, i])

        more = (self.drawn(problem, of(i), pad_to=pad_to) for i in range(1, n_samples))
        return self.prompt(problem, of(0), pad_to=pad_to), *more

    def rewritten(self, prompt: Prompt, problem: ProsQAProblem) -> Prompt:
        """With the same names, order of facts and order of candidates, in the sentences written here."""
        sample: TextSample = prompt.sample
        return self.encode(problem, TextSample(sample.names, sample.edge_order, sample.candidates, sample.distractors))

    def encode(self, problem: ProsQAProblem, sample: TextSample) -> Prompt:
        """The prompt of a problem in one way to write it."""
        keys = tuple(_KEY.get(name, NO_KEY) for name in sample.names)
        closing = [
            *(self._ids("\n") if self.newline else ()),
            *(token for mark in self.start for token in self._ids(mark)),
        ]
        if sample.question is not None:
            ids, spans = self._verbatim(problem, sample.question)
            return Prompt(problem, (*ids, *closing), keys, spans, 0, sample)
        names = sample.names
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

    def collate(self, prompts: Sequence[Prompt]) -> PromptBatch:
        return PromptBatch.of(prompts, self.end)

    def prompt_length(self, n_edges: int) -> int:
        return n_edges * (2 * self._longest_name + 4) + 3 * self._longest_name + 5 + len(self.start)

    # --- reading ----------------------------------------------------------------------------------------------------

    def node_tokens(self, prompt: Prompt) -> tuple[tuple[int, ...], ...]:
        return tuple(self._name(name) for name in prompt.sample.names)

    def reading(self, prompt: Prompt, k: int) -> Reading:
        names, root = self.node_tokens(prompt), prompt.sample.names[prompt.problem.root]
        if k:
            return Reading((*self.after, *self._ids("Every")), tuple((*name, *self._ids(" is")) for name in names))
        prefix = (*self.after, *self._ids(root), *self._ids(" is"), *self._ids(" a"))
        return Reading(prefix, tuple((*name, *self._ids(".")) for name in names))

    def answer_reading(self, prompt: Prompt) -> Reading:
        names, root = self.node_tokens(prompt), prompt.sample.names[prompt.problem.root]
        prefix = (*self.after, *self._ids(self.answer), *self._name(root), *self._ids(" is"), *self._ids(" a"))
        return Reading(prefix, tuple((*name, *self._ids(".")) for name in names))

    def longest_generation(self, problem: ProsQAProblem) -> int:
        longest = max(len(self._ids(f" {name}")) for name in problem.idx_to_symbol)
        return problem.height_longest[problem.root] * (2 * longest + 5) + 2 * longest + 6 + len(self._ids(self.answer))

    def has_ended(self, written: Tensor) -> Tensor:
        return (written == self.end).any(dim=-1)

    def parse(self, written: Sequence[int], prompt: Prompt) -> Written:
        """Sentences up to what begins an answer; the answer is what follows the last of these, the whole sentence."""
        problem, names = prompt.problem, prompt.sample.names
        node_of = {name: node for node, name in enumerate(names)}
        ended = list(written).index(self.end) if self.end in written else len(written)
        text = self.vocabulary.text(written[:ended])
        chain, *answers = text.split(self.answer)
        path: list[int] = []
        for line in filter(None, map(str.strip, chain.split("\n"))):
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

    # --- training ---------------------------------------------------------------------------------------------------

    def samples(self, problems: ProblemTensors, generator: torch.Generator, *, align: int = 1) -> PromptSamples:
        """One problem at a time, on the CPU; nodes get names of people and concepts anew."""
        rng = np.random.default_rng(int(torch.randint(2**62, (), generator=generator, device=generator.device)))
        each = tuple(self.drawn(_renamed(problem, rng), rng) for problem in problems.problems())
        return PromptSamples(self, each, problems.device, align)

    def continuation(self, prompt: Prompt, n_skip: int) -> list[tuple[int, bool, bool, bool]]:
        """(token, scored, of the first step, due) of every place of what is taught after the thoughts."""
        problem, names = prompt.problem, prompt.sample.names
        path = problem.shortest_path
        text = [(token, False, False, False) for token in self.after]
        for hop in range(n_skip, problem.n_hops):
            source, target = names[path[hop]], names[path[hop + 1]]
            every = bool(problem.parents[path[hop]])
            subject = (*self._ids("Every"), *self._name(source)) if every else self._ids(source)
            before, first, last = (
                (*subject, *self._ids(" is"), *self._ids(" a")),
                hop == n_skip,
                hop == problem.n_hops - 1,
            )
            text += [(token, True, first, False) for token in before]
            text += [(token, True, first, last) for token in self._name(target)]
            text += [(token, True, first, False) for token in (*self._ids("."), *self._ids("\n"))]
        none_left = n_skip >= problem.n_hops
        asked = (*self._name(names[problem.root]), *self._ids(" is"), *self._ids(" a"))
        text += [(token, True, none_left, False) for token in self._ids(self.answer)]
        text += [(token, True, False, False) for token in asked]
        text += [(token, True, False, none_left) for token in self._name(names[problem.target])]
        return [*text, *((token, True, False, False) for token in (*self._ids("."), self.end))]

    # --- private ----------------------------------------------------------------------------------------------------

    def _ids(self, text: str) -> tuple[int, ...]:
        return self.vocabulary.ids(text)

    def _name(self, name: str) -> tuple[int, ...]:
        return self.vocabulary.ids(f" {name}")

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


def _renamed(problem: ProsQAProblem, rng: np.random.Generator) -> ProsQAProblem:
    """The problem with names drawn anew: nodes without parents are people."""
    people, concepts = rng.permutation(PEOPLE).tolist(), rng.permutation(CONCEPTS).tolist()
    names = [(concepts if parents else people).pop() for parents in problem.parents]
    return ProsQAProblem(tuple(names), problem.edges, problem.root, problem.target, problem.neg_target)
