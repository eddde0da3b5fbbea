"""Weights on disk: the authors' `.pt.bz2`, our safetensors, and what a fine-tuned model takes from the pre-trained one.

A checkpoint is untrusted input. The authors' are decompressed up to a limit and unpickled by torch's restricted
unpickler, which builds tensors and plain containers and calls nothing else.
"""

from __future__ import annotations

import bz2
import hashlib
import io
import json
import os
import pickle
import zipfile
from collections.abc import Mapping
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from emigbench import EmigbenchError
from emigbench.errors import in_words
from emigbench.storage import write_bytes

State = dict[str, Tensor]

LARGEST = 1 << 30
"""Bytes that a checkpoint may have, decompressed; the authors' have about 50 MB."""
BACKBONE = ("atom_embedding.", "edge_embedding.", "angle_embedding.", "alignn_layers.", "gcn_layers.")
"""What a fine-tuned model takes from the pre-trained one, batch statistics included; all else starts at random."""
AUTHORS = MappingProxyType(
    {
        "mpt": "0c2d8d1d996626ea5e1d012a24c519ff79f79bef",
        "model-1-cc": "bb7ef62f0df99c5caca84a4b2f4a34e50fa42f4d",
        "model-2": "eacb4e830792ee7c1864f6fca2877ddaac1b33ad",
        "model-3": "8a7f0ad76667191dc403a6fef7ff0037147b0a2e",
        "model-4": "7fe2508e1686bf9960306c9277e349fa2ec8a279",
    }
)
"""Git blob ids of the authors' released files, by network."""

_CHUNK = 1 << 20
_DTYPES = {"F16": np.float16, "F32": np.float32, "I64": np.int64}
_DTYPE_NAMES = {torch.float16: "F16", torch.float32: "F32", torch.int64: "I64"}


def load(path: Path | str) -> State:
    """The weights of a checkpoint, in float32.

    Args:
        path: a `.safetensors` file, or a torch file, plain or compressed by bzip2; of a torch file with the keys
            model, optimizer, lr_scheduler and trainer the first is taken.

    Raises:
        EmigbenchError: if the file cannot be read or is not a checkpoint.
    """
    path = Path(path)
    try:
        if path.suffix == ".safetensors":
            return _read_safetensors(path)
        return _full_precision(_state_of(_unpickle(_content(path), path), path))
    except OSError as error:
        raise EmigbenchError(f"{path}: the checkpoint cannot be read ({in_words(error)})") from error


def save(network: nn.Module, path: Path | str) -> None:
    """Write weights as safetensors: matrices in half precision, vectors (biases, batch statistics) in full.

    Args:
        network: whose weights.
        path: the file, replaced if there is one.

    Raises:
        EmigbenchError: if a matrix holds a value that half precision cannot, or the file cannot be written.
    """
    state = {}
    for name, tensor in network.state_dict().items():
        value = tensor.cpu()
        if value.is_floating_point():
            value = value.to(torch.float16 if value.dim() > 1 else torch.float32)
            if not torch.isfinite(value).all():
                raise EmigbenchError(f"{path}: {name} holds a value that is not finite in half precision")
        state[name] = value
    _write_safetensors(state, Path(path))


def fill(network: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Load all weights of a network.

    Args:
        network: overwritten.
        state: its weights, complete and nothing else.
        source: what to call them in an error.

    Raises:
        EmigbenchError: naming the first weight that is missing, superfluous or of another shape.
    """
    _check(network.state_dict(), state, source)
    network.load_state_dict(dict(state))


def copy_backbone(network: nn.Module, state: Mapping[str, Tensor], source: str) -> tuple[str, ...]:
    """Start a network from a pre-trained one: its `BACKBONE` is copied, the rest stays as it is.

    Args:
        network: a variant; its heads, joining layers, attention and short stacks stay random.
        state: weights of the pre-trained network, or of anything with the same backbone.
        source: what to call them in an error.

    Returns:
        Names of the copied weights.

    Raises:
        EmigbenchError: as `fill`, within the backbone.
    """
    mine = {name: tensor for name, tensor in network.state_dict().items() if name.startswith(BACKBONE)}
    theirs = {name: tensor for name, tensor in state.items() if name.startswith(BACKBONE)}
    _check(mine, theirs, source)
    network.load_state_dict(theirs, strict=False)
    return tuple(mine)


def weights_hash(network: nn.Module) -> str:
    """All weights of a network as sha256."""
    digest = hashlib.sha256()
    for value in network.state_dict().values():
        digest.update(value.cpu().numpy().tobytes())
    return digest.hexdigest()


def of_authors(name: str) -> Path:
    """The authors' file of a network in the folder of EMIGBENCH_AUTHORS, by its content, however deep it lies there.

    Args:
        name: one of `AUTHORS`.

    Raises:
        EmigbenchError: if it is not there.
    """
    folder = os.environ.get("EMIGBENCH_AUTHORS")
    if not folder:
        raise EmigbenchError(
            "The authors' weights do not come with the package; set EMIGBENCH_AUTHORS to a folder that has their "
            "files (.pt, .pt.bz2), such as a clone of their repository."
        )
    try:
        files = sorted(file for file in Path(folder).rglob("*.pt*") if file.is_file())
        for file in files:
            if git_blob_id(file) == AUTHORS[name]:
                return file
    except OSError as error:
        raise EmigbenchError(f"{folder} (EMIGBENCH_AUTHORS) cannot be searched ({in_words(error)})") from error
    raise EmigbenchError(
        f"Of the {len(files)} .pt files in {folder} (EMIGBENCH_AUTHORS) none is the released {name}, whose git blob id "
        f"is {AUTHORS[name]}; without Git LFS a clone has pointers in their place."
    )


def git_blob_id(path: Path) -> str:
    """What `git hash-object` prints."""
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while part := file.read(_CHUNK):
            digest.update(part)
    return digest.hexdigest()


def _check(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], source: str) -> None:
    for name, tensor in expected.items():
        if name not in found:
            raise EmigbenchError(f"{source}: not a checkpoint of this network, it lacks {name}")
        if (shape := tuple(found[name].shape)) != tuple(tensor.shape):
            raise EmigbenchError(f"{source}: {name} has shape {shape}, expected {tuple(tensor.shape)}")
    for name, tensor in found.items():
        if name not in expected:
            raise EmigbenchError(f"{source}: not a checkpoint of this network, which has no {name}")
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise EmigbenchError(f"{source}: {name} holds a value that is not a finite number")


def _content(path: Path) -> io.BytesIO:
    """The file, decompressed where need be; never more than `LARGEST` bytes of it."""
    content = io.BytesIO()
    with path.open("rb") as file:
        compressed = file.read(3) == b"BZh"
        file.seek(0)
        reader = bz2.BZ2File(file) if compressed else file
        try:
            while part := reader.read(_CHUNK):
                if content.tell() + len(part) > LARGEST:
                    raise EmigbenchError(f"{path}: more than {LARGEST} bytes, which is no checkpoint of ours")
                content.write(part)
        except (OSError, EOFError) as error:
            raise EmigbenchError(f"{path}: the bzip2 file is corrupt ({in_words(error)})") from error
    content.seek(0)
    return content


def _unpickle(content: io.BytesIO, path: Path) -> Any:
    _refuse_inflated(content, path)
    try:
        with torch.serialization.safe_globals(_HARMLESS):
            return torch.load(content, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise EmigbenchError(f"{path}: refused, for it holds more than tensors ({in_words(error)})") from error
    except Exception as error:  # torch and zipfile raise whatever a damaged file leads them to
        raise EmigbenchError(f"{path}: not a torch checkpoint ({in_words(error)})") from error


def _refuse_inflated(content: io.BytesIO, path: Path) -> None:
    """A torch file is a zip of stored parts; one of compressed parts could be a bomb."""
    if zipfile.is_zipfile(content):
        with zipfile.ZipFile(content) as archive:
            size = sum(part.file_size for part in archive.infolist())
        if size > LARGEST:
            raise EmigbenchError(f"{path}: {size} bytes inside, more than the {LARGEST} of any checkpoint of ours")
    content.seek(0)


class _Ignored:
    """Stands for the class of a learning rate scheduler in an old checkpoint."""


def _ignore(*_: object) -> None:
    """Stands for `getattr`, by which older torch versions stored a scheduler's annealing function."""


_HARMLESS: list[Any] = [
    (_ignore, "builtins.getattr"),
    (_ignore, "__builtin__.getattr"),
    (_Ignored, "torch.optim.lr_scheduler.OneCycleLR"),
]


def _state_of(loaded: Any, path: Path) -> State:
    state = loaded.get("model", loaded) if isinstance(loaded, Mapping) else None
    if not isinstance(state, Mapping) or not state:
        raise EmigbenchError(f"{path}: not a checkpoint, expected a dictionary of weights or one under the key 'model'")
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise EmigbenchError(f"{path}: not a checkpoint, {name!r} is not a tensor")
    return dict(state)


def _full_precision(state: State) -> State:
    return {name: value.float() if value.is_floating_point() else value for name, value in state.items()}


def _write_safetensors(state: State, path: Path) -> None:
    """The format: header length (8 bytes), header (JSON), then the bytes of all tensors, each where the header says."""
    header: dict[str, Any] = {}
    end = 0
    for name, value in state.items():
        begin, end = end, end + value.nbytes
        header[name] = {"dtype": _DTYPE_NAMES[value.dtype], "shape": list(value.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    tensors = (value.numpy().tobytes() for value in state.values())
    write_bytes(path, b"".join([len(text).to_bytes(8, "little"), text, *tensors]))


def _read_safetensors(path: Path) -> State:
    if path.stat().st_size > LARGEST:
        raise EmigbenchError(f"{path}: more than {LARGEST} bytes, which is no checkpoint of ours")
    content = path.read_bytes()
    begin = 8 + int.from_bytes(content[:8], "little")
    data = memoryview(content)[begin:]
    try:
        if begin > len(content):
            raise ValueError(f"a header of {begin - 8} bytes in a file of {len(content)}")
        header = json.loads(content[8:begin])
        header.pop("__metadata__", None)
        _check_types({name: str(entry["dtype"]) for name, entry in header.items()}, path)
        return _full_precision({name: _tensor(data, **entry) for name, entry in header.items()})
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise EmigbenchError(f"{path}: not a whole safetensors file ({in_words(error)})") from error


def _check_types(types: Mapping[str, str], path: Path) -> None:
    for name, kind in types.items():
        if kind not in _DTYPES:
            raise EmigbenchError(
                f"{path}: {name} is stored as {kind}; convert the weights to one of {', '.join(_DTYPES)}"
            )


def _tensor(data: memoryview, dtype: str, shape: list[int], data_offsets: list[int]) -> Tensor:
    begin, end = data_offsets
    kind = np.dtype(_DTYPES[dtype])
    if not 0 <= begin <= end <= len(data) or end - begin != prod(shape) * kind.itemsize:
        raise ValueError(f"a tensor of shape {shape} has the bytes {begin} to {end} of {len(data)}")
    return torch.from_numpy(np.frombuffer(data[begin:end], dtype=kind).reshape(shape).copy())
