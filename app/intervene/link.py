"""The whole view of Intervene as one frozen value, and as the query string that restores it.

The problem, the model and the draws are Explore's parameters (``app.explore.state``). An edit stands there as it is
typed (``probing.edit.spec``): ``edit=swap:t=1,strength=1.5``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

from app.explore import state as links
from app.explore.state import View
from model.errors import InputError
from probing.draw.of_intervention import VALUES
from probing.edit.spec import parse_scene, scene_text

DRAWS = 4
"""Draws of the prompt, unless the reader wants more: an edit and its controls then take about a second."""
MAX_EDIT, MAX_AGAINST = 4000, 500


@dataclass(frozen=True)
class Lab:
    """What the page shows."""

    view: View = field(default_factory=lambda: View(draws=DRAWS))
    edit: str = ""
    """Edits as text (``probing.edit.spec``); empty before the first."""
    shown: int = 1
    """The thought shown; 0 for the answer state."""
    value: str = "probability"
    """What nodes are coloured by: one of ``probing.draw.of_intervention.VALUES``."""
    against: str = ""
    """A second checkpoint that the same edit is made on: its name or folder, "untrained", or empty for none."""


def encode(lab: Lab) -> dict[str, str]:
    """The query parameters of a view; what is at its default is left out. Raises InputError as Explore's links do."""
    defaults = Lab()
    same, usual = lab.view.draws == DRAWS, View()
    params = links.encode(lab.view.model_copy(update={"k": usual.k, "node": usual.node, "value": usual.value}))
    params.pop("draws", None)
    if not same:
        params["draws"] = str(lab.view.draws)
    if lab.edit:
        params["edit"] = lab.edit
    if lab.shown != defaults.shown:
        params["show"] = str(lab.shown or "answer")
    if lab.value != defaults.value:
        params["by"] = lab.value
    if lab.against:
        params["against"] = lab.against
    return params


def url(base: str, lab: Lab) -> str:
    """The link to a view on the page at ``base``."""
    query = urlencode(encode(lab), quote_via=quote, safe=":,=+/")
    return base.partition("?")[0].partition("#")[0] + (f"?{query}" if query else "")


def decode(params: Mapping[str, str]) -> Lab:
    """The view that query parameters ask for. Raises InputError naming the parameter that is wrong."""
    view = links.decode({name: text for name, text in params.items() if name not in ("k", "node", "value")})
    if "draws" not in params:
        view = view.model_copy(update={"draws": DRAWS})
    edit, shown, value = params.get("edit", ""), params.get("show", "1"), params.get("by", "probability")
    if len(edit) > MAX_EDIT:
        raise InputError(f"the link's edit has {len(edit):,} letters; at most {MAX_EDIT:,} are accepted")
    if edit:
        try:
            edit = scene_text(parse_scene(edit))
        except InputError as error:
            raise InputError(f"the link's edit is not one: {error}") from None
    if shown != "answer" and not (shown.isascii() and shown.isdecimal() and 1 <= int(shown[:4]) <= 99):
        raise InputError(f"the link's show is {shown!r:.40}; expected a thought from 1, or answer")
    if value not in VALUES:
        raise InputError(f"the link's by is {value!r:.40}; expected {' or '.join(VALUES)}")
    against = params.get("against", "")
    if len(against) > MAX_AGAINST or not (against.isprintable() or not against):
        raise InputError("the link's against is not the name of a checkpoint or the path of a folder")
    return Lab(view, edit, 0 if shown == "answer" else int(shown), value, against)
