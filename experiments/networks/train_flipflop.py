"""Train the 3-bit flip-flop networks that this folder ships: 16 GRU units and 16 tanh units, in PyTorch.

    python -m experiments.networks.train_flipflop [--folder experiments/networks]

writes flipflop_gru.pt and flipflop_rnn.pt, the ``state_dict`` of a module with the parts ``rnn`` (nn.GRU(3, 16) or
nn.RNN(3, 16)) and ``readout`` (nn.Linear(16, 3)). PyTorch is needed only here (made with 2.13.0, CPU, one thread);
another version or machine rounds otherwise and so trains other weights of the same kind.

The task is that of Sussillo and Barak (2013), doi:10.1162/NECO_a_00409: each output holds the sign of the last pulse
on its channel. The first step pulses every channel. Adam, learning rate 0.01 falling to 0.0001, 2,000 batches of 128
trials of 64 steps with pulse probability 0.15, gradient norm at most 1, no noise and no weight decay.

Measured on 512 new trials of 256 steps: no wrong sign, for both networks. At zero input a Newton search from 1,428
starts (:func:`fixed_points`, NumPy, float64) finds 27 fixed points in each, of which 8 / 12 / 6 / 1 have 0 / 1 / 2 / 3
unstable directions; the sum of their indices, sign det(I - J), is +1. Seed 0 was the only one tried.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro

N_BITS, N_UNITS = 3, 16
KINDS = {"gru": torch.nn.GRU, "rnn": torch.nn.RNN}


@dataclass(frozen=True)
class Config:
    """How the networks are trained."""

    folder: Path = Path(__file__).parent
    """Where the two files go."""
    seed: int = 0
    n_batches: int = 2000
    batch_size: int = 128
    length: int = 64
    pulse_probability: float = 0.15
    learning_rate: float = 1e-2
    last_learning_rate: float = 1e-4


class FlipFlopNet(torch.nn.Module):
    """A recurrent layer and a linear readout of its state."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.rnn = KINDS[kind](N_BITS, N_UNITS)
        self.readout = torch.nn.Linear(N_UNITS, N_BITS)

    def forward(self, pulses: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        states, _ = self.rnn(pulses)
        return self.readout(states), states


def draw(rng: np.random.Generator, length: int, batch: int, probability: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Pulses and what they should leave behind, both (length, batch, N_BITS)."""
    signs = rng.choice([-1.0, 1.0], (length, batch, N_BITS))
    pulses = np.where(rng.random((length, batch, N_BITS)) < probability, signs, 0.0)
    pulses[0] = signs[0]
    held = [pulses[0]]
    for now in pulses[1:]:
        held.append(np.where(now != 0, now, held[-1]))
    return torch.tensor(pulses, dtype=torch.float32), torch.tensor(np.stack(held), dtype=torch.float32)


def train(kind: str, config: Config) -> FlipFlopNet:
    """One network, trained from the seed."""
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    net = FlipFlopNet(kind)
    optimiser = torch.optim.Adam(net.parameters(), lr=config.learning_rate)
    fall = (config.last_learning_rate / config.learning_rate) ** (1.0 / config.n_batches)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimiser, fall)
    for _ in range(config.n_batches):
        pulses, targets = draw(rng, config.length, config.batch_size, config.pulse_probability)
        loss = torch.mean((net(pulses)[0] - targets) ** 2)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    return net


def step_and_jacobian(kind: str, weights: dict[str, np.ndarray], h: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The step at zero input, (B, N), and its Jacobian, (B, N, N), by the formulas of PyTorch's manual."""
    recurrent, b, c = (weights[f"rnn.{name}_l0"] for name in ("weight_hh", "bias_ih", "bias_hh"))
    drive = h @ recurrent.T + c
    if kind == "rnn":
        new = np.tanh(drive + b)
        return new, (1 - new**2)[:, :, None] * recurrent
    r, z = (1 / (1 + np.exp(-(drive + b)[:, i * N_UNITS : (i + 1) * N_UNITS])) for i in (0, 1))
    w_r, w_z, w_n = np.split(recurrent, 3)
    inner = drive[:, 2 * N_UNITS :]
    n = np.tanh(b[2 * N_UNITS :] + r * inner)
    d_n = (inner * r * (1 - r))[:, :, None] * w_r + r[:, :, None] * w_n
    jacobian = ((1 - z) * (1 - n**2))[:, :, None] * d_n + ((h - n) * z * (1 - z))[:, :, None] * w_z
    return (1 - z) * n + z * h, jacobian + z[:, :, None] * np.eye(N_UNITS)


def starts(kind: str, weights: dict[str, np.ndarray], states: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """400 states of the task, 1,000 random mixtures of the eight memories and the midpoints of all pairs of them."""
    rng = np.random.default_rng(0)
    memories = []
    for code in range(2**N_BITS):
        signs = [1 if code >> bit & 1 else -1 for bit in range(N_BITS)]
        h = states[np.all(np.sign(targets) == signs, axis=1)][:1]
        for _ in range(1000):
            h = step_and_jacobian(kind, weights, h)[0]
        memories.append(h[0])
    corners = np.array(memories)
    pairs = [(corners[i] + corners[j]) / 2 for i in range(len(corners)) for j in range(i)]
    mixtures = rng.dirichlet(np.full(len(corners), 0.3), 1000) @ corners
    return np.concatenate([states[rng.integers(len(states), size=400)], mixtures, pairs])


def fixed_points(kind: str, weights: dict[str, np.ndarray], h: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Damped Newton (Levenberg-Marquardt) from every row of h: the distinct points and their eigenvalues."""
    damping = np.full(len(h), 1e-3)
    eye = np.eye(N_UNITS)
    for _ in range(300):
        new, jacobian = step_and_jacobian(kind, weights, h)
        residual, a = new - h, jacobian - eye
        normal = np.einsum("bij,bik->bjk", a, a) + damping[:, None, None] * eye
        move = np.linalg.solve(normal, -np.einsum("bij,bi->bj", a, residual)[:, :, None])[:, :, 0]
        after = step_and_jacobian(kind, weights, h + move)[0] - (h + move)
        better = np.sum(after**2, axis=1) <= np.sum(residual**2, axis=1)
        h = np.where(better[:, None], h + move, h)
        damping = np.where(better, np.maximum(damping / 5, 1e-14), np.minimum(damping * 4, 1e6))
    speed = np.sum((step_and_jacobian(kind, weights, h)[0] - h) ** 2, axis=1) / 2
    found: list[np.ndarray] = []
    for point in h[speed < 1e-22]:
        if all(np.linalg.norm(point - other) > 1e-5 for other in found):
            found.append(point)
    points = np.array(found)
    return points, np.linalg.eigvals(step_and_jacobian(kind, weights, points)[1])


def report(kind: str, net: FlipFlopNet, config: Config) -> str:
    """Errors on new trials and the fixed points, as one line."""
    with torch.no_grad():
        pulses, targets = draw(np.random.default_rng(config.seed + 1), 256, 512, config.pulse_probability)
        outputs, states = net(pulses)
        error = float(torch.mean(((outputs > 0) != (targets > 0)).float()))
    weights = {name: value.double().numpy() for name, value in net.state_dict().items()}
    flat = states.double().numpy().reshape(-1, N_UNITS), targets.numpy().reshape(-1, N_BITS)
    points, values = fixed_points(kind, weights, starts(kind, weights, *flat))
    unstable = np.bincount(np.sum(np.abs(values) > 1, axis=1)).tolist()
    index = int(np.sum(np.sign(np.prod(1 - values, axis=1).real)))
    return (f"{kind}: {error:.2%} wrong signs; {len(points)} fixed points, "
            f"{unstable} by unstable directions, index sum {index}")


def main() -> None:
    """Train, save and check both."""
    config = tyro.cli(Config, description=__doc__)
    torch.set_num_threads(1)
    for kind in KINDS:
        net = train(kind, config)
        torch.save(net.state_dict(), config.folder / f"flipflop_{kind}.pt")
        print(report(kind, net, config))


if __name__ == "__main__":
    main()
