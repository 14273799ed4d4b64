from __future__ import annotations

import contextlib
import math
import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import oracle
import pytest
import torch
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from model import checkpoint
from model.coconut import CoconutGPT2
from model.errors import InputError
from model.problems.generate import generate
from model.problems.prosqa import ProsQAProblem
from probing.commands.intervene import register
from probing.edit import directions as directions_module
from probing.edit.batch import CleanRun, clean_run, draw_prompt
from probing.edit.directions import Directions
from probing.edit.kinds import CONTROLS, KINDS, NODE_SETS, Context, Control, Kind, node_set
from probing.edit.one_problem import intervene, preview
from probing.edit.run import build
from probing.edit.spec import PRESETS, EditPlan, EditSpec, NodePart, Nodes

PROBLEM = ProsQAProblem.from_names(
    # Two searches: R -> a, b -> c -> T and S -> x, y -> z -> F; b and y lead nowhere, u is apart.
    [("R", "a"), ("R", "b"), ("a", "c"), ("c", "T"), ("S", "x"), ("S", "y"), ("x", "z"), ("z", "F"), ("u", "v")],
    root="R",
    candidates=("T", "F"),
)


def names(nodes: object) -> set[str]:
    return {PROBLEM.idx_to_symbol[node] for node in nodes}  # type: ignore[attr-defined]


def planted_directions(model: CoconutGPT2, n_thoughts: int) -> Directions:
    """Known vectors instead of fitted ones."""
    rng = torch.Generator().manual_seed(3)
    n_keys, n_embd = model.codec.n_keys, model.config.n_embd

    def each(*shape: int) -> dict[str, torch.Tensor]:
        return {name: torch.randn(*shape, generator=rng) for name in directions_module.ESTIMATORS}

    return Directions(
        about=directions_module.About(
            fingerprint=checkpoint.fingerprint(model),
            n_problems=0,
            seed=0,
            ridge_lambda=1.0,
            thresholds={name: (0.5,) * n_thoughts for name in directions_module.ESTIMATORS},
            scores=(),
            symmetry=(),
        ),
        mean=torch.randn(n_thoughts, n_embd, generator=rng),
        bank=torch.randn(5, n_thoughts, n_embd, generator=rng),
        base=each(n_thoughts, n_embd),
        vectors=each(n_thoughts, n_keys, n_embd),
        readout_vectors=each(n_thoughts, n_keys, n_embd),
    )


@pytest.fixture(scope="module")
def context(tiny: CoconutGPT2) -> Context:
    problems = [PROBLEM, *generate("balanced", 5, 11)]
    prompts = [draw_prompt(tiny, problem, seed=4, number=i) for i, problem in enumerate(problems)]
    run = clean_run(tiny, prompts, range(len(prompts)))
    others = [tiny.codec.rewritten(p, p.problem.counterfactual) for p in prompts if p.problem.counterfactual]
    assert len(others) == len(prompts)
    donor = clean_run(tiny, others, run.ids)
    return Context(tiny, run, donor, (True,) * 6, planted_directions(tiny, run.n_thoughts))


# --- the text form --------------------------------------------------------------------------------------------------

node_names = st.text(min_size=1, max_size=8)
parts = st.one_of(
    st.builds(NodePart, st.sampled_from(list(NODE_SETS)), st.just(True), st.none() | st.integers(1, 9)),
    st.builds(NodePart, node_names | st.sampled_from(["frontier", "a/2", "a+b", "x,y=z", "&"]), st.just(False)),
)
node_lists = st.builds(Nodes, st.lists(parts, min_size=1, max_size=3).map(tuple))


@st.composite
def specs(draw: st.DrawFn) -> EditSpec:
    kind = draw(st.sampled_from(list(KINDS)))
    has = KINDS[kind]
    most = has.most or 4
    thoughts = draw(st.lists(st.integers(1, 9), min_size=2 if kind == "permute" else 1, max_size=most, unique=True))
    spec = EditSpec(
        kind,
        () if kind == "truncate" else tuple(thoughts),
        nodes=draw(node_lists) if has.nodes else None,
        to=Nodes.parse(has.to) if has.to else None,
        directions=draw(st.sampled_from(directions_module.ESTIMATORS)),
        strength=draw(st.floats(-100, 100)),
        measured=draw(st.booleans()) if "coefficient" in has.takes else False,
        keep_norm=draw(st.booleans()),
        layer=draw(st.integers(1, 12)) if kind == "patch" else None,
        depth=draw(st.integers(1, 6)) if kind == "rewire" else None,
        k=draw(st.integers(0, 6)) if kind == "truncate" else None,
        top=draw(st.integers(0, 6)) if "top" in has.takes else None,
        seed=draw(st.integers(0, 99)),
    )
    return replace(spec, control=draw(st.sampled_from(["", *spec.controls])))


@settings(max_examples=150, deadline=None)
@given(specs())
def test_text_form_round_trips(spec: EditSpec) -> None:
    assert EditSpec.parse(str(spec)) == spec
    assert EditPlan.parse(str(EditPlan([spec]))) == EditPlan([spec]) == (spec,)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=40))
def test_any_text_is_a_spec_or_one_clear_error(text: str) -> None:
    with contextlib.suppress(InputError):
        EditSpec.parse(text)


def test_presets_are_edits() -> None:
    for name, text in PRESETS.items():
        scene = EditPlan.parse(text.format(t=2))
        assert scene[0].thoughts == (2,), name
        assert len(scene[0].controls) >= 3, name


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("explode:t=1", "unknown; known are"),
        ("swap", "needs t="),
        ("swap:t=0", "count from 1"),
        ("swap:t=1,strength=nan", "strength must be a number"),
        ("swap:t=1,strength=inf", "strength must be a number"),
        ("swap:t=1,strength=1e9", "from -100 to 100"),
        ("swap:t=1,strength=big", "cannot be read"),
        ("swap:t=3-1", "cannot be read"),
        ("swap:t=1,t=2", "given twice"),
        ("swap:t=1,colour=red", "not an option"),
        ("zero:t=1,nodes=frontier", "takes no nodes"),
        ("swap:t=1,nodes=a,to=a+b", "takes out and puts in the same node: a"),
        ("swap:t=1,directions=magic", "are unknown"),
        ("swap:t=1,nodes=frontier/0", "how many nodes"),
        ("swap:t=1,nodes=front/2", "not a set"),
        ("permute:t=2", "at least two"),
        ("write:t=1,dose=held", "takes no coefficient=measured"),
        ("swap:t=1,dose=double", "dose='double' cannot be read; an example is coefficient=measured"),
        ("patch:t=1", "needs layer"),
        ("patch:t=1,layer=0", "layer must be 1 or more"),
        ("truncate:t=1,k=2", "takes no t"),
        ("rewire:t=1,depth=0", "depth must be 1 or more"),
        ("zero:t=1,control=neither", "has no control"),
        ("zero:t=1,seed=-1", "seed must be 0 or more"),
        ("zero:t=1&write:t=1", "contradicting edits of thought 1"),
        ("add:t=2,nodes=a&remove:t=2,nodes=a", "a is put in and taken out"),
        ("zero:t=1&truncate:k=2", "cannot be combined"),
        ("", "unknown"),
        ("swap:t=1,coefficient=double", "coefficient='double' cannot be read"),
        ("swap:t=1,dose=held,coefficient=fixed", "given twice"),
    ],
)
def test_bad_edits_say_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        EditPlan.parse(text)


def test_what_a_checkpoint_has_no_place_for(context: Context) -> None:
    def check(text: str, directions: Directions | None = context.directions) -> None:
        EditPlan.parse(text).check_fits(n_thoughts=6, n_layer=2, directions=directions)

    for text, says in (
        ("zero:t=7", "thoughts 1 to 6"),
        ("truncate:k=7", "has 6 thoughts"),
        ("patch:t=1,layer=3", "blocks 1 to 2"),
    ):
        with pytest.raises(InputError, match=says):
            check(text)
    with pytest.raises(InputError, match="python -m probing directions"):
        check("swap:t=1", None)
    assert context.directions is not None
    vectors = {name: value.clone() for name, value in context.directions.vectors.items()}
    vectors["ridge"][4] = math.nan
    fewer = replace(context.directions, vectors=vectors)
    assert fewer.defined == (1, 2, 3, 4, 6)
    with pytest.raises(InputError, match="not defined for thought 5"):
        check("swap:t=5", fewer)
    check("zero:t=5", fewer)


@pytest.mark.parametrize(
    ("typed", "written"),
    [
        ("ablate:t=1", "remove:t=1"),
        ("interchange:t=1", "transplant:t=1"),
        ("directional-ablation:t=1", "project:t=1"),
        ("project-out:t=1", "project:t=1"),
        ("early-exit:k=2", "truncate:k=2"),
        ("swap:t=1,coefficient=measured", "swap:t=1,dose=held"),
        ("swap:t=1,coefficient=fixed", "swap:t=1"),
    ],
)
def test_what_is_typed_in_other_words_is_written_in_the_old_ones(typed: str, written: str) -> None:
    assert str(EditPlan.parse(typed)) == written


# --- sets of nodes --------------------------------------------------------------------------------------------------


def test_node_sets_of_a_known_graph() -> None:
    at_1 = {name: names(node_set(name, PROBLEM, 1)) for name in NODE_SETS}
    assert at_1 == {
        "frontier": {"a", "b"},
        "target-branch": {"a"},
        "rest": {"b"},
        "other-frontier": {"x", "y"},
        "other-branch": {"x"},
        "other-rest": {"y"},
        "toward-target": {"R", "a", "c", "T"},
        "unreachable": {"y", "u", "v"},
        "graph": set(PROBLEM.idx_to_symbol),
        "nothing": set(),
    }
    assert names(node_set("target-branch", PROBLEM, 3)) == {"T"}
    assert names(node_set("rest", PROBLEM, 2)) == set()


def test_names_and_sets_add_up() -> None:
    rng = np.random.default_rng(0)
    assert names(Nodes.parse("target-branch+u").members(PROBLEM, 1, rng=rng)) == {"a", "u"}
    assert Nodes.parse("rest").members(PROBLEM, 2, rng=rng) is None
    assert Nodes.parse("nothing").members(PROBLEM, 2, rng=rng) == frozenset()
    one = Nodes.parse("frontier/1").members(PROBLEM, 1, rng=rng)
    assert one is not None
    assert len(one) == 1
    with pytest.raises(InputError, match="'nobody' is not in the graph"):
        Nodes.parse("nobody").members(PROBLEM, 1, rng=rng)


def test_unusual_nodes_are_warned_about() -> None:
    assert EditPlan.parse("write:t=1,nodes=a").warnings(PROBLEM) == ()
    (warning,) = EditPlan.parse("write:t=1,nodes=u").warnings(PROBLEM)
    assert "u is not reachable from the root" in warning
    (warning,) = EditPlan.parse("write:t=2,nodes=a").warnings(PROBLEM)
    assert "a is at distance 1" in warning


def test_without_another_question_its_sets_are_empty() -> None:
    lonely = ProsQAProblem.from_names([("R", "T"), ("R", "q")], root="R", candidates=("T", "F"), nodes=["F"])
    assert lonely.counterfactual is None
    assert node_set("other-frontier", lonely, 1) == frozenset()
    assert Nodes.parse("other-branch").members(lonely, 1, rng=np.random.default_rng(0)) is None


# --- what edits do to a thought -------------------------------------------------------------------------------------


def thought_of(context: Context, t: int) -> torch.Tensor:
    return context.run.trace.thoughts[:, t - 1]


def written(context: Context, spec: EditSpec, t: int, nodes: str) -> torch.Tensor:
    """Sum of the directions of a set, row by row: the slow way."""
    assert context.directions is not None
    total = torch.zeros_like(thought_of(context, t))
    for row, prompt in enumerate(context.run.prompts):
        for node in node_set(nodes, prompt.problem, t):
            total[row] += context.directions.vectors[spec.directions][t - 1, prompt.keys[node]]
    return total


@pytest.mark.parametrize("estimator", directions_module.ESTIMATORS)
def test_branch_edits_add_and_subtract_directions(context: Context, estimator: str) -> None:
    t, thought = 2, thought_of(context, 2)
    spec = EditSpec("swap", (t,), directions=estimator, strength=1.5)
    out, put = written(context, spec, t, "target-branch"), written(context, spec, t, "other-branch")
    assert context.directions is not None
    base = context.directions.base[estimator][t - 1]
    rest = written(context, spec, t, "rest")
    for edit, expected in (
        (spec, thought + 1.5 * (put - out)),
        (replace(spec, strength=0.0), thought),
        (EditSpec("remove", (t,), directions=estimator), thought - out),
        (EditSpec("add", (t,), directions=estimator, strength=2), thought + 2 * put),
        (EditSpec("scale", (t,), directions=estimator, strength=3), thought + 2 * out),
        (EditSpec("scale", (t,), directions=estimator, strength=1), thought),
        (EditSpec("keep", (t,), directions=estimator), thought - rest),
        (
            EditSpec("write", (t,), directions=estimator, nodes=Nodes.parse("target-branch"), strength=0.5),
            base + 0.5 * out,
        ),
    ):
        built = build(EditPlan([edit]), context)
        rows = torch.tensor(built.defined)
        assert rows.any()
        torch.testing.assert_close(built.edit(t, thought)[rows], expected[rows], rtol=1e-5, atol=1e-5)
        assert torch.equal(built.edit(t, thought)[~rows], thought[~rows])
        assert built.edit(t + 1, thought) is thought


def test_what_is_held_is_taken_out(context: Context, tiny: CoconutGPT2) -> None:
    """dose=held: read the weights again, and those taken out are 0, those put in have the mean of what was there."""
    assert context.directions is not None
    vectors = context.directions.vectors["ridge"]
    # Fewer slots than dimensions, or nothing can be read back: 40 slots need more than the 32 of the tiny model.
    wide = torch.randn(6, 40, 64, generator=torch.Generator().manual_seed(1))
    readout = torch.linalg.pinv(wide).transpose(1, 2)
    directions = replace(
        context.directions,
        base={"ridge": torch.randn(6, 64)},
        vectors={"ridge": wide},
        readout_vectors={"ridge": readout},
    )
    assert vectors.shape[-1] == 32
    there = replace(context, directions=directions)
    thought = torch.randn(6, 64, generator=torch.Generator().manual_seed(2))
    before = directions.coefficients(thought, 2)
    for text in ("swap:t=2,dose=held", "remove:t=2,dose=held", "keep:t=2,dose=held", "scale:t=2,dose=held,strength=3"):
        built = build(EditPlan.parse(text), there)
        after = directions.coefficients(built.edit(2, thought), 2)
        for row, prompt in enumerate(there.run.prompts):
            if not built.defined[row]:
                continue
            slots = prompt.keys
            out = [slots[v] for v in node_set("target-branch", prompt.problem, 2)]
            put = [slots[v] for v in node_set("other-branch", prompt.problem, 2)]
            rest = [slots[v] for v in node_set("rest", prompt.problem, 2)]
            expected = before[row].clone()
            if text.startswith("keep"):
                expected[rest] = 0
            elif text.startswith("scale"):
                expected[out] *= 3
            else:
                expected[out] = 0
                if text.startswith("swap"):
                    expected[put] += before[row, out].mean()
            torch.testing.assert_close(after[row], expected, rtol=1e-3, atol=1e-3)
    # A control changes the thought by as much as the edit does, and puts its nodes in with one coefficient.
    (spec,) = EditPlan.parse("swap:t=2,dose=held")
    edit, control = (build(EditPlan([replace(spec, control=name)]), there) for name in ("", "unreachable"))
    lengths = [(built.edit(2, thought) - thought).norm(dim=-1) for built in (edit, control)]
    after = directions.coefficients(control.edit(2, thought), 2)
    for row in np.flatnonzero(control.defined).tolist():
        assert lengths[1][row] == pytest.approx(float(lengths[0][row]), rel=1e-3)
        (touched,), slots = control.touched[row], there.run.prompts[row].keys
        change = (after - before)[row, [slots[v] for v in touched.put]]
        torch.testing.assert_close(change, change[:1].expand_as(change), rtol=1e-3, atol=1e-3)


def test_projection_leaves_nothing_along_the_directions(context: Context) -> None:
    spec = EditSpec("project", (1,), nodes=Nodes.parse("frontier"))
    edited = build(EditPlan([spec]), context).edit(1, thought_of(context, 1))
    assert context.directions is not None
    for row, prompt in enumerate(context.run.prompts):
        for node in prompt.problem.frontier(1):
            vector = context.directions.vectors["ridge"][0, prompt.keys[node]]
            assert abs(float(edited[row] @ vector)) < 1e-3
    again = build(EditPlan([spec]), context).edit(1, edited)
    torch.testing.assert_close(again, edited, rtol=1e-4, atol=1e-4)


def test_replacements(context: Context) -> None:
    assert context.directions is not None
    assert context.source is not None
    thought = thought_of(context, 2)

    def edited(text: str) -> torch.Tensor:
        return build(EditPlan.parse(text), context).edit(2, thought)

    assert torch.equal(edited("zero:t=2"), torch.zeros_like(thought))
    assert torch.equal(edited("mean:t=2"), context.directions.mean[1].expand_as(thought))
    assert torch.equal(edited("transplant:t=2"), context.source.trace.thoughts[:, 1])
    torch.testing.assert_close(edited("noise:t=2").norm(dim=-1), thought.norm(dim=-1))
    assert not torch.equal(edited("noise:t=2"), edited("noise:t=2,seed=1"))
    for row in edited("resample:t=2"):
        assert any(torch.equal(row, other) for other in context.directions.bank[:, 1])
    torch.testing.assert_close(
        edited("transplant:t=2,strength=.25"), thought + 0.25 * (edited("transplant:t=2") - thought)
    )
    kept = edited("transplant:t=2,norm=keep")
    torch.testing.assert_close(kept.norm(dim=-1), thought.norm(dim=-1))
    cosine = torch.nn.functional.cosine_similarity(kept, context.source.trace.thoughts[:, 1])
    torch.testing.assert_close(cosine, torch.ones(len(cosine)))


def test_a_collapsed_thought_holds_the_nodes_that_stood_out(context: Context) -> None:
    """Planted: a thought written as 1, .8, .3 of three nodes holds the best, the best two, or those of a set."""
    directions, prompts, t = context.directions, context.run.prompts, 2
    assert directions is not None
    dual = torch.linalg.pinv(directions.vectors["ridge"]).mT.contiguous()
    directions = replace(directions, readout_vectors={"ridge": dual})
    vectors, base = directions.vectors["ridge"][t - 1], directions.base["ridge"][t - 1]
    nodes = [[problem.n_nodes - 1, 0, 1] for problem in context.run.problems]
    keys = [[prompt.keys[v] for v in row] for prompt, row in zip(prompts, nodes, strict=True)]
    thought = torch.stack([base + torch.tensor([1, 0.8, 0.3]) @ vectors[row] for row in keys])

    def held(text: str) -> list[set[int]]:
        made = build(EditPlan.parse(text), replace(context, directions=directions)).edit(t, thought)
        return [{int(key) for key in (row > 0.5).nonzero()} for row in directions.coefficients(made, t)]

    assert held(f"collapse:t={t},top=1") == [{row[0]} for row in keys]
    assert held(f"collapse:t={t},top=2") == [set(row[:2]) for row in keys]
    many = [len(problem.frontier(t)) or 1 for problem in context.run.problems]
    for found, n, row in zip(held(f"collapse:t={t},top=m"), many, keys, strict=True):
        assert len(found) == n
        assert set(row[:n]) <= found or n > 3
    # Nodes 0 and 1 (the root and its child a) hold .8 and .3; of those on the frontier at distance 1, a stands out.
    only = replace(context.run, ids=(0,), noise_ids=(0,), prompts=prompts[:1])
    plan = EditPlan.parse(f"collapse:t={t},top=1,nodes=a+b")
    made = build(plan, replace(context, run=only, directions=directions)).edit(t, thought[:1])
    assert (directions.coefficients(made[0], t) > 0.5).nonzero().flatten().tolist() == [prompts[0].keys[1]]
    sampled = [held(f"sample:t={t},top=1,seed={seed}") for seed in range(40)]
    shares = [sum(found == {row[i]} for run in sampled for found, row in zip(run, keys, strict=True)) for i in range(3)]
    assert shares[0] > shares[1] > shares[2] > 0


def test_tokens_fed_in_place_of_thoughts_are_those_of_the_lens(context: Context, tiny: CoconutGPT2) -> None:
    thought, embedding = thought_of(context, 2), tiny.transformer.wte.weight.detach()
    with torch.inference_mode():
        probability = tiny.logits(thought).softmax(dim=-1)
        made = {kind: build(EditPlan.parse(f"{kind}:t=2"), context).edit(2, thought) for kind in FED}
    assert torch.equal(made["argmax"], embedding[probability.argmax(dim=-1)])
    torch.testing.assert_close(made["expected"], probability @ embedding)
    assert (made["token"][:, None] == embedding).all(dim=-1).any(dim=1).all()


FED = ("argmax", "token", "expected")


def test_permutation_moves_every_thought(context: Context) -> None:
    built = build(EditPlan.parse("permute:t=1-4"), context)
    for row in range(len(context.run.prompts)):
        places = []
        for t in range(1, 5):
            fed = built.edit(t, thought_of(context, t))[row]
            (place,) = [s for s in range(1, 5) if torch.equal(fed, context.run.trace.thoughts[row, s - 1])]
            assert place != t
            places.append(place)
        assert sorted(places) == [1, 2, 3, 4]


# --- controls -------------------------------------------------------------------------------------------------------


def test_every_edit_has_its_controls() -> None:
    assert set(EditSpec("swap", (1,)).controls) == set(CONTROLS)
    assert EditSpec("zero", (1,)).controls == ("identity", "random", "manifold", "other-step")
    assert EditSpec("zero", (1, 2)).controls == ("identity", "random", "manifold")
    assert EditSpec("truncate", k=1).controls == ("identity",)
    assert "neither" not in EditSpec("remove", (1,), nodes=Nodes.parse("rest")).controls
    assert "unreachable" not in EditSpec("write", (1,), nodes=Nodes.parse("unreachable/2")).controls
    for kind in KINDS:
        options = {name: 1 for name in ("layer", "depth", "k", "top") if name in KINDS[kind].takes}
        thoughts = () if kind == "truncate" else (1, 2) if kind == "permute" else (1,)
        assert "identity" in EditSpec(kind, thoughts, **options).controls


@pytest.mark.parametrize("text", ["swap:t=1,strength=1.5", "zero:t=1", "write:t=1", "transplant:t=1", "project:t=1"])
def test_random_control_is_as_long_as_the_edit(context: Context, text: str) -> None:
    (spec,), thought = EditPlan.parse(text), thought_of(context, 1)
    edit = build(EditPlan([spec]), context)
    control = build(EditPlan([replace(spec, control="random")]), context)
    rows = torch.tensor(edit.defined)
    change, random = edit.edit(1, thought) - thought, control.edit(1, thought) - thought
    torch.testing.assert_close(change.norm(dim=-1), random.norm(dim=-1), rtol=1e-3, atol=1e-4)
    cosine = torch.nn.functional.cosine_similarity(change[rows], random[rows])
    assert float(cosine.abs().max()) < 0.75  # 32 dimensions: a random direction, not the edit's own


def test_node_controls_take_matching_nodes(context: Context) -> None:
    spec = EditSpec("swap", (1,))
    edit = build(EditPlan([spec]), context)
    for name, out_of, put_from in (("unreachable", "unreachable", "unreachable"), ("neither", "rest", "other-rest")):
        control = build(EditPlan([replace(spec, control=name)]), context)
        assert any(control.defined)
        for row, prompt in enumerate(context.run.prompts):
            if not control.defined[row]:
                continue
            (wanted,), (got,) = edit.touched[row], control.touched[row]
            assert set(got.out) <= node_set(out_of, prompt.problem, 1)
            assert set(got.put) <= node_set(put_from, prompt.problem, 1)
            assert not set(got.out) & set(got.put)
            assert (len(got.out), len(got.put)) == (len(wanted.out), len(wanted.put))


@pytest.mark.parametrize("control", ["unreachable", "neither", "other-step", "manifold"])
@pytest.mark.parametrize("text", ["swap:t=1,strength=1.5", "swap:t=1,dose=held", "remove:t=1", "project:t=1"])
def test_matched_controls_are_as_long_as_the_edit(context: Context, text: str, control: str) -> None:
    (spec,), thought = EditPlan.parse(text), thought_of(context, 1)
    edit = build(EditPlan([spec]), context).edit(1, thought) - thought
    built = build(EditPlan([replace(spec, control=control)]), context)
    assert any(built.defined)
    for row in np.flatnonzero(built.defined).tolist():
        lengths = [
            float((built.edit(t, thought_of(context, t)) - thought_of(context, t))[row].norm()) for t in range(1, 7)
        ]
        assert max(lengths) == pytest.approx(float(edit[row].norm()), rel=1e-3, abs=1e-4)
        assert sum(length > 1e-4 for length in lengths) == 1


def test_the_manifold_control_is_a_difference_of_other_problems_thoughts(context: Context) -> None:
    assert context.directions is not None
    (spec,), thought = EditPlan.parse("swap:t=2"), thought_of(context, 2)
    change = build(EditPlan([replace(spec, control="manifold")]), context).edit(2, thought) - thought
    bank = context.directions.bank[:, 1]
    between = torch.nn.functional.normalize((bank[:, None] - bank).flatten(0, 1), dim=-1)
    for row in change[change.norm(dim=-1) > 1e-4]:
        assert float((torch.nn.functional.normalize(row, dim=0) @ between.T).max()) > 0.999


def test_other_step_puts_the_same_content_elsewhere(context: Context) -> None:
    assert context.source is not None
    built = build(EditPlan([EditSpec("transplant", (2,), control="other-step")]), context)
    steps = {entries[0].t for entries in built.touched}
    assert 2 not in steps
    for row, entries in enumerate(built.touched):
        for t in range(1, 7):
            fed = built.edit(t, thought_of(context, t))[row]
            expected = (
                context.source.trace.thoughts[row, 1] if t == entries[0].t else context.run.trace.thoughts[row, t - 1]
            )
            assert torch.equal(fed, expected)


def test_a_row_does_not_depend_on_its_batch(context: Context, tiny: CoconutGPT2) -> None:
    row = 3
    run = context.run
    trace = run.trace.select(torch.tensor([row]))
    run = CleanRun((run.ids[row],), (run.noise_ids[row],), (run.prompts[row],), trace)
    alone = Context(tiny, run, None, (), context.directions)
    for text in ("noise:t=1", "swap:t=1", "swap:t=1,control=random", "resample:t=1", "permute:t=1-6"):
        scene = EditPlan.parse(text)
        thought = thought_of(context, 1)
        ours = build(scene, context).edit(1, thought)[row]
        torch.testing.assert_close(build(scene, alone).edit(1, thought[row : row + 1])[0], ours)


# --- in the loop ----------------------------------------------------------------------------------------------------


@torch.inference_mode()
@pytest.mark.parametrize(
    "text",
    ["swap:t=2,strength=1.5", "write:t=1,nodes=frontier/1", "noise:t=1-3", "transplant:t=3&add:t=4,nodes=frontier"],
)
def test_edits_in_the_loop_equal_the_oracle(context: Context, tiny: CoconutGPT2, text: str) -> None:
    built = build(EditPlan.parse(text), context)
    before = built.first - 1
    trace = tiny.think(context.run.trace.upto(before), 6 - before, edit=built.edit)
    assert torch.equal(trace.states[:, : before + 1], context.run.trace.states[:, : before + 1])
    assert not torch.equal(trace.states[:, before + 1], context.run.trace.states[:, before + 1])
    for row, prompt in enumerate(context.run.prompts):

        def edit(t: int, thought: torch.Tensor, row: int = row) -> torch.Tensor:
            batch = context.run.trace.thoughts[:, t - 1].clone()
            batch[row] = thought[0]
            return built.edit(t, batch)[row : row + 1]

        states, _ = oracle.think(tiny, prompt.input_ids, 6, edit)
        torch.testing.assert_close(trace.states[row], states, rtol=1e-4, atol=1e-4)


def test_edits_made_together_are_made_in_order(context: Context) -> None:
    thought = thought_of(context, 1)
    both = build(EditPlan.parse("write:t=1,nodes=nothing&add:t=1,nodes=frontier"), context)
    once = build(EditPlan.parse("write:t=1,nodes=frontier"), context)
    torch.testing.assert_close(both.edit(1, thought), once.edit(1, thought), rtol=1e-5, atol=1e-5)
    with pytest.raises(InputError, match="one control or none"):
        EditPlan((EditSpec("zero", (1,)), EditSpec("zero", (2,), control="random")))


# --- a row each -----------------------------------------------------------------------------------------------------


DOCS = Path(__file__).parent.parent / "docs"
documented = runpy.run_path(str(DOCS / "tables.py"))["documented"]


def test_the_docs_list_what_the_rows_say() -> None:
    text = (DOCS / "causal.md").read_text(encoding="utf-8")
    assert text == documented(text), "write it anew: make docs-tables"
    for name in (*KINDS, *NODE_SETS, *CONTROLS):
        assert f"\n| {name} |" in text or f"\n| `{name}" in text, name


def test_every_row_has_words_for_every_edit() -> None:
    for kind in KINDS:
        given = {"layer": 2, "depth": 3, "k": 4, "top": 5}
        options = {name: value for name, value in given.items() if name in KINDS[kind].takes}
        thoughts = () if "t" not in KINDS[kind].takes else (1, 2) if KINDS[kind].least == 2 else (1,)
        spec = EditSpec(kind, thoughts, **options)
        words = spec.describe()
        assert "{" not in words
        assert all(str(value) in words for value in options.values())
        for name, plan in EditPlan([spec]).controls().items():
            assert plan.describe() != words, name
    assert EditPlan.parse("write:t=1,nodes=toward-target+a").describe(str.upper) == (
        "writing thought 1 as a sum of the nodes between root and target + A"
    )
    assert EditSpec.parse("patch:t=0,layer=2").describe() == "patching the root token after block 2"


def test_preview_is_what_a_run_touches(context: Context) -> None:
    ours = replace(context, run=replace(context.run, ids=(0,) * len(context.run.ids)))
    texts = (
        "swap:t=1-3,nodes=frontier/1,to=other-frontier/2,seed=7",
        "keep:t=1",
        "write:t=2,nodes=nothing",
        "remove:t=1,control=unreachable",
        "swap:t=2,control=neither",
        "add:t=1&remove:t=2",
        "zero:t=1",
        "swap:t=1,control=random",
        "swap:t=1,control=identity",
    )
    for text in texts:
        plan = EditPlan.parse(text)
        built = build(plan, ours)
        assert any(built.defined), text
        for row, prompt in enumerate(ours.run.prompts):
            if built.defined[row]:
                assert preview(plan, prompt.problem) == built.touched[row], text
    with pytest.raises(InputError, match="not in the graph"):
        preview(EditPlan.parse("add:t=1,nodes=nobody"), PROBLEM)


def test_identity_leaves_every_bit(context: Context) -> None:
    thought = thought_of(context, 2) * 1.7
    for kind in KINDS:
        if KINDS[kind].takes & {"layer", "k"}:
            continue  # asserted on whole runs, tests/test_intervene.py
        options = {name: 1 for name in ("depth", "top") if name in KINDS[kind].takes}
        spec = EditSpec(kind, (2, 3) if KINDS[kind].least == 2 else (2,), **options, keep_norm=True, control="identity")
        assert torch.equal(build(EditPlan([spec]), context).edit(2, thought), thought), kind


@pytest.fixture
def negate(monkeypatch: pytest.MonkeyPatch) -> str:
    """A kind that exists in this test only: one function and one row."""
    row = Kind(
        "negate",
        "turn it around",
        "negating {where}",
        lambda site: site.toward(torch.neg),
        hand="Turn it around",
    )
    monkeypatch.setitem(KINDS, row.name, row)
    return row.name


def test_a_new_kind_is_one_row(negate: str, tiny: CoconutGPT2, context: Context) -> None:
    assert (
        EditPlan.parse("negate:t=2&add:t=2").describe()
        == "negating thought 2 and adding the counterfactual branch to thought 2"
    )
    thought = thought_of(context, 2)
    assert torch.equal(build(EditPlan.parse("negate:t=2"), context).edit(2, thought), -thought)
    with pytest.raises(InputError, match="takes no nodes"):
        EditSpec.parse("negate:t=1,nodes=frontier")
    text = documented("<!-- kinds -->\n\n<!-- end -->\n")
    assert "| `negate` | turn it around | t |" in text
    commands = typer.Typer()
    register(commands)
    shown = CliRunner().invoke(commands, ["--help"])
    assert "negate      turn it around" in shown.output
    result = intervene(tiny, PROBLEM, EditPlan.parse("negate:t=1"), directions=None, n_samples=2)
    assert set(result.controls) == {"identity", "random", "other-step"}
    np.testing.assert_array_equal(result.controls["identity"].states, result.clean.states)
    assert not np.array_equal(result.edited.states, result.clean.states)


def test_a_new_control_is_one_row(monkeypatch: pytest.MonkeyPatch, tiny: CoconutGPT2, context: Context) -> None:
    row = Control(
        "half", "half of the edit", "half of it", "half of {edit}", "its direction", "half of its length",
        exists=lambda kind, n, sets: n == 1, matched=True,
        feeds=lambda site, apply: lambda thought: (thought + apply(site)(thought)) / 2,
    )  # fmt: skip
    monkeypatch.setitem(CONTROLS, row.name, row)
    plan = EditPlan.parse("zero:t=2")
    assert [*plan.controls()][-1] == "half"
    assert "half" not in EditPlan.parse("zero:t=1-2").controls()
    half = plan.controls()["half"]
    assert half.describe() == "half of setting thought 2 to zero"
    thought = thought_of(context, 2)
    assert torch.equal(build(half, context).edit(2, thought), thought / 2)
    assert "| half | its direction | half of its length | yes |" in documented("<!-- controls -->\n\n<!-- end -->\n")
    result = intervene(tiny, PROBLEM, plan, directions=None, controls=("identity", "half"))
    assert set(result.controls) == {"identity", "half"}
    assert not np.array_equal(result.controls["half"].states, result.clean.states)
