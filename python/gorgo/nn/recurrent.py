"""Recurrent cells and layers, composed of linear maps and elementwise ops, with PyTorch's arguments and state names.

The inputs of all times are projected in one product; what is left for each time is the product with the state.
"""

from __future__ import annotations

from typing import Any

import gorgo as gg
from gorgo.arguments import as_integer, named_integers
from gorgo.nn import functional, init
from gorgo.nn.module import Module, Parameter

__all__ = ["GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "RNNCell"]

State = tuple[gg.Tensor, ...]


def _step(mode: str, gates: gg.Tensor, state: State, weight: gg.Tensor, bias: gg.Tensor | None) -> State:
    """Return the next state from the projected input (n, gates * h), the state (n, h) and the state's weights."""
    hidden = state[0]
    inner = functional.linear(hidden, weight, bias)
    size = hidden.shape[-1]
    if mode == "tanh":
        return (gg.tanh(gates + inner),)
    if mode == "relu":
        return (gg.relu(gates + inner),)
    if mode == "lstm":
        total = gates + inner
        enter, forget, out = (gg.sigmoid(total[..., i * size : (i + 1) * size]) for i in (0, 1, 3))
        cell = forget * state[1] + enter * gg.tanh(total[..., 2 * size : 3 * size])
        return out * gg.tanh(cell), cell
    both = gg.sigmoid(gates[..., : 2 * size] + inner[..., : 2 * size])
    reset, keep = both[..., :size], both[..., size:]
    fresh = gg.tanh(gates[..., 2 * size :] + reset * inner[..., 2 * size :])
    return (fresh + keep * (hidden - fresh),)


_GATES = {"tanh": 1, "relu": 1, "lstm": 4, "gru": 3}


def _checked_sizes(layer: str, input_size: int, hidden_size: int) -> list[int]:
    sizes = named_integers(layer, input_size=input_size, hidden_size=hidden_size)
    if min(sizes) < 1:
        raise ValueError(f"{layer}: sizes must be positive, got input_size {input_size}, hidden_size {hidden_size}")
    return sizes


def _check_nonlinearity(layer: str, nonlinearity: str) -> None:
    if nonlinearity not in ("tanh", "relu"):
        raise ValueError(f"{layer}: nonlinearity must be 'tanh' or 'relu', got {nonlinearity!r}")


class _Cell(Module):
    def __init__(self, mode: str, input_size: int, hidden_size: int, bias: bool, device: Any, dtype: Any) -> None:
        super().__init__()
        input_size, hidden_size = _checked_sizes(type(self).__name__, input_size, hidden_size)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self._mode = mode
        rows = _GATES[mode] * hidden_size
        bound = hidden_size**-0.5

        def drawn(*shape: int) -> gg.Tensor:
            return Parameter(init.uniform_(gg.empty(shape, dtype=dtype, device=device), -bound, bound))

        self.weight_ih = drawn(rows, input_size)
        self.weight_hh = drawn(rows, hidden_size)
        self.register_parameter("bias_ih", drawn(rows) if bias else None)
        self.register_parameter("bias_hh", drawn(rows) if bias else None)

    def _next(self, x: gg.Tensor, state: State | None) -> State:
        name = type(self).__name__
        if x.ndim not in (1, 2) or x.shape[-1] != self.input_size:
            raise ValueError(f"{name}: x must have shape (n, {self.input_size}) or without n, got {tuple(x.shape)}")
        shape = (*x.shape[:-1], self.hidden_size)
        if state is None:
            zeros = gg.zeros(shape, dtype=x.dtype, device=x.device)
            state = (zeros, zeros)
        for part in state:
            if tuple(part.shape) != shape:
                raise ValueError(f"{name}: state must have shape {shape}, got {tuple(part.shape)}")
        gates = functional.linear(x, self.weight_ih, self.bias_ih)
        return _step(self._mode, gates, state, self.weight_hh, self.bias_hh)

    def extra_repr(self) -> str:
        """Return the sizes."""
        return f"{self.input_size}, {self.hidden_size}"


class RNNCell(_Cell):
    """One time of a plain recurrent layer: h' = tanh(W_ih x + b_ih + W_hh h + b_hh).

    Args:
        input_size: size of x.
        hidden_size: size of the state.
        bias: whether there are two.
        nonlinearity: 'tanh' or 'relu'.
        device: where the parameters live.
        dtype: their dtype, float32 by default.

    Source: Elman, "Finding structure in time", Cognitive Science 14 (1990).

    Example:
        >>> import gorgo as gg
        >>> gg.nn.RNNCell(3, 4)(gg.ones((2, 3))).shape
        (2, 4)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        _check_nonlinearity("RNNCell", nonlinearity)
        super().__init__(nonlinearity, input_size, hidden_size, bias, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, x: gg.Tensor, hx: gg.Tensor | None = None) -> gg.Tensor:
        """Return the next state (n, hidden) from x (n, input) and the state, zeros when None."""
        return self._next(x, None if hx is None else (hx,))[0]


class GRUCell(_Cell):
    """One time of a gated recurrent unit.

    Args:
        input_size: size of x.
        hidden_size: size of the state.
        bias: whether there are two.
        device: where the parameters live.
        dtype: their dtype, float32 by default.

    Source: Cho et al., "Learning phrase representations using RNN encoder-decoder", EMNLP 2014.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.GRUCell(3, 4)(gg.ones((2, 3))).shape
        (2, 4)
    """

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__("gru", input_size, hidden_size, bias, device, dtype)

    def forward(self, x: gg.Tensor, hx: gg.Tensor | None = None) -> gg.Tensor:
        """Return the next state (n, hidden) from x (n, input) and the state, zeros when None."""
        return self._next(x, None if hx is None else (hx,))[0]


class LSTMCell(_Cell):
    """One time of a long short-term memory.

    Args:
        input_size: size of x.
        hidden_size: size of the state and of the memory.
        bias: whether there are two.
        device: where the parameters live.
        dtype: their dtype, float32 by default.

    Source: Hochreiter, Schmidhuber, "Long short-term memory", Neural Computation 9 (1997).

    Example:
        >>> import gorgo as gg
        >>> h, c = gg.nn.LSTMCell(3, 4)(gg.ones((2, 3)))
        >>> h.shape, c.shape
        ((2, 4), (2, 4))
    """

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__("lstm", input_size, hidden_size, bias, device, dtype)

    def forward(self, x: gg.Tensor, hx: tuple[gg.Tensor, gg.Tensor] | None = None) -> tuple[gg.Tensor, gg.Tensor]:
        """Return the next state and memory (n, hidden) from x (n, input) and the present ones, zeros when None."""
        hidden, cell = self._next(x, hx)
        return hidden, cell


class _Recurrent(Module):
    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        device: Any,
        dtype: Any,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        input_size, hidden_size = _checked_sizes(name, input_size, hidden_size)
        num_layers = as_integer(name, "num_layers", num_layers)
        if num_layers < 1:
            raise ValueError(f"{name}: num_layers must be positive, got {num_layers}")
        if not 0.0 <= dropout <= 1.0:
            raise ValueError(f"{name}: dropout must be in [0, 1], got {dropout}")
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = dropout
        self.bidirectional = bidirectional
        self._mode = mode
        self._directions = ("", "_reverse") if bidirectional else ("",)
        rows = _GATES[mode] * hidden_size
        bound = hidden_size**-0.5

        def drawn(*shape: int) -> gg.Tensor:
            return Parameter(init.uniform_(gg.empty(shape, dtype=dtype, device=device), -bound, bound))

        for layer in range(num_layers):
            for suffix in self._directions:
                inputs = input_size if layer == 0 else hidden_size * len(self._directions)
                setattr(self, f"weight_ih_l{layer}{suffix}", drawn(rows, inputs))
                setattr(self, f"weight_hh_l{layer}{suffix}", drawn(rows, hidden_size))
                if bias:
                    setattr(self, f"bias_ih_l{layer}{suffix}", drawn(rows))
                    setattr(self, f"bias_hh_l{layer}{suffix}", drawn(rows))

    def _run(self, x: gg.Tensor, states: State | None) -> tuple[gg.Tensor, State]:
        """Return the last layer's states at all times and every layer's last ones."""
        name = type(self).__name__
        if x.ndim not in (2, 3) or x.shape[-1] != self.input_size:
            raise ValueError(f"{name}: x must have shape (..., {self.input_size}) of rank 2 or 3, got {tuple(x.shape)}")
        single = x.ndim == 2
        if single:
            x = gg.expand_dims(x, axis=1)
        elif self.batch_first:
            x = gg.swapaxes(x, 0, 1)
        count = self.num_layers * len(self._directions)
        parts = 2 if self._mode == "lstm" else 1
        shape = (count, x.shape[1], self.hidden_size)
        if states is None:
            states = (gg.zeros(shape, dtype=x.dtype, device=x.device),) * parts
        else:
            wanted = (count, self.hidden_size) if single else shape
            for part in states:
                if tuple(part.shape) != wanted:
                    raise ValueError(f"{name}: states must have shape {wanted}, got {tuple(part.shape)}")
            states = tuple(part.reshape(shape) for part in states)
        if x.shape[0] == 0:
            raise ValueError(f"{name}: x must have a time, got none")
        last: list[State] = []
        for layer in range(self.num_layers):
            if layer > 0 and self.training and self.dropout > 0.0:
                x = gg.random.dropout(x, self.dropout)
            ways = []
            for suffix in self._directions:
                outs, end = self._pass(x, layer, suffix, tuple(part[len(last)] for part in states))
                ways.append(outs)
                last.append(end)
            x = ways[0] if len(ways) == 1 else gg.concat(ways, axis=-1)
        ends = tuple(gg.stack([end[i] for end in last], axis=0) for i in range(parts))
        if single:
            return x[:, 0], tuple(end[:, 0] for end in ends)
        return gg.swapaxes(x, 0, 1) if self.batch_first else x, ends

    def _pass(self, x: gg.Tensor, layer: int, suffix: str, state: State) -> tuple[gg.Tensor, State]:
        """Go through all times in one direction."""
        bias_ih = getattr(self, f"bias_ih_l{layer}{suffix}") if self.bias else None
        bias_hh = getattr(self, f"bias_hh_l{layer}{suffix}") if self.bias else None
        gates = gg.unstack(functional.linear(x, getattr(self, f"weight_ih_l{layer}{suffix}"), bias_ih), axis=0)
        weight = getattr(self, f"weight_hh_l{layer}{suffix}")
        outs = []
        for gate in reversed(gates) if suffix else gates:
            state = _step(self._mode, gate, state, weight, bias_hh)
            outs.append(state[0])
        if suffix:
            outs.reverse()
        return gg.stack(outs, axis=0), state

    def extra_repr(self) -> str:
        """Return the sizes and what differs from the defaults."""
        more = [f"{n}={getattr(self, n)}" for n in ("batch_first", "bidirectional") if getattr(self, n)]
        layers = [f"num_layers={self.num_layers}"] if self.num_layers > 1 else []
        return ", ".join([f"{self.input_size}, {self.hidden_size}", *layers, *more])


class RNN(_Recurrent):
    """Plain recurrent layers: h[t] = tanh(W_ih x[t] + b_ih + W_hh h[t - 1] + b_hh).

    Args:
        input_size: size of x at one time.
        hidden_size: size of the states.
        num_layers: how many, one on top of the other.
        nonlinearity: 'tanh' or 'relu'.
        bias: whether there are two for each layer.
        batch_first: whether the batch is axis 0 instead of axis 1.
        dropout: probability of dropout between layers while training.
        bidirectional: whether each layer also goes back in time.
        device: where the parameters live.
        dtype: their dtype, float32 by default.

    Source: Elman, "Finding structure in time", Cognitive Science 14 (1990).

    Example:
        >>> import gorgo as gg
        >>> out, h = gg.nn.RNN(3, 4, num_layers=2)(gg.ones((5, 2, 3)))
        >>> out.shape, h.shape
        ((5, 2, 4), (2, 2, 4))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        _check_nonlinearity("RNN", nonlinearity)
        super().__init__(
            nonlinearity, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device, dtype
        )
        self.nonlinearity = nonlinearity

    def forward(self, x: gg.Tensor, hx: gg.Tensor | None = None) -> tuple[gg.Tensor, gg.Tensor]:
        """Return states (t, n, hidden) of the last layer and final ones (layers, n, hidden), from x (t, n, input)."""
        out, (end,) = self._run(x, None if hx is None else (hx,))
        return out, end


class GRU(_Recurrent):
    """Layers of gated recurrent units.

    Args:
        input_size: size of x at one time.
        hidden_size: size of the states.
        num_layers: how many, one on top of the other.
        bias: whether there are two for each layer.
        batch_first: whether the batch is axis 0 instead of axis 1.
        dropout: probability of dropout between layers while training.
        bidirectional: whether each layer also goes back in time.
        device: where the parameters live.
        dtype: their dtype, float32 by default.

    Source: Cho et al., "Learning phrase representations using RNN encoder-decoder", EMNLP 2014.

    Example:
        >>> import gorgo as gg
        >>> out, h = gg.nn.GRU(3, 4, bidirectional=True)(gg.ones((5, 2, 3)))
        >>> out.shape, h.shape
        ((5, 2, 8), (2, 2, 4))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            "gru", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device, dtype
        )

    def forward(self, x: gg.Tensor, hx: gg.Tensor | None = None) -> tuple[gg.Tensor, gg.Tensor]:
        """Return states (t, n, hidden) of the last layer and final ones (layers, n, hidden), from x (t, n, input)."""
        out, (end,) = self._run(x, None if hx is None else (hx,))
        return out, end


class LSTM(_Recurrent):
    """Layers of long short-term memory.

    Args:
        input_size: size of x at one time.
        hidden_size: size of the states and of the memory.
        num_layers: how many, one on top of the other.
        bias: whether there are two for each layer.
        batch_first: whether the batch is axis 0 instead of axis 1.
        dropout: probability of dropout between layers while training.
        bidirectional: whether each layer also goes back in time.
        device: where the parameters live.
        dtype: their dtype, float32 by default.

    Source: Hochreiter, Schmidhuber, "Long short-term memory", Neural Computation 9 (1997).

    Example:
        >>> import gorgo as gg
        >>> out, (h, c) = gg.nn.LSTM(3, 4, batch_first=True)(gg.ones((2, 5, 3)))
        >>> out.shape, h.shape, c.shape
        ((2, 5, 4), (1, 2, 4), (1, 2, 4))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            "lstm", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device, dtype
        )

    def forward(
        self, x: gg.Tensor, hx: tuple[gg.Tensor, gg.Tensor] | None = None
    ) -> tuple[gg.Tensor, tuple[gg.Tensor, gg.Tensor]]:
        """Return states (t, n, hidden) of the last layer, and the last states and memories, from x (t, n, input)."""
        out, (end, cell) = self._run(x, hx)
        return out, (end, cell)
