"""Many visitors of one server: ``python -m benchmarks.bench_load`` (``--help`` lists the options).

Starts the app for strangers on a free port. Visitors come over websockets, as browsers do, but draw nothing; each has a
graph of their own. First all at once: until the first view is sent whole, then one move of the slider after another.
Then more, one after the other, each leaving after the view: the server's memory. Prints a table, then one JSON line.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Annotated

import typer
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import ClientConnection, connect

from app.explore.state import View
from app.hosted import ENVIRONMENT
from benchmarks.bench_app import server_times
from model.problems.generate import generate
from model.problems.prosqa import ProsQAProblem
from tests.served import App, running_app

MOVES = 4


@dataclass
class Visitor:
    """One tab."""

    socket: ClientConnection
    query: str
    slider: str = ""
    fragment: str = ""
    page: str = ""
    n_charts: int = 0
    wrong: list[str] = field(default_factory=list)

    def run(self, message: BackMsg) -> float:
        """Ask for a run of the page; seconds until all of it has been sent."""
        started = time.perf_counter()
        message.rerun_script.query_string = self.query
        message.rerun_script.page_script_hash = self.page
        self.socket.send(message.SerializeToString())
        while True:
            found = ForwardMsg.FromString(self.socket.recv(timeout=300))
            kind = found.WhichOneof("type")
            if kind == "new_session":
                self.page = found.new_session.page_script_hash
            elif kind == "delta":
                self._look(found)
            elif kind == "script_finished" and found.script_finished != ForwardMsg.FINISHED_EARLY_FOR_RERUN:
                return time.perf_counter() - started

    def _look(self, message: ForwardMsg) -> None:
        element = message.delta.new_element
        kind = element.WhichOneof("type")
        if kind == "slider" and element.slider.id.endswith("x_k"):
            self.slider, self.fragment = element.slider.id, message.delta.fragment_id
        self.n_charts += kind == "echarts_chart"
        if kind in ("exception", "alert") and (kind == "exception" or element.alert.format == element.alert.ERROR):
            self.wrong.append(str(element)[:300])

    def view(self) -> float:
        message = BackMsg()
        message.rerun_script.SetInParent()
        return self.run(message)

    def move(self, thought: int) -> float:
        message = BackMsg()
        message.rerun_script.fragment_id = self.fragment
        state = message.rerun_script.widget_states.widgets.add(id=self.slider)
        state.string_array_value.data.append(str(thought))
        return self.run(message)


@contextmanager
def visit(app: App, problem: ProsQAProblem) -> Iterator[Visitor]:
    """A tab that is open for the block."""
    address = app.address.replace("http", "ws", 1) + "/_stcore/stream"
    query = View(source="file").of(problem).url("").removeprefix("?")
    with connect(address, subprotocols=["streamlit"], max_size=None) as socket:
        yield Visitor(socket, query)


def main(
    visitors: Annotated[int, typer.Option(help="At once.")] = 32,
    after: Annotated[int, typer.Option(help="One after the other, for memory.")] = 200,
    seed: int = 0,
) -> None:
    problems = list(generate("balanced", visitors + after, seed))
    views, moves, wrong, memory = [], [], [], []
    gate = threading.Barrier(visitors)

    def come(problem: ProsQAProblem) -> None:
        with visit(app, problem) as visitor:
            gate.wait()
            views.append(visitor.view())
            for thought in range(2, 2 + MOVES):
                time.sleep(1)
                moves.append(visitor.move(thought))
            if visitor.n_charts < 7:
                wrong.append(f"{visitor.n_charts} charts")
            wrong.extend(visitor.wrong)

    with running_app(threads=os.cpu_count() or 1, **{ENVIRONMENT: "1"}) as app:
        with visit(app, problems[0]) as visitor:
            start = visitor.view()  # loads everything
        spent, rss = server_times(app.pid)
        memory.append(rss)
        threads = [threading.Thread(target=come, args=(problem,)) for problem in problems[:visitors]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        until, rss = server_times(app.pid)
        memory.append(rss)
        for i, problem in enumerate(problems[visitors:]):
            with visit(app, problem) as visitor:
                visitor.view()
                visitor.move(3)
                wrong.extend(visitor.wrong)
            if i + 1 in (after // 4, after // 2, after):
                memory.append(server_times(app.pid)[1])
    figures = {
        "alone_s": ("first view of the first visitor, imports and model included", round(start, 2)),
        "view_s": (f"first view, {visitors} at once, median", round(median(views), 2)),
        "view_max_s": ("  worst", round(max(views), 2)),
        "move_s": ("a move of the slider meanwhile, median", round(median(moves), 3)),
        "move_max_s": ("  worst", round(max(moves), 3)),
        "cpu_s": (f"  processor time of the server for a view and {MOVES} moves", round((until - spent) / visitors, 2)),
        "rss_mb": (
            f"memory after 1, then {visitors}, then {after // 4}, {after // 2}, {after} more",
            [round(mb) for mb in memory],
        ),
        "wrong": ("views with an error or without a chart", len(wrong)),
        "load": ("load average of the machine", round(os.getloadavg()[0], 2)),
        "cores": ("its cores", os.cpu_count()),
    }
    for what, value in figures.values():
        print(f"{what:<62}{value}")
    for each in wrong[:3]:
        print(each)
    print(json.dumps({name: value for name, (_, value) in figures.items()}))


if __name__ == "__main__":
    typer.run(main)
