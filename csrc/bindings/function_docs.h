// Docstrings of the functions that are bound by hand: the signature, then the text in the form of all public docstrings.
// Ops have theirs in their OpDef. tests/test_docstrings.py checks the form, tests/test_doctests.py runs the examples.
#pragma once

namespace gorgo::docs {

inline constexpr const char* kEmpty = R"(empty(shape, *, dtype=None, device=None, requires_grad=False)
--

Return a tensor with undefined elements.

Args:
    shape (int or tuple of int): the length of each axis.
    dtype (dtype or None): of the elements; None is float32.
    device (str or None): where it lives; None is the CPU.
    requires_grad (bool): whether gradients are recorded.

Returns:
    (*shape) dtype: whatever the memory held.

Raises:
    ValueError: a length is negative.
    OutOfMemoryError: the elements do not fit.

Example:
    >>> import gorgo as gg
    >>> gg.empty((2, 3)).shape
    (2, 3)
)";

inline constexpr const char* kZeros = R"(zeros(shape, *, dtype=None, device=None, requires_grad=False)
--

Return a tensor of zeros.

Args:
    shape (int or tuple of int): the length of each axis.
    dtype (dtype or None): of the elements; None is float32.
    device (str or None): where it lives; None is the CPU.
    requires_grad (bool): whether gradients are recorded.

Returns:
    (*shape) dtype: zeros.

Raises:
    ValueError: a length is negative.
    OutOfMemoryError: the elements do not fit.

Example:
    >>> import gorgo as gg
    >>> gg.zeros((2, 3))
    tensor([[0., 0., 0.],
            [0., 0., 0.]])
)";

inline constexpr const char* kOnes = R"(ones(shape, *, dtype=None, device=None, requires_grad=False)
--

Return a tensor of ones.

Args:
    shape (int or tuple of int): the length of each axis.
    dtype (dtype or None): of the elements; None is float32.
    device (str or None): where it lives; None is the CPU.
    requires_grad (bool): whether gradients are recorded.

Returns:
    (*shape) dtype: ones.

Raises:
    ValueError: a length is negative.
    OutOfMemoryError: the elements do not fit.

Example:
    >>> import gorgo as gg
    >>> gg.ones((3,), dtype=gg.int64)
    tensor([1, 1, 1])
)";

inline constexpr const char* kEmptyLike = R"(empty_like(x, /, *, dtype=None, device=None, requires_grad=False)
--

Return a tensor of x's shape with undefined elements.

Args:
    x (...) any: the tensor whose shape is taken.
    dtype (dtype or None): of the elements; None is x's.
    device (str or None): where it lives; None is x's device.
    requires_grad (bool): whether gradients are recorded.

Returns:
    (...) dtype: whatever the memory held.

Example:
    >>> import gorgo as gg
    >>> gg.empty_like(gg.ones((2, 3))).shape
    (2, 3)
)";

inline constexpr const char* kZerosLike = R"(zeros_like(x, /, *, dtype=None, device=None, requires_grad=False)
--

Return zeros of x's shape.

Args:
    x (...) any: the tensor whose shape is taken.
    dtype (dtype or None): of the elements; None is x's.
    device (str or None): where it lives; None is x's device.
    requires_grad (bool): whether gradients are recorded.

Returns:
    (...) dtype: zeros.

Example:
    >>> import gorgo as gg
    >>> gg.zeros_like(gg.asarray([5, 6]))
    tensor([0, 0])
)";

inline constexpr const char* kOnesLike = R"(ones_like(x, /, *, dtype=None, device=None, requires_grad=False)
--

Return ones of x's shape.

Args:
    x (...) any: the tensor whose shape is taken.
    dtype (dtype or None): of the elements; None is x's.
    device (str or None): where it lives; None is x's device.
    requires_grad (bool): whether gradients are recorded.

Returns:
    (...) dtype: ones.

Example:
    >>> import gorgo as gg
    >>> gg.ones_like(gg.asarray([5, 6]))
    tensor([1, 1])
)";

inline constexpr const char* kFull = R"(full(shape, fill_value, *, dtype=None, device=None, requires_grad=False)
--

Return a tensor with one number everywhere.

Args:
    shape (int or tuple of int): the length of each axis.
    fill_value (number): what every element is.
    dtype (dtype or None): of the elements; None is the number's: bool, int64, float32 or complex64.
    device (str or None): where it lives; None is the CPU.
    requires_grad (bool): whether gradients are recorded.

Returns:
    (*shape) dtype: the number.

Raises:
    ValueError: a length is negative.
    OutOfMemoryError: the elements do not fit.

Example:
    >>> import gorgo as gg
    >>> gg.full((3,), 2.5)
    tensor([2.5, 2.5, 2.5])
)";

inline constexpr const char* kFullLike = R"(full_like(x, /, fill_value, *, dtype=None, device=None, requires_grad=False)
--

Return a tensor of x's shape with one number everywhere.

Args:
    x (...) any: the tensor whose shape is taken.
    fill_value (number): what every element is.
    dtype (dtype or None): of the elements; None is x's.
    device (str or None): where it lives; None is x's device.
    requires_grad (bool): whether gradients are recorded.

Returns:
    (...) dtype: the number.

Example:
    >>> import gorgo as gg
    >>> gg.full_like(gg.ones((2,)), 7)
    tensor([7., 7.])
)";

inline constexpr const char* kArange =
    R"(arange(start, /, stop=None, step=1, *, dtype=None, device=None, requires_grad=False)
--

Return the numbers from start up to, not including, stop.

Args:
    start (number): the first one; with no stop given, the numbers run from 0 to start.
    stop (number or None): where they end.
    step (number): from one to the next; it may be negative.
    dtype (dtype or None): of the elements; None is int64 where all numbers are integers, else float32.
    device (str or None): where it lives; None is the CPU.
    requires_grad (bool): whether gradients are recorded.

Returns:
    (n) dtype: n is (stop - start) / step, rounded up.

Raises:
    ValueError: step is 0.

Example:
    >>> import gorgo as gg
    >>> gg.arange(2, 10, 3)
    tensor([2, 5, 8])
)";

inline constexpr const char* kLinspace =
    R"(linspace(start, stop, /, num, *, endpoint=True, dtype=None, device=None, requires_grad=False)
--

Return evenly spaced numbers from start to stop.

Args:
    start (number): the first one.
    stop (number): the last one, or the one after it.
    num (int): how many.
    endpoint (bool): whether stop is among them.
    dtype (dtype or None): of the elements; None is float32.
    device (str or None): where it lives; None is the CPU.
    requires_grad (bool): whether gradients are recorded.

Returns:
    (num) dtype: the numbers.

Raises:
    ValueError: num is negative.

Example:
    >>> import gorgo as gg
    >>> gg.linspace(0, 1, 5)
    tensor([0.  , 0.25, 0.5 , 0.75, 1.  ])
)";

inline constexpr const char* kEye = R"(eye(n_rows, n_cols=None, /, *, k=0, dtype=None, device=None, requires_grad=False)
--

Return a matrix with ones on a diagonal and zeros elsewhere.

Args:
    n_rows (int): number of rows.
    n_cols (int or None): number of columns; None is n_rows.
    k (int): how far the diagonal lies above the main one, or below when negative.
    dtype (dtype or None): of the elements; None is float32.
    device (str or None): where it lives; None is the CPU.
    requires_grad (bool): whether gradients are recorded.

Returns:
    (n_rows, n_cols) dtype: the matrix.

Example:
    >>> import gorgo as gg
    >>> gg.eye(2, 3, k=1)
    tensor([[0., 1., 0.],
            [0., 0., 1.]])
)";

inline constexpr const char* kSwapaxes = R"(swapaxes(x, axis1, axis2)
--

Return a view with two axes exchanged.

Args:
    x (...) any: the tensor.
    axis1 (int): one axis.
    axis2 (int): the other.

Returns:
    (...) any: a view of x.

Raises:
    ValueError: an axis is out of range.

Example:
    >>> import gorgo as gg
    >>> gg.swapaxes(gg.ones((2, 3, 4)), 0, 2).shape
    (4, 3, 2)
)";

inline constexpr const char* kMatrixTranspose = R"(matrix_transpose(x, /)
--

Return a view with the last two axes exchanged.

Args:
    x (..., m, n) any: matrices.

Returns:
    (..., n, m) any: a view of x.

Raises:
    ValueError: x has fewer than two axes.

Example:
    >>> import gorgo as gg
    >>> gg.matrix_transpose(gg.ones((2, 3, 4))).shape
    (2, 4, 3)
)";

inline constexpr const char* kAsarray = R"(asarray(obj, /, dtype=None, device=None, copy=None)
--

Return a tensor over the memory of an array, or made from numbers.

Arrays of NumPy and of whatever speaks the buffer protocol or DLPack share their memory with the tensor, unless dtype
or copy=True ask for other bytes. NumPy arrays keep their dtype; Python's floats become float32.

Args:
    obj: a tensor, an array, a number, or nested lists of numbers.
    dtype (dtype or None): of the result; None keeps the array's.
    device (str or None): where it lives; None is where obj is.
    copy (bool or None): always or never copy; None copies where memory cannot be shared.

Returns:
    (...) dtype: the tensor.

Raises:
    TypeError: obj is nothing of these, or of a dtype that is not known here.
    ValueError: a copy is needed and refused, or lists differ in length.

Example:
    >>> import gorgo as gg
    >>> import numpy as np
    >>> a = np.zeros(2)
    >>> t = gg.asarray(a)
    >>> a[0] = 1
    >>> t
    tensor([1., 0.], dtype=float64)
)";

inline constexpr const char* kTensor = R"(tensor(obj, /, dtype=None, device=None, requires_grad=False)
--

Return a new tensor with the numbers of an array or of nested lists, always copied.

Args:
    obj: a tensor, an array, a number, or nested lists of numbers.
    dtype (dtype or None): of the result; None keeps the array's.
    device (str or None): where it lives; None is the CPU.
    requires_grad (bool): whether gradients are recorded.

Returns:
    (...) dtype: the tensor, a leaf.

Raises:
    TypeError: obj is nothing of these.
    ValueError: lists differ in length.

Example:
    >>> import gorgo as gg
    >>> gg.tensor([[1, 2], [3, 4]])
    tensor([[1, 2],
            [3, 4]])
)";

inline constexpr const char* kFromDlpack = R"(from_dlpack(x, /, *, device=None, copy=None)
--

Return a tensor over the memory of a DLPack producer.

Args:
    x: an object with `__dlpack__`, such as another library's tensor.
    device (str or None): where the result must live.
    copy (bool or None): always or never copy.

Returns:
    (...) any: a tensor that shares memory with x unless copied.

Raises:
    BufferError: x's memory cannot be used from here.
    TypeError: x exports nothing.

Example:
    >>> import gorgo as gg
    >>> import numpy as np
    >>> gg.from_dlpack(np.arange(3))
    tensor([0, 1, 2])
)";

inline constexpr const char* kCanCast = R"(can_cast(from_, to, /)
--

Tell whether promotion leads from one dtype to the other.

Args:
    from_ (dtype or tensor): where from.
    to (dtype): where to.

Returns:
    bool: whether the two meet in `to`.

Example:
    >>> import gorgo as gg
    >>> gg.can_cast(gg.int64, gg.float32), gg.can_cast(gg.float32, gg.int64)
    (True, False)
)";

inline constexpr const char* kResultType = R"(result_type(*arrays_and_dtypes)
--

Return the dtype in which tensors, dtypes and numbers meet.

Args:
    *arrays_and_dtypes: at least one; numbers take part as they do beside a tensor.

Returns:
    dtype: that of a result of all of them.

Raises:
    TypeError: none is given, or one is something else.

Example:
    >>> import gorgo as gg
    >>> gg.result_type(gg.int64, gg.float32, 2.5)
    gorgo.float32
)";

inline constexpr const char* kPromoteTypes = R"(promote_types(a, b, /)
--

Return the dtype in which two meet.

Args:
    a (dtype): one.
    b (dtype): the other.

Returns:
    dtype: that of a result of both.

Example:
    >>> import gorgo as gg
    >>> gg.promote_types(gg.float16, gg.bfloat16)
    gorgo.float32
)";

inline constexpr const char* kFinfo = R"(finfo(dtype, /)
--

Return the limits of a floating-point dtype.

Args:
    dtype (dtype or tensor): floating-point or complex.

Returns:
    object: with bits, eps, max, min, smallest_normal and dtype.

Raises:
    TypeError: the dtype is another one.

Example:
    >>> import gorgo as gg
    >>> gg.finfo(gg.float32).bits
    32
)";

inline constexpr const char* kIinfo = R"(iinfo(dtype, /)
--

Return the limits of an integer dtype.

Args:
    dtype (dtype or tensor): an integer's.

Returns:
    object: with bits, max, min and dtype.

Raises:
    TypeError: the dtype is another one.

Example:
    >>> import gorgo as gg
    >>> gg.iinfo(gg.int8).max
    127
)";

inline constexpr const char* kGrad =
    R"(grad(outputs, inputs, grad_outputs=None, retain_graph=None, create_graph=False, allow_unused=False)
--

Return the derivatives of outputs with respect to inputs; .grad stays as it is.

Args:
    outputs (tensor or list of tensors): what is differentiated.
    inputs (tensor or list of tensors): with respect to what.
    grad_outputs (tensor or list of tensors or None): the weight of each output; None is 1, for outputs of one element.
    retain_graph (bool or None): keep the record for another walk; None is create_graph.
    create_graph (bool): record the walk itself, so that the result can be differentiated again.
    allow_unused (bool): give None for an input that does not lead to the outputs.

Returns:
    tuple: a gradient for each input, of its shape.

Raises:
    RuntimeError: an input does not lead to the outputs, or what was saved is gone or overwritten.
    ValueError: grad_outputs do not fit the outputs.

Example:
    >>> import gorgo as gg
    >>> x = gg.asarray([3.0], dtype=gg.float64).requires_grad_()
    >>> gg.grad(x * x, x)
    (tensor([6.], dtype=float64),)
)";

inline constexpr const char* kNoGrad = R"(no_grad(function=None, /)
--

Stop recording gradients on this thread, in a with statement or as a decorator.

Args:
    function (callable or None): what is decorated.

Returns:
    a context manager, or the decorated function.

Example:
    >>> import gorgo as gg
    >>> x = gg.ones((2,), requires_grad=True)
    >>> with gg.no_grad():
    ...     y = x * 2
    >>> y.requires_grad
    False
)";

inline constexpr const char* kEnableGrad = R"(enable_grad(function=None, /)
--

Record gradients again inside no_grad, in a with statement or as a decorator.

Args:
    function (callable or None): what is decorated.

Returns:
    a context manager, or the decorated function.

Example:
    >>> import gorgo as gg
    >>> with gg.no_grad(), gg.enable_grad():
    ...     gg.is_grad_enabled()
    True
)";

inline constexpr const char* kSetGradEnabled = R"(set_grad_enabled(mode, /)
--

Turn the recording of gradients on or off, at once; as a with statement for its block.

Args:
    mode (bool): whether this thread records.

Returns:
    a context manager that restores the mode before.

Example:
    >>> import gorgo as gg
    >>> with gg.set_grad_enabled(False):
    ...     gg.is_grad_enabled()
    False
)";

inline constexpr const char* kIsGradEnabled = R"(is_grad_enabled()
--

Tell whether this thread records gradients.

Returns:
    bool: True unless under no_grad.

Example:
    >>> import gorgo as gg
    >>> gg.is_grad_enabled()
    True
)";

inline constexpr const char* kGuardAttribute = R"(guard_attribute(object, name, /)
--

Make the recording under way depend on an attribute's value.

Where the recorded code has looked at an attribute, a call after it has changed records again. Outside a recording
nothing happens.

Args:
    object: what has the attribute.
    name (str): its name.

Returns:
    None.

Example:
    >>> import gorgo as gg
    >>> net = gg.nn.Linear(2, 1)
    >>> gg.graph.guard_attribute(net, "training")
)";

inline constexpr const char* kHostEffect = R"(host_effect(effect, /)
--

Call effect() now, or after each run of the recording under way.

Args:
    effect (callable): takes no arguments; what it returns is dropped in a recording.

Returns:
    what effect returns, or None while recording.

Example:
    >>> import gorgo as gg
    >>> gg.graph.host_effect(lambda: 3)
    3
)";

inline constexpr const char* kIsCapturing = R"(is_capturing()
--

Tell whether a recording is under way on this thread.

Returns:
    bool: True inside a function that is being recorded.

Example:
    >>> import gorgo as gg
    >>> gg.graph.is_capturing()
    False
)";

inline constexpr const char* kTensorType = R"(Hold numbers of one dtype on one device, with a gradient if asked for.

Tensors are made by `asarray`, `zeros` and their likes, by ops, and by slicing; a slice is a view of the same memory.

Example:
    >>> import gorgo as gg
    >>> x = gg.asarray([[1.0, 2.0], [3.0, 4.0]])
    >>> x[0] + x[:, 1]
    tensor([3., 6.])
)";

inline constexpr const char* kDTypeType =
    R"(Name the type of a tensor's elements; equal to its name and to NumPy's dtype of that name.

Example:
    >>> import gorgo as gg
    >>> gg.float32 == "float32", gg.ones((1,)).dtype is gg.float32
    (True, True)
)";

inline constexpr const char* kPolygamma = R"(polygamma(n, x)
--

Derivative of order n of the digamma function.

Args:
    n (int): the order, from 0 (digamma itself) to 20.
    x (...) real: a tensor.

Returns:
    (...) float: a new tensor of x's shape.

Raises:
    TypeError: x is complex, or n no integer.
    ValueError: n is out of range.

Source:
    Abramowitz and Stegun 6.4; the zeta function's remainder by DLMF 25.11.5.

Example:
    >>> import gorgo as gg
    >>> round(gg.polygamma(1, gg.asarray(1.0)).item(), 4)
    1.6449
)";

}  // namespace gorgo::docs
