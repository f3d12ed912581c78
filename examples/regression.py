"""Fits a sine with a tiny network, eagerly: the ten lines that every training loop consists of."""

from __future__ import annotations

import math
import os

import gorgo as gg
from gorgo import nn

gg.random.seed(0)
x = gg.random.uniform((256, 1)) * 2 * math.pi - math.pi
y = gg.sin(x) + gg.random.normal((256, 1)) * 0.05

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
