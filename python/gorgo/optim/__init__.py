"""Optimizers: each step is one fused update over all parameters of a group."""

from __future__ import annotations

from gorgo.optim.adaptive import Adagrad, Adam, AdamW, RMSprop
from gorgo.optim.optimizer import Optimizer, ParamGroup
from gorgo.optim.sgd import SGD

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "Optimizer", "ParamGroup", "RMSprop"]
