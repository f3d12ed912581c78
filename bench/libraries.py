"""The columns of every table: how each library is found, held to one thread, fed from NumPy and read back.

Invariant: nothing is imported at the top but NumPy, so that a worker process loads one library and no other. A
library that is not installed is left out with a note, never an error. Read next: harness.py.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

Array = Any

# One thread for everybody. Set before a library is imported: most of them read these once.
ONE_THREAD_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "GORGO_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "JAX_PLATFORMS": "cpu",
}

# What OpenBLAS, MKL, oneDNN, PyTorch's own kernels and XLA call Gorgo's sets.
_NAMES = {
    "base": ("Nehalem", "SSE4_2", "SSE41", "default", "SSE4_2"),
    "avx2": ("Haswell", "AVX2", "AVX2", "avx2", "AVX2"),
    "avx512": ("SkylakeX", "AVX512", "AVX512_CORE", "avx512", "AVX512"),
    "avx512_vnni": ("SkylakeX", "AVX512_E1", "AVX512_CORE_VNNI", "avx512", "AVX512_VNNI"),
    "avx512_bf16": ("Cooperlake", "AVX512_E3", "AVX512_CORE_BF16", "avx512", "AVX512_BF16"),
}
_VARIABLES = ("OPENBLAS_CORETYPE", "MKL_ENABLE_INSTRUCTIONS", "ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY")
# NumPy's own kernels beyond each set, by the names of NumPy 1.26 and of NumPy 2.
_NUMPY_AMX = ("AVX512_SPR",)
_NUMPY_AVX512 = ("AVX512F", "AVX512CD", "AVX512_SKX", "AVX512_CLX", "AVX512_CNL", "AVX512_ICL", "X86_V4", *_NUMPY_AMX)
_NUMPY_AVX2 = ("F16C", "FMA3", "AVX2", "X86_V3", *_NUMPY_AVX512)


def held_to(isa: str) -> dict[str, str]:
    """Return the environment that holds the peers to one of Gorgo's sets; the highest of a processor needs none."""
    if isa not in _NAMES:
        return {}
    *names, xla = _NAMES[isa]
    beyond = {"base": _NUMPY_AVX2, "avx2": _NUMPY_AVX512}.get(isa, _NUMPY_AMX)
    umath = importlib.import_module("numpy._core" if hasattr(np, "_core") else "numpy.core")._multiarray_umath
    # NumPy warns of what it has no kernels for, and of what the processor lacks.
    has = [name for name in beyond if name in umath.__cpu_dispatch__ and umath.__cpu_features__.get(name)]
    return dict(zip(_VARIABLES, names, strict=True)) | {
        "NPY_DISABLE_CPU_FEATURES": " ".join(has),
        "XLA_FLAGS": f"{ONE_THREAD_ENVIRONMENT['XLA_FLAGS']} --xla_cpu_max_isa={xla}",
    }


@dataclass(frozen=True)
class Library:
    """One column: a peer, Gorgo itself, or one of its modes."""

    name: str
    module: str
    load: Callable[[], Any]
    asarray: Callable[[Any, np.ndarray], Array]
    to_numpy: Callable[[Array], np.ndarray]
    # Waits until the value is there, for libraries that return before the work is done. Called inside the timed span.
    finish: Callable[[Array], None] | None = None
    ours: bool = False
    # Measured by a C++ program: compared with malloc, as Python libraries are with each other.
    outside: bool = False
    # Whether it can be told to use fewer instructions than the processor has.
    can_be_held: bool = True

    def missing(self) -> str | None:
        """Say why this library cannot run here, or None."""
        if importlib.util.find_spec(self.module) is None:
            return f"{self.module} is not installed"
        if self.module == "cupy":
            try:
                if importlib.import_module("cupy").cuda.runtime.getDeviceCount() < 1:
                    return "cupy finds no GPU"
            except Exception as error:  # a missing driver raises a type that only cupy knows
                return f"cupy finds no GPU ({type(error).__name__})"
        if self.name == "torch.compile" and os.environ.get("GORGO_BENCH_TORCH_COMPILE") != "1":
            return "off unless GORGO_BENCH_TORCH_COMPILE=1 (it compiles for half a minute)"
        return None


def _load_torch() -> Any:
    torch = importlib.import_module("torch")
    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
    return torch


def _torch(name: str) -> Library:
    return Library(
        name,
        "torch",
        _load_torch,
        asarray=lambda torch, array: torch.from_numpy(array.copy()),
        to_numpy=lambda tensor: tensor.detach().numpy(),
    )


def _gorgo(name: str) -> Library:
    return Library(
        name,
        "gorgo",
        lambda: importlib.import_module("gorgo"),
        asarray=lambda gg, array: gg.asarray(array.copy()),
        to_numpy=lambda tensor: tensor.detach().numpy(),
        ours=True,
    )


def _outside(name: str, *, ours: bool) -> Library:
    return Library(
        name, "numpy", lambda: np, asarray=lambda _, array: array, to_numpy=np.asarray, ours=ours, outside=True
    )


LIBRARIES: dict[str, Library] = {
    library.name: library
    for library in (
        Library(
            "numpy",
            "numpy",
            lambda: np,
            asarray=lambda _, array: array.copy(),
            to_numpy=np.asarray,
        ),
        _torch("torch"),
        # A layout is a choice the caller makes, so the better one for a shape is found out by measuring both.
        _torch("torch NHWC"),
        _torch("torch.compile"),
        Library(
            "jax",
            "jax",
            lambda: importlib.import_module("jax"),
            asarray=lambda jax, array: jax.device_put(array),
            to_numpy=np.asarray,
            finish=lambda value: value.block_until_ready(),
        ),
        Library(
            "cupy",
            "cupy",
            lambda: importlib.import_module("cupy"),
            asarray=lambda cupy, array: cupy.asarray(array),
            to_numpy=lambda array: array.get(),
            finish=lambda _: importlib.import_module("cupy").cuda.get_current_stream().synchronize(),
        ),
        Library(
            "onnxruntime",
            "onnxruntime",
            lambda: importlib.import_module("onnxruntime"),
            asarray=lambda _, array: array,
            to_numpy=lambda value: value.numpy(),
            can_be_held=False,
        ),
        _gorgo("gorgo"),
        _gorgo("gorgo.compile"),
        # Figures of a C++ program, which needs no import; see bench_alloc.
        _outside("malloc", ours=False),
        _outside("gorgo raw", ours=True),
        _outside("gorgo C++", ours=True),
    )
}


def as_bfloat16(x: np.ndarray) -> np.ndarray:
    """Return float32 numbers that are bfloat16's own."""
    return (x.view(np.uint32) & 0xFFFF0000).view(np.float32)


def narrowed(name: str, loaded: Any, x: np.ndarray) -> Any:
    """Return a library's tensor of bfloat16."""
    wide = LIBRARIES[name].asarray(loaded, x)
    if name.startswith("torch"):
        return wide.to(loaded.bfloat16)
    return wide.astype(loaded.numpy.bfloat16 if name == "jax" else loaded.bfloat16)


def widened(name: str, x: Any) -> np.ndarray:
    """Return a library's tensor of bfloat16 as float32."""
    return LIBRARIES[name].to_numpy(x.float() if name.startswith("torch") else x.astype("float32"))
