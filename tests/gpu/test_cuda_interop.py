"""Memory of a card shared with CuPy and PyTorch, both ways, without copies and in the order of streams."""

from __future__ import annotations

import gc
import warnings
from typing import Any

import numpy as np
import pytest

import gorgo as gg

DEVICE = "cuda:0"
MIB = 1 << 20
pytestmark = pytest.mark.filterwarnings("default")  # what other libraries warn of is theirs
DTYPES = ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64", "complex64"]
CUTS = [np.s_[...], np.s_[1], np.s_[:, 3], np.s_[::2, 1:], np.s_[1:1], np.s_[None, :, None]]
CUDA = 2  # DLPack's device type


def peer(name: str) -> Any:
    """Return a library that uses the card; a build of it for the CPU alone is as good as none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = pytest.importorskip(name)
    try:
        there = module.cuda.is_available()
    except Exception as error:
        pytest.skip(f"{name} finds no CUDA card: {error}")
    if not there:
        pytest.skip(f"{name} finds no CUDA card")
    return module


@pytest.fixture
def cupy() -> Any:
    return peer("cupy")


@pytest.fixture
def torch() -> Any:
    return peer("torch")


def late_value(value: float) -> gg.Tensor:
    """Return a large tensor that the current stream has not made yet when this returns."""
    busy = gg.ones((1024, 1024), device=DEVICE)
    for _ in range(50):
        busy = busy @ busy * (1.0 / 1024)
    return gg.full((MIB,), value, device=DEVICE) * busy[0, 0]


# ---- our side alone ----


def test_the_device_and_the_capsule() -> None:
    t = gg.ones((2, 3), device=DEVICE)
    assert t.__dlpack_device__() == (CUDA, 0)
    s = gg.cuda.Stream()
    for stream in (None, 1, 2, -1, s.handle):
        for version in (None, (1, 0)):
            assert "dltensor" in repr(t.__dlpack__(stream=stream, max_version=version))
    with pytest.raises(ValueError, match="stream"):
        t.__dlpack__(stream=0)  # which the standard forbids, as nobody can tell which of two is meant
    with pytest.raises(ValueError, match="stream"):
        t.__dlpack__(stream=-5)
    with pytest.raises(TypeError, match="stream"):
        t.__dlpack__(stream="main")


def test_our_own_capsules_come_back() -> None:
    t = gg.asarray(np.arange(12.0).reshape(3, 4)).to(DEVICE)
    for source in (t, t[::2, 1:], t.T, t[1, 2]):
        again = gg.from_dlpack(source)
        assert again.device == DEVICE
        assert again.data_ptr() == source.data_ptr()
        assert again.tolist() == source.tolist()
        assert again.strides == source.strides or source.shape == ()
    assert gg.from_dlpack(gg.zeros((0, 3), device=DEVICE)).shape == (0, 3)
    fresh = gg.from_dlpack(t, copy=True)
    assert fresh.data_ptr() != t.data_ptr()
    here = gg.from_dlpack(t, device="cpu")
    assert here.device == "cpu"
    assert here.tolist() == t.tolist()
    assert gg.from_dlpack(gg.ones((3,)), device=DEVICE).device == DEVICE


def test_a_consumer_may_ask_for_a_copy_on_the_cpu() -> None:
    t = gg.asarray(np.arange(6.0).reshape(2, 3)).to(DEVICE)
    np.testing.assert_array_equal(np.from_dlpack(t, device="cpu"), np.arange(6.0).reshape(2, 3))
    with pytest.raises((BufferError, ValueError)):
        t.__dlpack__(dl_device=(1, 0), copy=False)
    with pytest.raises(ValueError, match=r"copy=False needs an object on cpu, got one on cuda:0"):
        gg.asarray(t, device="cpu", copy=False)
    with pytest.raises((BufferError, RuntimeError)):
        np.from_dlpack(t)  # NumPy asks for no copy by itself


def test_what_requires_grad_is_not_handed_out() -> None:
    t = gg.ones((2,), device=DEVICE).requires_grad_()
    with pytest.raises(BufferError, match="detach"):
        t.__dlpack__()
    with pytest.raises((AttributeError, RuntimeError), match="detach"):
        _ = t.__cuda_array_interface__


def test_the_array_interface() -> None:
    t = gg.asarray(np.arange(12, dtype=np.float32).reshape(3, 4)).to(DEVICE)
    facts = t.__cuda_array_interface__
    assert facts["version"] == 3
    assert facts["shape"] == (3, 4)
    assert facts["typestr"] == "<f4"
    assert facts["data"] == (t.data_ptr(), False)
    assert facts["strides"] is None
    assert facts["stream"] == 1  # the legacy default stream
    view = t[::2, 1:].__cuda_array_interface__
    assert view["strides"] == (32, 4)
    assert view["data"][0] == t.data_ptr() + 4
    s = gg.cuda.Stream()
    with gg.cuda.stream(s):
        assert t.__cuda_array_interface__["stream"] == s.handle
    assert gg.zeros((0, 2), device=DEVICE).__cuda_array_interface__["data"] == (0, False)
    for dtype, typestr in {"bool": "|b1", "uint8": "|u1", "int64": "<i8", "complex64": "<c8", "float16": "<f2"}.items():
        assert gg.zeros((2,), dtype=dtype, device=DEVICE).__cuda_array_interface__["typestr"] == typestr
    assert not hasattr(gg.ones((2,)), "__cuda_array_interface__")
    with pytest.raises(AttributeError, match="bfloat16"):
        _ = gg.zeros((2,), dtype="bfloat16", device=DEVICE).__cuda_array_interface__


class Foreign:
    """Somebody's array on a card, which knows only the interface."""

    def __init__(self, t: gg.Tensor, **facts: Any) -> None:
        self._hold = t
        self.__cuda_array_interface__ = {**t.__cuda_array_interface__, **facts}


def test_arrays_that_know_only_the_interface_are_shared() -> None:
    t = gg.asarray(np.arange(12.0).reshape(3, 4)).to(DEVICE)
    for source in (t, t[::2, 1:], t[:, ::-1], t[1, 2]):
        mine = gg.asarray(Foreign(source))
        assert mine.device == DEVICE
        assert mine.data_ptr() == source.data_ptr()
        assert mine.tolist() == source.tolist()
    assert gg.asarray(Foreign(gg.zeros((0, 2), device=DEVICE))).shape == (0, 2)
    assert gg.asarray(Foreign(t), dtype="float32").dtype is gg.float32
    assert gg.asarray(Foreign(t), copy=True).data_ptr() != t.data_ptr()
    assert gg.asarray(Foreign(t), device="cpu").tolist() == t.tolist()
    old = Foreign(t, version=2)
    del old.__cuda_array_interface__["stream"]
    assert gg.asarray(old).tolist() == t.tolist()


def test_interfaces_that_cannot_be_used_say_why() -> None:
    t = gg.ones((4,), device=DEVICE)
    with pytest.raises(TypeError, match=r"typestr.*>f4"):
        gg.asarray(Foreign(t, typestr=">f4"))
    with pytest.raises(TypeError, match=r"typestr.*<M8"):
        gg.asarray(Foreign(t, typestr="<M8[ns]"))
    with pytest.raises(NotImplementedError, match="mask"):
        gg.asarray(Foreign(t, mask=t))
    with pytest.raises(ValueError, match="stream"):
        gg.asarray(Foreign(t, stream=0))
    with pytest.raises(ValueError, match="aligned to its elements"):
        gg.asarray(Foreign(t, data=(t.data_ptr() + 1, False), shape=(3,)))
    read_only = gg.asarray(Foreign(t, data=(t.data_ptr(), True)))
    with pytest.raises(ValueError, match="read-only"):
        read_only += 1


# ---- CuPy ----


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cut", CUTS, ids=str)
def test_cupy_arrays_are_shared_both_ways(cupy: Any, dtype: str, cut: Any) -> None:
    a = np.arange(12).reshape(3, 4).astype(dtype)
    theirs = cupy.asarray(a)[cut]
    for mine in (gg.asarray(theirs), gg.from_dlpack(theirs)):
        assert (mine.device, mine.shape, mine.dtype) == (DEVICE, a[cut].shape, a.dtype)
        np.testing.assert_array_equal(mine.cpu().numpy(), a[cut])
        if a[cut].size:
            assert mine.data_ptr() == theirs.data.ptr
    ours = gg.asarray(a).to(DEVICE)[cut]
    for back in (cupy.asarray(ours), cupy.from_dlpack(ours)):
        assert (back.shape, back.dtype) == (a[cut].shape, a.dtype)
        np.testing.assert_array_equal(back.get(), a[cut])
        if a[cut].size:
            assert back.data.ptr == ours.data_ptr()


def test_cupy_writes_are_seen(cupy: Any) -> None:
    theirs = cupy.zeros((4,), dtype="float32")
    mine = gg.asarray(theirs)
    theirs += 2
    assert mine.tolist() == [2.0] * 4
    mine += 3
    assert theirs.get().tolist() == [5.0] * 4


def test_cupy_keeps_our_memory_alive_and_we_keep_theirs(cupy: Any) -> None:
    back = cupy.from_dlpack(gg.full((1000,), 7.0, device=DEVICE))
    gc.collect()
    others = [gg.zeros((1000,), device=DEVICE) for _ in range(8)]
    assert bool((back == 7).all())
    mine = gg.from_dlpack(cupy.full((1000,), 5.0))
    gc.collect()
    others += [cupy.zeros((1000,)) for _ in range(8)]
    assert mine.sum().item() == 5000.0


def test_cupy_on_another_stream_sees_finished_values(cupy: Any) -> None:
    for _ in range(5):
        s, theirs = gg.cuda.Stream(), cupy.cuda.Stream(non_blocking=True)
        with gg.cuda.stream(s):
            ours = late_value(3.0)
            with theirs:
                total = cupy.from_dlpack(ours).sum()
                other = cupy.asarray(ours).sum()
        theirs.synchronize()
        assert float(total) == 3.0 * MIB
        assert float(other) == 3.0 * MIB


def test_we_see_finished_values_of_a_cupy_stream(cupy: Any) -> None:
    for take in (gg.asarray, gg.from_dlpack):
        theirs = cupy.cuda.Stream(non_blocking=True)
        with theirs:
            x = cupy.ones((1024, 1024), dtype="float32")
            for _ in range(50):
                x = x @ x / 1024
            late = x[0, 0] * cupy.full((MIB,), 3.0, dtype="float32")
            ours = take(late)
        assert ours.sum().item() == 3.0 * MIB


# ---- PyTorch ----


@pytest.mark.parametrize("dtype", [*DTYPES, "bfloat16"])
@pytest.mark.parametrize("cut", CUTS, ids=str)
def test_torch_tensors_are_shared_both_ways(torch: Any, dtype: str, cut: Any) -> None:
    a = np.arange(12).reshape(3, 4)
    theirs = torch.asarray(a, dtype=getattr(torch, dtype), device="cuda")[cut]
    expected = theirs.cpu().tolist()
    for mine in (gg.from_dlpack(theirs), gg.asarray(theirs)):
        assert (mine.device, mine.shape) == (DEVICE, tuple(theirs.shape))
        assert str(mine.dtype).endswith(dtype)
        assert mine.tolist() == expected
        if theirs.numel():
            assert mine.data_ptr() == theirs.data_ptr()
    ours = gg.asarray(a).astype(dtype).to(DEVICE)[cut]
    backs = [torch.from_dlpack(ours)]
    if dtype != "bfloat16":
        backs.append(torch.as_tensor(ours, device="cuda"))
    for back in backs:
        assert back.device == torch.device("cuda", 0)
        assert back.cpu().tolist() == expected
        if theirs.numel():
            assert back.data_ptr() == ours.data_ptr()


def test_torch_writes_are_seen(torch: Any) -> None:
    ours = gg.zeros((4,), device=DEVICE)
    torch.from_dlpack(ours).add_(2)
    assert ours.tolist() == [2.0] * 4
    theirs = torch.zeros(4, device="cuda")
    mine = gg.from_dlpack(theirs)
    mine += 3
    torch.cuda.synchronize()
    assert theirs.tolist() == [3.0] * 4


def test_torch_on_another_stream_sees_finished_values(torch: Any) -> None:
    for _ in range(5):
        s, theirs = gg.cuda.Stream(), torch.cuda.Stream()
        with gg.cuda.stream(s):
            ours = late_value(3.0)
            with torch.cuda.stream(theirs):
                total = torch.from_dlpack(ours).sum()
        theirs.synchronize()
        assert total.item() == 3.0 * MIB


def test_we_see_finished_values_of_a_torch_stream(torch: Any) -> None:
    for _ in range(5):
        theirs = torch.cuda.Stream()
        with torch.cuda.stream(theirs):
            x = torch.ones(1024, 1024, device="cuda")
            for _ in range(50):
                x = x @ x / 1024
            ours = gg.from_dlpack(x[0, 0] * torch.full((MIB,), 3.0, device="cuda"))
        s = gg.cuda.Stream()
        s.wait_stream(0)
        with gg.cuda.stream(s):
            again = gg.from_dlpack(ours)
        assert ours.sum().item() == 3.0 * MIB
        assert again.cpu().sum().item() == 3.0 * MIB


def test_a_gradient_through_torch_by_hand(torch: Any) -> None:
    """A loss of PyTorch's on features of ours: values one way, the gradient the other, no copy between."""
    w = gg.tensor([[1.0, 2.0], [3.0, 4.0]], device=DEVICE, requires_grad=True)
    y = w * 2
    theirs = torch.from_dlpack(y.detach()).requires_grad_()
    (theirs**2).sum().backward()
    (g,) = gg.grad([y], [w], [gg.from_dlpack(theirs.grad)])
    assert g.tolist() == [[8.0, 16.0], [24.0, 32.0]]
