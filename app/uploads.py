"""What a server for strangers holds of files that are chosen in a tab: as much as one model needs.

Streamlit bounds each file (``server.maxUploadSize``) and not what a tab has of them, holds all of it until the tab is
closed, and keeps files of widgets that are gone. So room is made before a file is read, and what is done with is
removed.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from weakref import WeakValueDictionary

import streamlit as st
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from streamlit import runtime
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.uploaded_file_manager import DeletedFile, UploadedFile

from model.errors import InputError

FILES = 20
"""Files that a tab may have; a checkpoint folder of ours has eight."""
_UPLOAD = re.compile(r"/_stcore/upload_file/([^/]+)/[^/]+$")

Files = Sequence[UploadedFile | DeletedFile]


def most() -> str:
    """What all files of a tab may have together."""
    return f"{st.get_option('server.maxUploadSize')} MB"


def make_room(manager: MemoryUploadedFileManager, session: str, n_bytes: int) -> None:
    """Remove the oldest files of a session until one of so many bytes fits. Nothing is removed for one that is too
    large by itself, which Streamlit refuses."""
    held = list(manager.file_storage.get(session, {}).values())
    most_bytes = 2**20 * st.get_option("server.maxUploadSize")
    if n_bytes > most_bytes:
        return
    while held and (len(held) >= FILES or sum(len(file.data) for file in held) + n_bytes > most_bytes):
        manager.remove_file(session, held.pop(0).file_id)


class Bounded:
    """Middleware that makes room for each file that is sent, one at a time in each session."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sent = scope["type"] == "http" and scope["method"] == "PUT" and _UPLOAD.search(scope["path"])
        if not sent or not _is_hosted():
            await self.app(scope, receive, send)
            return
        length = dict(scope["headers"]).get(b"content-length", b"")
        if not length.isdigit():  # room could only be made once it is here; every browser says how long a file is
            await PlainTextResponse("the length of a file must be said before it", 411)(scope, receive, send)
            return
        async with self._turns.setdefault(sent[1], asyncio.Lock()):
            manager = runtime.get_instance().uploaded_file_mgr
            if isinstance(manager, MemoryUploadedFileManager):
                make_room(manager, sent[1], int(length))
            await self.app(scope, receive, send)


def _is_hosted() -> bool:
    from app import hosted  # takes seconds while the server starts: whoever sends a file has seen a page that has it

    return hosted.LIMITS.hosted


def contents(files: Files) -> list[tuple[str, bytes]]:
    """Names and contents of a widget's files. Raises InputError where room was made of one of them."""
    found = [(file.name, file.getvalue()) for file in files if isinstance(file, UploadedFile)]
    if len(found) < len(files):
        raise InputError(
            f"too much was chosen, and all of it is dropped: choose the files of one model, at most {FILES} files and "
            f"{most()} together"
        )
    return found


def forget(files: Files) -> None:
    """Remove a widget's files; without this they are held until the tab is closed, whatever becomes of the widget."""
    context = get_script_run_ctx()
    if context is not None and isinstance(context.uploaded_file_mgr, MemoryUploadedFileManager):
        for file in files:
            context.uploaded_file_mgr.remove_file(context.session_id, file.file_id)
