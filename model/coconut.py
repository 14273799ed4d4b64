"""The Coconut GPT-2 and the one thought loop that training, evaluation, probing and interventions all use.

A continuous thought is the last hidden state fed back as the next input embedding (Hao et al. 2024, section 3).
``think`` reads the prompt once, then feeds thoughts one at a time. Everything it saw and produced is returned as a
``ThoughtTrace``: a value, never changed afterwards, from which thinking can continue, be cut back or be branched. The
model keeps no state of a run, so one model can serve many sessions at once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from model.codec import Codec, PromptBatch, Size
from model.codec_slots import SlotCodec
from model.codec_symbols import SymbolCodec
from model.codec_text import TextCodec, TextFormat
from model.deferred import Deferred, DeferredMemory
from model.errors import CheckpointError, InputError
from model.problems.prosqa import ProsQAProblem
from model.transformer import (
    PLAIN,
    Attend,
    Cache,
    Operations,
    Precision,
    Stream,
    ThoughtMemory,
    embed,
    linear,
    place,
    run,
)
from model.values import first_fault

Edit = Callable[[int, Tensor], Tensor]
"""``edit(t, thought)``: what to feed in place of thought ``t`` (1, 2, ...). ``thought`` is ``batch n_embd``."""

StreamEdit = Callable[[int, int, Tensor], Tensor]
"""``stream(t, layer, hidden)``: what replaces the residual stream, ``batch n_embd``, behind ``layer`` blocks
(1..n_layer) at the position of state h_t: of thought t, or of the prompt's last token where t is 0."""


def zero_thoughts(t: int, thought: Tensor) -> Tensor:
    """The ``Edit`` that feeds zeros in place of every thought: the control of what thoughts hold."""
    return torch.zeros_like(thought)


Ended = Callable[[Tensor], Tensor]
"""``... n`` tokens that were written to ``...`` (bool): whether what follows means nothing."""

CODECS: dict[str, Callable[..., Codec]] = {"slots": SlotCodec, "symbols": SymbolCodec, "text": TextCodec}
"""Prompt formats by the kind and the number in their names: ``slots-40``; more arguments as in ``Codec.format``."""
FORMATS: dict[str, TypeAdapter[Any]] = {"text": TypeAdapter(TextFormat)}
"""What these may be of a kind; of others, nothing."""

METHODS = ("coconut", "cot", "no_cot", "icot", "pause", "no_curriculum", "no_thought", "pause_as_thought")
"""How a checkpoint was trained; names as in Hao et al. 2024, table 1."""
PAUSE_METHODS = ("pause", "pause_as_thought")
"""Methods that feed the <pause> embedding where Coconut feeds its hidden state."""
THOUGHTLESS_METHODS = ("cot", "no_cot", "icot", "no_thought")
"""Methods that answer without thoughts."""
FEEDS = ("state", "argmax", "sampled", "expected")
"""What is fed back: the state itself (Coconut), the embedding of its most probable next token, of one sampled, or the
expected embedding under the softmax (Soft Thinking). ``fed_back``."""
FEED_MAPS = ("identity", "mlp", "constant")
"""What is made of a state before it is fed: nothing, a learned map (CODI's ``prj``), or one learned vector whatever the
state (the pause token of the public code)."""

THOUGHTS_BY = ("stage", "hops")
"""What the number of thoughts follows: the stage that training reached, or the hops of the problem."""


class CoconutConfig(GPT2Config):
    """A GPT-2 config that also records how the thoughts were trained, so that nothing has to be guessed later."""

    model_type = "coconut_gpt2"

    codec: str = "slots-40"
    """Prompt format (``model.codec``)."""
    method: str = "coconut"
    """One of METHODS."""
    c_thought: int = 1
    """Thoughts per reasoning step."""
    max_latent_stage: int = 6
    """Last stage of the curriculum; the model was trained with up to ``c_thought * max_latent_stage`` thoughts."""
    trained_stage: int = 6
    """Stage that training reached."""
    uniform_prob: float | None = 0.0
    """Probability with which earlier stages were mixed in; with 0 a read-out before the last thought is untrained;
    None if unknown."""
    feed: str = "state"
    """One of FEEDS; of no account for PAUSE_METHODS."""
    feed_map: str = "identity"
    """One of FEED_MAPS; of account where ``feed`` is the state."""
    feed_width: int = 0
    """Hidden width of a feed map ``mlp``; 0 without one."""
    feed_norm: bool = True
    """Whether a layer norm ends a feed map ``mlp``."""
    single_pass: bool = False
    """Whether training fed all thoughts in one pass; only where what is fed is known beforehand."""
    thoughts_by: str = "stage"
    """One of THOUGHTS_BY: always ``n_thoughts``, or as many as the target is hops away."""
    codec_format: dict[str, Any] | None = None
    """What the codec needs to know beside its name (``Codec.format``): the tokens around the thoughts among it."""

    mimetic_start: bool = False
    """Whether random weights begin as ``model.mimetic`` says."""

    task: str = "prosqa"
    """What the model was trained on: prosqa, prontoqa or gsm."""
    imported: str | None = None
    """The family of a checkpoint that was imported (``model.imports``)."""

    trained_nodes: tuple[int, int, int] | None = None
    """Nodes of the training graphs: fewest, mean, most; None if unknown."""
    trained_edges: tuple[int, int, int] | None = None
    """Edges of the training graphs: fewest, mean, most (the rarest percent aside); None if unknown."""
    trained_hops: tuple[int, int] | None = None
    """Hops from root to target in training: fewest, most; None if unknown."""

    @property
    def n_thoughts(self) -> int:
        """Thoughts the model was trained to have before it answers."""
        return 0 if self.method in THOUGHTLESS_METHODS else self.c_thought * self.trained_stage

    def thoughts_for(self, problem: ProsQAProblem) -> int:
        """Thoughts the model was trained to have on this problem."""
        return problem.n_hops if self.thoughts_by == "hops" else self.n_thoughts

    def check_fits(self, problem: ProsQAProblem, n_thoughts: int | None = None, *, generates: bool = False) -> None:
        """``Codec.check_fits`` for this model; ``n_thoughts``: as many as it was trained to have if None.

        Raises InputError for fewer than none.
        """
        n = self.n_thoughts if n_thoughts is None else n_thoughts
        if n < 0:
            raise InputError(f"thoughts must be 0 or more, got {n}")
        codec_for(self).check_fits(problem, n_positions=self.n_positions, n_thoughts=n, generates=generates)

    def trained_on(self, problem: ProsQAProblem) -> bool:
        """Whether a graph has no more nodes and edges than those of training (True where these are unknown)."""
        sizes = ((self.trained_nodes, problem.n_nodes), (self.trained_edges, len(problem.edges)))
        return all(trained is None or n <= trained[-1] for trained, n in sizes)

    def padding_for(self, problem: ProsQAProblem) -> Size | None:
        """The size to pad a graph to that is smaller than any in training: their mean size; None for other graphs."""
        nodes, edges = self.trained_nodes, self.trained_edges
        if nodes is None or edges is None or (problem.n_nodes >= nodes[0] and len(problem.edges) >= edges[0]):
            return None
        return Size(nodes[1], edges[1])


@lru_cache(maxsize=32)
def _codec(kind: str, size: int, text: str) -> Codec:
    return CODECS[kind](size, **(FORMATS[kind].validate_json(text) if kind in FORMATS else json.loads(text)))


def codec_named(name: str, told: Mapping[str, Any] | None = None) -> Codec:
    """The codec of that name, such as ``slots-40``, and format. Raises CheckpointError for one unknown here."""
    kind, _, size = name.partition("-")
    if kind not in CODECS or not size.isdecimal():
        raise CheckpointError(
            f"the codec is {name!r}; this version reads slots-N (one token per node), symbols-N and text-N (English)"
        )
    try:
        return _codec(kind, int(size), json.dumps(dict(told or {}), sort_keys=True))
    except ValidationError as error:
        raise CheckpointError(f"the format of the codec {name!r}: {first_fault(error)}") from None
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"the codec {name!r} cannot be made: {error}") from None


def codec_for(config: CoconutConfig) -> Codec:
    """The codec a checkpoint was trained with. Raises CheckpointError for one unknown here or of another vocabulary."""
    codec = codec_named(config.codec, config.codec_format)
    if config.vocab_size != codec.vocab_size:
        raise CheckpointError(
            f"the checkpoint has {config.vocab_size} tokens, but its codec {config.codec!r} needs {codec.vocab_size}"
        )
    return codec


@dataclass(frozen=True)
class ThoughtTrace:
    """All that a run of thoughts saw and produced. Tensors are never changed in place; slices share memory.

    With B prompts, K thoughts, prompt length P (left-padded) and width n_embd:
    """

    states: Tensor
    """``B K+1 n_embd``: h_0..h_K, the last hidden states after ``ln_f``, as the model produced them."""
    thoughts: Tensor
    """``B K n_embd``: thoughts 1..K as they were fed: h_(t-1), or what an edit put in its place."""
    attention_mask: Tensor
    """``B P+K``: 0 on padding."""
    cache: tuple[tuple[Tensor, Tensor], ...]
    """Keys and values of each layer, ``B n_head P+K head_width``."""

    @property
    def n_thoughts(self) -> int:
        return self.thoughts.shape[1]

    @property
    def batch_size(self) -> int:
        return self.states.shape[0]

    @property
    def next_position(self) -> Tensor:
        """``B``: position id of the next token (padding has none)."""
        return self.attention_mask.sum(dim=1)

    def upto(self, k: int) -> ThoughtTrace:
        """The run as it stood after ``k`` thoughts, to continue from; 0 <= k <= n_thoughts."""
        assert 0 <= k <= self.n_thoughts, (k, self.n_thoughts)
        keep = self.attention_mask.shape[1] - self.n_thoughts + k
        return ThoughtTrace(
            self.states[:, : k + 1],
            self.thoughts[:, :k],
            self.attention_mask[:, :keep],
            tuple((keys[:, :, :keep], values[:, :, :keep]) for keys, values in self.cache),
        )

    def select(self, rows: Tensor) -> ThoughtTrace:
        """The runs at these batch rows (int64, repeats allowed): copies of one prompt pass for several edits."""
        return ThoughtTrace(
            self.states[rows],
            self.thoughts[rows],
            self.attention_mask[rows],
            tuple((keys[rows], values[rows]) for keys, values in self.cache),
        )


def fed_back(model: GPT2LMHeadModel, state: Tensor, feed: str, noise: Tensor | None = None) -> Tensor:
    """What one of FEEDS makes of a state, both ``B n_embd``; ``noise``: standard Gumbel, ``B vocab``, for ``sampled``.

    Where gradients flow, a choice of one token passes them on as the expectation would (straight-through).
    """
    if feed == "state":
        return state
    logits, embedding = model.lm_head(state), model.transformer.wte.weight
    expected = logits.softmax(dim=-1) @ embedding
    if feed == "expected":
        return expected
    chosen = embedding[(logits if feed == "argmax" else logits + noise).argmax(dim=-1)]
    return expected + (chosen - expected).detach() if torch.is_grad_enabled() else chosen


class FeedMLP(torch.nn.Module):
    """A learned map from a state to what is fed: linear, GELU, linear, and layer norm where there is one."""

    def __init__(self, width: int, hidden: int, *, norm: bool) -> None:
        super().__init__()
        self.into, self.out = torch.nn.Linear(width, hidden), torch.nn.Linear(hidden, width)
        self.norm = torch.nn.LayerNorm(width) if norm else torch.nn.Identity()

    def forward(self, state: Tensor) -> Tensor:
        """``... n_embd`` to the same shape."""
        return self.norm(self.out(torch.nn.functional.gelu(self.into(state))))


class CoconutGPT2(GPT2LMHeadModel):
    """GPT-2 with a thought loop. Weights, names and files are those of ``GPT2LMHeadModel``, and those of a feed map."""

    config_class = CoconutConfig
    config: CoconutConfig

    def __init__(self, config: CoconutConfig) -> None:
        super().__init__(config)
        self.operations: Operations = PLAIN
        """How passes multiply (``model.precision``); those of training say so themselves."""
        if config.feed_map == "mlp":
            self.feed_mlp = FeedMLP(config.n_embd, config.feed_width or config.n_embd, norm=config.feed_norm)
        elif config.feed_map == "constant":
            self.pause_embedding = torch.nn.Parameter(torch.zeros(config.n_embd))

    @property
    def codec(self) -> Codec:
        """How problems are written for this model and its answers read back."""
        return codec_for(self.config)

    @property
    def precision(self) -> Precision:
        """What passes without gradients multiply in."""
        return self.operations.precision

    def think(
        self,
        start: PromptBatch | ThoughtTrace,
        n_thoughts: int,
        *,
        edit: Edit | None = None,
        stream: StreamEdit | None = None,
    ) -> ThoughtTrace:
        """Read the prompt (or continue from a trace) and have ``n_thoughts`` further thoughts.

        ``edit(t, thought)`` may replace thought t before it is fed; t counts from the start of the run, so after
        ``trace.upto(2)`` the first thought is number 3. ``stream`` may see and replace the residual stream inside.
        Gradients flow unless the caller switched them off. A model trained with pauses is fed its <pause> embedding
        in place of each thought, and edits apply to that.
        """
        trace = self._read(start, stream) if isinstance(start, PromptBatch) else start
        if n_thoughts == 0:
            return trace
        position, mask = trace.next_position, trace.attention_mask
        after = torch.cat([mask, mask.new_ones(mask.shape[0], n_thoughts)], dim=1)
        at_once = edit is None and stream is None and self._pause() is not None
        cache, memory = Cache(self, trace.cache), None
        if not at_once and not torch.is_grad_enabled():
            memory = ThoughtMemory(self, trace.cache, mask, n_thoughts)

        def feed(t: int, fed: Tensor) -> Tensor:
            first, n = t - trace.n_thoughts - 1, fed.shape[1]
            x = place(self, fed, position[:, None] + torch.arange(first, first + n, device=mask.device))
            if memory is not None:
                return self._run(x, memory.attend, stream=_at(t, stream))
            seen = mask.shape[1] + first + n
            causal = torch.ones(n, seen, dtype=torch.bool, device=mask.device).tril(diagonal=seen - n)
            return self._run(x, cache.attend(causal & after[:, None, :seen].bool()), stream=_at(t, stream))

        steps = range(trace.n_thoughts + 1, trace.n_thoughts + n_thoughts + 1)
        states, thoughts = self._loop(trace.states[:, -1:], steps, feed, edit, at_once=at_once)
        return ThoughtTrace(
            torch.cat([trace.states, *states], dim=1),
            torch.cat([trace.thoughts, *thoughts], dim=1),
            after,
            tuple(cache.layers) if memory is None else memory.layers,
        )

    def training_logits(self, prompt: PromptBatch, n_thoughts: int, tokens: Tensor, after: Tensor) -> Tensor:
        """``continuation_logits(think(prompt, n_thoughts), tokens, after=after)`` for one backward pass from it.

        The same passes over one memory, in which what all thoughts send back to the prompt and to the weights is
        summed in one product each (``model.deferred``).
        """
        n_fed = tokens.shape[1] - 1
        mask, n_rows = prompt.attention_mask, len(tokens)
        operations = Deferred()
        memory = DeferredMemory(self, mask, n_thoughts, n_fed, after)
        position = (mask.cumsum(dim=1) - 1).clamp(min=0)
        x = embed(self, prompt.input_ids, position)
        state = run(self, x, memory.read, n_read=1, operations=operations)
        places = position[:, -1:] + torch.arange(1, n_thoughts + 1, device=mask.device)

        def feed(t: int, fed: Tensor) -> Tensor:
            x = place(self, fed, places[:, t - 1 : t - 1 + fed.shape[1]])
            return run(self, x, memory.look, operations=operations)

        at_once = self._pause() is not None
        states, _ = self._loop(state, range(1, n_thoughts + 1), feed, None, at_once=at_once)
        found = torch.cat([state, *states], dim=1)[torch.arange(n_rows, device=mask.device), after][:, None]
        if n_fed:
            own = position[:, -1:] + 1 + after[:, None] + torch.arange(n_fed, device=mask.device)
            x = embed(self, tokens[:, :-1], own)
            found = torch.cat([found, run(self, x, memory.look, operations=operations)], dim=1)
        memory.close()
        operations.close()
        return self.logits(found)

    def held(self, trace: ThoughtTrace) -> Tensor:
        """``B K n_embd``: what thoughts 1..K hold, as they were fed; where pauses are fed, h_0..h_(K-1) beside them."""
        return trace.states[:, :-1] if self._pause() is not None else trace.thoughts

    def logits(self, states: Tensor) -> Tensor:
        """Next-token logits of states: ``... n_embd`` to ``... vocab``. States already passed ``ln_f``."""
        return linear(states, self.lm_head.weight)

    def logits_after(self, trace: ThoughtTrace, token: int) -> Tensor:
        """``B K+1 vocab``: next-token logits if ``token`` were written after k = 0..K thoughts."""
        tokens = torch.full(trace.states.shape[:2], token, device=trace.states.device)
        k = torch.arange(trace.n_thoughts + 1, device=tokens.device)
        return self.logits(self._branch(trace, Cache(self, trace.cache), tokens, [k]))

    def continuation_logits(self, trace: ThoughtTrace, tokens: Tensor, *, after: Tensor | None = None) -> Tensor:
        """``B n vocab``: next-token logits at each of n places, the tokens before it written after the thoughts.

        Row b of ``tokens`` (``B n``) leaves the run after ``after[b]`` thoughts (int64; by default after the last).
        Place 0 is read from that state, place i after tokens 0..i-1; so ``log_softmax`` of it at ``tokens`` scores
        the continuation, in one pass over the trace's cache. Gradients flow.
        """
        n_rows, n_places = tokens.shape
        device = tokens.device
        k = torch.full((n_rows,), trace.n_thoughts, device=device) if after is None else after
        states = trace.states[torch.arange(n_rows, device=device), k][:, None]
        if n_places > 1:
            n_fed = n_places - 1
            chain = torch.ones(n_fed, n_fed, dtype=torch.bool, device=device).tril().expand(n_rows, -1, -1)
            fed = self.branch_states(trace, tokens[:, :-1], after=k[:, None].expand(-1, n_fed), on_branch=chain)
            states = torch.cat([states, fed], dim=1)
        return self.logits(states)

    def branch_states(self, trace: ThoughtTrace, tokens: Tensor, *, after: Tensor, on_branch: Tensor) -> Tensor:
        """``B n n_embd``: the states behind tokens that are written along branches which leave the run.

        Token i of row b leaves the run, with the tokens before it on its branch, after ``after[b, i]`` thoughts;
        ``on_branch[b, i, j]`` (bool): token j is token i or one before it on its branch. One pass over the trace's
        cache, whatever the branches share. Gradients flow.
        """
        n_thoughts, device = trace.n_thoughts, tokens.device
        before = trace.attention_mask[:, None].bool().repeat(1, tokens.shape[1], 1)
        before[:, :, before.shape[2] - n_thoughts :] &= torch.arange(n_thoughts, device=device) < after[:, :, None]
        position = (trace.next_position - n_thoughts)[:, None] + after + on_branch.sum(dim=2) - 1
        fed = embed(self, tokens, position)
        return self._run(fed, Cache(self, trace.cache).attend(torch.cat([before, on_branch], dim=2)))

    def write_after_each(
        self,
        trace: ThoughtTrace,
        max_new_tokens: int,
        *,
        stop: int | Ended | None = None,
        first: Sequence[int] = (),
        last_only: bool = False,
    ) -> Tensor:
        """``B K+1 n``: tokens written greedily after k = 0..K thoughts, all K + 1 continuations side by side.

        Equal to ``write(trace.upto(k), ...)`` for each k (the k-switch of Hao et al. 2024, section 5), at the price
        of one; ``last_only``: after all thoughts alone, ``B 1 n``. ``first`` are tokens put between the thoughts and
        what is written. Ends once every continuation has written ``stop``, or has ended by it; what one wrote after
        that means nothing (a continuation that has ended in every row is not computed further).
        """
        cache = Cache(self, trace.cache)
        ks = torch.arange(trace.n_thoughts + 1, device=trace.states.device)[-1 if last_only else 0 :]
        fed: list[Tensor] = []
        state = trace.states[:, -len(ks) :]
        for forced in first:
            fed.append(ks)
            state = self._branch(trace, cache, torch.full_like(state[:, :, 0], forced, dtype=torch.long), fed)
        written = self.logits(state).argmax(dim=-1)[:, :, None]
        while written.shape[2] < max_new_tokens:
            done = stop(written) if callable(stop) else (written == (-1 if stop is None else stop)).any(dim=2)
            going_on = (~done).any(dim=0).nonzero()[:, 0]
            if len(going_on) == 0:
                break
            fed.append(ks[going_on])
            state = self._branch(trace, cache, written[:, going_on, -1], fed)
            token = torch.full_like(written[:, :, 0], self.codec.end)
            token[:, going_on] = self.logits(state).argmax(dim=-1)
            written = torch.cat([written, token[:, :, None]], dim=2)
        return written

    def write(
        self, trace: ThoughtTrace, max_new_tokens: int, *, stop: int | Ended | None = None, first: Sequence[int] = ()
    ) -> Tensor:
        """``B n``: tokens written greedily after the trace's thoughts, as by ``write_after_each``."""
        return self.write_after_each(trace, max_new_tokens, stop=stop, first=first, last_only=True)[:, 0]

    # --- private ------------------------------------------------------------------------------------------------

    def _run(self, x: Tensor, attend: Attend, *, n_read: int | None = None, stream: Stream | None = None) -> Tensor:
        return run(self, x, attend, n_read=n_read, stream=stream, operations=self.operations)

    def _loop(
        self, state: Tensor, steps: range, feed: Callable[[int, Tensor], Tensor], edit: Edit | None, *, at_once: bool
    ) -> tuple[list[Tensor], list[Tensor]]:
        """The thought loop: states after and thoughts fed at steps t, each ``B 1 n_embd``, from the state before.

        ``feed(t, thoughts)`` feeds the thoughts t, t + 1, ... that it is given, ``B n n_embd``. ``at_once``: nothing is
        fed back (pauses), so one pass over all steps gives what one for each would.
        """
        states, thoughts, pause = list[Tensor](), list[Tensor](), self._pause()
        if at_once and steps:
            assert pause is not None
            fed = pause.expand(len(state), len(steps), -1)
            return [feed(steps[0], fed)], [fed]
        for t in steps:
            thought = self._fed(t, state[:, 0]) if pause is None else pause.expand_as(state[:, 0])
            if edit is not None:
                edited = edit(t, thought)
                if edited.shape != thought.shape:
                    raise ValueError(
                        f"edit(t={t}) returned shape {tuple(edited.shape)}, expected {tuple(thought.shape)}"
                    )
                thought = edited
            thoughts.append(thought[:, None])
            state = feed(t, thoughts[-1])
            states.append(state)
        return states, thoughts

    def _fed(self, t: int, state: Tensor) -> Tensor:
        if self.config.feed == "state":
            return self.feed_mlp(state) if self.config.feed_map == "mlp" else state
        if self.config.feed != "sampled":
            return fed_back(self, state, self.config.feed)
        # As with dropout, what is drawn in training is fresh; elsewhere it depends on the row and the thought alone.
        seeded = None if self.training else torch.Generator(state.device).manual_seed(t)
        drawn = torch.rand(len(state), self.config.vocab_size, generator=seeded, device=state.device)
        return fed_back(self, state, "sampled", -torch.log(-torch.log(drawn.clamp(min=1e-9))))

    def _pause(self) -> Tensor | None:
        """``n_embd``: what is fed as every thought, where that does not depend on the state."""
        if self.config.feed_map == "constant":
            return self.pause_embedding
        return self.transformer.wte.weight[self.codec.pause] if self.config.method in PAUSE_METHODS else None

    def _read(self, prompt: PromptBatch, stream: StreamEdit | None) -> ThoughtTrace:
        mask = prompt.attention_mask
        position = (mask.cumsum(dim=1) - 1).clamp(min=0)
        cache = Cache(self)
        allowed = torch.ones(mask.shape[1], mask.shape[1], dtype=torch.bool, device=mask.device).tril()
        x = embed(self, prompt.input_ids, position)
        state = self._run(x, cache.attend(allowed & mask[:, None].bool()), n_read=1, stream=_at(0, stream))
        return ThoughtTrace(state, state[:, :0], mask, tuple(cache.layers))

    def _branch(self, trace: ThoughtTrace, cache: Cache, tokens: Tensor, fed: list[Tensor]) -> Tensor:
        """States after one more token on some of the K + 1 branches that leave the run after k = 0..K thoughts.

        The branches share one cache. ``fed`` says which branches (k) each pass since the run has fed a token to, this
        pass last; a branch, once left out, never comes back. So a token of this pass sits ``len(fed) - 1`` positions
        after thought k, and attends to the prompt, to thoughts 1..k and to its own branch.
        """
        k, seen = fed[-1], trace.attention_mask.shape[1]
        before = trace.attention_mask[:, None, :].bool().repeat(1, len(k), 1)
        before[:, :, seen - trace.n_thoughts :] &= torch.arange(trace.n_thoughts, device=k.device) < k[:, None]
        own = torch.cat(fed) == k[:, None]
        allowed = torch.cat([before, own.expand(len(before), -1, -1)], dim=2)
        position = trace.next_position[:, None] - trace.n_thoughts + k + len(fed) - 1
        position = position.clamp(max=self.config.n_positions - 1)  # of rows that continue only for others in the batch
        return self._run(embed(self, tokens, position), cache.attend(allowed))


def _at(t: int, stream: StreamEdit | None) -> Stream | None:
    return None if stream is None else lambda layer, hidden: stream(t, layer, hidden)


AutoConfig.register(CoconutConfig.model_type, CoconutConfig)
AutoModelForCausalLM.register(CoconutConfig, CoconutGPT2)
