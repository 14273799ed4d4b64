"""Links: what goes in comes out, and what was never ours comes out as one sentence."""

from __future__ import annotations

import base64
import contextlib
import json
import zlib
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.dataset.state import Reading
from app.explore.state import View
from app.links import MAX_PACKED, MAX_UNPACKED, pack, unpack
from app.training.state import Course
from model.errors import InputError
from model.formats.graph import read_graph
from model.problems.generate import generate

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
views = st.builds(
    View,
    source=st.just("custom"),
    text=names,
    root=st.none() | names,
    candidates=st.none() | st.tuples(names, names),
    pad=st.booleans(),
    checkpoint=st.sampled_from(["prosqa-symbol-2l", "/some/where/else", "runs/a & b"]),
    samples=st.integers(1, 64),
    sample_seed=st.integers(0, 2**31 - 1),
    value=st.sampled_from(["probability", "normalised", "logit", "cosine"]),
    k=st.integers(0, 12),
    node=st.none() | st.integers(0, 39),
) | st.builds(
    View,
    source=st.just("generated"),
    kind=st.sampled_from(["balanced", "public"]),
    hops=st.tuples(st.integers(1, 4), st.integers(4, 10)),
    nodes=st.tuples(st.integers(4, 14), st.integers(14, 40)),
    seed=st.integers(0, 2**31 - 1),
)


@settings(max_examples=60, deadline=None)
@given(views)
def test_a_link_restores_its_view(view: View) -> None:
    query = urlsplit(view.url("http://localhost:8501/?old=1#part")).query
    found = {name: values[0] for name, values in parse_qs(query, strict_parsing=bool(query)).items()}
    assert "old" not in found
    assert View.decode(found) == view


def test_the_example_has_the_empty_link() -> None:
    assert View().encode() == {}
    assert View().url("http://localhost/") == "http://localhost/"
    assert View.decode({}) == View()


def test_an_uploaded_row_is_written_out_character_by_character() -> None:
    """Numbers depend on the order of nodes and edges, so a link keeps both."""
    problem = next(iter(generate("public", 1, 3)))
    view = View(source="file", k=2).of(problem)
    back = View.decode(view.encode())
    assert (back.source, back.k) == ("custom", 2)
    asked = read_graph(back.text).ask(back.root, back.candidates)
    assert (asked.idx_to_symbol, asked.edges) == (problem.idx_to_symbol, problem.edges)
    assert (asked.root, asked.target, asked.neg_target) == (problem.root, problem.target, problem.neg_target)


def test_what_is_not_shown_is_not_in_the_link() -> None:
    assert View(seed=5, text="a b", k=3).encode() == {"k": "3"}
    assert View.decode({"utm_source": "elsewhere", "k": "3"}) == View(k=3)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"source": "file"}, "source"),
        ({"source": "custom"}, "none"),
        ({"source": "custom", "graph": "%%%"}, "damaged"),
        ({"source": "custom", "graph": pack(["a b", None, None])[:-4]}, "damaged"),
        ({"source": "custom", "graph": pack({"a": 1})}, "not one that this page wrote"),
        ({"source": "custom", "graph": pack(["a b", 3, None])}, "not one that this page wrote"),
        ({"source": "custom", "graph": pack(["a b", "a", ["b"]])}, "not one that this page wrote"),
        ({"source": "custom", "graph": "A" * (MAX_PACKED + 1)}, "at most"),
        ({"k": "-1"}, "whole number"),
        ({"k": "1e3"}, "whole number"),
        ({"seed": "9" * 30}, "whole number"),
        ({"seed": "٣"}, "whole number"),
        ({"hops": "6-3"}, "range"),
        ({"nodes": "4-400"}, "range"),
        ({"hops": "1-" * 50_000}, "range"),
        ({"k": "1" * 100_000}, "whole number"),
        ({"fill": "maybe"}, "0 or 1"),
        ({"draws": "1000"}, "64"),
        ({"kind": "<script>"}, "balanced"),
        ({"value": "entropy"}, "cosine"),
        ({"checkpoint": "a\nb"}, "checkpoint"),
    ],
)
def test_damaged_links_are_one_sentence(params: dict[str, str], said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        View.decode(params)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


def test_a_link_cannot_blow_up() -> None:
    bomb = base64.urlsafe_b64encode(zlib.compress(b"[" + b" " * 4_000_000 + b"]", 9)).decode().rstrip("=")
    assert len(bomb) < MAX_PACKED
    with pytest.raises(InputError, match=f"{MAX_UNPACKED:,}"):
        unpack(bomb)
    deep = base64.urlsafe_b64encode(zlib.compress(b"[" * 100_000)).decode().rstrip("=")
    with pytest.raises(InputError, match="damaged"):
        unpack(deep)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(["source", "graph", "k", "hops", "checkpoint", "node"]), st.text(max_size=40)))
def test_any_parameters_give_a_view_or_a_sentence(params: dict[str, str]) -> None:
    with contextlib.suppress(InputError):
        assert isinstance(View.decode(params), View)


def test_a_graph_too_large_for_a_link_is_said() -> None:
    import random

    noise = random.Random(0)
    text = "\n".join(f"n{noise.random()} n{noise.random()}" for _ in range(2000))
    with pytest.raises(InputError, match="download"):
        View(source="custom", text=text).encode()


def test_links_of_runs_and_results() -> None:
    for link in (Course(), Course(run="runs/a", beside="runs/b & c", thought=3), Reading(result="x/y", section="tree")):
        query = urlsplit(link.url("http://localhost:8501/page")).query
        assert type(link).decode(dict(parse_qsl(query))) == link
    with pytest.raises(InputError, match="the link's run"):
        Course.decode({"run": "a" * 501})


def test_packing_is_plain_json() -> None:
    assert unpack(pack(["é", None])) == ["é", None]
    assert json.loads(zlib.decompress(base64.urlsafe_b64decode(pack(1) + "=="))) == 1
