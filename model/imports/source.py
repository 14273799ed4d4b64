"""What a SOURCE holds: a file, a folder or a repository of the Hub as named tensors, and what lies beside them."""

from __future__ import annotations

import pickle
import pickletools
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import torch
from huggingface_hub import hf_hub_download, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from model.errors import CheckpointError
from model.files import read_json

WEIGHTS = "weights written by torch.save or safetensors"
ACCEPTED = f"a file of {WEIGHTS}, a folder that holds one, or a Hub id (org/repo or org/repo:file)"
"""For names; of a file that is there and cannot be read, WEIGHTS says more."""
_WRAPPERS = ("_fsdp_wrapped_module.", "_orig_mod.", "module.")
_NESTS = ("state_dict", "model_state_dict", "model")
HUB = re.compile(r"(?P<repo>\w[\w.-]*/\w[\w.-]*)(?::(?P<file>\w[\w.-]*(?:/\w[\w.-]*)*))?")
_BUFFERS = (".attn.bias", ".attn.masked_bias")
_INDICES = (torch.bool, torch.int64)
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_MADE = {"collections OrderedDict", "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter"}
_MADE |= {"torch.storage UntypedStorage", "torch.storage TypedStorage"}
"""What a pickle of tensors calls, beside the types of their storages. ``weights_only`` allows more, such as a bytearray
of any length."""
_STORAGE = re.compile(r"torch [A-Z]\w*Storage")
_ARCHIVE = b"PK\x03\x04"
"""How a zip archive begins, which torch.save writes."""
_PICKLES = 5
"""In a file of the older format, before the numbers."""
MAX_NAME = 300
"""Characters of a tensor's name, which errors show."""


@dataclass(frozen=True)
class Source:
    """Named tensors, and what else is known of them."""

    name: str
    """Of the file or repository, as reports show it."""
    tensors: Mapping[str, Tensor]
    """Without what wrappers put before the names."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """From a name in the file to the name here, where a wrapper was taken off."""
    dropped: tuple[str, ...] = ()
    """Names of what GPT-2 makes by itself (attention masks, indices)."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """A config.json beside the tensors."""
    epoch: int | None = None
    """N of a file called ``checkpoint_N``."""


def read(source: str | Path) -> Source:
    """Open a SOURCE. Raises CheckpointError for what is none, is damaged, or could only be read by running it."""
    path = Path(source)
    if path.is_dir():
        return _folder(path)
    if path.is_file():
        return _file(path)
    if path.exists():  # a pipe or a device, which may never end
        raise CheckpointError(f"{source}: not a regular file; expected {ACCEPTED}")
    hub = HUB.fullmatch(str(source))
    if hub is None:
        raise CheckpointError(f"{source}: no such file or folder; expected {ACCEPTED}")
    return _from_hub(hub["repo"], hub["file"])


def _from_hub(repo: str, file: str | None) -> Source:
    try:
        if file is None:
            return _folder(Path(snapshot_download(repo)))
        return _file(Path(hf_hub_download(repo, file)))
    except OfflineModeIsEnabled:
        reason = "Hub access is switched off (HF_HUB_OFFLINE)"
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        reason = f"the Hub does not give it: {first:.160}"
    raise CheckpointError(
        f"{repo}{f':{file}' if file else ''}: no such file or folder here, and {reason}; download it elsewhere and "
        "give its path"
    )


def weights(path: Path) -> list[Path]:
    """The files of a folder that may hold a checkpoint; of those with a known name, the first."""
    names = ("model.safetensors", "pytorch_model.bin")
    found = [path / name for name in names if (path / name).is_file()]
    found = found[:1] or sorted(file for file in path.iterdir() if re.fullmatch(r"checkpoint_\w+", file.name))
    return found or sorted(file for file in path.iterdir() if file.suffix in (".safetensors", ".bin", ".pt", ".pth"))


def _folder(path: Path) -> Source:
    if (path / "pccot_args.json").exists():
        raise CheckpointError(
            f"{path}: a PCCoT model, which refines all its thoughts at once by Jacobi iteration; the thought loop here "
            "feeds one thought after another and cannot run it"
        )
    found = weights(path)
    if len(found) != 1:
        what = "holds no weights" if not found else f"holds {len(found)} checkpoints ({found[0].name}, ...)"
        raise CheckpointError(f"{path}: the folder {what}; expected one file of {WEIGHTS}")
    config = read_json(path / "config.json") if (path / "config.json").is_file() else {}
    if not isinstance(config, dict):
        raise CheckpointError(f"{path}/config.json: expected an object")
    return _file(found[0], config)


def _file(path: Path, config: Mapping[str, Any] | None = None) -> Source:
    values: Any
    if path.suffix == ".safetensors":
        try:
            values = load_file(path)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path}: damaged or not safetensors ({error})") from None
    else:
        values = _unpickled(path)
    values = _state_dict(values, path)
    tensors: dict[str, Tensor] = {}
    renamed: dict[str, str] = {}
    dropped = []
    for name, value in values.items():
        plain = str(name)
        if len(plain) > MAX_NAME or not plain.isprintable():
            raise CheckpointError(f"{path}: a tensor is called {plain[:60]!r}, which is longer than any name, or none")
        for wrapper in _WRAPPERS:
            plain = plain.replace(wrapper, "")
        if plain.endswith(_BUFFERS) or not isinstance(value, Tensor) or value.dtype in _INDICES:
            dropped.append(str(name))
        elif value.layout is not torch.strided or value.is_meta:
            raise CheckpointError(f"{path}: {name} is sparse or empty, as weights are not")
        elif value.untyped_storage().nbytes() < value.numel() * value.element_size():
            raise CheckpointError(f"{path}: {name} is larger than what is stored of it")
        elif value.dtype not in _FLOATS:
            dtype = str(value.dtype).removeprefix("torch.")
            raise CheckpointError(f"{path}: {name} holds {dtype}, not floating point numbers of 16, 32 or 64 bits")
        elif not torch.isfinite(value).all():
            raise CheckpointError(f"{path}: {name} holds values that are not finite")
        else:
            tensors[plain] = value.float()
            if plain != name:
                renamed[str(name)] = plain
    epoch = re.fullmatch(r"checkpoint_(\d+)", path.name)
    return Source(path.name, tensors, renamed, tuple(dropped), config or {}, int(epoch[1]) if epoch else None)


def _state_dict(values: Any, path: Path) -> dict[Any, Any]:
    """The innermost dict, which holds tensors."""
    for _ in range(len(_NESTS) + 1):
        if not isinstance(values, dict):
            raise CheckpointError(f"{path}: holds a {type(values).__name__}, not a state dict; expected {WEIGHTS}")
        if any(isinstance(value, Tensor) for value in values.values()):
            return values
        values = next((values[name] for name in _NESTS if isinstance(values.get(name), dict)), {})
    raise CheckpointError(f"{path}: holds no tensors; expected {WEIGHTS}")


def _unpickled(path: Path) -> Any:
    try:
        if not _grows(path):
            _check_calls(path)
            return torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except pickle.UnpicklingError as error:
        if "Unsupported" in str(error) or "GLOBAL" in str(error) or "WeightsUnpickler" in str(error):
            raise CheckpointError(
                f"{path}: holds more than tensors; reading it would run code from the file, so it is refused "
                "(save its state_dict() alone)"
            ) from None
        raise CheckpointError(f"{path}: not a file written by torch.save; expected {WEIGHTS}") from None
    except _DAMAGED as error:
        raise CheckpointError(
            f"{path}: damaged, cut short or not written by torch.save ({type(error).__name__}); expected {WEIGHTS}"
        ) from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from None
    raise CheckpointError(f"{path}: holds more than its size, as no file written by torch.save does")


_DAMAGED = (
    RuntimeError, EOFError, zipfile.BadZipFile, ValueError, LookupError, AttributeError, TypeError, AssertionError,
    ArithmeticError, MemoryError,
)  # fmt: skip
"""What reading the calls of a damaged pickle ends in."""


def _check_calls(path: Path) -> None:
    """Raise CheckpointError where a pickle calls anything but what makes tensors, before anything is called.

    As torch does, files are told apart by how they begin: a pickle may have an archive behind it. In an archive every
    pickle is read, as torch's reader may take another of two entries that are called alike.
    """
    with path.open("rb") as file:
        if file.read(len(_ARCHIVE)) != _ARCHIVE:
            file.seek(0)
            for _ in range(_PICKLES):
                _check_pickle(file, path)
            return
    with zipfile.ZipFile(path) as packed:
        for entry in packed.infolist():
            if entry.filename.lower().endswith(".pkl"):
                with packed.open(entry) as pickled:
                    _check_pickle(pickled, path)


def _check_pickle(file: IO[bytes], path: Path) -> None:
    for code, argument, _ in pickletools.genops(file):
        called = str(argument)
        if code.name in ("GLOBAL", "INST") and called not in _MADE and not _STORAGE.fullmatch(called):
            raise CheckpointError(
                f"{path}: holds more than tensors ({called[:60]!r}); reading it would run code from the file, so it is "
                "refused (save its state_dict() alone)"
            )


def _grows(path: Path) -> bool:
    """Whether it is a zip archive, as torch.save writes, that would be larger unpacked."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as packed:
        return sum(entry.file_size for entry in packed.infolist()) > path.stat().st_size
