from __future__ import annotations

import socket

import hypothesis
import pytest
import torch

from model import checkpoint
from model.coconut import CoconutConfig, CoconutGPT2

torch.set_num_threads(1)
hypothesis.settings.register_profile("untimed", deadline=None)  # on a busy machine the first example may take a second
hypothesis.settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that wait for pages come first, so that others have the cores meanwhile and none waits for them alone."""
    items.sort(key=lambda item: item.get_closest_marker("browser") is None)


@pytest.fixture(scope="session")
def trained() -> CoconutGPT2:
    """The shipped checkpoint."""
    return checkpoint.load()


@pytest.fixture(scope="session")
def tiny() -> CoconutGPT2:
    """A small random model: fast, and wrong about everything."""
    config = CoconutConfig(
        n_layer=2, n_head=2, n_embd=32, n_positions=256, vocab_size=48, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0
    )
    assert config.n_embd == 32  # a misspelt field would silently give the full size
    return checkpoint.untrained(config, seed=1)


@pytest.fixture
def free_port() -> int:
    """A TCP port of this machine that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
