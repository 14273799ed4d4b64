"""Saving and loading checkpoints: HF folders (``config.json`` + ``model.safetensors``), strict in both directions."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from weakref import WeakKeyDictionary

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.coconut import FEED_MAPS, FEEDS, METHODS, THOUGHTS_BY, CoconutConfig, CoconutGPT2, codec_for
from model.config_file import read_config
from model.errors import CheckpointError, InputError, OutputError
from model.files import MAX_SETTINGS_BYTES, atomic_folder, parse_json, read_text, short_hash
from model.mimetic import begin_mimetic
from model.precision import use
from model.values import Wanted

CHECKPOINTS = Path(__file__).parent / "checkpoints"
DEFAULT_CHECKPOINT = CHECKPOINTS / "prosqa-symbol-2l"
FILES = (
    "model.safetensors", "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
    "README.md",
)  # fmt: skip
"""What ``write_files`` and ``save_pretrained`` write into a folder."""


def pick_device(name: str = "auto") -> torch.device:
    """ "auto" is CUDA where present, else the CPU. Raises InputError if the device asked for is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"device {name!r} is unknown; use auto, cpu, cuda or cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"device {name!r} is not supported; use auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and not (torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()):
        raise InputError(f"device {name!r} is not there: {torch.cuda.device_count()} CUDA device(s) found")
    return device


def load(path: str | Path = DEFAULT_CHECKPOINT, *, device: torch.device | str = "cpu") -> CoconutGPT2:
    """A checkpoint folder, or the best checkpoint of a run folder (``model.training.run``), as a float32 model in eval
    mode.

    Raises CheckpointError if it is missing, truncated, foreign, of another codec, or if one tensor is missing,
    unexpected, of another shape or not finite: a model is loaded as it was saved or not at all.
    """
    path = checkpoint_folder(path)
    config = load_config(path)
    weights = path / "model.safetensors"
    if not weights.is_file():
        raise CheckpointError(
            f"{path}: no model.safetensors; a checkpoint is a folder with config.json and model.safetensors"
        )
    try:
        with safe_open(weights, framework="pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            found = {name: tuple(each.get_shape()) for name, each in slices.items()}
            kinds = {name: each.get_dtype() for name, each in slices.items()}
        found.setdefault("lm_head.weight", found.get("transformer.wte.weight", ()))
        _check_shapes(weights, config, found, kinds)  # before anything of these sizes is made
        state = load_file(weights)
    except SafetensorError as error:
        raise CheckpointError(f"{weights}: damaged or not safetensors ({error})") from None
    except OSError as error:
        raise CheckpointError(f"{weights}: cannot be read ({error.strerror or error})") from None
    for name, tensor in state.items():
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{weights}: {name} holds values that are not finite")
    model = CoconutGPT2(config)
    state.setdefault("lm_head.weight", state["transformer.wte.weight"])
    model.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    torch.nn.Module.to(model, torch.device(device))
    return model.eval()


def _check_shapes(
    weights: Path, config: CoconutConfig, found: dict[str, tuple[int, ...]], kinds: dict[str, str]
) -> None:
    """Raise CheckpointError unless the header of a file of weights fits its config."""
    with torch.device("meta"):
        expected = {name: tuple(tensor.shape) for name, tensor in CoconutGPT2(config).state_dict().items()}
    wrong = [
        f"{name} is {found.get(name, 'missing')}, expected {expected.get(name, 'none')}"
        for name in sorted(expected.keys() | found.keys())
        if found.get(name) != expected.get(name)
    ]
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise CheckpointError(f"{weights}: does not fit its config.json: {wrong[0]}{more}")
    for name, kind in kinds.items():
        if kind not in ("F32", "F16", "BF16"):
            raise CheckpointError(f"{weights}: {name} is stored as {kind}; F32, F16 and BF16 are read")


def load_config(path: str | Path) -> CoconutConfig:
    """The config of a checkpoint or run folder. Raises CheckpointError if it is missing, malformed or foreign."""
    path = checkpoint_folder(path)
    if not path.is_dir():
        raise CheckpointError(
            f"{path}: no such folder; a checkpoint is a folder with config.json and model.safetensors "
            "(python -m model import makes one from a file or Hub id of other code)"
        )
    try:
        text = read_text(path / "config.json", max_bytes=MAX_SETTINGS_BYTES)
        values = parse_json(text, where=f"{path}/config.json")
    except InputError as error:
        raise CheckpointError(str(error)) from None
    kind = values.get("model_type") if isinstance(values, dict) else None
    if kind != CoconutConfig.model_type:
        raise CheckpointError(
            f"{path}: model_type is {kind!r:.80}; expected {CoconutConfig.model_type!r} (python -m model import opens "
            "what other code trained)"
        )
    config = CoconutConfig(**read_config(text, where=f"{path}/config.json"))
    for name, known in (("method", METHODS), ("feed", FEEDS), ("feed_map", FEED_MAPS), ("thoughts_by", THOUGHTS_BY)):
        if (value := getattr(config, name)) not in known:
            raise CheckpointError(f"{path}/config.json: {name} {value!r:.80} is unknown; known are {', '.join(known)}")
    codec_for(config)
    return config


def save(model: CoconutGPT2, path: str | Path, *, dtype: torch.dtype | None = None, card: str | None = None) -> None:
    """Write the model as an HF folder, whole or not at all; ``dtype`` (say float16) only changes what is stored.

    Raises OutputError where that folder holds anything but a checkpoint.
    """
    with atomic_folder(path, over=FILES) as folder:
        write_files(model, folder, dtype=dtype, card=card)


def write_files(model: CoconutGPT2, folder: Path, *, dtype: torch.dtype | None = None, card: str | None = None) -> None:
    """Write what ``save`` does into a folder that the caller makes whole (``atomic_folder``)."""
    state: dict[str, Tensor] = {
        name: tensor.to(dtype or tensor.dtype).contiguous() for name, tensor in model.state_dict().items()
    }
    state.pop("lm_head.weight")  # tied to the input embedding
    config = CoconutConfig.from_dict(
        model.config.to_dict() | {"dtype": str(dtype or model.dtype).removeprefix("torch.")}
    )
    config.architectures = [type(model).__name__]
    write_tensors(folder / "model.safetensors", state)
    config.save_pretrained(folder)
    if (vocabulary := model.codec.vocabulary) is not None:
        vocabulary.save(folder)
    if card is not None:
        (folder / "README.md").write_text(card, encoding="utf-8")


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write a safetensors file. Raises OutputError, which its library does not, when the disk is full."""
    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata={"format": "pt"})
    except (SafetensorError, OSError) as error:
        raise OutputError(f"{path}: cannot be written ({error})") from None


def untrained(config: CoconutConfig, *, seed: int = 0) -> CoconutGPT2:
    """A model of the same config with fresh random weights: the control for everything read out of a trained one."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CoconutGPT2(CoconutConfig.from_dict(config.to_dict())).eval()
        if config.mimetic_start:
            begin_mimetic(model)
        return model


def open(
    path: str | Path = DEFAULT_CHECKPOINT,
    *,
    device: str = "auto",
    trained: bool = True,
    seed: int = 0,
    precision: Wanted = "float32",
) -> CoconutGPT2:
    """``load`` on a device by name (``pick_device``); not ``trained``: fresh random weights of its config instead.

    ``precision``: of its passes (``model.precision``).
    """
    where = pick_device(device)
    if trained:
        return use(load(path, device=where), precision)
    model = untrained(load_config(path), seed=seed)
    torch.nn.Module.to(model, where)
    return use(model, precision)


def fingerprint(model: CoconutGPT2) -> str:
    """SHA-256 of all weights, first 16 hex digits: equal for equal models, wherever they are stored.

    Kept for the model until one of its tensors is another, or was written to.
    """
    state = sorted(model.state_dict().items())
    now = tuple((tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version) for _, tensor in state)
    known = _FINGERPRINTS.get(model)
    if known is None or known[0] != now:
        parts = ((name.encode(), tensor_bytes(tensor)) for name, tensor in state)
        known = _FINGERPRINTS[model] = now, short_hash(chain.from_iterable(parts))
    return known[1]


def tensor_bytes(tensor: Tensor) -> bytes:
    """The numbers of a tensor as they lie in memory, row by row."""
    return tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()


_FINGERPRINTS: WeakKeyDictionary[CoconutGPT2, tuple[tuple[tuple[int, int], ...], str]] = WeakKeyDictionary()


def checkpoint_folder(path: str | Path) -> Path:
    """The folder that ``load`` reads: the path itself, or ``best`` inside it where it is a run folder. Raises
    CheckpointError for a name that no folder can have."""
    path, best = Path(path), Path(path) / "best"
    try:
        return best if not (path / "config.json").exists() and (best / "config.json").exists() else path
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or error
        raise CheckpointError(f"{str(path)!r:.200}: cannot be opened ({said})") from None
