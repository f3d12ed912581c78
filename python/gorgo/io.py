"""Tensors in files: safetensors (any tree of tensors, numbers and strings), .npy and .npz.

Writing is atomic: a temporary file in the same folder, forced to the disk, then renamed; who reads sees the old file or
the new one, never half of it. Reading believes nothing: every length is compared with the file's before memory is
asked for, and whatever is wrong in a file is a FileFormatError that names it.

A safetensors file is an eight-byte length, a JSON header of that length, and the elements. It is written and read here
without the safetensors package, which would copy each tensor into a bytes object and know no bfloat16 without PyTorch.
A tree that is more than names and tensors is described in the header's metadata under "gorgo.tree"; other programs
see its tensors under dotted names.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import mmap as mapping
import os
import pathlib
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import IO, Any

import gorgo as gg

__all__ = [
    "FileFormatError",
    "load",
    "load_npy",
    "load_npz",
    "load_safetensors",
    "read_metadata",
    "save",
    "save_npy",
    "save_npz",
    "save_safetensors",
]

PathLike = str | os.PathLike[str]

# The format's names; complex64 is the only complex dtype that it has.
_DTYPES: dict[str, Any] = {
    "BOOL": gg.bool,
    "U8": gg.uint8,
    "U16": gg.uint16,
    "U32": gg.uint32,
    "U64": gg.uint64,
    "I8": gg.int8,
    "I16": gg.int16,
    "I32": gg.int32,
    "I64": gg.int64,
    "F16": gg.float16,
    "BF16": gg.bfloat16,
    "F32": gg.float32,
    "F64": gg.float64,
    "C64": gg.complex64,
}
_CODES = {dtype: code for code, dtype in _DTYPES.items()}
_HEADER_LIMIT_BYTES = 100_000_000  # the limit of the format's own reader
_ALIGNMENT_BYTES = 64  # where the elements begin, so that a mapped file serves kernels as it lies
_NPY_HEADER_LIMIT_BYTES = 10_000  # NumPy's own limit: the header is parsed as Python, which long ones can exhaust
_TREE = "gorgo.tree"
_DEEPEST = 100  # levels of a tree; what is deeper is taken for a mistake or an attack
_MAX_RANK = 16
_SUFFIXES = (".safetensors", ".npy", ".npz")


class FileFormatError(ValueError):
    """What a file holds is not what its format says; the message names the file.

    Example:
        >>> import gorgo as gg
        >>> import pathlib
        >>> pathlib.Path("broken.safetensors").write_bytes(b"1234")
        4
        >>> gg.load("broken.safetensors")
        Traceback (most recent call last):
        ...
        gorgo.io.FileFormatError: load: broken.safetensors must hold 8 bytes of header length or more, got 4 bytes
    """


def _wrong(path: PathLike, expectation: str) -> FileFormatError:
    return FileFormatError(f"load: {os.fspath(path)} {expectation}")


# ---- writing ----


@contextlib.contextmanager
def _atomically(path: PathLike) -> Iterator[IO[bytes]]:
    """Open a new file that takes the place of the one at path when the block ends well."""
    target = pathlib.Path(path).resolve()  # a link stays a link
    temporary = target.with_name(f".{target.name[:100]}.{secrets.token_hex(6)}.tmp")
    try:
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o666)
    except OSError as error:  # the caller knows the name of the target alone
        raise type(error)(error.errno, error.strerror, os.fspath(path)) from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            with contextlib.suppress(OSError):
                temporary.chmod(target.stat().st_mode & 0o777)
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    with contextlib.suppress(OSError):  # some file systems do not let a folder be opened
        descriptor = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _as_tensor(value: Any, place: str) -> gg.Tensor:
    """Return a detached, contiguous tensor on the cpu over a tensor's or array's elements."""
    if isinstance(value, gg.Tensor):
        return value.detach().to(device="cpu").contiguous()
    if hasattr(value, "detach"):
        value = value.detach()
    if hasattr(value, "__array_interface__") or hasattr(value, "__dlpack__"):
        return gg.asarray(value).to(device="cpu").contiguous()
    raise TypeError(f"save: {place} must be a tensor or array, got {type(value).__name__}")


def _elements(t: gg.Tensor) -> Any:
    """Return the bytes of a contiguous tensor's elements, without a copy; bfloat16 has no buffer format of its own."""
    return (ctypes.c_char * t.nbytes).from_address(t.data_ptr()) if t.nbytes else b""


def _is_tensor(value: Any) -> bool:
    return isinstance(value, gg.Tensor) or (
        hasattr(value, "shape") and (hasattr(value, "__array_interface__") or hasattr(value, "__dlpack__"))
    )


class _Tree:
    """Takes a tree apart into tensors by name and a description of the rest."""

    def __init__(self) -> None:
        self.tensors: dict[str, gg.Tensor] = {}

    def describe(self, value: Any, place: str, depth: int = 0) -> Any:
        """Return what JSON can hold: numbers and strings as they are, all else as a list with a letter first."""
        if depth > _DEEPEST:
            raise ValueError(f"save: state must be at most {_DEEPEST} levels deep, got more at {place[:80]}...")
        if _is_tensor(value):
            name, n = place, 1
            while name in self.tensors or name == "__metadata__":
                n += 1
                name = f"{place}#{n}"
            self.tensors[name] = _as_tensor(value, place)
            return ["t", name]
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, Mapping):
            entries = []
            for key, member in value.items():
                if isinstance(key, bool) or not isinstance(key, str | int):
                    raise TypeError(
                        f"save: keys must be strings or integers, got {type(key).__name__} in {place or 'state'}"
                    )
                entries.append([key, self.describe(member, f"{place}.{key}" if place else str(key), depth + 1)])
            return ["d", entries]
        if isinstance(value, list | tuple):
            members = [self.describe(m, f"{place}.{i}" if place else str(i), depth + 1) for i, m in enumerate(value)]
            return ["l" if isinstance(value, list) else "u", members]
        raise TypeError(
            f"save: {place or 'state'} must be a tensor, number, string, None, or dict, list or tuple of these,"
            f" got {type(value).__name__}"
        )


def save_safetensors(state: Any, path: PathLike, metadata: Mapping[str, str] | None = None) -> None:
    """Write a tree of tensors, numbers and strings as safetensors.

    Args:
        state: tensors by name, or any tree of dicts (keys strings or integers), lists and tuples with tensors, arrays,
            numbers, strings and None: the state_dict of a module, an optimizer, a schedule, a loader, or all of them.
        path: the file; one that exists is replaced as a whole.
        metadata: strings by name, kept in the header.

    Raises:
        TypeError: a value or a key is of another kind, or a dtype has no name in the format (complex128).
        OSError: the file cannot be written; the old one stays as it was.

    Source: the safetensors format, https://github.com/huggingface/safetensors#format

    Example:
        >>> import gorgo as gg
        >>> gg.io.save_safetensors({"w": gg.ones((2,)), "epoch": 3}, "state.safetensors", {"by": "me"})
        >>> gg.io.load_safetensors("state.safetensors")["epoch"], gg.io.read_metadata("state.safetensors")
        (3, {'by': 'me'})
    """
    tree = _Tree()
    description = tree.describe(state, "")
    header: dict[str, Any] = {}
    strings = dict(metadata or {})
    given: dict[Any, Any] = strings
    for key, text in given.items():
        if not isinstance(key, str) or not isinstance(text, str):
            raise TypeError(f"save: metadata must be strings by strings, got {type(text).__name__} under {key!r}")
        if key == _TREE:
            raise ValueError(f"save: metadata must not use the name {_TREE!r}, got it")
    flat = isinstance(state, Mapping) and all(
        isinstance(key, str) and key != "__metadata__" and _is_tensor(value) for key, value in state.items()
    )
    if not flat:
        strings[_TREE] = json.dumps(description)
    if strings:
        header["__metadata__"] = strings
    # Widest elements first, so that each tensor is aligned to its elements without holes, which the format forbids.
    order = sorted(tree.tensors, key=lambda name: (-tree.tensors[name].itemsize, name))
    offset = 0
    for name in order:
        t = tree.tensors[name]
        if t.dtype not in _CODES:
            raise TypeError(f"save: {name} must have a dtype that safetensors knows, got {t.dtype.name}")
        header[name] = {
            "dtype": _CODES[t.dtype],
            "shape": list(t.shape),
            "data_offsets": [offset, offset + t.nbytes],
        }
        offset += t.nbytes
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-(8 + len(encoded)) % _ALIGNMENT_BYTES)
    if len(encoded) > _HEADER_LIMIT_BYTES:
        raise ValueError(f"save: header must be at most {_HEADER_LIMIT_BYTES} bytes, got {len(encoded)}")
    with _atomically(path) as file:
        file.write(len(encoded).to_bytes(8, "little"))
        file.write(encoded)
        for name in order:
            file.write(_elements(tree.tensors[name]))


# ---- reading ----


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        again = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"duplicate name {again!r}")
    return made


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _read_header(file: IO[bytes], path: PathLike) -> tuple[dict[str, Any], dict[str, str], int, int]:
    """Return the entries, the metadata, where the elements begin and how many bytes they are; all checked."""
    size = os.fstat(file.fileno()).st_size
    head = file.read(8)
    if len(head) < 8:
        raise _wrong(path, f"must hold 8 bytes of header length or more, got {size} bytes")
    length = int.from_bytes(head, "little")
    if length > _HEADER_LIMIT_BYTES:
        raise _wrong(
            path, f"must have a header of at most {_HEADER_LIMIT_BYTES} bytes, got {length} (not safetensors?)"
        )
    if 8 + length > size:
        raise _wrong(path, f"must hold a header of {length} bytes, got {size - 8} bytes after its length (truncated?)")
    try:
        header = json.loads(file.read(length).decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise _wrong(path, f"must have a JSON header with unique names, got {error}") from None
    if not isinstance(header, dict):
        raise _wrong(path, f"must have a JSON object as header, got {type(header).__name__}")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise _wrong(path, "must have metadata of strings, got other values")
    data_bytes = size - 8 - length
    end = 0
    for name, entry in sorted(header.items(), key=_offset_of):
        end = _check_entry(name, entry, end, data_bytes, path)
    if end != data_bytes:
        raise _wrong(path, f"must hold {end} bytes of elements, got {data_bytes}")
    return header, metadata, 8 + length, data_bytes


def _offset_of(item: tuple[str, Any]) -> tuple[int, int]:
    entry = item[1]
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    if isinstance(offsets, list) and len(offsets) == 2 and all(_is_count(o) for o in offsets):
        return offsets[0], offsets[1]
    return 0, 0


def _check_entry(name: str, entry: Any, start: int, data_bytes: int, path: PathLike) -> int:
    """Check one tensor's entry, which must begin at start; return where it ends."""
    if not isinstance(entry, dict) or sorted(entry) != ["data_offsets", "dtype", "shape"]:
        raise _wrong(path, f"must describe {name!r} by dtype, shape and data_offsets, got {entry!r:.100}")
    dtype = _DTYPES.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
    if dtype is None:
        raise _wrong(path, f"must have {name!r} of a dtype among {', '.join(_DTYPES)}, got {entry['dtype']!r:.100}")
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not isinstance(shape, list) or len(shape) > _MAX_RANK or not all(_is_count(n) for n in shape):
        raise _wrong(path, f"must have {name!r} of a shape of at most {_MAX_RANK} counts, got {shape!r:.100}")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(_is_count(o) for o in offsets):
        raise _wrong(path, f"must have {name!r} between two offsets, got {offsets!r:.100}")
    nbytes = int(dtype.itemsize)
    for n in shape:
        nbytes *= n
    if offsets[1] - offsets[0] != nbytes:
        raise _wrong(
            path, f"must give {name!r} {nbytes} bytes ({entry['dtype']} of {shape}), got {offsets[1] - offsets[0]}"
        )
    if offsets[0] != start:
        raise _wrong(
            path, f"must have {name!r} at byte {start} of the elements, without hole or overlap, got {offsets[0]}"
        )
    if offsets[1] > data_bytes:
        raise _wrong(path, f"must hold {name!r} up to byte {offsets[1]} of the elements, got {data_bytes} (truncated?)")
    return int(offsets[1])


def _check_booleans(values: Any, name: str, path: PathLike) -> None:
    import numpy as np

    bytes_ = np.frombuffer(values, np.uint8)
    if bytes_.size and bytes_.max() > 1:
        raise _wrong(path, f"must hold 0 or 1 for each bool of {name!r}, got {int(bytes_.max())}")


def _read_into(read_into: Callable[[Any], int | None], t: gg.Tensor) -> int:
    """Fill a fresh contiguous tensor's elements; return how many bytes there were."""
    if not t.nbytes:
        return 0
    view = memoryview(_elements(t)).cast("B")
    done = 0
    while done < t.nbytes:
        count = read_into(view[done:])
        if not count:
            break
        done += count
    return done


def _load_entry(file: IO[bytes], begin: int, name: str, entry: dict[str, Any], path: PathLike) -> gg.Tensor:
    t = gg.empty(tuple(entry["shape"]), dtype=_DTYPES[entry["dtype"]])
    file.seek(begin + entry["data_offsets"][0])
    got = _read_into(file.readinto, t)  # type: ignore[attr-defined]
    if got != t.nbytes:
        raise _wrong(path, f"must hold {t.nbytes} bytes of {name!r}, got {got} (changed while it was read?)")
    if t.dtype == gg.bool and t.nbytes:
        _check_booleans(_elements(t), name, path)
    return t


def _put(t: gg.Tensor, device: str | None) -> gg.Tensor:
    return t if device is None else t.to(device=device)


def _check_names(wanted: list[str], held: Iterable[str], path: PathLike) -> None:
    missing = [name for name in wanted if name not in set(held)]
    if missing:
        raise KeyError(f"load: {os.fspath(path)} must hold {missing}, got {sorted(held)}")


def _map_entry(view: memoryview, begin: int, name: str, entry: dict[str, Any], path: PathLike) -> gg.Tensor:
    import numpy as np

    dtype = _DTYPES[entry["dtype"]]
    start, end = (begin + offset for offset in entry["data_offsets"])
    if start == end:
        return gg.empty(tuple(entry["shape"]), dtype=dtype)
    if dtype == gg.bool:
        _check_booleans(view[start:end], name, path)
    try:
        numpy_dtype = dtype.numpy
    except ImportError:  # bfloat16 needs ml_dtypes to be seen by NumPy; without, its elements are copied
        t = gg.empty(tuple(entry["shape"]), dtype=dtype)
        memoryview(_elements(t)).cast("B")[:] = view[start:end]
        return t
    return gg.asarray(np.frombuffer(view[start:end], numpy_dtype).reshape(entry["shape"]))


def load_safetensors(
    path: PathLike, *, mmap: bool = False, names: Iterable[str] | None = None, device: str | None = None
) -> Any:
    """Read a safetensors file.

    Args:
        path: the file.
        mmap: map the file instead of reading it: tensors are read-only views of it (a copy where elements are not
            aligned in the file), pages come from the disk when they are first used. The file must not be written or
            cut while they live, as save never does; it replaces files.
        names: tensors to read, all when None.
        device: where the tensors are put, the cpu when None.

    Returns:
        What save_safetensors was given; tensors by name when names are given or another program wrote the file.

    Raises:
        FileFormatError: the file is not safetensors, or broken.
        KeyError: there is no tensor of a name.
        OSError: the file cannot be read.

    Example:
        >>> import gorgo as gg
        >>> gg.io.save_safetensors({"w": gg.ones((2,)), "b": gg.zeros((3,))}, "w.safetensors")
        >>> gg.io.load_safetensors("w.safetensors", names=["b"])["b"].tolist()
        [0.0, 0.0, 0.0]
    """
    with pathlib.Path(path).open("rb") as file:
        header, metadata, begin, _ = _read_header(file, path)
        wanted = list(header) if names is None else [names] if isinstance(names, str) else list(names)
        _check_names(wanted, header, path)
        if mmap:
            view = memoryview(mapping.mmap(file.fileno(), 0, access=mapping.ACCESS_READ))
            tensors = {name: _put(_map_entry(view, begin, name, header[name], path), device) for name in wanted}
        else:
            tensors = {name: _put(_load_entry(file, begin, name, header[name], path), device) for name in wanted}
    if names is not None or _TREE not in metadata:
        return tensors
    try:
        description = json.loads(metadata[_TREE])
    except (ValueError, RecursionError) as error:
        raise _wrong(path, f"must have a tree in JSON in its metadata, got {error}") from None
    left = dict(tensors)
    tree = _rebuild(description, left, path)
    if left:
        raise _wrong(path, f"must have every tensor in its tree, got {sorted(left)} besides")
    return tree


def _rebuild(node: Any, tensors: dict[str, gg.Tensor], path: PathLike, depth: int = 0) -> Any:
    """Put a tree together again; each tensor is taken once."""
    if node is None or isinstance(node, bool | int | float | str):
        return node
    if isinstance(node, list) and len(node) == 2 and isinstance(node[0], str) and depth <= 2 * _DEEPEST:
        kind, body = node
        if kind == "t" and isinstance(body, str) and body in tensors:
            return tensors.pop(body)
        if kind in ("l", "u") and isinstance(body, list):
            members = [_rebuild(member, tensors, path, depth + 1) for member in body]
            return members if kind == "l" else tuple(members)
        if kind == "d" and isinstance(body, list):
            made: dict[Any, Any] = {}
            for entry in body:
                if not isinstance(entry, list) or len(entry) != 2 or not isinstance(entry[0], str | int):
                    break
                made[entry[0]] = _rebuild(entry[1], tensors, path, depth + 1)
            if len(made) == len(body):
                return made
    raise _wrong(path, f"must describe its tree by known nodes, got {node!r:.100}")


def read_metadata(path: PathLike) -> dict[str, str]:
    """Return the strings in a safetensors file's header.

    Args:
        path: the file.

    Returns:
        dict: strings by name.

    Raises:
        FileFormatError: the file is not safetensors, or broken.
        OSError: the file cannot be read.

    Example:
        >>> import gorgo as gg
        >>> gg.save({"w": gg.ones((2,))}, "w.safetensors", metadata={"licence": "mine"})
        >>> gg.io.read_metadata("w.safetensors")
        {'licence': 'mine'}
    """
    with pathlib.Path(path).open("rb") as file:
        metadata = _read_header(file, path)[1]
    return {key: text for key, text in metadata.items() if key != _TREE}


# ---- NumPy's formats ----


def _write_npy(file: IO[bytes], value: Any, place: str) -> None:
    import numpy as np

    t = _as_tensor(value, place)
    if t.dtype == gg.bfloat16:
        raise TypeError(f"save: {place} must have a dtype that .npy knows, got bfloat16 (use .safetensors or float32)")
    np.lib.format.write_array(file, t.numpy(), allow_pickle=False)


def save_npy(tensor: Any, path: PathLike) -> None:
    """Write a tensor or array as .npy, NumPy's format.

    Args:
        tensor: (...) any dtype but bfloat16.
        path: the file; one that exists is replaced as a whole.

    Raises:
        TypeError: it is no tensor or array, or is bfloat16.
        OSError: the file cannot be written; the old one stays as it was.

    Example:
        >>> import gorgo as gg
        >>> gg.io.save_npy(gg.arange(3), "x.npy")
        >>> np.load("x.npy").tolist()
        [0, 1, 2]
    """
    with _atomically(path) as file:
        _write_npy(file, tensor, "tensor")


def save_npz(tensors: Mapping[str, Any], path: PathLike, *, compress: bool = False) -> None:
    """Write tensors by name as .npz, NumPy's archive.

    Args:
        tensors: tensors or arrays (...) by name.
        path: the file; one that exists is replaced as a whole.
        compress: whether to deflate them.

    Raises:
        TypeError: a value is no tensor or array, or a name is no string.
        OSError: the file cannot be written; the old one stays as it was.

    Example:
        >>> import gorgo as gg
        >>> gg.io.save_npz({"a": gg.arange(3)}, "x.npz")
        >>> np.load("x.npz")["a"].tolist()
        [0, 1, 2]
    """
    import zipfile

    if not isinstance(tensors, Mapping):
        raise TypeError(f"save: .npz must be given tensors by name, got {type(tensors).__name__}")
    method = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with _atomically(path) as file, zipfile.ZipFile(file, "w", method) as archive:
        for name, value in tensors.items():
            if not isinstance(name, str):
                raise TypeError(f"save: names must be strings, got {type(name).__name__}")
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                _write_npy(entry, value, name)


def _read_npy(file: IO[bytes], room: Callable[[], int], path: PathLike, what: str) -> gg.Tensor:
    """Read one array; room tells how many bytes are left at most."""
    import numpy as np

    magic = file.read(8)
    if magic[:6] != b"\x93NUMPY":
        raise _wrong(path, f"must begin {what} with b'\\x93NUMPY', got {magic[:6]!r}")
    if magic[6:] not in (b"\x01\x00", b"\x02\x00", b"\x03\x00"):
        raise _wrong(path, f"must have {what} in version 1.0 to 3.0 of the format, got {magic[6:]!r}")
    length_bytes = 2 if magic[6] == 1 else 4
    length = int.from_bytes(file.read(length_bytes), "little")
    if length > min(room(), _NPY_HEADER_LIMIT_BYTES):
        raise _wrong(
            path,
            f"must hold a header of {what} of {length} bytes, got {min(room(), _NPY_HEADER_LIMIT_BYTES)} (truncated?)",
        )
    shape, fortran, dtype = _parse_npy_header(file.read(length), path, what)
    if dtype.hasobject or dtype.names is not None or dtype.subdtype is not None or dtype.kind not in "?biufc":
        raise _wrong(path, f"must have {what} of a bool, integer, float or complex dtype, got {dtype}")
    nbytes = int(dtype.itemsize)
    for n in shape:
        nbytes *= n
    if nbytes > room():
        raise _wrong(path, f"must hold {nbytes} bytes of {what} ({dtype} of {shape}), got {room()} (truncated?)")
    native = dtype.newbyteorder("=")
    try:
        t = gg.empty(shape[::-1] if fortran else shape, dtype=native.name)
    except (TypeError, ValueError) as error:
        raise _wrong(
            path, f"must have {what} of a dtype and shape that tensors have, got {dtype} of {shape}"
        ) from error
    got = _read_into(file.readinto, t)  # type: ignore[attr-defined]
    if got != nbytes:
        raise _wrong(path, f"must hold {nbytes} bytes of {what}, got {got} (truncated?)")
    if t.dtype == gg.bool and nbytes:
        _check_booleans(_elements(t), what, path)
    if not dtype.isnative:
        swapped = np.frombuffer(_elements(t), dtype) if nbytes else np.empty(0, dtype)
        t = gg.asarray(swapped.astype(native).reshape(tuple(t.shape)))
    return gg.permute_dims(t, tuple(range(len(shape)))[::-1]).contiguous() if fortran and len(shape) > 1 else t


def _parse_npy_header(text: bytes, path: PathLike, what: str) -> tuple[tuple[int, ...], bool, Any]:
    import ast

    import numpy as np

    try:
        facts = ast.literal_eval(text.decode("utf-8").strip())
        shape, fortran, described = facts["shape"], facts["fortran_order"], facts["descr"]
        well_formed = len(facts) == 3 and isinstance(fortran, bool) and isinstance(described, str)
        well_formed = well_formed and isinstance(shape, tuple) and all(_is_count(n) for n in shape)
        dtype = np.dtype(described) if well_formed and len(shape) <= _MAX_RANK else None
    except Exception as error:  # whatever the parsers of Python and NumPy raise for what is no header
        raise _wrong(
            path, f"must have a header of {what} that NumPy wrote, got {type(error).__name__}: {error}"
        ) from None
    if dtype is None:
        raise _wrong(path, f"must have descr, fortran_order and shape in the header of {what}, got {facts!r:.150}")
    return shape, fortran, dtype


def load_npy(path: PathLike, *, device: str | None = None) -> gg.Tensor:
    """Read a .npy file; objects are never unpickled.

    Args:
        path: the file.
        device: where the tensor is put, the cpu when None.

    Returns:
        (...) the array as a tensor in native byte order, contiguous.

    Raises:
        FileFormatError: the file is not .npy, is broken, or holds what is no number.
        OSError: the file cannot be read.

    Example:
        >>> import gorgo as gg
        >>> np.save("x.npy", np.arange(3, dtype=">i4"))
        >>> gg.io.load_npy("x.npy")
        tensor([0, 1, 2], dtype=int32)
    """
    with pathlib.Path(path).open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        t = _read_npy(file, lambda: size - file.tell(), path, "array")
        if file.tell() != size:
            raise _wrong(path, f"must end after its array at byte {file.tell()}, got {size} bytes")
        return _put(t, device)


def load_npz(path: PathLike, *, names: Iterable[str] | None = None, device: str | None = None) -> dict[str, gg.Tensor]:
    """Read a .npz archive; objects are never unpickled.

    Args:
        path: the file.
        names: arrays to read, all when None.
        device: where the tensors are put, the cpu when None.

    Returns:
        The arrays as tensors by name.

    Raises:
        FileFormatError: the file is not .npz, is broken, or holds what is no number.
        KeyError: there is no array of a name.
        OSError: the file cannot be read.

    Example:
        >>> import gorgo as gg
        >>> np.savez("x.npz", a=np.arange(3), b=np.ones(2))
        >>> sorted(gg.io.load_npz("x.npz"))
        ['a', 'b']
    """
    import struct
    import zipfile
    import zlib

    wanted = None if names is None else [names] if isinstance(names, str) else list(names)
    with pathlib.Path(path).open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        try:
            with zipfile.ZipFile(file) as archive:
                infos: dict[str, zipfile.ZipInfo] = {}
                for info in archive.infolist():
                    name = info.filename.removesuffix(".npy")
                    if name in infos:
                        raise _wrong(path, f"must hold each name once, got {name!r} again")
                    infos[name] = info
                _check_names(wanted or [], infos, path)
                found = {
                    name: _read_archived(archive, infos[name], size, path)
                    for name in (infos if wanted is None else wanted)
                }
        except (FileFormatError, KeyError, MemoryError):
            raise
        except (
            zipfile.BadZipFile,
            zlib.error,
            struct.error,
            EOFError,
            NotImplementedError,
            RuntimeError,
            ValueError,
            OverflowError,
            OSError,
        ) as error:
            raise _wrong(
                path, f"must be a .npz archive that can be read, got {type(error).__name__}: {error}"
            ) from None
    return {name: _put(t, device) for name, t in found.items()}


def _read_archived(archive: Any, info: Any, size: int, path: PathLike) -> gg.Tensor:
    # Deflate makes at most 1032 bytes of one: a length beyond that is a lie, told to take memory.
    limit = min(info.file_size, 1032 * min(info.compress_size, size) + 64)
    with archive.open(info) as entry:
        t = _read_npy(entry, lambda: limit - entry.tell(), path, repr(info.filename))
        if entry.read(1):
            raise _wrong(path, f"must end {info.filename!r} after its array, got more bytes")
    return t


# ---- by suffix ----


def _suffix(path: PathLike, op: str) -> str:
    suffix = pathlib.Path(path).suffix.lower()
    if suffix in _SUFFIXES:
        return suffix
    hint = ""
    if suffix in (".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt"):
        hint = "; pickled files can run code when they are read: convert them with the safetensors package"
    raise ValueError(f"{op}: path must end in {', '.join(_SUFFIXES)}, got {os.fspath(path)!r}{hint}")


def save(state: Any, path: PathLike, *, metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors to a file, in the format that its name ends in.

    Args:
        state: for .safetensors a tree of tensors, numbers and strings, as save_safetensors takes it; for .npz tensors
            by name; for .npy a tensor.
        path: a file that ends in .safetensors, .npz or .npy; one that exists is replaced as a whole.
        metadata: strings by name, for .safetensors.

    Raises:
        TypeError: a value is of a kind or dtype that the format cannot hold.
        ValueError: the suffix is another one.
        OSError: the file cannot be written; the old one stays as it was.

    Example:
        >>> import gorgo as gg
        >>> net = gg.nn.Linear(3, 2)
        >>> gg.save(net.state_dict(), "net.safetensors")
        >>> net.load_state_dict(gg.load("net.safetensors"))
        LoadResult(missing_keys=[], unexpected_keys=[])
    """
    suffix = _suffix(path, "save")
    if metadata is not None and suffix != ".safetensors":
        raise ValueError(f"save: metadata must go to a .safetensors file, got {os.fspath(path)!r}")
    if suffix == ".safetensors":
        save_safetensors(state, path, metadata)
    elif suffix == ".npz":
        save_npz(state, path)
    else:
        save_npy(state, path)


def load(path: PathLike, *, mmap: bool = False, device: str | None = None) -> Any:
    """Read a file of tensors, in the format that its name ends in.

    Args:
        path: a file that ends in .safetensors, .npz or .npy.
        mmap: map a .safetensors file instead of reading it; its tensors are read-only then.
        device: where the tensors are put, the cpu when None.

    Returns:
        What was saved: a tree or tensors by name, or a tensor for .npy.

    Raises:
        FileFormatError: the file is not what its name says, or broken; a ValueError.
        ValueError: the suffix is another one.
        OSError: the file cannot be read.

    Example:
        >>> import gorgo as gg
        >>> gg.save({"model": {"w": gg.ones((2,))}, "epoch": 7}, "checkpoint.safetensors")
        >>> gg.load("checkpoint.safetensors")["epoch"]
        7
    """
    suffix = _suffix(path, "load")
    if mmap and suffix != ".safetensors":
        raise ValueError(f"load: mmap must be asked of a .safetensors file, got {os.fspath(path)!r}")
    if suffix == ".safetensors":
        return load_safetensors(path, mmap=mmap, device=device)
    return load_npz(path, device=device) if suffix == ".npz" else load_npy(path, device=device)
