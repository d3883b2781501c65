"""The leaky rate network against NumPy loops, hand-written gradients and the published PyTorch way of an update."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpy_leaky_rnn as reference
import optax
import pytest

from dynlab import simulate, train, tree
from dynlab.combine import Hold
from dynlab.discretize import Euler
from dynlab.models.leaky_rnn import LeakyFlow, LeakyParams, LeakyRNN
from dynlab.models.recurrence import LowRank
from dynlab.readout.linear import Linear

D, N, B, T, K = 2, 6, 4, 9, 3
ACTIVE = (0, 2)  # heads that are trained
RNG = np.random.default_rng(0)
INPUTS, START = RNG.normal(size=(B, T, D)), RNG.uniform(0, 0.1, (B, N))
LABELS = RNG.integers(0, 2, (B, K))
CASES = [(f, place) for f in sorted(reference.FUNCTIONS) for place in ("inside", "outside")]
DRAWN = {
    "weight_ih": RNG.normal(size=(N, D)), "weight_hh": RNG.normal(size=(N, N)) / np.sqrt(N) * (1 - np.eye(N)),
    "bias_ih": RNG.normal(size=N) / 2, "bias_hh": RNG.normal(size=N) / 2,
    "tau": np.array([0.4, 0.9, 1.1, 1.5, 2.0, 4.0]),  # the first two are below dt
    "weights": RNG.normal(size=(N, 2 * K)), "intercept": RNG.normal(size=2 * K),
}


@tree.dataclass
class Net:
    rnn: LeakyParams
    readout: Linear


def net(p=DRAWN):
    a = {name: jnp.asarray(value, float) for name, value in p.items()}
    rnn = LeakyParams(a["weight_ih"], a["weight_hh"], a["bias_ih"], a["bias_hh"], a["tau"])
    return Net(rnn, Linear(a["weights"], a["intercept"]))


def named_arrays(tree_of):
    """A net, or a gradient of that form, as the dictionary of the reference."""
    rnn, readout = tree_of.rnn, tree_of.readout
    found = {name: getattr(rnn, name) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "tau")}
    return {name: np.asarray(v, float) for name, v in (found | {"weights": readout.weights,
                                                                 "intercept": readout.intercept}).items()}


@tree.dataclass
class HeadLoss:
    """The sum of the active heads' cross-entropies on one batch, the same at every update."""

    model: LeakyRNN
    start: jax.Array
    inputs: jax.Array
    labels: jax.Array
    active: tuple = tree.static(default=ACTIVE)

    def __call__(self, network, key):
        last = train.last_state(self.model, network.rnn, self.start, self.inputs)
        logits = network.readout(last).reshape(last.shape[0], -1, 2)
        return sum(train.head_losses(logits, self.labels)[0][k] for k in self.active)


def loss_of(model, start=START, inputs=INPUTS, labels=LABELS, active=ACTIVE):
    return HeadLoss(model, jnp.asarray(start, float), jnp.asarray(inputs, float), jnp.asarray(labels), active)


def same(found, wanted, atol):
    assert found.keys() == wanted.keys()
    for name in wanted:
        np.testing.assert_allclose(found[name], wanted[name], rtol=0, atol=atol, err_msg=name)


draw = jax.jit(lambda model, key: model.init(key))
value_and_gradient = jax.jit(lambda loss, network: jax.value_and_grad(lambda n: loss(n, None))(network))


@pytest.mark.conformance
@pytest.mark.parametrize(("activation", "placement"), CASES)
def test_states_equal_a_loop(activation, placement, tol):
    model = LeakyRNN(D, N, activation=activation, placement=placement)
    wanted, _ = reference.run(DRAWN, START, INPUTS, activation=activation, placement=placement)
    found = simulate(model, net().rnn, INPUTS, state=jnp.asarray(START, float))
    np.testing.assert_allclose(np.swapaxes(found.outputs, 0, 1), wanted[1:], rtol=0, atol=tol(1e-5, 1e-12))


@pytest.mark.parametrize(("activation", "placement"), CASES)
def test_the_gradient_of_the_reference_equals_differences(activation, placement):
    how = {"activation": activation, "placement": placement}
    _, gradient = reference.loss_and_gradient(DRAWN, START, INPUTS, LABELS, ACTIVE, **how)
    rng, h = np.random.default_rng(1), 1e-6
    for name, value in DRAWN.items():
        way = rng.normal(size=value.shape)
        near = [DRAWN | {name: value + s * h * way} for s in (1, -1)]
        moved = [reference.loss_and_gradient(p, START, INPUTS, LABELS, ACTIVE, **how)[0] for p in near]
        assert (moved[0] - moved[1]) / (2 * h) == pytest.approx(np.sum(gradient[name] * way), abs=1e-8), name


@pytest.mark.conformance
@pytest.mark.parametrize(("activation", "placement"), [("leaky_relu", "outside"), ("tanh", "inside"),
                                                       ("sigmoid", "outside"), ("relu", "inside")])
def test_gradient_equals_backpropagation_by_hand(activation, placement, tol):
    how = {"activation": activation, "placement": placement}
    wanted_loss, wanted = reference.loss_and_gradient(DRAWN, START, INPUTS, LABELS, ACTIVE, **how)
    value, gradient = value_and_gradient(loss_of(LeakyRNN(D, N, **how)), net())
    assert float(value) == pytest.approx(wanted_loss, abs=tol(1e-5, 1e-12))
    found = named_arrays(gradient)
    same(found, wanted, tol(1e-5, 1e-12))
    assert not np.any(found["tau"][:2])  # below dt
    assert np.all(np.abs(found["tau"][2:]) > 1e-4)
    assert not np.any(found["intercept"][2:4])  # the head that is not trained


@pytest.mark.conformance
def test_updates_equal_clipped_nesterov_steps(tol):
    how, largest = {"activation": "leaky_relu", "placement": "outside"}, 0.5
    p, trace, losses, norms = DRAWN, None, [], []
    for _ in range(3):
        loss, g = reference.loss_and_gradient(p, START, INPUTS, LABELS, ACTIVE, **how)
        g["weight_hh"] = g["weight_hh"] * (1 - np.eye(N))  # no self-connections
        norms.append(np.sqrt(sum(np.sum(v**2) for v in g.values())))
        p, trace = reference.nesterov(p, reference.clip(g, largest, epsilon=0.0), trace)
        losses.append(loss)
    assert min(norms) > largest  # the clipping acts
    optimiser = optax.chain(optax.clip_by_global_norm(largest), optax.sgd(0.05, momentum=0.1, nesterov=True))
    found = train.fit(loss_of(LeakyRNN(D, N, **how)), net(), jax.random.key(0), optimiser=optimiser, n_epochs=1,
                      n_updates=3, constraints={"rnn.weight_hh": train.masked(1 - np.eye(N))})
    np.testing.assert_allclose(found.loss[0], losses, rtol=0, atol=tol(1e-5, 1e-12))
    same(named_arrays(found.params), p, tol(1e-5, 1e-12))


def test_a_time_constant_below_dt_acts_as_dt():
    model, clamped = LeakyRNN(D, N), np.maximum(DRAWN["tau"], 1.0)
    params = [net(DRAWN | {"tau": tau}).rnn for tau in (DRAWN["tau"], clamped, clamped + 1)]
    runs = [np.asarray(simulate(model, p, INPUTS).outputs) for p in params]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert np.max(np.abs(runs[0] - runs[2])) > 0.1
    np.testing.assert_allclose(model.time_constants(params[0]), clamped, rtol=1e-6)


@pytest.fixture(scope="module")
def published():
    """The network of the paper as drawn, and its parameters."""
    model = LeakyRNN(1, 500, "leaky_relu", "outside", tau=1.0, tau_spread=1.0, self_connections=False)
    return model, jax.tree.map(np.asarray, draw(model, jax.random.key(0)))


def test_initial_statistics_are_the_published_ones(published):
    _, p = published
    off = p.weight_hh[~np.eye(500, dtype=bool)]
    assert not np.any(np.diag(p.weight_hh))
    assert np.std(off) == pytest.approx(0.0258, abs=1e-4)
    assert abs(np.mean(off)) < 3e-4
    for values, bound in ((off, 0.0447), (p.bias_hh, 0.0447), (p.weight_ih, 1.0), (p.bias_ih, 1.0)):
        assert 0.99 * bound < np.max(np.abs(values)) <= bound * 1.001
        assert np.min(values) < -0.98 * bound
    assert np.max(np.abs(np.linalg.eigvals(p.weight_hh.astype(float)))) == pytest.approx(0.584, abs=0.02)
    assert (p.weight_ih.shape, p.tau.shape, p.noise) == ((500, 1), (500,), None)
    assert np.mean(p.tau) == pytest.approx(1.5, abs=0.04)  # standard error 0.013
    assert 1.0 <= np.min(p.tau) < 1.02
    assert 1.98 < np.max(p.tau) <= 2.0
    assert not np.array_equal(p.bias_ih * 500**-0.5, p.bias_hh)


def test_start_is_zero_or_small(published):
    model, p = published
    assert not np.any(model.init_state(p))
    drawn = np.asarray(model.init_state(p, jax.random.key(1)))
    assert drawn.shape == (500,)
    assert np.min(drawn) >= 0
    assert np.max(drawn) <= 0.1
    assert np.mean(drawn) == pytest.approx(0.05, abs=0.005)


@pytest.mark.conformance
def test_ticks_equal_the_published_continuous_mode(tol):
    """tau = max(k tau, 1), each input repeated k times."""
    k, activation = 3, "leaky_relu"
    p = DRAWN | {"tau": np.array([0.2, 0.4, 1.1, 1.5, 2.0, 4.0])}  # 3 x 0.2 is below 1
    scaled = p | {"tau": np.maximum(k * p["tau"], 1.0)}
    wanted, _ = reference.run(scaled, np.zeros((B, N)), np.repeat(INPUTS, k, axis=1), activation=activation,
                              placement="inside")
    model = Hold(LeakyRNN(D, N, activation, "inside", dt=1 / k), n_ticks=k)
    found = simulate(model, net(p).rnn, INPUTS).outputs
    np.testing.assert_allclose(np.swapaxes(found, 0, 1), wanted[k::k], rtol=0, atol=tol(1e-5, 1e-12))
    assert model.dt == pytest.approx(1.0)


@pytest.mark.conformance
def test_euler_steps_of_the_flow_equal_the_map(tol):
    p = net(DRAWN | {"tau": np.array([0.5, 0.9, 1.1, 1.5, 2.0, 4.0])}).rnn
    flow, model = Euler(LeakyFlow(D, N, "tanh"), dt=0.5), LeakyRNN(D, N, "tanh", dt=0.5)
    runs = [simulate(m, p, INPUTS).outputs for m in (flow, model)]
    np.testing.assert_allclose(runs[0], runs[1], rtol=0, atol=tol(1e-6, 1e-13))
    drawn = [jax.tree.map(np.asarray, draw(m, jax.random.key(3))) for m in (flow, model)]
    jax.tree.map(np.testing.assert_array_equal, *drawn)


def test_noise_has_the_stated_deviation():
    """sigma / sqrt(1 - a/2) for a linear unit alone: 2,000 such units after 40 steps, a = 1/2.5."""
    model, n = LeakyRNN(1, 2000, "identity", tau=2.5, noise=0.3, rank=1), 2000
    p = LeakyParams(jnp.zeros((n, 1)), LowRank(jnp.zeros((n, 1)), jnp.zeros((n, 1))), jnp.zeros(n), jnp.zeros(n),
                    jnp.full(n, 2.5), jnp.asarray(0.3))
    last = np.asarray(simulate(model, p, np.zeros((40, 1)), key=jax.random.key(0), record=None).state)
    assert np.std(last) == pytest.approx(0.3 / np.sqrt(1 - 0.2), rel=0.05)  # standard error 1.6 %
    flow = LeakyFlow(1, 2000, "identity", tau=2.5, noise=0.3)
    np.testing.assert_allclose(flow.diffusion(p, last), 0.3 * np.sqrt(2 / 2.5), rtol=1e-6)


@pytest.mark.parametrize("self_connections", [True, False])
def test_columns_keep_their_sign(self_connections):
    """At the start, and wherever an optimiser goes under the constraint."""
    n, n_plus = 20, 16
    model = LeakyRNN(D, n, excitatory=0.8, self_connections=self_connections)
    drawn = np.asarray(draw(model, jax.random.key(4)).weight_hh)
    sign = np.broadcast_to(np.where(np.arange(n) < n_plus, 1, -1), (n, n)) * (1 if self_connections else 1 - np.eye(n))
    np.testing.assert_array_equal(np.sign(drawn), sign)
    bound = n**-0.5
    assert 0.8 * bound < np.max(drawn) <= bound
    assert 4 * 0.8 * bound < np.max(-drawn) <= 4 * bound * 1.0001  # 4 excitatory units to an inhibitory one
    free, rule = train.trainable({"w": drawn}, {"w": train.signed(drawn)})
    step = np.random.default_rng(2).normal(size=(n, n)).astype(np.float32)
    moved = np.asarray(rule.build({"w": free["w"] + step})["w"])
    np.testing.assert_array_equal(np.sign(moved), sign)
    assert np.max(np.abs(moved - drawn)) > 1


@pytest.mark.conformance
def test_low_rank_equals_its_dense_product(tol):
    model = LeakyRNN(D, N, rank=2)
    p = draw(model, jax.random.key(5))
    assert p.weight_hh.left.shape == p.weight_hh.right.shape == (N, 2)
    dense = np.asarray(p.weight_hh.left) @ np.asarray(p.weight_hh.right).T
    assert np.linalg.matrix_rank(dense) == 2
    both = (p.weight_hh, jnp.asarray(dense, float))
    runs = [np.asarray(simulate(LeakyRNN(D, N), p.replace(weight_hh=w), INPUTS).outputs) for w in both]
    np.testing.assert_allclose(runs[0], runs[1], rtol=0, atol=tol(1e-6, 1e-13))
    assert np.max(np.abs(runs[0])) > 0.1


def test_one_update_equals_pytorch(monkeypatch):
    torch = pytest.importorskip("torch")
    from experiments.bench import parity_torch

    torch.manual_seed(0)
    n, heads, size, length = 12, 4, 8, 11
    network = parity_torch.LeakyNet(n, heads)
    network.recurrent.weight.data.fill_diagonal_(0.0)
    with torch.no_grad():
        network.tau[:3] = 0.5  # below the clamp
    monkeypatch.setattr(parity_torch, "MAX_NORM", 0.5)
    bits, labels = parity_torch.draw((2, 3, 4), length, size)
    start = 0.1 * torch.rand(size, n)

    def ours():
        a = lambda value: jnp.asarray(value.detach().numpy().copy())  # noqa: E731
        rnn = LeakyParams(a(network.input_layer.weight), a(network.recurrent.weight), a(network.input_layer.bias),
                          a(network.recurrent.bias), a(network.tau))
        columns = [a(head.weight).T for head in network.heads], [a(head.bias) for head in network.heads]
        return Net(rnn, Linear(*(jnp.concatenate(part, axis=-1) for part in columns)))

    before = ours()
    given = np.stack([*(wanted.numpy() for wanted in labels), np.zeros(size, int)], axis=1)
    inputs = np.swapaxes(bits.numpy(), 0, 1)
    loss = loss_of(LeakyRNN(1, n, "leaky_relu", "outside"), start.numpy(), inputs, given, (0, 1, 2))
    optimiser = optax.chain(optax.clip_by_global_norm(0.5), optax.sgd(0.05, momentum=0.1, nesterov=True))
    found = train.fit(loss, before, jax.random.key(0), optimiser=optimiser, n_epochs=1, n_updates=1)
    value = parity_torch.learn(network, parity_torch.sgd(network), bits, labels, start)
    norm = np.sqrt(sum(float((part.grad**2).sum()) for part in network.parameters() if part.grad is not None))
    assert norm == pytest.approx(0.5, rel=1e-4)  # it was clipped
    assert float(found.loss[0, 0]) == pytest.approx(value, abs=1e-5)
    wanted = named_arrays(ours())
    same(named_arrays(found.params), wanted, 1e-5)
    moved = {name: np.max(np.abs(wanted[name] - old)) for name, old in named_arrays(before).items()}
    assert min(moved.values()) > 1e-4, moved


KEY = jax.random.key(0)
BAD = {
    "no inputs": (lambda: LeakyRNN(0).init(KEY), ValueError, r"n_inputs must be at least 1, got 0"),
    "half a unit": (lambda: LeakyRNN(D, 2.5).init(KEY), TypeError, r"n_units must be an integer, got 2.5"),
    "unknown activation": (lambda: LeakyRNN(activation="gelu").init(KEY), ValueError, r"activation must be one of"),
    "unknown placement": (lambda: LeakyRNN(placement="old").init(KEY), ValueError, r"placement must be one of"),
    "no time": (lambda: LeakyRNN(dt=0.0).init(KEY), ValueError, r"dt must be finite and in \(0"),
    "no time constant": (lambda: LeakyRNN(tau=0.0).init(KEY), ValueError, r"tau must be finite and in \(0"),
    "tau of others": (lambda: LeakyRNN(D, N, tau=np.ones(3)).init(KEY), ValueError, r"tau must be a scalar or"),
    "spread": (lambda: LeakyRNN(tau_spread=-1.0).init(KEY), ValueError, r"tau_spread must be finite and in \[0"),
    "noise": (lambda: LeakyFlow(noise=-1.0).init(KEY), ValueError, r"noise must be finite and in \[0"),
    "all excitatory": (lambda: LeakyRNN(excitatory=1.0).init(KEY), ValueError, r"excitatory must leave at least"),
    "share": (lambda: LeakyFlow(excitatory=1.5).init(KEY), ValueError, r"excitatory must be finite and in \[0"),
    "rank above N": (lambda: LeakyRNN(D, N, rank=7).init(KEY), ValueError, r"rank must be in \[1, 6\], got 7"),
    "rank with signs": (lambda: LeakyRNN(rank=2, excitatory=0.8).init(KEY), ValueError, r"rank must be None for"),
    "rank, no diagonal": (lambda: LeakyRNN(rank=2, self_connections=False).init(KEY), ValueError, r"rank must be None"),
    "a seed": (lambda: LeakyRNN().init(0), TypeError, r"key must be a typed key"),
    "wrong input": (lambda: simulate(LeakyRNN(D, N), net().rnn, INPUTS[..., :1]), ValueError, r"must have 2 features"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    call, error, message = BAD[case]
    with pytest.raises(error, match=message):
        call()
