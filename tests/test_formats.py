from __future__ import annotations

import contextlib
import json
import math
import re
import time
from pathlib import Path

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.errors import GraphError, InputError
from model.files import MAX_UPLOAD_BYTES
from model.formats.graph import (
    FORMATS,
    MAX_UPLOAD_ROWS,
    Graph,
    detect_format,
    load_graph,
    load_problems,
    read_file,
    read_graph,
    read_problems,
    try_graph,
    write_graph,
    write_problems,
)
from model.problems.generate import generate
from model.problems.prosqa import ProsQAProblem

SENTENCES = (
    "Tom is a terpus. Every terpus is a lempus. Bob is a gorpus. Every gorpus is an impus. Is Tom an impus or lempus?"
)
NAMES = ("Tom", "terpus", "lempus", "Bob", "gorpus", "impus")
EDGES = ((0, 1), (1, 2), (3, 4), (4, 5))
GRAPH = Graph(NAMES, EDGES)
ASKED = Graph(NAMES, EDGES, root=0, candidates=(5, 2))

SAMPLES = {
    "sentences": SENTENCES,
    "edges": "Tom terpus\nterpus lempus\nBob gorpus\ngorpus impus\n",
    **{format: write_graph(ASKED, format) for format in ("prosqa", "node-link", "graphml")},
}


def same_graph(one: Graph, other: Graph) -> bool:
    return (one.names, one.edges) == (other.names, other.edges)


# --- each format ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cat -> pet\nCats -> animal", "'cat' and 'Cats' are two nodes, as names are taken as they stand"),
        ("tabby -> cat\nTabbies -> cats\nTom -> tabby", "'tabby' and 'Tabbies'; 'cat' and 'cats' are two nodes, as .*"),
        ("Tom -> pet\ntom -> animal", "'Tom' and 'tom' are two nodes, as names are taken as they stand"),
        ("Every cat is a pet. Every bus is a thing.", ""),
        ("a,b\na,b\nA,c", "given twice, read once: .*; 'a' and 'A' are two nodes.*"),
    ],
)
def test_names_that_may_be_meant_as_one_are_remarked(text: str, said: str) -> None:
    assert re.fullmatch(said, read_graph(text).remark)


@pytest.mark.parametrize("format", FORMATS)
def test_one_graph_in_every_format(format: str) -> None:
    text = SAMPLES[format]
    assert detect_format(text) == format
    graph = read_graph(text)
    assert same_graph(graph, GRAPH)
    assert read_graph(text, format) == graph
    problem = graph.ask("Tom", ("impus", "lempus"))
    assert (problem.target, problem.neg_target, problem.n_hops) == (2, 5, 2)


def test_the_problem_typed_in_english() -> None:
    problem = read_graph(SENTENCES).ask()
    assert problem.question == SENTENCES.replace(" an ", " a ")
    assert problem.answer == "Tom is a lempus."
    assert problem.steps == ("Tom is a terpus.", "Every terpus is a lempus.")


@pytest.mark.parametrize(
    "text",
    [
        "Tom is a terpus\nEVERY terpus is a lempus\nBob is a gorpus.\n\nevery  gorpus is an impus",
        "# mine\nTom is a terpus. Every terpus\nis a lempus. Bob is a\ngorpus. Every gorpus is an impus.",
        "Tom is a terpus! Every terpus is a lempus.\r\nBob is a gorpus.\r\nEvery gorpus IS AN impus",
    ],
)
def test_english_as_people_type_it(text: str) -> None:
    assert same_graph(read_graph(text), GRAPH)


def test_a_plural_is_its_singular_where_the_text_has_that() -> None:
    text = "Tom is a tabby. Tabbies are cats. Rex is a bus. Buses are things. Cats are animals."
    asked = read_graph(f"{text} Is Tom an animal or a thing?")
    assert asked.names == ("Tom", "tabby", "cats", "Rex", "bus", "thing", "animal")
    assert asked.ask().target == 6
    plural = read_graph(f"{text} Dogs are pets. My dog is a dog. Are dogs animals or pets?")
    assert plural.names[plural.root] == "dog"
    assert plural.remark == ""


PLURALS = Graph(("siamese", "cats", "animals", "Dogs", "pets"), ((0, 1), (1, 2), (3, 4)), root=0, candidates=(2, 4))


@pytest.mark.parametrize(
    "text",
    [
        "All siamese are cats. Cats are animals. Dogs are pets. Are siamese animals or pets?",
        "siamese are cats\nCats are animals\nDogs are pets\nAre siamese animals or pets?",
    ],
)
def test_plurals_are_read_as_they_stand(text: str) -> None:
    assert detect_format(text) == "sentences"
    assert read_graph(text) == PLURALS
    asked = read_graph("Cats are animals. Dogs are pets. Are cats animals or pets?").ask()
    assert [asked.idx_to_symbol[v] for v in (asked.root, asked.target, asked.neg_target)] == ["Cats", "animals", "pets"]


def test_a_small_letter_makes_one_name_of_two_in_plurals_alone() -> None:
    assert read_graph("Tom is a x. Every tom is a y.").names == ("Tom", "x", "tom", "y")
    assert read_graph("x b # these are comments\nb c").names == ("x", "b", "c")
    assert read_graph("every thing that are red is a thing").names == ("thing that are red", "thing")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a b\nb c\na b", "line 3: a -> b, given before at line 1"),
        ("Tom is a x. Tom is a x.", "line 1: Tom -> x, given before at line 1"),
        ('{"nodes": [{"id": 1}, {"id": 2}], "edges": [{"source": 1, "target": 2}, {"source": 1, "target": 2}]}',
         "edges[1]: 1 -> 2, given before at edges[0]"),
        ('<graphml><graph><node id="a"/><node id="b"/><edge source="a" target="b"/><edge source="a" target="b"/>'
         "</graph></graphml>", "edge 1: a -> b, given before at edge 0"),
    ],
)  # fmt: skip
def test_an_edge_that_is_given_twice_is_read_once_and_said(text: str, said: str) -> None:
    graph = read_graph(text)
    assert graph.again == (said,)
    assert len(graph.edges) == len(set(graph.edges)) > 0


@pytest.mark.parametrize("name", ["x.csv", "x.tsv", "x.txt", "x"])
@pytest.mark.parametrize("head", ["", "source,target\n", "From,To\n", "Child\tParent\n"])
def test_a_table_may_name_its_columns(name: str, head: str) -> None:
    assert read_file(f"{head}Tom,terpus\nterpus,lempus\nBob,gorpus\ngorpus,impus\n", name) == GRAPH
    assert read_graph("source target\ntarget x").names == ("source", "target", "x")  # no table


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", ["graph", "graph.txt", "graph.json", "graph.xml"])
def test_a_file_may_have_any_format(format: str, name: str) -> None:
    found = read_file(SAMPLES[format], name)
    assert found == ([ASKED.ask()] if format == "prosqa" else read_graph(SAMPLES[format]))


def test_english_names_of_several_words() -> None:
    graph = read_graph(
        "Every red panda is a wild thing. Every cat or dog is a pet. Is the x a pet or wild thing?".replace(
            "the x", "red panda"
        )
    )
    assert graph.names == ("red panda", "wild thing", "cat or dog", "pet")
    assert (graph.root, graph.candidates) == (0, (3, 1))


@pytest.mark.parametrize(
    "text",
    [
        "Tom -> terpus -> lempus\nBob -> gorpus\ngorpus -> impus",
        "Tom,terpus\nterpus , lempus\nBob\tgorpus\ngorpus → impus",
        "Tom => terpus=>lempus\nBob -> gorpus => impus",
        '# a graph\n\n"Tom" terpus # the start\nterpus "lempus"\n  Bob gorpus\n"gorpus"->impus\n',
        "\ufeffTom terpus\r\nterpus lempus\r\nBob gorpus\r\ngorpus impus\r\n",
        "Tom terpus\nterpus lempus\nBob gorpus\ngorpus impus\nIs Tom a lempus or impus?",
    ],
)
def test_edge_lists_as_people_type_them(text: str) -> None:
    assert same_graph(read_graph(text), GRAPH)


def test_edge_list_names_with_spaces_and_nodes_alone() -> None:
    graph = read_graph('"red panda" -> wild thing\na, b -> c#1\n"alone"\n"say \\"hi\\"" x')
    assert graph.names == ("red panda", "wild thing", "a, b", "c#1", "alone", 'say "hi"', "x")
    assert graph.edges == ((0, 1), (2, 3), (5, 6))


def test_networkx_reads_what_is_written_and_the_other_way_round() -> None:
    scores = {"score_t1": [0.5, 1, math.nan, 0, 0, 2], "distance": [0, 1, 2, 3, 4, 5]}
    theirs = nx.parse_graphml(write_graph(ASKED, "graphml", attributes=scores))
    assert list(theirs.edges) == [(NAMES[s], NAMES[t]) for s, t in EDGES]
    assert theirs.nodes["Tom"] == {"role": "root", "score_t1": 0.5, "distance": 0}
    assert type(theirs.nodes["terpus"]["score_t1"]) is float
    assert type(theirs.nodes["terpus"]["distance"]) is int
    assert "score_t1" not in theirs.nodes["lempus"]
    from_json = nx.node_link_graph(json.loads(write_graph(ASKED, "node-link", attributes=scores)), edges="edges")
    assert from_json.nodes == theirs.nodes
    for edges in ("edges", "links"):
        assert read_graph(json.dumps(nx.node_link_data(theirs, edges=edges))) == ASKED
    assert read_graph("\n".join(nx.generate_graphml(theirs))) == ASKED


def test_graphml_of_other_programs() -> None:
    text = """<?xml version="1.0" encoding="UTF-16"?>
    <!-- made elsewhere -->
    <graphml xmlns="http://graphml.graphdrawing.org/xmlns" xmlns:y="http://www.yworks.com/xml/graphml">
      <key id="d0" for="node" attr.name="label" attr.type="string"/>
      <key id="d1" for="node" yfiles.type="nodegraphics"/>
      <graph edgedefault="directed">
        <node id="n0"><data key="d0">Tom</data></node>
        <node id="n1"><data key="d1"><y:ShapeNode><y:NodeLabel>a &lt;b&gt;</y:NodeLabel></y:ShapeNode></data></node>
        <edge source="n0" target="n1"/>
      </graph>
    </graphml>"""
    assert read_graph(text) == Graph(("Tom", "a <b>"), ((0, 1),))


# --- round trips ------------------------------------------------------------------------------------------------------

# fmt: off
ODD = [
    "<b>x</b>", "a,b", "a -> b", 'say "hi"', "x # y", "#1", "→", "=>", "e\u0301", "👩‍👩‍👧", "אבג", " x", "x ", "a\tb",
    "a\nb", "\u2028", "]]>", "&amp;", "x is a y", "Is", "\\N", "a\r\nb", "graph", "{", "[1]", "<?xml", "'", "node",
    "\x85",
]
# fmt: on
odd_names = st.lists(
    st.sampled_from(ODD) | st.text(st.characters(codec="utf-8"), min_size=1, max_size=6),
    min_size=2,
    max_size=8,
    unique=True,
).filter(lambda names: all(name.strip() for name in names))


@st.composite
def graphs(draw: st.DrawFn, names: st.SearchStrategy[list[str]] = odd_names) -> Graph:
    nodes = draw(names)
    pairs = [(i, j) for i in range(len(nodes)) for j in range(i)]
    return Graph(tuple(nodes), tuple(draw(st.lists(st.sampled_from(pairs), unique=True))))


@given(graphs())
@settings(max_examples=150, deadline=None)
def test_round_trip_with_any_names(graph: Graph) -> None:
    assert read_graph(write_graph(graph, "node-link")) == graph
    assert read_graph(write_graph(graph, "edges")) == graph
    # XML 1.0 has no control characters but tab and line ends, and lacks U+FFFE and U+FFFF.
    if re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]", "".join(graph.names)):
        with pytest.raises(InputError, match=r"GraphML cannot hold U\+"):
            write_graph(graph, "graphml")
    else:
        assert read_graph(write_graph(graph, "graphml")) == graph


@pytest.mark.parametrize("format", ["node-link", "graphml", "prosqa"])
def test_round_trip_keeps_the_question(format: str) -> None:
    for problem in generate("balanced", 20, 1):
        again = read_graph(write_graph(problem, format))
        assert again == Graph.of(problem)
        assert again.ask().to_row() | {"question": problem.question} == problem.to_row()
    if format != "prosqa":
        assert read_graph(write_graph(ASKED, format)) == ASKED


def test_round_trip_of_rows(tmp_path: Path) -> None:
    problems = list(generate("public", 20, 1))
    path = tmp_path / "data.json"
    path.write_text(write_problems(problems), encoding="utf-8-sig")  # with the mark some editors put
    assert load_problems(path) == problems
    path.write_text(write_graph(problems[0], "prosqa"))
    assert load_problems(path) == problems[:1]


# --- suggestions ------------------------------------------------------------------------------------------------------


def test_roots_and_candidates_that_make_a_problem() -> None:
    graph = read_graph("Tom a\na b\nTom c\nBob c\nBob d")
    assert graph.roots == ("Tom", "Bob", "a")
    assert graph.candidates_for("Tom") == (("b", "c"), ("d",))
    assert graph.candidates_for("b") == ((), ("c", "d"))


@given(graphs())
@settings(max_examples=50, deadline=None)
def test_every_suggestion_makes_a_problem(graph: Graph) -> None:
    for root in graph.roots:
        reached, missed = graph.candidates_for(root)
        problem = graph.ask(root, (missed[0], reached[-1]))
        assert problem.idx_to_symbol[problem.target] == reached[-1]
        assert problem.question.endswith(f"a {missed[0]} or {reached[-1]}?")


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        (" \n\t", "empty"),
        ("Tom", r"line 1: expected two names"),
        ("a b\nc", r"line 2: expected two names"),
        ("a b c", 'names with spaces in "quotes"'),
        ("a b\na ->", "line 2: a name is missing"),
        ('a b\n"c d', "line 2, column 1: a quoted name is wrong"),
        ("a b\nb a\n", "cycle: (a -> b -> a|b -> a -> b)"),
        ("a b\nb b", "line 2: 'b' has an edge to itself"),
        ("Tom is a terpus.\nEvery terpus is", "line 2: expected 'Tom is a terpus.'"),
        ("Tom is a x. Is Tom a x or y?", "candidate 'y' is not in the graph"),
        ("Tom is a x. Is Bob a x or x?", "root 'Bob' is not in the graph"),
        ("Tom is a x.\nIs Tom a x or x?\nIs Tom a x or x?", "line 3: a second question"),
        ('{"nodes": [1]}', "expected a list 'edges'"),
        ('{"nodes": [1], "edges": []}', r"nodes\[0\]: expected an object with an 'id'"),
        ('{"nodes": [{"id": 1}, {"id": 1}], "edges": []}', r"nodes\[1\]: the node 1 is given twice"),
        ('{"nodes": [{"id": 1}], "edges": [{"source": 1, "target": 2}]}', r"edges\[0\]: the node 2 is not among"),
        ('{"nodes": [{"id": 1}], "edges": [[1, 2]]}', r"edges\[0\]: expected an object with 'source'"),
        ('{"directed": false, "nodes": [{"id": 1}], "edges": []}', "undirected"),
        ('{"nodes": [\n', "line 2, column 1"),
        ("[1]", "row 0: expected an object"),
        ("[" * 100_000, "nested too deeply"),
        ("[1" + "0" * 10_000 + "]", "too many digits"),
        ('{"nodes": [{"id": "\\ud800"}], "edges": []}', "half of a surrogate pair"),
        ('<?xml version="1.0"?>\n<graphml>\n<graph>', "not XML at line 3"),
        ("\n\n<graphml><graph></graphml>", "not XML at line 3"),
        ("<graphml></graphml>", "one graph"),
        ("<graphml>" + "<a>" * 200_000 + "</a>" * 200_000 + "</graphml>", "one graph"),
        ('<graphml><graph edgedefault="undirected"><node id="a"/><edge source="a" target="a"/></graph></graphml>', "undirected"),  # noqa: E501
        ('<graphml><graph><node id="a"/><edge source="a" target="b"/></graph></graphml>', "the node 'b' is not"),
        ('<graphml><graph><node/></graph></graphml>', "node 0: expected an 'id'"),
        ('<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><graphml>&b;</graphml>', "entities"),
        ('<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///x">]><graphml>&a;</graphml>', "entities"),
        ("digraph {\n a -> \n}", "Graphviz DOT is not read; formats are prosqa"),
        ("// made elsewhere\nstrict digraph g { a -> b }", "DOT is not read"),
        ("graph { a -- b }", "DOT is not read"),
        ("a," * 100_000, "200,000 characters; at most 10,000 in a line"),
        ("x" * (MAX_UPLOAD_BYTES + 1), "at most 5,242,880"),
        ("x" * 300 + " y", "name of 300 characters; at most 200"),
        ("a \ud800", "half of a surrogate pair"),
    ],
)  # fmt: skip
def test_malformed_text_is_one_sentence(text: str, said: str) -> None:
    started = time.process_time()
    with pytest.raises(InputError, match=said) as caught:
        read_graph(text, where="typed")
    assert time.process_time() - started < 5
    message = str(caught.value)
    assert message.startswith("typed")
    assert "\n" not in message
    assert len(message) < 300


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "no rows"),
        ("x", "expected a ProsQA row or a list of rows, got str"),
        ([{}], "row 0: missing field idx_to_symbol"),
        ([{}] * (MAX_UPLOAD_ROWS + 1), "10,001 rows; at most 10,000 are accepted"),
    ],
)
def test_malformed_rows(rows: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_problems(json.dumps(rows), max_rows=MAX_UPLOAD_ROWS)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        load_graph(tmp_path / "none")
    big = tmp_path / "big.txt"
    big.write_text("a" * (MAX_UPLOAD_BYTES + 1))
    for load in (load_graph, lambda path: load_problems(path, max_bytes=MAX_UPLOAD_BYTES)):
        with pytest.raises(InputError, match="5,242,881 bytes; at most 5,242,880"):
            load(big)
    binary = tmp_path / "binary"
    binary.write_bytes(b"a b\n\xff")
    with pytest.raises(InputError, match="not UTF-8"):
        load_graph(binary)


def test_questions_that_cannot_be_asked() -> None:
    for root, candidates, said in (
        (None, None, "no question"),
        ("Ann", ("lempus", "impus"), "root 'Ann' is not in the graph"),
        ("Tom", ("lempus", "x"), "candidate 'x'"),
        ("Tom", ("lempus", "terpus"), "both"),
        ("Tom", ("gorpus", "impus"), "neither"),
        ("Tom", ("lempus", "lempus"), "two different"),
        ("Tom", ("Tom", "impus"), "candidate too"),
    ):
        with pytest.raises(GraphError, match=said):
            GRAPH.ask(root, candidates)


def test_only_what_has_a_question_is_written_as_prosqa() -> None:
    with pytest.raises(GraphError, match="no question"):
        write_graph(GRAPH, "prosqa")
    with pytest.raises(InputError, match="cannot be written"):
        write_graph(GRAPH, "dot")


def test_long_cycles_and_chains_stay_quick() -> None:
    n = 100_000
    chain = "\n".join(f"n{i} n{i + 1}" for i in range(n))
    started = time.process_time()
    assert len(read_graph(chain).edges) == n
    with pytest.raises(GraphError, match=r"cycle: .* \.\.\. 99,9\d\d more|cycle: .*\.\.\. \d+ more") as caught:
        read_graph(f"{chain}\nn{n} n0")
    assert len(str(caught.value)) < 400
    assert time.process_time() - started < 20


@given(st.text() | st.text('ab is an or every?.,->"#\t\n', max_size=60), st.sampled_from(["auto", *FORMATS]))
@settings(max_examples=300, deadline=None)
def test_any_text_gives_a_graph_or_an_input_error(text: str, format: str) -> None:
    assert isinstance(try_graph(text, format), Graph | InputError)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_damaged_files_give_a_graph_or_an_input_error(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(list(SAMPLES.values())))
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        stop = data.draw(st.integers(start, min(len(text), start + 8)))
        put = data.draw(
            st.text(max_size=4)
            | st.sampled_from(['"', "{", "}", "[", "<", ">", "null", "-1", "&x;", "\\", "\x00", "a ["])
        )
        text = text[:start] + put + text[stop:]
    found = try_graph(text)
    assert isinstance(found, Graph | InputError)
    if isinstance(found, Graph) and found.candidates and found.root is not None:
        with contextlib.suppress(GraphError):
            assert isinstance(found.ask(), ProsQAProblem)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "source", "target", "name", "role", "x"]), inner)
    ),
    max_leaves=6,
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            key: json_values
            for key in "nodes edges links directed idx_to_symbol root target neg_target steps question answer".split()  # noqa: SIM905
        },
    )
)
@settings(max_examples=150, deadline=None)
def test_any_json_gives_a_graph_or_an_input_error(value: dict) -> None:
    text = json.dumps(value)
    for format in ("prosqa", "node-link"):
        assert isinstance(try_graph(text, format), Graph | InputError)
