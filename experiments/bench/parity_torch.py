"""The published way of training a leaky network on N-parity, in plain PyTorch: the other side of `train_vs_torch`.

Written anew after Khajehabdollahi et al. (ICLR 2024, arXiv:2309.12927) and their public code. An update draws
sequences and labels one by one in Python; applies the input layer to the whole series and indexes it inside the Python
loop over time (the gradient of each ``x[t]`` is a zero-filled copy of the whole series, so that its cost grows with the
square of the length); clamps tau twice a step; fills the diagonal of the recurrent weights with zeros before the loop;
evaluates all heads and sums the cross-entropy of the active ones; reads the loss with ``.item()``; clips the gradient's
norm over all parameters (the diagonal's gradient counts); takes a Nesterov step.

``lean=True`` draws the batch at once and unbinds the series, and is the same in everything else.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

MAX_NORM = 2.0


class LeakyNet(torch.nn.Module):
    """h+ = f((1 - 1/tau) h + (W h + b + W_in x + b_in) / tau), f a leaky ReLU, with heads of two classes each."""

    def __init__(self, n_units: int = 500, n_heads: int = 100, lean: bool = False) -> None:
        super().__init__()
        self.lean = lean
        self.tau = torch.nn.Parameter(1.0 + torch.rand(n_units))
        self.input_layer = torch.nn.Linear(1, n_units)
        self.recurrent = torch.nn.Linear(n_units, n_units)
        self.heads = torch.nn.ModuleList(torch.nn.Linear(n_units, 2) for _ in range(n_heads))
        self.activation = torch.nn.LeakyReLU()

    def forward(self, bits: torch.Tensor, state: torch.Tensor | None = None) -> list[torch.Tensor]:
        """Logits (batch, 2) of every head after the last of `bits` (time, batch, 1)."""
        if state is None:
            state = 0.1 * torch.rand(bits.shape[1], self.tau.shape[0], device=bits.device)
        drive = self.input_layer(bits)
        self.recurrent.weight.data.fill_diagonal_(0.0)
        rows = drive.unbind(0) if self.lean else (drive[t] for t in range(drive.shape[0]))
        for row in rows:
            kept = (1 - 1 / torch.clamp(self.tau, min=1.0)) * state
            state = self.activation(kept + (self.recurrent(state) + row) / torch.clamp(self.tau, min=1.0))
        return [head(state) for head in self.heads]


def sgd(network: LeakyNet) -> torch.optim.SGD:
    """The published optimiser."""
    return torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.1, nesterov=True)


def draw(windows: Sequence[int], length: int, batch: int) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Bits (time, batch, 1) and the labels (batch,) of each N, sequence by sequence; each has its own share of ones."""
    sequences = [(torch.rand(length) < torch.rand(1)).float().unsqueeze(-1) for _ in range(batch)]
    labels = [torch.stack([(s[-n:].sum() % 2).long() for s in sequences]) for n in windows]
    return torch.stack(sequences).permute(1, 0, 2), labels


def draw_at_once(
    windows: Sequence[int], length: int, batch: int, device: torch.device
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The same distribution, a batch at a time and on the device."""
    bits = (torch.rand(batch, length, device=device) < torch.rand(batch, 1, device=device)).float()
    return bits.T.unsqueeze(-1), [(bits[:, -n:].sum(1) % 2).long() for n in windows]


def learn(
    network: LeakyNet, optimiser: torch.optim.Optimizer, bits: torch.Tensor, labels: Sequence[torch.Tensor],
    state: torch.Tensor | None = None,
) -> float:
    """One update; the loss before it. `labels` belong to the first heads."""
    optimiser.zero_grad()
    logits = network(bits, state)
    loss = torch.zeros((), device=bits.device, dtype=logits[0].dtype)
    for i, wanted in enumerate(labels):
        loss = loss + torch.nn.functional.cross_entropy(logits[i], wanted)
    loss.backward()
    value = loss.item()
    torch.nn.utils.clip_grad_norm_(network.parameters(), MAX_NORM)
    optimiser.step()
    return value


def train(
    network: LeakyNet, optimiser: torch.optim.Optimizer, windows: Sequence[int], lengths: Sequence[int], batch: int
) -> list[float]:
    """One update for each length; the losses."""
    device = network.tau.device
    losses = []
    for length in lengths:
        if network.lean:
            bits, labels = draw_at_once(windows, length, batch, device)
        else:
            bits, labels = draw(windows, length, batch)
            bits, labels = bits.to(device), [wanted.to(device) for wanted in labels]
        losses.append(learn(network, optimiser, bits, labels))
    return losses
