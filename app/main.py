"""The app: ``streamlit run app/main.py`` from the project's root.

What the pages import is imported from the start of the server on, not from the first visit on: torch and transformers
take longer than a browser takes to open.
"""

import gc
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from threading import Thread

import streamlit as st
from starlette.middleware import Middleware

ROOT = str(Path(__file__).resolve().parent.parent)
if ROOT not in sys.path:  # Streamlit puts app/ first on the path, not the folder the packages are in
    sys.path.insert(0, ROOT)

from app.uploads import Bounded  # noqa: E402

# Read when torch is loaded. By default threads of a product spin while they wait for each other: wherever a browser or
# another server wants the same cores, a pass of 80 ms then takes up to 700. (Alone it is a tenth faster, and training
# twice as fast, which is no page's.)
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def warm_up() -> None:
    from app import memory
    from model.errors import InputError

    memory.bound()
    # torch and transformers make a million objects that last; looking for garbage among them costs a second of a start.
    gc.disable()
    with suppress(InputError):  # limits in the environment that are none: the page says so
        import app.compute  # noqa: F401
        from app import hosted

        if hosted.LIMITS.hosted:
            hosted.sweep()
    gc.freeze()
    gc.enable()


@asynccontextmanager
async def lifespan(_server: st.App) -> AsyncIterator[None]:
    Thread(target=warm_up, daemon=True).start()
    yield
    hosted = sys.modules.get("app.hosted")
    if hosted is not None and hosted.LIMITS.hosted:
        hosted.sweep()


server = st.App("pages.py", lifespan=lifespan, middleware=[Middleware(Bounded)])
