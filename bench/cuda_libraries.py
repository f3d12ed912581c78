"""The libraries that bench.cuda measures: how each is found, fed from NumPy and read back.

Invariant: all of them but JAX work on the legacy default stream, so that one pair of events times any of them; JAX,
which has streams of its own, is timed by the host's clock alone. A library that is not here, or sees no card, is left
out with a reason. Read next: cuda.py.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Library:
    """One library with a card."""

    name: str
    module: Any
    # From a NumPy array and the dtype for floating ones, a tensor on the card.
    put: Callable[[np.ndarray, str], Any]
    # A tensor as a float64 array (integers and booleans as they are).
    take: Callable[[Any], np.ndarray]
    synchronize: Callable[[], None]

    @staticmethod
    def itemsize(x: np.ndarray, dtype: str) -> int:
        """Return the bytes of one element on the card."""
        if x.dtype.kind != "f":
            return int(x.dtype.itemsize)
        return {"float64": 8, "float32": 4}.get(dtype, 2)

    def version(self) -> str:
        """Return the version, with the CUDA that it was built for where it tells."""
        built = getattr(getattr(self.module, "version", None), "cuda", None)
        return str(self.module.__version__) + (f" (CUDA {built})" if isinstance(built, str) else "")

    @staticmethod
    def why_no_card() -> str:
        """Say why nothing can be measured, or nothing."""
        if importlib.util.find_spec("gorgo") is None:
            return "gorgo is not installed"
        gg = importlib.import_module("gorgo")
        if not hasattr(gg, "cuda"):
            return f"gorgo {gg.__version__} knows no CUDA"
        if not gg.cuda.is_available():
            return "gorgo finds no CUDA card (a build without CUDA, or no driver or card on this machine)"
        return ""


def _gorgo() -> Library:
    gg = importlib.import_module("gorgo")

    def put(x: np.ndarray, dtype: str) -> Any:
        t = gg.asarray(np.ascontiguousarray(x)).to("cuda:0")
        return t.astype(dtype) if x.dtype.kind == "f" and x.dtype != dtype else t

    def take(t: Any) -> np.ndarray:
        t = t.detach()
        return np.asarray((t.astype("float64") if "float" in str(t.dtype) else t).cpu())

    return Library("gorgo", gg, put, take, gg.cuda.synchronize)


def _cupy() -> Library:
    cupy = importlib.import_module("cupy")

    def put(x: np.ndarray, dtype: str) -> Any:
        if dtype == "bfloat16" and x.dtype.kind == "f":
            raise NotImplementedError("CuPy has no bfloat16")
        return cupy.asarray(x.astype(dtype) if x.dtype.kind == "f" else x)

    def take(t: Any) -> np.ndarray:
        host = np.asarray(t.get())
        return host.astype(np.float64) if host.dtype.kind == "f" else host

    return Library("cupy", cupy, put, take, cupy.cuda.get_current_stream().synchronize)


def _torch() -> Library:
    torch = importlib.import_module("torch")
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    # Sums of half-precision products in half precision would be another task.
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False

    def put(x: np.ndarray, dtype: str) -> Any:
        t = torch.from_numpy(np.ascontiguousarray(x)).cuda()
        return t.to(getattr(torch, dtype)) if x.dtype.kind == "f" else t

    def take(t: Any) -> np.ndarray:
        t = t.detach()
        return np.asarray((t.double() if t.is_floating_point() else t).cpu())

    return Library("torch", torch, put, take, torch.cuda.synchronize)


def _jax() -> Library:
    jax = importlib.import_module("jax")
    jax.config.update("jax_default_matmul_precision", "highest")  # float32 as such, as for the others
    last: list[Any] = []

    def put(x: np.ndarray, dtype: str) -> Any:
        last[:] = [jax.device_put(x.astype(dtype) if x.dtype.kind == "f" else x)]
        return last[0]

    return Library("jax", jax, put, np.asarray, lambda: jax.block_until_ready(last))


def _available(name: str) -> str:
    if importlib.util.find_spec(name) is None:
        return f"{name} is not installed"
    try:
        if name == "jax":
            os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # the others want memory too
            return "" if importlib.import_module(name).devices("cuda") else "this jax finds no CUDA card"
        module = importlib.import_module(name)
        return "" if module.cuda.is_available() else f"this {name} finds no CUDA card"
    except Exception as error:  # a missing driver raises types that only the library knows
        return f"this {name} finds no CUDA card ({type(error).__name__})"


def libraries_here() -> tuple[dict[str, Library], dict[str, str]]:
    """Return the libraries by name, and why the others are left out."""
    here, missing = {}, {}
    for name, make in {"gorgo": _gorgo, "cupy": _cupy, "torch": _torch, "jax": _jax}.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reason = _available(name)
            if reason:
                missing[name] = reason
            else:
                here[name] = make()
    # What asks the runtime itself, for the table of memory.
    if "cupy" in here:
        here["driver"] = here["cupy"]
    else:
        missing["driver"] = "its functions are called through cupy, which is left out"
    return here, missing
