"""einsum: sums of products by a formula, lowered to matrix products of permuted views.

A formula is read and an order of pairwise contractions found once for each formula and shapes; then a call permutes,
reshapes and multiplies. Labels are the formula's letters, and numbers for the axes that an ellipsis stands for, counted
from the last. Invariant: a pair is contracted by one op, matmul where they share summed labels and multiply elsewhere,
so gradients of any order come from those. Read next: gorgo/manipulation.py (other compositions).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import gorgo
from gorgo import Tensor

__all__ = ["einsum"]

Label = str | int
Term = tuple[Label, ...]
Shape = tuple[int, ...]

# Up to so many operands all orders are looked at; more are contracted greedily.
_MOST_FOR_ALL_ORDERS = 6


def _read(equation: str, ranks: Sequence[int]) -> tuple[list[Term], Term]:
    """Return the labels of the operands and of the output."""
    formula = equation.replace(" ", "")
    left, arrow, right = formula.partition("->")
    parts = left.split(",")
    if len(parts) != len(ranks):
        raise ValueError(f"einsum: equation must name {len(ranks)} operands, got {len(parts)} in {equation!r}")
    terms: list[Term] = []
    widest = 0
    for number, (part, rank) in enumerate(zip(parts, ranks, strict=True)):
        before, dots, after = part.partition("...")
        for letter in before + after:
            if not (letter.isascii() and letter.isalpha()):
                raise ValueError(f"einsum: equation must consist of letters, ',', '...' and '->', got {equation!r}")
        named = len(before) + len(after)
        if named > rank or (not dots and named != rank):
            least = "at least " if dots else ""
            raise ValueError(f"einsum: operand {number} must have {least}{named} axes, as {part!r} says, got {rank}")
        spread = rank - named
        widest = max(widest, spread)
        terms.append((*before, *range(spread - 1, -1, -1), *after))
    wide = tuple(range(widest - 1, -1, -1))
    if not arrow:
        letters = [label for term in terms for label in term if isinstance(label, str)]
        return terms, (*wide, *sorted(label for label in set(letters) if letters.count(label) == 1))
    before, dots, after = right.partition("...")
    output: Term = (*before, *(wide if dots else ()), *after)
    known = {label for term in terms for label in term}
    for label in (*before, *after):
        if label not in known or output.count(label) > 1:
            raise ValueError(
                f"einsum: output must name labels of the operands once each, got {label!r} in {equation!r}"
            )
    return terms, output


def _sizes(terms: Sequence[Term], shapes: Sequence[Shape]) -> dict[Label, int]:
    """Return the length of each label's axes; those of length 1 are repeated."""
    sizes: dict[Label, int] = {}
    for number, (term, shape) in enumerate(zip(terms, shapes, strict=True)):
        for label, length in zip(term, shape, strict=True):
            if sizes.setdefault(label, length) == 1:
                sizes[label] = length
            elif length not in (1, sizes[label]):
                name = f"label {label!r}" if isinstance(label, str) else "an axis of the ellipsis"
                raise ValueError(
                    f"einsum: {name} must have one length, got {sizes[label]} and {length} (operand {number} has shape"
                    f" {shape})"
                )
    return sizes


def _kept(one: frozenset[Label], two: frozenset[Label], others: frozenset[Label]) -> frozenset[Label]:
    """Return the labels of a contracted pair, where `others` are those of all other operands and of the output."""
    return (one | two) & others


def _cost(labels: frozenset[Label], sizes: dict[Label, int]) -> int:
    return math.prod(sizes[label] for label in labels)


def _all_orders(
    sets: Sequence[frozenset[Label]], output: frozenset[Label], sizes: dict[Label, int]
) -> list[tuple[int, int]]:
    """Return the cheapest order of contractions: for each set of operands the cheapest way to one tensor."""
    count = len(sets)

    @functools.cache
    def labels_of(subset: int) -> frozenset[Label]:
        inside = frozenset[Label]().union(*(sets[i] for i in range(count) if subset >> i & 1))
        outside = output.union(*(sets[i] for i in range(count) if not subset >> i & 1))
        return inside & outside if subset & (subset - 1) else sets[subset.bit_length() - 1]

    @functools.cache
    def cheapest(subset: int) -> tuple[int, int]:
        """Return the cost of a subset and the half that holds its lowest operand (0 for a single operand)."""
        if not subset & (subset - 1):
            return 0, 0
        lowest = subset & -subset
        best = (-1, 0)
        half = (subset - 1) & subset
        while half:
            if half & lowest:
                rest = subset ^ half
                cost = cheapest(half)[0] + cheapest(rest)[0] + _cost(labels_of(half) | labels_of(rest), sizes)
                if best[0] < 0 or cost < best[0]:
                    best = (cost, half)
            half = (half - 1) & subset
        return best

    steps: list[tuple[int, int]] = []
    places = [1 << i for i in range(count)]  # which operands each tensor of the list is made of

    def contract(subset: int) -> None:
        half = cheapest(subset)[1]
        if not half:
            return
        contract(half)
        contract(subset ^ half)
        i, j = places.index(half), places.index(subset ^ half)
        steps.append((i, j))
        for k in sorted((i, j), reverse=True):
            del places[k]
        places.append(subset)

    contract((1 << count) - 1)
    return steps


def _greedy(
    sets: Sequence[frozenset[Label]], output: frozenset[Label], sizes: dict[Label, int]
) -> list[tuple[int, int]]:
    """Return an order that contracts each time the pair which leaves the least behind."""
    left = list(sets)
    steps = []
    while len(left) > 1:
        best: tuple[int, int, int, int] | None = None
        for i in range(len(left)):
            for j in range(i + 1, len(left)):
                others = output.union(*(s for k, s in enumerate(left) if k not in (i, j)))
                result = _kept(left[i], left[j], others)
                growth = _cost(result, sizes) - _cost(left[i], sizes) - _cost(left[j], sizes)
                rank = (growth, _cost(left[i] | left[j], sizes), i, j)
                if best is None or rank < best:
                    best = rank
        if best is None:
            break
        _, _, i, j = best
        steps.append((i, j))
        others = output.union(*(s for k, s in enumerate(left) if k not in (i, j)))
        result = _kept(left[i], left[j], others)
        left = [s for k, s in enumerate(left) if k not in (i, j)] + [result]
    return steps


# ---- the program: what is done to which operand, found without looking at elements ----

Step = tuple[
    Callable[..., Tensor], int, Any
]  # a function of an operand (or of two, where the last is a number), and more


def _sum(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    return gorgo.sum(x, axis=axes, dtype=x.dtype)


def _diagonal(x: Tensor, axes: tuple[int, int]) -> Tensor:
    return gorgo.diagonal(x, 0, *axes)


class _Program:
    """Steps under construction, and the labels and lengths of the operands after them."""

    def __init__(self, terms: Sequence[Term], shapes: Sequence[Shape], sizes: dict[Label, int]) -> None:
        self.labels = [list(term) for term in terms]
        self.shapes = [list(shape) for shape in shapes]
        self.sizes = sizes
        self.steps: list[Step] = []

    def reshape(self, slot: int, shape: Sequence[int]) -> None:
        if list(shape) != self.shapes[slot]:
            self.steps.append((gorgo.reshape, slot, tuple(shape)))
            self.shapes[slot] = list(shape)

    def permute(self, slot: int, order: Sequence[Label]) -> None:
        places = tuple(self.labels[slot].index(label) for label in order)
        if places != tuple(range(len(places))):
            self.steps.append((gorgo.permute_dims, slot, places))
            self.shapes[slot] = [self.shapes[slot][i] for i in places]
            self.labels[slot] = list(order)

    def drop(self, slot: int, axes: Sequence[int]) -> None:
        """Take axes of length 1 away."""
        if axes:
            self.labels[slot] = [label for i, label in enumerate(self.labels[slot]) if i not in axes]
            self.reshape(slot, [n for i, n in enumerate(self.shapes[slot]) if i not in axes])

    def tidy(self, slot: int, wanted: frozenset[Label]) -> None:
        """Leave distinct labels of full length, and sum over those that nobody wants."""
        labels, shape = self.labels[slot], self.shapes[slot]
        self.drop(slot, [i for i, label in enumerate(labels) if shape[i] != self.sizes[label]])
        while len(set(self.labels[slot])) < len(self.labels[slot]):
            labels, shape = self.labels[slot], self.shapes[slot]
            label = next(label for label in labels if labels.count(label) > 1)
            i = labels.index(label)
            j = labels.index(label, i + 1)
            self.steps.append((_diagonal, slot, (i, j)))
            self.shapes[slot] = [n for k, n in enumerate(shape) if k not in (i, j)] + [shape[i]]
            self.labels[slot] = [other for k, other in enumerate(labels) if k not in (i, j)] + [label]
        labels = self.labels[slot]
        alone = tuple(i for i, label in enumerate(labels) if label not in wanted)
        if alone:
            self.steps.append((_sum, slot, alone))
            self.shapes[slot] = [n for i, n in enumerate(self.shapes[slot]) if i not in alone]
            self.labels[slot] = [label for label in labels if label in wanted]

    def contract(self, one: int, two: int, kept: frozenset[Label]) -> None:
        """Put the product of two operands in the place of the first, summed over what both have and is not kept."""
        ta, tb = self.labels[one], self.labels[two]
        batch = [label for label in ta if label in tb and label in kept]
        summed = [label for label in ta if label in tb and label not in kept]
        rows = [label for label in ta if label not in tb]
        columns = [label for label in tb if label not in ta]

        def lengths(labels: Sequence[Label]) -> list[int]:
            return [self.sizes[label] for label in labels]

        if summed:
            self.permute(one, [*batch, *rows, *summed])
            self.permute(two, [*batch, *summed, *columns])
            m, k, n = (math.prod(lengths(group)) for group in (rows, summed, columns))
            self.reshape(one, [*lengths(batch), m, k])
            self.reshape(two, [*lengths(batch), k, n])
            self.steps.append((gorgo.matmul, one, two))
            self.shapes[one] = [*lengths(batch), m, n]
        else:
            self.permute(one, [*batch, *rows])
            self.permute(two, [*batch, *columns])
            self.reshape(one, [*lengths(batch), *lengths(rows), *[1] * len(columns)])
            self.reshape(two, [*lengths(batch), *[1] * len(rows), *lengths(columns)])
            self.steps.append((gorgo.multiply, one, two))
            self.shapes[one] = lengths([*batch, *rows, *columns])
        self.labels[one] = [*batch, *rows, *columns]
        self.reshape(one, lengths(self.labels[one]))


class _Plan(NamedTuple):
    steps: tuple[Step, ...]
    orders: tuple[tuple[int, int], ...]  # which two operands are contracted; the result goes to the end of the list
    result: int


@functools.lru_cache(maxsize=256)
def _plan(equation: str, shapes: tuple[Shape, ...]) -> _Plan:
    terms, output = _read(equation, [len(shape) for shape in shapes])
    sizes = _sizes(terms, shapes)
    wanted = frozenset(output)
    program = _Program(terms, shapes, sizes)
    for slot in range(len(terms)):
        program.tidy(slot, wanted.union(*(term for other, term in enumerate(terms) if other != slot)))
    find = _all_orders if len(terms) <= _MOST_FOR_ALL_ORDERS else _greedy
    orders = find([frozenset(labels) for labels in program.labels], wanted, sizes)
    slots = list(range(len(terms)))
    for i, j in orders:
        one, two = slots[i], slots[j]
        slots = [slot for k, slot in enumerate(slots) if k not in (i, j)]
        kept = wanted.union(*(program.labels[slot] for slot in slots))
        # What only one of the two has and nobody else wants is summed before they are multiplied.
        program.tidy(one, kept.union(program.labels[two]))
        program.tidy(two, kept.union(program.labels[one]))
        program.contract(one, two, kept)
        slots.append(one)
    result = slots[0]
    program.tidy(result, wanted)
    program.permute(result, output)
    return _Plan(tuple(program.steps), tuple(orders), result)


def einsum(equation: str, *operands: Tensor) -> Tensor:
    """Sum products of elements by a formula.

    The formula has a letter for each axis of each operand, as in "ij,jk->ik"; letters that the result does not name are
    summed over. "..." stands for all axes that have no letter, which are broadcast. Without "->" the result has the
    axes of the ellipsis, then the letters that occur once, in alphabetical order. A letter that an operand repeats
    takes its diagonal.

    Args:
        equation (str): the formula.
        *operands (Tensor): the tensors (...), numeric; dtypes are promoted. Axes of length 1 are repeated.

    Returns:
        (...) any: the sums. Three operands and more are contracted in pairs, in the order that takes the fewest
        multiplications (of six operands at most; beyond that, in the order that keeps results small).

    Raises:
        ValueError: the formula cannot be read or does not fit the operands, or lengths of a letter differ.

    Example:
        >>> import gorgo as gg
        >>> x = gg.asarray([[1.0, 2.0], [3.0, 4.0]])
        >>> gg.einsum("ij,kj->ik", x, x).tolist()
        [[5.0, 11.0], [11.0, 25.0]]
        >>> gg.einsum("ii", x).item()
        5.0
    """
    if not isinstance(equation, str):
        raise TypeError(f"einsum: equation must be a str, got {type(equation).__name__}")
    if not operands:
        raise ValueError("einsum: operands must be given, got none")
    plan = _plan(equation, tuple(x.shape for x in operands))
    values = list(operands)
    dtype = operands[0].dtype
    if any(x.dtype != dtype for x in operands):
        dtype = gorgo.result_type(*operands)
        values = [x.astype(dtype) for x in operands]
    for function, slot, more in plan.steps:
        if function is gorgo.matmul or function is gorgo.multiply:
            values[slot] = function(values[slot], values[more])
        else:
            values[slot] = function(values[slot], more)
    return values[plan.result]
