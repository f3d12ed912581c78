"""Fits a sine with a tiny network, eagerly: the ten lines that every training loop consists of."""

from __future__ import annotations

import os

import numpy as np

import gorgo as gg
from gorgo import nn

gg.random.seed(0)
rng = np.random.default_rng(0)
angle = rng.uniform(-np.pi, np.pi, (256, 1))
x = gg.asarray(angle.astype(np.float32))
y = gg.asarray((np.sin(angle) + 0.05 * rng.standard_normal((256, 1))).astype(np.float32))

model = nn.Sequential(nn.Linear(1, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1))
optimizer = gg.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
steps = 200 if os.environ.get("GORGO_TOY", "0") not in ("", "0") else 2000

first = None
for step in range(steps):
    optimizer.zero_grad()
    error = model(x) - y
    loss = (error * error).mean()
    loss.backward()
    optimizer.step()
    first = loss.item() if first is None else first
    if step % (steps // 10) == 0:
        print(f"step {step:5d}   loss {loss.item():.5f}")

print(f"loss: {loss.item():.5f} (noise alone: 0.00250)")
if not loss.item() < 0.1 * first:
    raise SystemExit(f"regression: the loss must fall below a tenth of {first:.5f}, got {loss.item():.5f}")
