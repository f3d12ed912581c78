"""Memory shared with NumPy, with whatever speaks the buffer protocol, and over DLPack, both ways."""

import array
import gc
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest

import gorgo as gg

ALL = [
    "bool",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "int8",
    "int16",
    "int32",
    "int64",
    "float16",
    "float32",
    "float64",
    "complex64",
    "complex128",
]
CUTS = [
    np.s_[...],
    np.s_[::2, ::-1],
    np.s_[::-1, ::-2],
    np.s_[1],
    np.s_[:, 3],
    np.s_[1:1],
    np.s_[None, :, None],
]


# ---- NumPy ----


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("cut", CUTS, ids=str)
def test_numpy_arrays_share_their_memory(dtype, cut):
    a = np.arange(12).reshape(3, 4).astype(dtype)[cut]
    t = gg.asarray(a)
    assert t.dtype == a.dtype
    assert t.shape == a.shape
    back = np.asarray(t)
    assert back.dtype == a.dtype
    np.testing.assert_array_equal(back, a)
    if a.size:
        assert t.data_ptr() == a.__array_interface__["data"][0]
        assert np.shares_memory(back, a)
        t[...] = gg.zeros((), dtype=t.dtype)
        assert not a.any()


def test_fortran_order_and_broadcast_arrays():
    a = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    t = gg.asarray(a)
    assert t.strides == (1, 2)
    np.testing.assert_array_equal(np.asarray(t + 1), a + 1)
    wide = gg.asarray(np.broadcast_to(np.float32(3), (4, 5)))
    assert wide.strides == (0, 0)
    assert (wide + 1).tolist() == [[4.0] * 5] * 4


def test_read_only_arrays_stay_read_only():
    a = np.arange(4.0)
    a.flags.writeable = False
    t = gg.asarray(a)
    with pytest.raises(ValueError, match="read-only"):
        t += 1
    with pytest.raises(ValueError, match="read-only"):
        t[0] = 1
    assert not np.asarray(t).flags.writeable
    assert memoryview(t).readonly
    fresh = gg.tensor(a)
    fresh += 1
    assert a.tolist() == [0.0, 1.0, 2.0, 3.0]


def test_numpy_keeps_the_array_alive_and_lets_it_go():
    a = np.arange(4.0)
    died = weakref.ref(a)
    t = gg.asarray(a)
    view = t[1:]
    del a, t
    gc.collect()
    assert died() is not None
    assert view.tolist() == [1.0, 2.0, 3.0]
    del view
    gc.collect()
    assert died() is None


def test_our_memory_outlives_the_tensor():
    n = np.asarray(gg.full((1000,), 7.0))
    gc.collect()
    assert (n == 7).all()


def test_array_protocol():
    t = gg.asarray([1.5, 2.5])
    assert np.array(t, dtype=np.int64).tolist() == [1, 2]
    assert not np.shares_memory(np.array(t), t.numpy())
    assert np.shares_memory(np.asarray(t), t.numpy())
    assert t.__array__(np.float64).dtype == np.float64
    assert not np.shares_memory(t.__array__(copy=True), t.numpy())
    with pytest.raises(ValueError, match="copy=False"):
        t.__array__(np.float64, copy=False)


def test_numpy_reductions_and_functions_take_tensors():
    t = gg.asarray([[1.0, 2.0], [3.0, 4.0]])
    assert np.mean(np.asarray(t)) == 2.5
    assert np.stack([t, t]).shape == (2, 2, 2)


def test_bfloat16_goes_through_ml_dtypes():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    t = gg.asarray([1.0, 2.5]).astype(gg.bfloat16)
    n = np.asarray(t)
    assert n.dtype == ml_dtypes.bfloat16
    assert n.astype(np.float32).tolist() == [1.0, 2.5]
    n[0] = 9
    assert t.tolist() == [9.0, 2.5]
    back = gg.asarray(n[::-1])
    assert back.dtype is gg.bfloat16
    assert back.tolist() == [2.5, 9.0]
    assert back.data_ptr() == t.data_ptr() + 2


def test_bfloat16_without_ml_dtypes_says_so():
    code = """
import sys
sys.modules["ml_dtypes"] = None
import gorgo as gg
try:
    gg.ones((2,), dtype=gg.bfloat16).numpy()
except NotImplementedError as error:
    assert "ml_dtypes" in str(error) and "astype(gorgo.float32)" in str(error)
else:
    raise SystemExit("no error")
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unaligned_arrays_are_copied():
    raw = np.zeros(33, np.uint8)
    a = raw[1:].view(np.float64)
    a[:] = [1, 2, 3, 4]
    t = gg.asarray(a)
    assert t.tolist() == [1.0, 2.0, 3.0, 4.0]
    assert t.data_ptr() != a.__array_interface__["data"][0]
    packed = np.zeros(3, dtype=[("a", "u1"), ("b", "f4")])["b"]
    assert gg.asarray(packed).tolist() == [0.0, 0.0, 0.0]
    with pytest.raises(ValueError, match="copy=False needs memory aligned"):
        gg.asarray(a, copy=False)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: np.array([1.0], dtype=">f4"), ">f4"),
        (lambda: np.array(["x"]), "<U1"),
        (lambda: np.array([object()]), "object"),
        (lambda: np.array(["2020-01-01"], dtype="datetime64[D]"), "datetime64"),
        (lambda: np.zeros(2, dtype=[("a", "i4")]), "'a'"),
        (lambda: np.zeros(2, dtype=np.longdouble), "float128"),
    ],
)
def test_arrays_that_we_cannot_hold(make, named):
    a = make()
    with pytest.raises(TypeError, match="asarray: NumPy array must be of a native") as caught:
        gg.asarray(a)
    assert named in str(caught.value)


# ---- other buffers ----


def test_buffers_of_other_kinds():
    assert gg.asarray(array.array("d", [1.0, 2.0])).dtype is gg.float64
    assert gg.asarray(bytearray(b"\1\2")).tolist() == [1, 2]
    assert gg.asarray(memoryview(b"\3")).tolist() == [3]
    owner = array.array("i", [1, 2, 3])
    t = gg.asarray(owner)
    t += 1
    assert owner.tolist() == [2, 3, 4]
    with pytest.raises(BufferError):
        owner.append(5)  # the tensor holds the buffer
    del t
    owner.append(5)


def test_buffer_of_a_tensor():
    t = gg.asarray(np.arange(6, dtype=np.int16).reshape(2, 3))
    m = memoryview(t)
    assert (m.format, m.shape, m.strides, m.itemsize, m.readonly) == ("h", (2, 3), (6, 2), 2, False)
    assert m.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert bytes(t) == np.asarray(t).tobytes()
    m[1, 2] = 50
    assert t[1, 2].item() == 50
    view = t[:, ::-1]
    assert memoryview(view).tolist() == [[2, 1, 0], [50, 4, 3]]
    assert memoryview(gg.zeros((0, 3))).shape == (0, 3)


# ---- asarray and tensor ----


def test_asarray_of_numbers_and_lists():
    assert gg.asarray(1).dtype is gg.int64
    assert gg.asarray(1.0).dtype is gg.float32
    assert gg.asarray(True).dtype is gg.bool
    assert gg.asarray(1j).dtype is gg.complex64
    assert gg.asarray(2**63).dtype is gg.uint64
    assert gg.asarray(np.float64(1)).dtype is gg.float64
    assert gg.asarray([[1, 2.5], (3, 4)]).tolist() == [[1.0, 2.5], [3.0, 4.0]]
    assert gg.asarray([]).shape == (0,)
    assert gg.asarray([[], []]).shape == (2, 0)
    assert gg.asarray([np.float32(1), 2]).dtype is gg.float32
    assert gg.asarray([gg.asarray(1.5), 2]).tolist() == [1.5, 2.0]
    assert gg.asarray(range(3)).tolist() == [0, 1, 2]
    assert gg.asarray([0, True]).tolist() == [0, 1]
    assert gg.asarray([True, 2.5]).dtype is gg.float32
    assert gg.asarray([[True, 1j]]).dtype is gg.complex64
    assert gg.asarray([1, 0], dtype=bool).tolist() == [True, False]
    assert gg.asarray([1, 2], dtype="float64").dtype is gg.float64
    assert gg.asarray([1, 2], dtype=np.int8).dtype is gg.int8


def test_asarray_copy():
    t = gg.ones((2,))
    assert gg.asarray(t) is t
    assert gg.asarray(t, copy=True).data_ptr() != t.data_ptr()
    a = np.ones(2, np.float32)
    assert gg.asarray(a, copy=True).data_ptr() != a.__array_interface__["data"][0]
    assert gg.asarray(a, dtype=gg.float64).tolist() == [1.0, 1.0]
    with pytest.raises(ValueError, match="asarray: copy=False"):
        gg.asarray(a, dtype=gg.float64, copy=False)
    with pytest.raises(ValueError, match="asarray: copy=False"):
        gg.asarray([1.0], copy=False)


def test_tensor_always_copies():
    a = np.ones(2, np.float32)
    t = gg.tensor(a, requires_grad=True)
    assert t.requires_grad
    assert t.is_leaf
    assert t.data_ptr() != a.__array_interface__["data"][0]
    again = gg.tensor(t)
    assert again.is_leaf
    assert not again.requires_grad


def test_long_lists_at_every_depth(rng):
    a = rng.standard_normal((7, 5, 3)).astype(np.float32)
    np.testing.assert_array_equal(np.asarray(gg.asarray(a.tolist())), a)


def test_anything_with_an_array_method():
    class Wrapped:
        def __array__(self, dtype=None, copy=None):
            return np.arange(3)

    assert gg.asarray(Wrapped()).tolist() == [0, 1, 2]


# ---- DLPack ----


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("cut", CUTS, ids=str)
def test_dlpack_to_numpy(dtype, cut):
    a = np.arange(12).reshape(3, 4).astype(dtype)
    t = gg.asarray(a)[cut]
    back = np.from_dlpack(t)
    np.testing.assert_array_equal(back, a[cut])
    if back.size:
        assert np.shares_memory(back, a)


@pytest.mark.parametrize("cut", CUTS, ids=str)
def test_dlpack_from_numpy(cut):
    a = np.arange(12.0).reshape(3, 4)[cut]
    t = gg.from_dlpack(a)
    np.testing.assert_array_equal(np.asarray(t), a)
    if a.size:
        assert t.data_ptr() == a.__array_interface__["data"][0]


@pytest.mark.parametrize("dtype", [*ALL[:2], *ALL[5:], "bfloat16"])
def test_dlpack_with_torch(dtype):
    torch = pytest.importorskip("torch")
    theirs = torch.arange(6).reshape(2, 3).to(getattr(torch, dtype)).T
    ours = gg.from_dlpack(theirs)
    assert ours.dtype == dtype
    assert ours.tolist() == theirs.tolist()
    assert ours.data_ptr() == theirs.data_ptr()
    assert gg.asarray(theirs).data_ptr() == theirs.data_ptr()
    back = torch.from_dlpack(ours[::2])
    assert back.tolist() == theirs[::2].tolist()
    back.zero_()
    assert not any(ours[::2].astype(gg.float32).reshape(-1).tolist()) or dtype == "complex64"


def test_dlpack_lifetime_across_libraries():
    torch = pytest.importorskip("torch")
    theirs = torch.from_dlpack(gg.arange(1000, dtype=gg.float32))
    gc.collect()
    assert theirs.sum().item() == 499500
    ours = gg.from_dlpack(torch.arange(1000))
    gc.collect()
    assert ours[-1].item() == 999


def test_dlpack_capsule_handshake():
    t = gg.ones((2,))
    assert t.__dlpack_device__() == (1, 0)
    assert '"dltensor"' in repr(t.__dlpack__())
    assert '"dltensor_versioned"' in repr(t.__dlpack__(max_version=(1, 0)))
    assert '"dltensor_versioned"' in repr(t.__dlpack__(max_version=(2, 3)))
    assert '"dltensor"' in repr(t.__dlpack__(max_version=(0, 8)))
    capsule = t.__dlpack__()
    assert gg.from_dlpack(capsule).tolist() == [1.0, 1.0]
    assert '"used_dltensor"' in repr(capsule)
    with pytest.raises(ValueError, match="nobody has used"):
        gg.from_dlpack(capsule)


def test_dlpack_read_only():
    a = np.ones(2)
    a.flags.writeable = False
    t = gg.asarray(a)
    with pytest.raises(BufferError, match="read-only"):
        t.__dlpack__()
    versioned = gg.from_dlpack(t)
    with pytest.raises(ValueError, match="read-only"):
        versioned += 1
    copied = gg.from_dlpack(t, copy=True)
    copied += 1
    assert a.tolist() == [1.0, 1.0]


def test_dlpack_old_producer_without_keywords():
    class Old:
        def __init__(self, inner):
            self.inner = inner

        def __dlpack__(self, stream=None):
            return self.inner.__dlpack__()

        def __dlpack_device__(self):
            return (1, 0)

    t = gg.ones((3,))
    assert gg.from_dlpack(Old(t)).data_ptr() == t.data_ptr()
    assert gg.from_dlpack(Old(t), copy=True).data_ptr() != t.data_ptr()


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"stream": 1}, "stream must be None"),
        ({"dl_device": (2, 99)}, r"dl_device must be \(1, 0\)"),
    ],
)
def test_dlpack_refuses_other_devices(kwargs, message):
    with pytest.raises(BufferError, match=message):
        gg.ones((2,)).__dlpack__(**kwargs)


def test_dlpack_refuses_foreign_devices():
    class OnCuda:
        def __dlpack__(self, **kwargs):
            raise AssertionError("must not be asked")

        def __dlpack_device__(self):
            return (2, 99)  # a card that no machine has

    with pytest.raises(BufferError, match="got type 2"):
        gg.from_dlpack(OnCuda())


def test_dlpack_asks_a_producer_elsewhere_for_a_copy_on_the_cpu():
    class OnCuda:
        asked = None

        def __dlpack__(self, **kwargs):
            self.asked = kwargs
            return gg.asarray([1.0, 2.0]).__dlpack__(max_version=kwargs["max_version"])

        def __dlpack_device__(self):
            return (2, 99)

    producer = OnCuda()
    assert gg.from_dlpack(producer, device="cpu").tolist() == [1.0, 2.0]
    assert producer.asked["dl_device"] == (1, 0)
    with pytest.raises(TypeError, match="__dlpack__"):
        gg.from_dlpack(3)


def test_memory_is_let_go_on_other_threads():
    """The last reference may die on a thread of another library."""
    a = np.ones(1000)
    died = weakref.ref(a)
    holder = [np.from_dlpack(gg.asarray(a))]
    del a
    thread = threading.Thread(target=holder.clear)
    thread.start()
    thread.join()
    gc.collect()
    assert died() is None


def test_dlpack_deleter_runs_without_the_gil():
    """Call the capsule's deleter as a foreign library would: from C, on a thread without the GIL."""
    import ctypes

    ctypes.pythonapi.PyCapsule_GetPointer.restype = ctypes.c_void_p
    ctypes.pythonapi.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    ctypes.pythonapi.PyCapsule_SetName.argtypes = [ctypes.py_object, ctypes.c_char_p]
    a = np.ones(1000)
    died = weakref.ref(a)
    capsule = gg.asarray(a).__dlpack__()
    del a
    pointer = ctypes.pythonapi.PyCapsule_GetPointer(capsule, b"dltensor")
    used = ctypes.create_string_buffer(b"used_dltensor")
    ctypes.pythonapi.PyCapsule_SetName(capsule, used)

    class Managed(ctypes.Structure):
        _fields_ = (
            ("data", ctypes.c_void_p),
            ("device", ctypes.c_int32 * 2),
            ("ndim", ctypes.c_int32),
            ("dtype", ctypes.c_uint8 * 4),
            ("shape", ctypes.c_void_p),
            ("strides", ctypes.c_void_p),
            ("byte_offset", ctypes.c_uint64),
            ("context", ctypes.c_void_p),
            ("deleter", ctypes.CFUNCTYPE(None, ctypes.c_void_p)),  # releases the GIL around the call
        )

    managed = Managed.from_address(pointer)
    deleter = managed.deleter
    gc.collect()
    assert died() is not None
    thread = threading.Thread(target=lambda: deleter(pointer))
    thread.start()
    thread.join()
    for _ in range(1000):  # the reference waits for the main thread's next bytecodes
        if died() is None:
            break
    assert died() is None


def test_numpy_scalars_are_numbers_of_their_dtype():
    for scalar in (np.float64(1.5), np.float32(1.5), np.int8(-3), np.uint16(7), np.bool_(True), np.complex64(1j)):
        t = gg.asarray(scalar)
        assert (t.shape, t.dtype.name, t.item()) == ((), scalar.dtype.name, scalar.item())
        t[()] = False  # its memory is its own
        assert not t.item()
        with pytest.raises(ValueError, match="copy=False"):
            gg.asarray(scalar, copy=False)


@pytest.mark.parametrize(
    "foreign", [np.datetime64("2020-01-01"), np.timedelta64(3, "s"), np.str_("a"), np.bytes_(b"a")]
)
def test_numpy_scalars_of_foreign_dtypes_are_refused(foreign):
    with pytest.raises(TypeError, match="asarray: "):
        gg.asarray(foreign)
