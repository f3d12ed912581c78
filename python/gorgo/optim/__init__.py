"""Optimizers: each step is one fused update over all parameters of a group."""

from __future__ import annotations

from gorgo.optim.optimizer import Optimizer, ParamGroup
from gorgo.optim.sgd import SGD

__all__ = ["SGD", "Optimizer", "ParamGroup"]
