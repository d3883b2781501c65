"""The Continuous Thought Machine in plain PyTorch: the other side of the timing `ctm` and of a test's fixture.

Written anew after Darlow et al. (NeurIPS 2025, arXiv:2505.05522). It computes as the published code does (the private
networks as one einsum, the history by concatenation, keys and values projected again each tick, a Python loop over
ticks), and its parameters have the names that the published code gives them, so that a state_dict of one is a
state_dict of the other. ``lean=True`` projects keys and values once and is the same in everything else. Nothing of the
library is used here.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

MAX_DECAY = 15.0
NARROWEST = 16


@dataclass(frozen=True)
class Sizes:
    """What a machine is made of; the names of the pairings are those of the published code."""

    n_ticks: int = 10
    n_units: int = 32
    n_attention: int = 4
    n_heads: int = 2
    n_out: int = 3
    n_action: int = 3
    depth: int = 1
    n_history: int = 5
    n_hidden: int | None = 2
    n_outputs: tuple[int, ...] = (4, 2)
    pairing: str = "first-last"
    n_self: int = 0
    n_inputs: int = 4
    """Width of a token."""
    n_symbols: int | None = 2
    """Tokens are integers below it; None for vectors."""
    positions: str = "custom-rotational-1d"
    """Or "custom-rotational" (for a square grid), or "none"."""
    tutorial: bool = False
    """The layout of the published tutorial: private networks without a scale, no stored indices."""


class Answer(NamedTuple):
    """Batch first: logits (B, T, *n_outputs), certainty (B, T), synchronization (B, T, pairs), weights (B, T, h, N)."""

    logits: torch.Tensor
    certainty: torch.Tensor
    synchronization: torch.Tensor
    attention: torch.Tensor | None


class PrivateLinear(nn.Module):
    """One linear map for each unit: (B, D, n_in) -> (B, D, n_out)."""

    def __init__(self, n_in: int, n_out: int, n_units: int, scaled: bool) -> None:
        super().__init__()
        bound = (n_in + n_out) ** -0.5
        self.w1 = nn.Parameter(torch.empty(n_in, n_out, n_units).uniform_(-bound, bound))
        self.b1 = nn.Parameter(torch.zeros(1, n_units, n_out))
        if scaled:
            self.T = nn.Parameter(torch.ones(1))
        self.scaled = scaled

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.einsum("bdi,iod->bdo", x, self.w1) + self.b1
        return y / self.T if self.scaled else y


class UNet(nn.Module):
    """Synapse model of depth k > 1."""

    def __init__(self, n_in: int, n_units: int, depth: int) -> None:
        super().__init__()
        widths = [int(width) for width in np.linspace(n_units, NARROWEST, depth)]
        steps = list(itertools.pairwise(widths))
        self.first_projection = nn.Sequential(nn.Linear(n_in, n_units), nn.LayerNorm(n_units), nn.SiLU())
        block = lambda a, b: nn.Sequential(nn.Dropout(0.0), nn.Linear(a, b), nn.LayerNorm(b), nn.SiLU())  # noqa: E731
        self.down_projections = nn.ModuleList(block(a, b) for a, b in steps)
        self.up_projections = nn.ModuleList(block(b, a) for a, b in steps)
        self.skip_lns = nn.ModuleList(nn.LayerNorm(a) for a, _ in steps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        levels = [self.first_projection(x)]
        for down in self.down_projections:
            levels.append(down(levels[-1]))
        rising = levels[-1]
        for i in range(len(self.skip_lns) - 1, -1, -1):
            rising = self.skip_lns[i](self.up_projections[i](rising) + levels[i])
        return rising


class HalfTurn(nn.Module):
    """Angles from 0 to 180 degrees along a row of tokens, or along both sides of a square grid, projected."""

    def __init__(self, width: int, grid: bool) -> None:
        super().__init__()
        self.grid = grid
        if grid:
            self.start_vector = nn.Parameter(torch.tensor([0.0, 1.0]))
            self.projection: nn.Module = nn.Sequential(nn.Linear(4, width))
        else:
            self.projection = nn.Linear(2, width)

    def forward(self, n_tokens: int, like: torch.Tensor) -> torch.Tensor:
        """(N, width)."""
        n = math.isqrt(n_tokens) if self.grid else n_tokens
        angle = torch.linspace(0.0, 180.0, n, dtype=torch.float64).deg2rad().to(like.dtype)
        sin, cos = angle.sin(), angle.cos()
        if not self.grid:
            return self.projection(torch.stack([-sin, cos], dim=1))
        x, y = self.start_vector
        turned = torch.stack([cos * x - sin * y, sin * x + cos * y], dim=1)
        rows = turned[:, None, :].expand(n, n, 2)
        columns = turned[None, :, :].expand(n, n, 2)
        return self.projection(torch.cat([rows, columns], dim=-1).reshape(n * n, 4))


class ThoughtMachine(nn.Module):
    """The machine. `forward` takes symbols (B, N), or tokens (B, N, F), or without attention features (B, F)."""

    def __init__(self, sizes: Sizes, seed: int = 0, lean: bool = False) -> None:
        super().__init__()
        self.lean = lean
        torch.manual_seed(seed)
        self.sizes, d, m, width = sizes, sizes.n_units, sizes.n_history, sizes.n_attention
        n_read = sizes.n_inputs
        if sizes.n_symbols is not None:
            self.backbone = nn.ModuleDict({"embedding": nn.Embedding(sizes.n_symbols, sizes.n_inputs)})
        if sizes.positions != "none":
            self.positional_embedding = HalfTurn(sizes.n_inputs, sizes.positions == "custom-rotational")
        if sizes.n_heads:
            n_read = width
            self.kv_proj = nn.Sequential(nn.Linear(sizes.n_inputs, width), nn.LayerNorm(width))
            self.q_proj = nn.Linear(self.n_pairs(sizes.n_action), width)
            self.attention = nn.MultiheadAttention(width, sizes.n_heads, batch_first=True)
        if sizes.depth == 1:
            self.synapses: nn.Module = nn.Sequential(nn.Dropout(0.0), nn.Linear(n_read + d, 2 * d), nn.GLU(),
                                                     nn.LayerNorm(d))
        else:
            self.synapses = UNet(n_read + d, d, sizes.depth)
        scaled, hidden = not sizes.tutorial, sizes.n_hidden
        layers: list[nn.Module] = [PrivateLinear(m, 2 if hidden is None else 2 * hidden, d, scaled), nn.GLU()]
        if hidden is not None:
            layers += [PrivateLinear(hidden, 2, d, scaled), nn.GLU()]
        private = nn.Sequential(*layers, nn.Flatten(1))  # (B, D, 1) -> (B, D)
        self.trace_processor = private if sizes.tutorial else nn.Sequential(private)
        bound = (d + m) ** -0.5
        self.start_activated_state = nn.Parameter(torch.empty(d).uniform_(-(d**-0.5), d**-0.5))
        self.start_trace = nn.Parameter(torch.empty(d, m).uniform_(-bound, bound))
        rng = np.random.default_rng(seed)
        self.pairs: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        for role, n in (("out", sizes.n_out), *([("action", sizes.n_action)] if sizes.n_heads else [])):
            self.pairs[role] = self.choose(rng, role, n)
            if not sizes.tutorial:
                for side, index in zip(("left", "right"), self.pairs[role], strict=True):
                    self.register_buffer(f"{role}_neuron_indices_{side}", index)
            setattr(self, f"decay_params_{role}", nn.Parameter(torch.zeros(self.n_pairs(n))))
        self.output_projector = nn.Sequential(nn.Linear(self.n_pairs(sizes.n_out), math.prod(sizes.n_outputs)))

    def n_pairs(self, n: int) -> int:
        """Width of a synchronization of n units."""
        return n if self.sizes.pairing == "random-pairing" else n * (n + 1) // 2

    def choose(self, rng: np.random.Generator, role: str, n: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The units on both sides."""
        d = self.sizes.n_units
        if self.sizes.pairing == "first-last":
            index = torch.arange(n) if role == "out" else torch.arange(d - n, d)
            return index, index
        left, right = torch.from_numpy(rng.integers(0, d, size=(2, n)))
        if self.sizes.pairing == "random-pairing":
            right[: self.sizes.n_self] = left[: self.sizes.n_self]
        return left, right

    def products(self, z: torch.Tensor, role: str) -> torch.Tensor:
        """(B, D) -> (B, pairs)."""
        left, right = (z[:, index] for index in self.pairs[role])
        if self.sizes.pairing == "random-pairing":
            return left * right
        outer = left.unsqueeze(2) * right.unsqueeze(1)
        i, j = torch.triu_indices(left.shape[1], left.shape[1])
        return outer[:, i, j]

    def keys(self, tokens: torch.Tensor) -> torch.Tensor:
        """What attention reads, (B, N, d)."""
        features = self.backbone["embedding"](tokens) if self.sizes.n_symbols is not None else tokens
        if self.sizes.positions != "none":
            features = features + self.positional_embedding(features.shape[1], features)
        return self.kv_proj(features)

    def attend(self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, Any]:
        """Attention with projected keys and values (B, N, d): output (B, 1, d) and weights (B, h, 1, N)."""
        d, part = query.shape[-1], self.attention
        q = nn.functional.linear(query, part.in_proj_weight[:d], part.in_proj_bias[:d])
        q, k, v = (x.unflatten(-1, (self.sizes.n_heads, -1)).transpose(1, 2) for x in (q, keys, values))
        weights = torch.softmax(q @ k.transpose(2, 3) / math.sqrt(q.shape[-1]), dim=-1)
        return part.out_proj((weights @ v).transpose(1, 2).flatten(2)), weights

    def forward(self, tokens: torch.Tensor) -> Answer:
        sizes, batch, roles = self.sizes, tokens.shape[0], list(self.pairs)
        with torch.no_grad():
            for role in roles:
                getattr(self, f"decay_params_{role}").clamp_(0.0, MAX_DECAY)
        keep = {role: torch.exp(-getattr(self, f"decay_params_{role}")).expand(batch, -1) for role in roles}
        kv = self.keys(tokens) if sizes.n_heads else None
        if kv is not None and self.lean:
            d, part = sizes.n_attention, self.attention
            both = nn.functional.linear(kv, part.in_proj_weight[d:], part.in_proj_bias[d:]).chunk(2, dim=-1)
        history = self.start_trace.expand(batch, -1, -1)
        z = self.start_activated_state.expand(batch, -1)
        start = self.products(z, "out")
        sums: dict[str, Any] = {"out": (start, torch.ones_like(start))}

        def synchronize(role: str) -> torch.Tensor:
            product = self.products(z, role)
            if role in sums:
                alpha, beta = (keep[role] * each + new for each, new in zip(sums[role], (product, 1), strict=True))
            else:
                alpha, beta = product, torch.ones_like(product)
            sums[role] = alpha, beta
            return alpha / torch.sqrt(beta)

        logits, certain, outs, attention = [], [], [], []
        for _ in range(sizes.n_ticks):
            found = tokens
            if kv is not None:
                query = self.q_proj(synchronize("action")).unsqueeze(1)
                if self.lean:
                    found, weights = self.attend(query, *both)
                else:
                    found, weights = self.attention(query, kv, kv, average_attn_weights=False, need_weights=True)
                found = found.squeeze(1)
                attention.append(weights.squeeze(2))
            pre = self.synapses(torch.cat([found, z], dim=-1))
            history = torch.cat([history[:, :, 1:], pre.unsqueeze(-1)], dim=-1)
            z = self.trace_processor(history)
            outs.append(synchronize("out"))
            logits.append(self.output_projector(outs[-1]).reshape(batch, *sizes.n_outputs))
            certain.append(certainty(logits[-1]))
        return Answer(torch.stack(logits, 1), torch.stack(certain, 1), torch.stack(outs, 1),
                      torch.stack(attention, 1) if attention else None)


def certainty(logits: torch.Tensor) -> torch.Tensor:
    """One minus the normalised entropy, the mean over positions: (B, ..., C) -> (B,)."""
    log_p = torch.log_softmax(logits, dim=-1)
    entropy = -(log_p.exp() * log_p).sum(-1) / math.log(logits.shape[-1])
    return 1 - entropy.reshape(len(entropy), -1).mean(-1)


def two_tick_loss(answer: Answer, targets: torch.Tensor) -> torch.Tensor:
    """The mean of each sample's smallest cross-entropy over ticks and of the one at its most certain tick.

    Targets are (B, N) for logits (B, T, N, C).
    """
    logits = answer.logits
    wanted = targets[:, None].expand(logits.shape[:-1])
    losses = nn.functional.cross_entropy(logits.flatten(0, 2), wanted.flatten(), reduction="none")
    losses = losses.reshape(wanted.shape).mean(-1)
    rows = torch.arange(len(losses))
    return (losses[rows, losses.argmin(1)] + losses[rows, answer.certainty.argmax(1)]).mean() / 2


def learn(machine: ThoughtMachine, optimiser: torch.optim.Optimizer, tokens: torch.Tensor,
          targets: torch.Tensor) -> float:
    """One update; the loss before it."""
    optimiser.zero_grad(set_to_none=True)
    loss = two_tick_loss(machine(tokens), targets)
    loss.backward()
    optimiser.step()
    return loss.item()
