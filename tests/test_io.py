"""Files of tensors: what goes in comes out, other libraries read it, and a broken file is told, never believed."""

from __future__ import annotations

import json
import math
import os
import pathlib
import stat
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest

import gorgo as gg
from gorgo.io import FileFormatError, load_npz, load_safetensors, read_metadata, save_npz

DTYPES = [
    gg.bool, gg.uint8, gg.uint16, gg.uint32, gg.uint64, gg.int8, gg.int16, gg.int32, gg.int64,
    gg.float16, gg.bfloat16, gg.float32, gg.float64, gg.complex64,
]  # fmt: skip


def tensors_of_every_dtype():
    made = {}
    for dtype in DTYPES:
        for shape in [(), (3,), (2, 3), (0, 4)]:
            values = gg.arange(max(math.prod(shape), 1), dtype=gg.float32)[: math.prod(shape)].reshape(shape)
            made[f"{dtype.name}.{len(shape)}.{math.prod(shape)}"] = (values * 1.5).astype(dtype)
    made["view"] = gg.arange(12.0).reshape(3, 4).T[::2]
    return made


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tolist() == b.tolist()


def same_trees(a, b):
    if isinstance(a, gg.Tensor):
        return isinstance(b, gg.Tensor) and same(a, b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(same_trees(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same_trees, a, b))
    return type(a) is type(b) and a == b


@pytest.mark.parametrize("mmap", [False, True])
def test_safetensors_round_trip(tmp_path, mmap):
    path = tmp_path / "a.safetensors"
    made = tensors_of_every_dtype()
    gg.save(made, path, metadata={"by": "tests", "ünïcode": "日本"})
    back = gg.load(path, mmap=mmap)
    assert back.keys() == made.keys()
    assert all(same(made[k], back[k]) for k in made)
    assert read_metadata(path) == {"by": "tests", "ünïcode": "日本"}


def test_loaded_tensors_are_ones_own_and_mapped_ones_read_only(tmp_path):
    path = tmp_path / "a.safetensors"
    gg.save({"w": gg.ones((1000,)), "b": gg.zeros((3,), dtype=gg.int8)}, path)
    own, mapped = gg.load(path), gg.load(path, mmap=True)
    own["w"][0] = 5
    with pytest.raises(ValueError, match="read-only"):
        mapped["w"][0] = 5
    assert mapped["w"].data_ptr() % 64 == 0
    assert gg.load(path)["w"].tolist()[0] == 1
    gg.save({"w": gg.zeros((1000,))}, path)  # the mapped file lives on under its tensors
    assert mapped["w"].tolist() == [1.0] * 1000
    net = gg.nn.Linear(1000, 1, bias=False)
    net.load_state_dict({"weight": mapped["w"].reshape((1, 1000))})
    net.weight.detach().mul_(2.0)


def test_pytorch_reads_what_we_write_and_back(tmp_path):
    torch = pytest.importorskip("torch")
    safetensors = pytest.importorskip("safetensors.torch")
    made = tensors_of_every_dtype()
    gg.save(made, tmp_path / "ours.safetensors", metadata={"a": "b"})
    theirs = safetensors.load_file(tmp_path / "ours.safetensors")
    assert theirs.keys() == made.keys()
    for name, t in theirs.items():
        assert str(t.dtype).removeprefix("torch.") == made[name].dtype.name
        assert t.tolist() == made[name].tolist()
    safetensors.save_file(theirs, tmp_path / "theirs.safetensors", metadata={"a": "b"})
    for mmap in (False, True):
        back = gg.load(tmp_path / "theirs.safetensors", mmap=mmap)
        assert all(same(made[k], back[k]) for k in made)
    assert read_metadata(tmp_path / "theirs.safetensors") == {"a": "b"}
    gg.save({"x": torch.ones(2, requires_grad=True), "y": np.ones(2)}, tmp_path / "mixed.safetensors")
    assert gg.load(tmp_path / "mixed.safetensors")["x"].tolist() == [1, 1]


def test_a_checkpoint_of_everything_continues_the_training(tmp_path):
    def make():
        gg.random.seed(0)
        net = gg.nn.Sequential(gg.nn.Linear(3, 4), gg.nn.ReLU(), gg.nn.Linear(4, 1))
        opt = gg.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        loader = gg.data.DataLoader(gg.data.TensorDataset(gg.arange(30.0).reshape(10, 3) / 30), 2, True, seed=4)
        return net, opt, gg.optim.ExponentialLR(opt, 0.9), loader

    def train(net, opt, schedule, loader, steps):
        batches = iter(loader)
        for _ in range(steps):
            (x,) = next(batches)
            opt.zero_grad()
            ((net(x) - x.sum()) ** 2).mean().backward()
            opt.step()
            schedule.step()

    one, other = make(), make()
    train(*one, 3)
    names = ("net", "opt", "schedule", "loader")
    gg.save({n: part.state_dict() for n, part in zip(names, one, strict=True)}, tmp_path / "c.safetensors")
    for n, part in zip(names, other, strict=True):
        part.load_state_dict(gg.load(tmp_path / "c.safetensors")[n])
    state = gg.load(tmp_path / "c.safetensors")
    assert same_trees(state["opt"], one[1].state_dict())
    whole = make()
    batches = iter(whole[3])
    for _ in range(5):
        (x,) = next(batches)
        whole[1].zero_grad()
        ((whole[0](x) - x.sum()) ** 2).mean().backward()
        whole[1].step()
        whole[2].step()
    train(*other, 2)
    assert same_trees(other[0].state_dict(), whole[0].state_dict())
    assert other[1].param_groups[0]["lr"] == whole[1].param_groups[0]["lr"]


def test_trees_keep_their_kinds(tmp_path):
    tree = {
        "a": [gg.ones((2,)), (1, 2.5, None, True, "text", math.inf)],
        "a.0": gg.zeros((1,)),
        3: {"deep": [{"er": gg.asarray([True])}]},
        "empty": [{}, [], ()],
        "__metadata__": gg.ones((1,)),
    }
    gg.save(tree, tmp_path / "t.safetensors")
    assert same_trees(tree, gg.load(tmp_path / "t.safetensors"))
    assert sorted(load_safetensors(tmp_path / "t.safetensors", names=["a.0", "a.0#2"])) == ["a.0", "a.0#2"]
    gg.save([gg.ones((1,))], tmp_path / "l.safetensors")
    assert same_trees([gg.ones((1,))], gg.load(tmp_path / "l.safetensors"))


@pytest.mark.parametrize("dtype", [d for d in DTYPES if d != gg.bfloat16])
def test_npy_and_npz_round_trip_and_numpy_reads_them(tmp_path, dtype):
    t = gg.arange(6.0).reshape(2, 3).astype(dtype)
    gg.save(t, tmp_path / "a.npy")
    assert same(gg.load(tmp_path / "a.npy"), t)
    theirs = np.load(tmp_path / "a.npy")
    assert theirs.dtype.name == dtype.name
    assert theirs.tolist() == t.tolist()
    for compress in (False, True):
        save_npz({"t": t, "v": t.T, "s": t[0, 0]}, tmp_path / "a.npz", compress=compress)
        back = gg.load(tmp_path / "a.npz")
        assert same(back["t"], t)
        assert same(back["v"], t.T)
        assert same(back["s"], t[0, 0])
        with np.load(tmp_path / "a.npz") as archive:
            assert archive["v"].tolist() == t.T.tolist()
    assert list(load_npz(tmp_path / "a.npz", names="v")) == ["v"]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [">i4", "<f8", ">f2", ">c16", "?", ">u8"])
def test_arrays_that_numpy_wrote(tmp_path, order, dtype):
    a = np.asarray(np.arange(24).reshape(2, 3, 4) % 2, dtype, order=order)
    np.save(tmp_path / "a.npy", a)
    np.savez_compressed(tmp_path / "a.npz", a=a, empty=a[:0], scalar=a[0, 0, 0])
    assert gg.load(tmp_path / "a.npy").tolist() == a.tolist()
    assert gg.load(tmp_path / "a.npy").is_contiguous()
    back = gg.load(tmp_path / "a.npz")
    assert back["a"].tolist() == a.tolist()
    assert back["empty"].shape == (0, 3, 4)
    assert back["scalar"].item() == a[0, 0, 0]


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    gg.save({"w": gg.ones((2,))}, path)
    with pytest.raises(TypeError, match="w must be a tensor, number"):
        gg.save({"w": {1, 2}}, path)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        gg.save({"w": gg.zeros((2,))}, path)
    with pytest.raises(OSError, match="No space left"):
        gg.save(gg.zeros((2,)), tmp_path / "b.npy")
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]
    assert gg.load(path)["w"].tolist() == [1.0, 1.0]


def test_permissions_and_links_are_kept(tmp_path):
    path = tmp_path / "a.safetensors"
    gg.save({"w": gg.ones((2,))}, path)
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
    path.chmod(0o640)
    link = tmp_path / "link.safetensors"
    link.symlink_to(path)
    gg.save({"w": gg.zeros((2,))}, link)
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert gg.load(path)["w"].tolist() == [0.0, 0.0]


def packed(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


TREE = {"gorgo.tree": json.dumps(["d", [["w", ["t", "w"]]]])}


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "8 bytes of header length or more, got 0 bytes"),
        (b"1234567", "8 bytes of header length or more, got 7 bytes"),
        (b"PK\x03\x04" + b"x" * 60, r"header of at most 100000000 bytes, got \d+ \(not safetensors\?\)"),
        (struct.pack("<Q", 50) + b"{}", r"a header of 50 bytes, got 2 bytes after its length \(truncated\?\)"),
        (packed(b"{nonsense"), "JSON header with unique names, got"),
        (packed(b"\xff\xfe"), "JSON header with unique names, got"),
        (packed(b"[" * 100_000), "JSON header with unique names, got"),
        (packed([1]), "JSON object as header, got list"),
        (packed(b'{"w":1,"w":2}'), "unique names, got duplicate name 'w'"),
        (packed({"__metadata__": {"a": 1}}), "metadata of strings"),
        (packed({"w": 3}), "describe 'w' by dtype, shape and data_offsets, got 3"),
        (packed({"w": {"dtype": "F32"}}), "describe 'w' by dtype, shape and data_offsets"),
        (packed({"w": entry("F7")}, b"x" * 8), "'w' of a dtype among BOOL, U8, .* got 'F7'"),
        (packed({"w": entry(["F32"])}, b"x" * 8), "'w' of a dtype among"),
        (packed({"w": entry(shape=[-2])}, b"x" * 8), r"'w' of a shape of at most 16 counts, got \[-2\]"),
        (packed({"w": entry(shape=[1] * 40)}, b"x" * 8), "'w' of a shape of at most 16 counts"),
        (packed({"w": entry(shape=[True, 2])}, b"x" * 8), "'w' of a shape of at most 16 counts"),
        (packed({"w": entry(offsets=[0])}, b"x" * 8), "'w' between two offsets"),
        (packed({"w": entry(offsets=[0.0, 8.0])}, b"x" * 8), "'w' between two offsets"),
        (packed({"w": entry(shape=[3])}, b"x" * 8), r"give 'w' 12 bytes \(F32 of \[3\]\), got 8"),
        (packed({"w": entry(shape=[2**62, 2**62])}, b"x" * 8), r"give 'w' \d+ bytes"),
        (packed({"w": entry(offsets=[4, 12])}, b"x" * 12), "'w' at byte 0 of the elements, without hole or overlap"),
        (
            packed({"a": entry(), "w": entry()}, b"x" * 8),
            "'w' at byte 8 of the elements, without hole or overlap, got 0",
        ),
        (packed({"w": entry()}, b"x" * 5), r"hold 'w' up to byte 8 of the elements, got 5 \(truncated\?\)"),
        (packed({"w": entry()}, b"x" * 9), "hold 8 bytes of elements, got 9"),
        (packed({"w": entry("BOOL", [2], [0, 2])}, b"\x01\x07"), "0 or 1 for each bool of 'w', got 7"),
        (packed({"__metadata__": {"gorgo.tree": "{"}, "w": entry()}, b"x" * 8), "tree in JSON in its metadata"),
        (packed({"__metadata__": {"gorgo.tree": '["t","v"]'}, "w": entry()}, b"x" * 8), "tree by known nodes, got"),
        (packed({"__metadata__": {"gorgo.tree": "[]"}, "w": entry()}, b"x" * 8), r"tree by known nodes, got \[\]"),
        (packed({"__metadata__": {"gorgo.tree": "3"}, "w": entry()}, b"x" * 8), r"in its tree, got \['w'\] besides"),
        (
            packed({"__metadata__": {"gorgo.tree": '["l",[' * 250 + "]]" * 250}, "w": entry()}, b"x" * 8),
            "tree by known nodes",
        ),
    ],
)
def test_broken_safetensors_are_told(tmp_path, content, message, mmap):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=r"load: .*bad\.safetensors must .*" + message):
        gg.load(path, mmap=mmap)


def npy(header, data=b"", magic=b"\x93NUMPY\x01\x00"):
    text = header if isinstance(header, bytes) else repr(header).encode()
    return magic + struct.pack("<H", len(text)) + text + data


def facts(descr="<f4", fortran_order=False, shape=(2,)):
    return {"descr": descr, "fortran_order": fortran_order, "shape": shape}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"begin array with b'\\x93NUMPY', got b''"),
        (b"PK\x03\x04abcdefgh", r"begin array with b'\\x93NUMPY', got b'PK"),
        (npy(facts(), magic=b"\x93NUMPY\x07\x00"), "version 1.0 to 3.0 of the format"),
        (b"\x93NUMPY\x01\x00\xff\xffabc", r"header of array of 65535 bytes, got 3 \(truncated\?\)"),
        (npy(b"nonsense("), "header of array that NumPy wrote"),
        (npy(b"(" * 9000), "header of array that NumPy wrote"),
        (npy(b"-" * 9000 + b"1"), "header of array that NumPy wrote"),
        (npy(b"x" * 10_001), "header of array of 10001 bytes, got 10000"),
        (npy({"descr": "<f4"}), "header of array that NumPy wrote, got KeyError"),
        (npy(facts(shape=3)), "descr, fortran_order and shape in the header"),
        (npy(facts(shape=(-1,))), "descr, fortran_order and shape in the header"),
        (npy(facts(descr="<q9")), "header of array that NumPy wrote"),
        (npy(facts(descr="|O")), "a bool, integer, float or complex dtype, got object"),
        (npy(facts(descr="<U4")), "a bool, integer, float or complex dtype, got <U4"),
        (npy(facts(descr="<M8[s]")), "a bool, integer, float or complex dtype, got datetime64"),
        (npy(facts(descr="<f16", shape=(1,)), b"x" * 16), "a dtype and shape that tensors have, got float128"),
        (npy(facts(), b"1234"), r"hold 8 bytes of array \(float32 of \(2,\)\), got 4 \(truncated\?\)"),
        (npy(facts(shape=(2**40, 2**40))), r"hold \d+ bytes of array"),
        (npy(facts(), b"12345678ab"), "end after its array at byte"),
        (npy(facts(descr="|b1"), b"\x01\x09"), "0 or 1 for each bool of 'array', got 9"),
    ],
)
def test_broken_npy_is_told(tmp_path, content, message):
    path = tmp_path / "bad.npy"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=r"load: .*bad\.npy must .*" + message):
        gg.load(path)


def test_broken_npz_is_told(tmp_path):
    path = tmp_path / "bad.npz"

    def refused(message):
        return pytest.raises(FileFormatError, match=r"load: .*bad\.npz must .*" + message)

    path.write_bytes(b"nothing")
    with refused("a .npz archive that can be read, got BadZipFile"):
        gg.load(path)
    save_npz({"a": gg.ones((100,))}, path)
    whole = path.read_bytes()
    path.write_bytes(whole[:200])
    with refused("a .npz archive that can be read"):
        gg.load(path)
    broken = bytearray(whole)
    broken[300] ^= 255
    path.write_bytes(broken)
    with refused("Bad CRC-32"):
        gg.load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", npy(facts(), b"12345678"))
        archive.writestr("a", npy(facts(), b"12345678"))
    with refused("hold each name once, got 'a' again"):
        gg.load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", npy(facts(shape=(9,)), b"12345678"))
    with refused(r"hold 36 bytes of 'a.npy' .* got 8"):
        gg.load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", npy(facts(), b"12345678more"))
    with refused("end 'a.npy' after its array"):
        gg.load(path)


@pytest.mark.parametrize("name", ["a.safetensors", "t.safetensors", "a.npy", "a.npz", "c.npz"])
@pytest.mark.parametrize("mmap", [False, True])
def test_random_damage_gives_documented_errors_only(tmp_path, name, mmap, rng):
    path = tmp_path / name
    state = {"w": gg.arange(5.0), "b": gg.asarray([True, False]), "h": gg.ones((2, 2), dtype=gg.bfloat16)}
    if name == "a.npy":
        gg.save(gg.arange(6).reshape(2, 3), path)
    elif name.endswith(".npz"):
        del state["h"]
        save_npz(state, path, compress=name == "c.npz")
    else:
        gg.save({**state, "n": [1, {2: "x"}]} if name[0] == "t" else state, path)
    if mmap and not name.endswith(".safetensors"):
        with pytest.raises(ValueError, match="mmap must be asked of a"):
            gg.load(path, mmap=True)
        return
    whole = path.read_bytes()
    told = 0
    for _ in range(250):
        broken = bytearray(whole)
        for _ in range(int(rng.integers(1, 4))):
            at = int(rng.integers(len(broken)))
            broken[at] ^= 1 << int(rng.integers(8))
        if rng.random() < 0.2:
            broken = broken[: int(rng.integers(len(broken)))]
        # A new file each time: what is mapped must not change.
        path.unlink()
        path.write_bytes(broken)
        try:
            gg.load(path, mmap=mmap)
        except FileFormatError as error:
            assert name in str(error)  # noqa: PT017
            told += 1
    assert told > 50


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda p: gg.save({}, p / "a.pt"), ValueError, r"must end in .safetensors, .npy, .npz, got .*a.pt.*run code"),
        (lambda p: gg.load(p / "a.txt"), ValueError, "load: path must end in .safetensors"),
        (lambda p: gg.load(p / "none.safetensors"), FileNotFoundError, "none.safetensors"),
        (lambda p: gg.load(p / "none.npy"), FileNotFoundError, "none.npy"),
        (lambda p: gg.load(p / "none.npz"), FileNotFoundError, "none.npz"),
        (lambda p: gg.save({"w": gg.ones((1,))}, p / "no" / "a.npz"), FileNotFoundError, "no"),
        (lambda p: gg.save({"w": object()}, p / "a.safetensors"), TypeError, "w must be a tensor, .* got object"),
        (lambda p: gg.save({1.5: gg.ones((1,))}, p / "a.safetensors"), TypeError, "keys must be .* got float in state"),
        (
            lambda p: gg.save({"w": gg.ones((1,), dtype=gg.complex128)}, p / "a.safetensors"),
            TypeError,
            "w must have a dtype that safetensors knows, got complex128",
        ),
        (lambda p: gg.save({}, p / "a.safetensors", metadata={"a": 1}), TypeError, "metadata must be strings .* 'a'"),
        (lambda p: gg.save({}, p / "a.safetensors", metadata={"gorgo.tree": ""}), ValueError, "must not use the name"),
        (lambda p: gg.save({}, p / "a.npz", metadata={}), ValueError, "metadata must go to a .safetensors file"),
        (lambda p: gg.save(3, p / "a.npy"), TypeError, "tensor must be a tensor or array, got int"),
        (lambda p: gg.save(gg.ones((1,), dtype=gg.bfloat16), p / "a.npy"), TypeError, "a dtype that .npy knows"),
        (lambda p: gg.save([gg.ones((1,))], p / "a.npz"), TypeError, ".npz must be given tensors by name, got list"),
        (lambda p: gg.save({1: gg.ones((1,))}, p / "a.npz"), TypeError, "names must be strings, got int"),
    ],
)
def test_messages(tmp_path, call, error, message):
    with pytest.raises(error, match=message):
        call(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_names_that_are_missing_are_told(tmp_path):
    gg.save({"w": gg.ones((1,))}, tmp_path / "a.safetensors")
    gg.save({"w": gg.ones((1,))}, tmp_path / "a.npz")
    with pytest.raises(KeyError, match=r"a\.safetensors must hold \['v'\], got \['w'\]"):
        load_safetensors(tmp_path / "a.safetensors", names=["v", "w"])
    with pytest.raises(KeyError, match=r"a\.npz must hold \['v'\], got \['w'\]"):
        load_npz(tmp_path / "a.npz", names=["v"])


def test_a_tree_that_holds_itself_is_told(tmp_path):
    tree: list[object] = []
    tree.append(tree)
    with pytest.raises(ValueError, match="at most 100 levels deep"):
        gg.save(tree, tmp_path / "a.safetensors")


def test_paths_of_every_kind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    gg.save({"w": gg.ones((1,))}, "a.safetensors")
    assert gg.load(pathlib.Path("a.safetensors"))["w"].tolist() == [1.0]


@pytest.mark.skipif(not pathlib.Path("/proc/self/fd").exists(), reason="counts descriptors where Linux lists them")
@pytest.mark.parametrize("mmap", [False, True])
def test_no_descriptor_is_left_open(tmp_path, mmap):
    gg.save({"w": gg.ones((4,))}, tmp_path / "a.safetensors")
    whole = (tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "b.safetensors").write_bytes(whole[:-1])
    (tmp_path / "b.npz").write_bytes(b"PK")

    def count():
        return len(list(pathlib.Path("/proc/self/fd").iterdir()))

    before = count()
    for _ in range(20):
        gg.load(tmp_path / "a.safetensors", mmap=mmap)
        with pytest.raises(FileFormatError):
            gg.load(tmp_path / "b.safetensors", mmap=mmap)
        with pytest.raises(FileFormatError):
            gg.load(tmp_path / "b.npz")
    assert count() == before


def test_parts_are_imported_when_first_used(tmp_path):
    script = (
        "import sys, gorgo as gg; early = {'gorgo.io', 'gorgo.data', 'numpy', 'json'} & set(sys.modules);"
        "gg.save({}, 'a.safetensors'); gg.data.TensorDataset; print(sorted(early), 'gorgo.io' in sys.modules)"
    )
    command = [sys.executable, "-c", script]
    printed = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert printed.stdout == "[] True\n"


def test_files_are_read_in_several_threads_at_once(tmp_path):
    for i in range(40):
        gg.save(gg.full((50,), float(i)), tmp_path / f"{i}.npy")
        gg.save({"x": gg.full((50,), float(i))}, tmp_path / f"{i}.safetensors")

    class Files:
        def __len__(self):
            return 80

        def __getitem__(self, i):
            return gg.load(tmp_path / f"{i}.npy") if i < 40 else gg.load(tmp_path / f"{i - 40}.safetensors")["x"]

    loader = gg.data.DataLoader(Files(), 8, num_workers=4)
    for _ in range(3):
        seen = [row[0] for batch in loader for row in batch.tolist()]
        assert seen == [float(i) for i in range(40)] * 2


def test_a_header_beyond_the_limit_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(gg.io, "_HEADER_LIMIT_BYTES", 64)
    with pytest.raises(ValueError, match=r"^save: header must be at most 64 bytes, got \d+"):
        gg.save({"a name": gg.ones((2,)), "another": gg.ones((2,))}, tmp_path / "x.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("x.safetensors", r"must hold 16 bytes of '\w*', got 8 \(changed while"),
        ("x.npy", r"must hold 16 bytes of .*got 8"),
    ],
)
def test_a_file_that_shrinks_while_it_is_read_is_an_error(tmp_path, monkeypatch, name, message):
    path = tmp_path / name
    gg.save({"x": gg.ones((4,))} if name == "x.safetensors" else gg.ones((4,)), path)
    whole = gg.io._read_into

    def cut_short(read_into, t):
        left = [8]

        def read_less(view):
            count = read_into(view[: left[0]]) if left[0] else 0
            left[0] -= count
            return count

        return whole(read_less, t)

    monkeypatch.setattr(gg.io, "_read_into", cut_short)
    with pytest.raises(FileFormatError, match=message):
        gg.load(path)
