"""summary: what a network consists of, as a table, found out by a run that moves shapes and no numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import gorgo as gg
from gorgo.nn.module import Module

__all__ = ["LayerRow", "Summary", "summary"]


class LayerRow(NamedTuple):
    """One module of a `Summary`; parameters and bytes are its own, without those of the modules below it.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.summary(gg.nn.Linear(3, 2), (4, 3)).rows[0].output_shapes
        ((4, 2),)
    """

    name: str
    kind: str
    depth: int
    calls: int
    output_shapes: tuple[tuple[int, ...], ...]
    output_bytes: int
    parameters: int
    trained: int
    parameter_bytes: int


class Summary:
    """The rows of a network's table and their sums; it prints as the table.

    Attributes:
        rows (list[LayerRow]): the module and all below it, each once.
        parameters (int): numbers in all parameters.
        trained (int): numbers in parameters that require grad.
        parameter_bytes (int): what the parameters take.
        buffer_bytes (int): what the buffers take.
        output_bytes (int): what the results of the innermost modules take, of all their calls together.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.summary(gg.nn.Linear(3, 2), (4, 3)).parameters
        8
    """

    def __init__(self, rows: list[LayerRow], buffer_bytes: int) -> None:
        self.rows = rows
        self.parameters = sum(row.parameters for row in rows)
        self.trained = sum(row.trained for row in rows)
        self.parameter_bytes = sum(row.parameter_bytes for row in rows)
        self.buffer_bytes = buffer_bytes
        following = [row.depth for row in rows[1:]] + [0]
        self.output_bytes = sum(
            row.output_bytes for row, depth in zip(rows, following, strict=True) if depth <= row.depth
        )

    def __str__(self) -> str:
        from gorgo.profiling import bytes_text

        lines = [("layer", "output", "calls", "parameters", "bytes")]
        for row in self.rows:
            label = "  " * row.depth + (f"{row.name.rpartition('.')[2]}: " if row.name else "") + row.kind
            shapes = ", ".join(map(str, row.output_shapes)) or "-"
            own = (f"{row.parameters:,}", bytes_text(row.parameter_bytes)) if row.parameters else ("", "")
            lines.append((label, shapes, str(row.calls), *own))
        lines.append(("total", "", "", f"{self.parameters:,}", bytes_text(self.parameter_bytes)))
        widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
        text = [
            "  ".join(
                cell.ljust(w) if i < 2 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))
            )
            for line in lines
        ]
        rule = "-" * max(len(line) for line in text)
        text[1:1] = [rule]
        text[-1:-1] = [rule]
        text.append(
            f"{self.trained:,} of {self.parameters:,} parameters are trained; buffers {bytes_text(self.buffer_bytes)},"
            f" results of layers {bytes_text(self.output_bytes)}"
        )
        return "\n".join(line.rstrip() for line in text)

    __repr__ = __str__


def summary(module: Module, inputs: Any, *, dtype: Any = None) -> Summary:
    """Tell the layers of a module, the shapes of their results, and what their parameters take.

    The module runs once in evaluation mode on the null device, where ops work out shapes and compute nothing; it is
    as before afterwards. What it holds beside parameters and buffers (tensors in plain attributes) stays where it is.

    Args:
        module: the module.
        inputs: the shape of its input or an example of it (a tensor, whose shape and dtype count); a list of such for
            a module that takes several.
        dtype: the dtype of inputs given by shape, float32 by default.

    Returns:
        A Summary; print it.

    Raises:
        TypeError: when inputs are neither shapes nor tensors.

    Example:
        >>> import gorgo as gg
        >>> net = gg.nn.Sequential(gg.nn.Linear(64, 128), gg.nn.ReLU(), gg.nn.Linear(128, 10))
        >>> gg.nn.summary(net, (32, 64))
        layer        output     calls  parameters     bytes
        ---------------------------------------------------
        Sequential   (32, 10)       1
          0: Linear  (32, 128)      1       8,320  32.5 KiB
          1: ReLU    (32, 128)      1
          2: Linear  (32, 10)       1       1,290  5.04 KiB
        ---------------------------------------------------
        total                               9,610  37.5 KiB
        9,610 of 9,610 parameters are trained; buffers 0 B, results of layers 33.2 KiB
    """
    arguments = [_null_like(value, dtype) for value in _listed(inputs)]
    calls: dict[int, list[tuple[tuple[tuple[int, ...], ...], int]]] = {}
    with _watched(module, calls), gg.no_grad():
        module(*arguments)
    seen: set[int] = set()
    rows = []
    for name, part in module.named_modules():
        own = [p for p in part._parameters.values() if p is not None and id(p) not in seen]
        seen.update(map(id, own))
        runs = calls.get(id(part), [])
        rows.append(
            LayerRow(
                name=name,
                kind=type(part).__name__,
                depth=name.count(".") + 1 if name else 0,
                calls=len(runs),
                output_shapes=runs[-1][0] if runs else (),
                output_bytes=sum(size for _, size in runs),
                parameters=sum(p.size for p in own),
                trained=sum(p.size for p in own if p.requires_grad),
                parameter_bytes=sum(p.nbytes for p in own),
            )
        )
    return Summary(rows, sum(buffer.nbytes for buffer in module.buffers()))


def _listed(inputs: Any) -> Sequence[Any]:
    if isinstance(inputs, gg.Tensor):
        return [inputs]
    if not isinstance(inputs, Sequence) or isinstance(inputs, str):
        raise TypeError(f"summary: inputs must be a shape, a tensor or a list of them, got {type(inputs).__name__}")
    return [inputs] if all(map(_is_size, inputs)) else inputs


def _is_size(value: Any) -> bool:
    return hasattr(type(value), "__index__") and not isinstance(value, gg.Tensor)


def _null_like(value: Any, dtype: Any) -> gg.Tensor:
    if isinstance(value, gg.Tensor):
        return gg.empty(value.shape, dtype=value.dtype, device="null")
    if not isinstance(value, Sequence) or not all(map(_is_size, value)):
        raise TypeError(f"summary: an input must be a shape or a tensor, got {value!r}")
    return gg.empty(tuple(value), dtype=dtype or gg.float32, device="null")


def _tensors_in(result: Any) -> Iterator[gg.Tensor]:
    if isinstance(result, gg.Tensor):
        yield result
    elif isinstance(result, dict):
        for value in result.values():
            yield from _tensors_in(value)
    elif isinstance(result, (tuple, list)):
        for value in result:
            yield from _tensors_in(value)


@contextmanager
def _watched(module: Module, calls: dict[int, list[tuple[tuple[tuple[int, ...], ...], int]]]) -> Iterator[None]:
    """Let the module compute shapes alone and note each module's results; all is put back at the end.

    Written past __setattr__: nothing that a compiled function depends on differs afterwards.
    """
    parts = list(module.modules())
    before = [(part, part._parameters, part._buffers, part.training, part.__dict__.get("forward")) for part in parts]
    replaced: dict[int, gg.Tensor] = {}  # tied tensors stay tied

    def nulls(home: dict[str, gg.Tensor | None]) -> dict[str, gg.Tensor | None]:
        out: dict[str, gg.Tensor | None] = {}
        for name, tensor in home.items():
            if tensor is not None and id(tensor) not in replaced:
                replaced[id(tensor)] = gg.empty(tensor.shape, dtype=tensor.dtype, device="null")
            out[name] = None if tensor is None else replaced[id(tensor)]
        return out

    def noting(part: Module) -> Any:
        forward = part.forward

        def watched_forward(*args: Any, **kwargs: Any) -> Any:
            result = forward(*args, **kwargs)
            tensors = list(_tensors_in(result))
            shapes = tuple(tuple(t.shape) for t in tensors)
            calls.setdefault(id(part), []).append((shapes, sum(t.nbytes for t in tensors)))
            return result

        return watched_forward

    try:
        for part in parts:
            part.__dict__.update(
                _parameters=nulls(part._parameters),
                _buffers=nulls(part._buffers),
                training=False,
                forward=noting(part),
            )
        yield
    finally:
        for part, parameters, buffers, training, forward in before:
            part.__dict__.update(_parameters=parameters, _buffers=buffers, training=training)
            if forward is None:
                part.__dict__.pop("forward", None)
            else:
                part.__dict__["forward"] = forward
