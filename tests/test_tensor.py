"""The tensor type: properties, operators, indexing, printing, conversions, lifetime. The oracle is NumPy."""

import copy
import gc
import itertools
import math
import operator
import pickle
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest

import gorgo as gg

DTYPES = [
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
]
COMPLEX = ["complex64", "complex128"]


def assert_same(tensor, array):
    """The tensor has the array's shape, dtype and elements."""
    array = np.asarray(array)
    assert tensor.shape == array.shape
    assert tensor.dtype == array.dtype
    np.testing.assert_array_equal(np.asarray(tensor.detach()), array)


# ---- properties ----


def test_properties_of_a_view():
    t = gg.asarray(np.zeros((2, 3, 4), dtype=np.float64))[:, ::2]
    assert t.shape == (2, 2, 4)
    assert t.strides == (12, 8, 1)
    assert t.ndim == 3
    assert t.size == t.numel() == 16
    assert t.itemsize == 8
    assert t.nbytes == 128
    assert t.device == "cpu"
    assert t.dtype is gg.float64
    assert not t.is_contiguous()
    assert len(t) == 2


def test_rank_zero_and_rank_32():
    assert gg.asarray(3.0).shape == ()
    high = gg.zeros((1,) * 32)
    assert high.ndim == 32
    assert (high + 1).shape == (1,) * 32
    with pytest.raises(ValueError, match="at most 32"):
        gg.zeros((1,) * 33)


@pytest.mark.parametrize("shape", [(0,), (2, 0), (0, 3, 0)])
def test_empty_tensors(shape):
    t = gg.zeros(shape)
    assert t.tolist() == np.zeros(shape).tolist()
    assert_same(t + 1, np.zeros(shape, np.float32))


def test_transposes_are_views():
    a = np.arange(24.0).reshape(2, 3, 4)
    t = gg.asarray(a)
    assert_same(t.mT, a.swapaxes(1, 2))
    assert_same(t[0].T, a[0].T)
    assert_same(t.transpose(), a.T)
    assert_same(t.transpose((2, 0, 1)), a.transpose(2, 0, 1))
    assert_same(t.swapaxes(0, -1), a.swapaxes(0, -1))
    assert_same(t.permute(2, 0, 1), a.transpose(2, 0, 1))
    t.mT[0, 1, 2] = -1.0
    assert a[0, 2, 1] == -1.0


# ---- operators ----

BINARY = [
    operator.add,
    operator.sub,
    operator.mul,
    operator.truediv,
    operator.eq,
    operator.ne,
    operator.lt,
    operator.le,
    operator.gt,
    operator.ge,
]


@pytest.mark.parametrize("op", BINARY)
@pytest.mark.parametrize("dtype", ["int32", "int64", "float32", "float64"])
def test_binary_operators(op, dtype, rng):
    a = rng.integers(1, 9, (3, 4)).astype(dtype)
    b = rng.integers(1, 9, (4,)).astype(dtype)
    expected = op(a, b)
    if op is operator.truediv and dtype.startswith("int"):
        expected = expected.astype(np.float32)  # the default floating type here
    assert_same(op(gg.asarray(a), gg.asarray(b)), expected)


@pytest.mark.parametrize("op", [*BINARY, operator.floordiv, operator.mod, operator.pow])
def test_operators_with_numbers_on_either_side(op, rng):
    a = rng.uniform(0.5, 4.0, 7).astype(np.float32)
    t = gg.asarray(a)
    np.testing.assert_allclose(np.asarray(op(t, 2)), op(a, np.float32(2)), rtol=2e-6)
    np.testing.assert_allclose(np.asarray(op(2.5, t)), op(np.float32(2.5), a), rtol=2e-6)
    assert op(t, 2.5).dtype == op(a, np.float32(2.5)).dtype


@pytest.mark.parametrize("op", [operator.and_, operator.or_, operator.xor, operator.lshift, operator.rshift])
def test_bit_operators(op, rng):
    a = rng.integers(0, 30, 9)
    b = rng.integers(0, 5, 9)
    assert_same(op(gg.asarray(a), gg.asarray(b)), op(a, b))
    assert_same(op(gg.asarray(a), 3), op(a, 3))
    assert_same(op(17, gg.asarray(b)), op(17, b))


def test_unary_operators():
    a = np.array([-2.5, 0.0, 3.0], np.float32)
    t = gg.asarray(a)
    assert_same(-t, -a)
    assert_same(+t, a)
    assert (+t) is not t
    assert_same(abs(t), abs(a))
    assert_same(~gg.asarray([True, False]), [False, True])
    assert_same(~gg.asarray([1, -1]), [-2, 0])


def test_divmod():
    a = np.array([7.0, -7.0, 5.5], np.float32)
    q, r = divmod(gg.asarray(a), 2)
    assert_same(q, a // 2)
    assert_same(r, a % 2)


def test_matmul_operator(rng):
    a = rng.standard_normal((3, 4))
    b = rng.standard_normal((4, 5))
    np.testing.assert_allclose(np.asarray(gg.asarray(a) @ gg.asarray(b)), a @ b, rtol=1e-12)


@pytest.mark.parametrize("op", [operator.iadd, operator.isub, operator.imul, operator.itruediv])
def test_operators_in_place_keep_object_and_memory(op):
    a = np.array([2.0, 4.0], np.float32)
    t = gg.asarray(a.copy())
    same, address = t, t.data_ptr()
    t = op(t, 2)
    assert t is same
    assert t.data_ptr() == address
    assert_same(t, op(a, np.float32(2)))


def test_in_place_through_a_view_reaches_the_base():
    t = gg.zeros((3, 4))
    t[1:, ::2] += 2
    t[0] -= 1
    expected = np.zeros((3, 4), np.float32)
    expected[1:, ::2] += 2
    expected[0] -= 1
    assert_same(t, expected)


def test_in_place_with_overlap():
    a = np.arange(6.0)
    t = gg.asarray(a.copy())
    t[1:] += t[:-1]
    a[1:] = a[1:] + a[:-1]
    assert_same(t, a)


def test_methods_in_place():
    t = gg.ones((3,))
    assert t.add_(2) is t
    t.multiply_(gg.asarray([1.0, 2.0, 3.0]))
    assert t.tolist() == [3.0, 6.0, 9.0]
    t.fill_(7)
    assert t.tolist() == [7.0] * 3
    t.copy_(gg.asarray([1, 2, 3]))
    assert t.tolist() == [1.0, 2.0, 3.0]
    assert t.zero_().tolist() == [0.0] * 3


@pytest.mark.parametrize(
    ("number", "dtype"), [(True, "int32"), (2, "int32"), (2.5, "float32"), (2j, "complex64"), (2**63, "int32")]
)
def test_numbers_are_weak(number, dtype):
    t = gg.asarray(np.array([1], np.int32))
    if number == 2**63:
        with pytest.raises(OverflowError, match=r"scalar must fit int32 .* got 9223372036854775808"):
            t + number
    else:
        assert (t + number).dtype == dtype


def test_numpy_scalars_are_numbers():
    t = gg.asarray(np.array([1.0], np.float32))
    for number in (np.float64(2), np.float32(2), np.int64(2), np.uint8(2)):
        assert (t + number).dtype == gg.float32
        assert (number * t).tolist() == [2.0]
        assert isinstance(number * t, gg.Tensor)


def test_promotion_follows_the_standard():
    for a, b in itertools.product(DTYPES + COMPLEX, repeat=2):
        x, y = gg.asarray(np.ones(1, a)), gg.asarray(np.ones(1, b))
        if {a, b} & {"uint64"} and {a, b} & {"int8", "int16", "int32", "int64"}:
            with pytest.raises(TypeError):
                gg.result_type(x, y)
            continue
        assert gg.result_type(x, y) == gg.result_type(y, x)
        integers = [d for d in (a, b) if d.startswith(("int", "uint", "bool"))]
        if len(integers) in (0, 2):
            assert gg.result_type(x, y) == np.result_type(np.dtype(a), np.dtype(b))
        else:  # an integer beside a float takes the float's type, whatever its width
            assert gg.result_type(x, y) == (b if integers[0] == a else a)


# ---- comparisons, truth, numbers ----


def test_comparison_with_strangers_is_identity():
    t = gg.ones((2,))
    assert (t == None) is False  # noqa: E711
    assert (t != "x") is True
    with pytest.raises(TypeError):
        t < "x"  # noqa: B015


def test_hash_is_by_identity():
    t, u = gg.ones((2,)), gg.ones((2,))
    assert hash(t) == hash(t)
    assert {t: 1, u: 2}[t] == 1


def test_conversions_to_numbers():
    assert float(gg.asarray([[2.5]])) == 2.5
    assert int(gg.asarray(-2.9)) == -2
    assert int(gg.asarray(np.uint64(2**64 - 1))) == 2**64 - 1
    assert complex(gg.asarray(1 + 2j)) == 1 + 2j
    assert operator.index(gg.asarray(3)) == 3
    assert [10, 20, 30][gg.asarray(1)] == 20
    assert bool(gg.asarray([0.0])) is False
    assert gg.asarray([5]).item() == 5
    assert type(gg.asarray(True).item()) is bool
    assert f"{gg.asarray(1 / 3):.3f}" == "0.333"
    assert math.isclose(math.sqrt(gg.asarray(4.0)), 2.0)


@pytest.mark.parametrize("dtype", DTYPES + COMPLEX)
def test_tolist(dtype):
    a = np.arange(6).reshape(2, 3).astype(dtype)
    assert gg.asarray(a).tolist() == a.tolist()
    assert gg.asarray(a)[:, ::-2].tolist() == a[:, ::-2].tolist()
    assert type(gg.asarray(a)[0, 0].tolist()) is type(a[0, 0].tolist())


def test_sequence_protocol():
    t = gg.asarray([[1, 2], [3, 4]])
    assert [row.tolist() for row in t] == [[1, 2], [3, 4]]
    _, second = t
    assert second.tolist() == [3, 4]
    assert t[-1].tolist() == [3, 4]
    assert next(reversed(t)).tolist() == [3, 4]


# ---- indexing ----

A = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
BASIC_KEYS = [
    0,
    -1,
    slice(None),
    slice(1, 10),
    slice(None, None, -1),
    slice(-1, None, -1),
    slice(5, 1),
    (0, 1),
    (0, 1, 2, 3),
    (..., 0),
    (0, ...),
    (0, ..., 1),
    None,
    (None, 0, None, slice(None), ..., None),
    (slice(None), slice(None, None, 2), slice(3, 0, -2)),
    (),
    ...,
    np.int64(1),
    (np.int32(0), slice(1, 3)),
]


@pytest.mark.parametrize("key", BASIC_KEYS, ids=repr)
def test_basic_indexing(key):
    t = gg.asarray(A.copy())
    view = t[key]
    assert_same(view, A[key])
    expected = A.copy()
    expected[key] = -1
    t[key] = -1
    assert_same(t, expected)


MASK = A[0] % 3 == 0
ADVANCED_KEYS = [
    [0, 1, 1],
    ([0, 1], [2, 0]),
    (slice(None), [2, 0, 0]),
    (slice(None), [[0, 1], [2, 0]]),
    (0, slice(None), [1, 2]),
    ([0, 1], slice(None), [1, 2]),
    (slice(None), [0, 1], slice(None), 0),
    ([0, 1], 0, [2, 3]),
    (slice(None), 1, [0, 1]),
    (..., [0, 4]),
    (None, [0, 1], None, [1, 2]),
    ([[0], [1]], [[0, 1, 2]]),
    np.array([-1, 0]),
    np.array([True, False]),
    (slice(None), np.array([True, False, True])),
    (np.array([False, True]), slice(None), [0, 1], 1),
    A > 50,
    (1, MASK),
    (slice(None), MASK[:, :, 0]),
    (slice(None), MASK[:, :, 0], 2),
    [],
    (slice(1, None), [0, 0]),
    True,
    False,
]


def to_ours(key):
    items = key if isinstance(key, tuple) else (key,)
    items = tuple(gg.asarray(k) if isinstance(k, np.ndarray) else k for k in items)
    return items if isinstance(key, tuple) else items[0]


@pytest.mark.parametrize("key", ADVANCED_KEYS, ids=lambda k: repr(k)[:40])
@pytest.mark.parametrize("ours", [True, False], ids=["tensors", "arrays"])
def test_advanced_indexing(key, ours):
    t = gg.asarray(A.copy())
    our_key = to_ours(key) if ours else key
    numpy_key = np.array([], np.int64) if isinstance(key, list) and not key else key
    assert_same(t[our_key], A[numpy_key])


@pytest.mark.parametrize("key", ADVANCED_KEYS, ids=lambda k: repr(k)[:40])
def test_advanced_assignment(key, rng):
    numpy_key = np.array([], np.int64) if isinstance(key, list) and not key else key
    for value in (-7, None):
        t, expected = gg.asarray(A.copy()), A.copy()
        shape = expected[numpy_key].shape
        if value is None:  # as many values as positions; repeated positions get equal values
            value = np.broadcast_to(rng.integers(100, 200, shape[-1:]), shape)
            if "0, 1, 1" in repr(key) or "0, 0]" in repr(key):
                value = np.full(shape, 123)
        expected[numpy_key] = value
        t[to_ours(key)] = gg.asarray(value.copy()) if isinstance(value, np.ndarray) else value
        assert_same(t, expected)


def test_assignment_broadcasts_and_converts():
    t = gg.zeros((2, 3), dtype=gg.float64)
    t[...] = gg.asarray([1, 2, 3])
    t[1] = gg.ones((1, 1, 3)) * 9
    t[:, 0] = np.array([5.0, 6.0])
    t[0, 1:] = [7, 8]
    assert t.tolist() == [[5.0, 7.0, 8.0], [6.0, 9.0, 9.0]]


def test_contains():
    t = gg.asarray([1, 2, 3])
    assert 2 in t
    assert 5 not in t


def test_where_under_mask_keeps_other_elements():
    t = gg.asarray([1.0, float("nan"), 3.0])
    t[gg.isnan(t)] = 0
    assert t.tolist() == [1.0, 0.0, 3.0]


# ---- shape methods ----


def test_reshape_forms():
    t = gg.arange(12)
    for shaped in (t.reshape(3, 4), t.reshape((3, -1)), gg.reshape(t, (3, 4)), t.view(3, 4), t.reshape([-1, 4])):
        assert_same(shaped, np.arange(12).reshape(3, 4))
        assert shaped.data_ptr() == t.data_ptr()
    turned = t.reshape(3, 4).T
    assert_same(turned.reshape(-1), np.arange(12).reshape(3, 4).T.reshape(-1))
    assert t.reshape((3, 4), copy=True).data_ptr() != t.data_ptr()
    with pytest.raises(ValueError, match="reshape"):
        turned.view(-1)
    assert t.reshape(()).shape == () if t.size == 1 else True


def test_expand_squeeze_unsqueeze():
    t = gg.ones((1, 3))
    assert t.expand((2, 3)).strides == (0, 1)
    assert t.expand(2, 3).shape == (2, 3)
    assert t.unsqueeze(0).shape == (1, 1, 3)
    assert t.squeeze(0).shape == (3,)
    assert [p.tolist() for p in gg.arange(5).split(2)] == [[0, 1], [2, 3], [4]]
    assert [p.tolist() for p in gg.split(gg.arange(5), (1, 4))] == [[0], [1, 2, 3, 4]]


def test_astype_and_to():
    t = gg.asarray([1.5, -2.5])
    assert t.astype(gg.int32).tolist() == [1, -2]
    assert t.astype("float64").dtype == gg.float64
    assert t.astype(gg.float32, copy=False) is t
    assert t.astype(gg.float32) is not t
    assert t.to(gg.float64).dtype == gg.float64
    assert t.to("cpu") is t
    assert t.to("float16").dtype == gg.float16
    assert t.to(gg.zeros((), dtype=gg.int64)).dtype == gg.int64
    assert t.to("null").device == "null"


# ---- creation ----


def test_creation_functions():
    assert_same(gg.zeros((2, 3)), np.zeros((2, 3), np.float32))
    assert_same(gg.ones(2, 3), np.ones((2, 3), np.float32))
    assert_same(gg.full((2,), 7), np.full(2, 7))
    assert_same(gg.full((2,), 7.5), np.full(2, 7.5, np.float32))
    assert_same(gg.full((), True), np.full((), True))
    assert_same(gg.eye(3, 4, k=1), np.eye(3, 4, 1, np.float32))
    assert_same(gg.eye(3, k=-1, dtype=gg.int64), np.eye(3, k=-1, dtype=np.int64))
    for k in (4, -3, 2**62, -(2**63), 2**63, -(2**99)):
        assert_same(gg.eye(3, 4, k=k), np.zeros((3, 4), np.float32))
        assert gg.eye(0, 0, k=k).shape == (0, 0)
    assert gg.empty((2, 3), dtype="int8").dtype == gg.int8
    like = gg.zeros((2, 2), dtype=gg.float64)
    assert_same(gg.ones_like(like), np.ones((2, 2)))
    assert_same(gg.zeros_like(like, dtype=gg.int32), np.zeros((2, 2), np.int32))
    assert_same(gg.full_like(like, 3), np.full((2, 2), 3.0))
    assert gg.empty_like(like).shape == (2, 2)
    assert gg.zeros((2,), requires_grad=True).requires_grad


@pytest.mark.parametrize("args", [(5,), (2, 9), (2, 9, 3), (9, 2, -2), (5, 2), (0, 1, 7), (-3, 3)])
def test_arange_integers(args):
    assert_same(gg.arange(*args), np.arange(*args))


@pytest.mark.parametrize("args", [(0.0, 1.0, 0.1), (1.0, 0.0, -0.25), (2.5,), (0, 2, 0.5)])
def test_arange_floats(args):
    np.testing.assert_allclose(
        np.asarray(gg.arange(*args, dtype=gg.float64)), np.arange(*args, dtype=np.float64), rtol=1e-15
    )


@pytest.mark.parametrize("endpoint", [True, False])
@pytest.mark.parametrize("num", [0, 1, 2, 7])
def test_linspace(num, endpoint):
    ours = gg.linspace(-1, 2, num, endpoint=endpoint, dtype=gg.float64)
    np.testing.assert_allclose(np.asarray(ours), np.linspace(-1, 2, num, endpoint=endpoint), rtol=1e-15)


# ---- printing ----


def numpy_repr(a):
    """NumPy's layout of the same elements, under our name."""
    with np.printoptions(legacy=False):
        return "tensor(" + np.array2string(a, separator=", ", prefix="tensor(", suffix=")", threshold=1000)


@pytest.mark.parametrize("seed", range(12))
def test_repr_is_laid_out_like_numpys(seed):
    rng = np.random.default_rng(seed)
    shape = [(4,), (3, 5), (2, 3, 4), (40,), (1500,), (60, 60), (12, 11, 13)][seed % 7]
    scale = 10.0 ** rng.integers(-6, 10)
    for a in (
        (rng.standard_normal(shape) * scale).astype(np.float32),
        rng.standard_normal(shape).round(2),
        rng.integers(-1000, 1000, shape),
        rng.random(shape) > 0.5,
        rng.integers(0, 5, shape).astype(np.float32),
    ):
        older = np.lib.NumpyVersion(np.__version__) < "2.3.0"
        if older and a.dtype == np.float32 and 1e6 <= abs(a).max() < 1e8:
            continue  # NumPy took the exponent form later then
        body = repr(gg.asarray(a)).split(", dtype")[0].split(",\n       dtype")[0].rstrip(")")
        assert body == numpy_repr(a).rstrip(")")


def test_repr_of_special_values():
    a = np.array([np.nan, np.inf, -np.inf, 1.5], np.float32)
    assert repr(gg.asarray(a)) == numpy_repr(a) + ")"
    c = np.array([1 + 2j, -0.5 - 1e-3j], np.complex64)
    assert repr(gg.asarray(c)) == numpy_repr(c) + ")"
    assert repr(gg.asarray(np.array([1.1], np.float16))) == "tensor([1.1], dtype=float16)"
    assert repr(gg.asarray([1.0]).astype(gg.bfloat16)) == "tensor([1.], dtype=bfloat16)"


def test_repr_tells_what_is_not_default():
    assert repr(gg.asarray(2.0)) == "tensor(2.)"
    assert repr(gg.asarray([1, 2])) == "tensor([1, 2])"
    assert repr(gg.zeros((2,), dtype=gg.float64)) == "tensor([0., 0.], dtype=float64)"
    assert repr(gg.zeros((0, 3))) == "tensor([], shape=(0, 3))"
    x = gg.ones((1,), requires_grad=True)
    assert repr(x) == "tensor([1.], requires_grad=True)"
    assert repr(x + 1) == "tensor([2.], grad_fn=<add>)"
    assert repr(gg.empty((2,), device="null")) == "tensor(..., shape=(2,), dtype=float32, device='null')"
    assert str(gg.asarray([[1.0, 2.0]])) == "[[1. 2.]]"
    assert f"{gg.asarray(0.5)}" == "0.5"


def test_repr_does_not_import_numpy():
    code = "import sys, gorgo as gg; repr(gg.arange(9.0) + 1); assert 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_import_is_small():
    code = "import sys, gorgo; print(*sorted(m for m in sys.modules if not m.startswith('_')))"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    bare = subprocess.run(
        [sys.executable, "-c", code.replace("import sys, gorgo", "import sys")],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert {m.split(".")[0] for m in set(loaded) - set(bare)} == {"gorgo"}


# ---- copies and pickles ----


@pytest.mark.parametrize("dtype", [*DTYPES, *COMPLEX, "bfloat16"])
@pytest.mark.parametrize("protocol", [2, pickle.HIGHEST_PROTOCOL])
def test_pickle(dtype, protocol):
    t = gg.asarray(np.arange(12).reshape(3, 4)).astype(dtype)[:, ::2]
    back = pickle.loads(pickle.dumps(t, protocol))
    assert back.shape == t.shape
    assert back.dtype is t.dtype
    assert back.tolist() == t.tolist()


def test_pickle_keeps_requires_grad():
    assert pickle.loads(pickle.dumps(gg.ones((2,), requires_grad=True))).requires_grad


def test_pickle_of_functions_and_dtypes():
    assert pickle.loads(pickle.dumps(gg.float32)) is gg.float32
    assert pickle.loads(pickle.dumps(gg.exp)) is gg.exp
    assert pickle.loads(pickle.dumps(gg.Tensor.exp)) is gg.Tensor.exp


def test_copies():
    t = gg.ones((2,), requires_grad=True)
    t.grad = gg.full((2,), 3.0)
    deep = copy.deepcopy(t)
    assert deep.requires_grad
    assert deep.is_leaf
    assert deep.grad.tolist() == [3.0, 3.0]
    assert deep.grad is not t.grad
    shallow = copy.copy(t)
    assert not shallow.is_leaf
    assert shallow.data_ptr() != t.data_ptr()
    assert copy.deepcopy([t, t])[0].data_ptr() != t.data_ptr()


# ---- lifetime ----


def test_one_object_for_one_tensor():
    x = gg.ones((2,), requires_grad=True)
    (x * x).sum().backward() if hasattr(x, "sum") else (x * x).backward(gg.ones((2,)))
    assert x.grad is x.grad


def test_reference_counts_do_not_drift():
    t = gg.ones((4,))
    n = np.ones(4, np.float32)
    key = gg.asarray([0, 1])
    before = [sys.getrefcount(o) for o in (t, key, gg.float32, gg.Tensor, None)]
    wrong = (
        lambda x: x @ gg.ones((5,)),
        lambda x: x[9],
        lambda x: x + n,
        lambda x: gg.exp(x, x),
        lambda x: x.reshape(3),
    )
    for _ in range(100):
        t + t, 2 * t, t[1:3], t[key], t.shape, t.dtype, t.exp(), gg.exp(t), t.reshape(2, 2), repr(t), t.tolist()
        np.asarray(t), gg.asarray(n), memoryview(t), t.__dlpack__()
        t += 1
        for bad in wrong:
            with pytest.raises((ValueError, IndexError, TypeError)):
                bad(t)
    after = [sys.getrefcount(o) for o in (t, key, gg.float32, gg.Tensor, None)]
    assert all(abs(b - a) <= 2 for a, b in zip(before[:-1], after[:-1], strict=True)), (before, after)


def test_objects_die_with_their_last_reference():
    t = gg.ones((3,))
    died = []
    ref = weakref.ref(t, lambda _: died.append(True))
    assert ref() is t
    view = t[1:]
    del t
    assert died == [True]
    assert view.tolist() == [1.0, 1.0]  # the memory lives on without the object


def test_tensor_objects_are_not_tracked():
    assert not gc.is_tracked(gg.ones((2,)))


def test_type_cannot_be_made_or_subclassed():
    with pytest.raises(TypeError, match=r"gorgo\.asarray"):
        gg.Tensor()
    with pytest.raises(TypeError):
        type("Mine", (gg.Tensor,), {})
    with pytest.raises(AttributeError):
        gg.ones((1,)).anything = 1


def test_threads_share_tensors():
    x = gg.asarray(np.arange(1000.0))
    results = []

    def work():
        total = x
        for _ in range(200):
            total = total + x
            total = total[::-1]
        results.append(np.asarray(total).copy())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((r == results[0]).all() for r in results)


# ---- functions made from the registry ----


def test_op_functions_describe_themselves():
    import inspect

    for name in gg._core._op_names:
        function = getattr(gg, name)
        assert function.__name__ == name
        assert function.__module__ == "gorgo"
        first_line = function.__doc__.split("\n")[0]
        assert first_line.endswith(".")
        shown = str(inspect.signature(function)).replace("gorgo.", "")
        assert shown == function.__text_signature__, name


def test_methods_are_the_functions():
    t = gg.asarray([0.0, 1.0])
    assert t.exp().tolist() == gg.exp(t).tolist()
    assert gg.Tensor.exp(t).tolist() == gg.exp(t).tolist()

    class Holder:
        activation = gg.exp

    assert Holder().activation(t).tolist() == gg.exp(t).tolist()
    assert repr(gg.exp) == "<op gorgo.exp>"


def test_numbers_alone_make_a_tensor():
    assert gg.add(1, 2).tolist() == 3
    assert gg.exp(0.0).dtype == gg.float32
    assert gg.maximum(2, gg.asarray([1.0, 3.0])).tolist() == [2.0, 3.0]


# ---- dtypes ----


def test_dtypes():
    assert repr(gg.float32) == "gorgo.float32"
    assert gg.float32 == "float32" == gg.float32
    assert gg.float32 == np.float32 == gg.float32
    assert gg.float32 == np.dtype("float32")
    assert gg.float32 != "float64"
    assert gg.float32 != gg.float64
    assert (gg.float32 == 3) is False
    assert gg.dtype("int8") is gg.int8
    assert gg.dtype(float) is gg.float32
    assert {gg.float32: 1}["float32"] == 1
    assert gg.complex64.itemsize == 8
    assert gg.complex64.kind == "complex"
    assert gg.float16.is_floating_point
    assert gg.uint16.numpy == np.dtype("uint16")


def test_dtype_facts():
    for name in ("float16", "float32", "float64"):
        ours, theirs = gg.finfo(name), np.finfo(name)
        for field in ("bits", "eps", "max", "min", "smallest_normal"):
            assert getattr(ours, field) == getattr(theirs, field), (name, field)
    for name in DTYPES[1:9]:
        ours, theirs = gg.iinfo(name), np.iinfo(name)
        assert (ours.bits, ours.min, ours.max) == (theirs.bits, theirs.min, theirs.max)
    assert gg.can_cast(gg.int32, gg.int64)
    assert not gg.can_cast(gg.float64, gg.float32)
    assert gg.promote_types("int8", "uint8") == gg.int16
    assert gg.result_type(gg.int8, 2.0) == gg.float32


def test_constants_and_config(capsys):
    assert gg.pi == math.pi
    assert gg.e == math.e
    assert math.isinf(gg.inf)
    assert math.isnan(gg.nan)
    assert gg.newaxis is None
    gg.show_config()
    printed = capsys.readouterr().out
    assert printed.startswith(f"gorgo {gg.__version__}")
    assert "GORGO_NUM_THREADS=" in printed
