"""Layers for small networks; names and defaults read as PyTorch users expect."""

from __future__ import annotations

from gorgo.nn import functional, init, utils
from gorgo.nn.layers import Conv2d, CrossEntropyLoss, Dropout, Flatten, Linear, MaxPool2d, ReLU, Sequential
from gorgo.nn.module import Module, Parameter

__all__ = [
    "Conv2d",
    "CrossEntropyLoss",
    "Dropout",
    "Flatten",
    "Linear",
    "MaxPool2d",
    "Module",
    "Parameter",
    "ReLU",
    "Sequential",
    "functional",
    "init",
    "utils",
]
