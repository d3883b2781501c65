"""Sweeps against plain calls of the same function: keys, shapes, one product, one compilation, statuses, memory."""

from __future__ import annotations

import io
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sweep_jobs as jobs

from dynlab import ESN, simulate
from dynlab.sweep import Label, grid, identity, memory, plan, points, program, random_points, sobol_points, sweep
from dynlab.sweep.progress import Meter, clock


def states_of(model, key):
    """The end of a run: not chaotic for small radii, linear when the model is."""
    params = model.init(jax.random.fold_in(key, 0))
    u = jax.random.uniform(jax.random.fold_in(key, 1), (60, 1))
    return {"last": simulate(model, params, u).outputs[-1, :3], "count": jnp.asarray(model.n_units)}


def test_equals_plain_calls(key):
    """Each member is fn(model, fold_in(key, seed)), under every padding."""
    design = grid(ESN(n_units=12), leak_rate=[0.2, 0.5, 1.0], spectral_radius=[0.3, 0.9])
    found = sweep(states_of, design, key, seeds=[4, 7], lanes=4)
    assert found.values["last"].shape == (3, 2, 2, 3)
    plain = jax.jit(states_of)
    for i, leak in enumerate((0.2, 0.5, 1.0)):
        for j, radius in enumerate((0.3, 0.9)):
            for k, seed in enumerate((4, 7)):
                alone = plain(ESN(n_units=12, leak_rate=leak, spectral_radius=radius), jax.random.fold_in(key, seed))
                np.testing.assert_allclose(found.values["last"][i, j, k], alone["last"], rtol=1e-5, atol=1e-6)
    assert np.all(found.status == 0)
    assert found.summary() == "12 members: 12 ok"


def test_points_are_paired_and_have_their_own_keys(key):
    design = points(ESN(n_units=12), leak_rate=[0.2, 0.5, 1.0], spectral_radius=[0.3, 0.6, 0.9])
    found = sweep(states_of, design, key, lanes=2)
    assert found.dims == ("member",)
    for i, (leak, radius) in enumerate(zip((0.2, 0.5, 1.0), (0.3, 0.6, 0.9), strict=True)):
        alone = jax.jit(states_of)(ESN(n_units=12, leak_rate=leak, spectral_radius=radius), jax.random.fold_in(key, i))
        np.testing.assert_allclose(found.values["last"][i], alone["last"], rtol=1e-5, atol=1e-6)
    data = found.dataset
    assert data["last"].dims == ("member", "last_0")
    assert data["leak_rate"].dims == ("member",)


def test_static_fields_compile_once_each(key, tmp_path):
    before = program.compilations()
    design = grid(ESN(), n_units=[8, 12], spectral_radius=[0.3, 0.6, 0.9], topology=["random", "cycle"])
    found = sweep(states_of, design, key, seeds=2, lanes=2, out=tmp_path, labels={"last": Label("1", "end", ("unit",))})
    assert program.compilations() - before == 4
    assert found.values["count"].shape == (2, 3, 2, 2)
    np.testing.assert_array_equal(found.values["count"][:, 0, 0, 0], [8, 12])
    data = found.dataset
    assert data["last"].dims == ("n_units", "spectral_radius", "topology", "seed", "unit")
    assert data["topology"].values.tolist() == ["random", "cycle"]
    assert data["last"].attrs == {"units": "1", "long_name": "end"}
    assert json.loads(data.attrs["provenance"])["dtype"] == np.dtype(jnp.result_type(float)).name
    sweep(states_of, design, key, seeds=2, lanes=2)
    assert program.compilations() - before == 4, "the second call compiled again"


def widths(model, key):
    return {"units": jax.random.uniform(key, (model.n_units,))}


def test_lengths_may_differ_between_shapes(key):
    found = sweep(widths, grid(ESN(), n_units=[2, 4]), key, seeds=3)
    assert found.values["units"].shape == (2, 3, 4)
    assert np.isnan(found.values["units"][0, :, 2:]).all()
    assert np.isfinite(found.values["units"][1]).all()
    assert np.all(found.status == 0)


def products(jaxpr, found):
    """Every dot_general with its operand shapes."""
    for equation in jaxpr.eqns:
        for value in equation.params.values():
            for inner in jax.tree.leaves(value, is_leaf=lambda v: hasattr(v, "jaxpr") or hasattr(v, "eqns")):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    products(inner, found)
        if equation.primitive.name == "dot_general":
            found.append(sorted(tuple(v.aval.shape) for v in equation.invars))
    return found


def test_one_matrix_matrix_product_per_seed(key):
    """The block that a sweep compiles multiplies one (N, N) with (N, lanes) at each step, and no batch of matrices."""
    n, lanes = 50, 7
    root = np.asarray(jax.random.key_data(key))
    model = program.concrete(ESN(n_units=n), {})
    jaxpr = program.traced(states_of, False, model, ("spectral_radius", "leak_rate", "input_scaling"), root, lanes, 1)
    found = products(jaxpr.jaxpr, [])
    assert found.count(sorted([(n, n), (lanes, n)])) == 1
    others = [shapes for shapes in found if shapes != sorted([(n, n), (lanes, n)])]
    assert all(shapes == [(n, n), (n, n)] or (n, n) not in shapes for shapes in others)  # the radius, once a seed
    assert all(len(shape) == 2 for shapes in found for shape in shapes)


def test_memory_estimate_bounds_what_the_compiler_takes(key):
    root = np.asarray(jax.random.key_data(key))
    model = program.concrete(ESN(n_units=40), {})
    for lanes in (4, 32):
        estimate = memory.peak_bytes(program.traced(jobs.member, False, model, ("leak_rate",), root, lanes, 1))
        compiled = program.Program(jobs.member, False, program.mesh_of(jax.devices()[:1]), model, root, lanes, 1,
                                   ("leak_rate",)).bytes_per_device()
        assert 0.5 * compiled <= estimate <= 5 * compiled


def test_budget_bounds_the_lanes(key):
    root, device = np.asarray(jax.random.key_data(key)), jax.devices("cpu")[0]
    design = grid(ESN(n_units=40), leak_rate=np.linspace(0.1, 1, 100))
    keywords = {"lanes": None, "chunk": None, "device": device, "stored": None}
    wide = plan.make(jobs.member, design, 1000, root, memory_budget=None, **keywords)
    narrow = plan.make(jobs.member, design, 1000, root, memory_budget=wide.groups[0].bytes // 4, **keywords)
    assert (wide.members, wide.groups[0].lanes, wide.groups[0].blocks) == (100_000, 50, 2000)
    assert wide.groups[0].chunk == 2
    assert 4 <= narrow.groups[0].lanes <= 12
    assert narrow.groups[0].bytes <= wide.groups[0].bytes // 4
    covered = np.zeros((100, 1000), int)
    for block in range(wide.groups[0].blocks):
        rows, seeds, real = wide.groups[0].block(block, 1000)
        q, lane = np.nonzero(real)
        covered[rows[lane], seeds[q]] += 1
    assert np.all(covered == 1)
    with pytest.raises(ValueError, match="memory_budget is 100 bytes"):
        plan.make(jobs.member, design, 1000, root, memory_budget=100, **keywords)


def test_other_lanes_agree_on_non_chaotic_members_and_in_statistics(key, tol):
    """Radii up to 0.9 are not chaotic: states agree. At 3.0 they part; their power stays the same."""
    design = grid(ESN(n_units=60), spectral_radius=[0.3, 0.6, 0.9, 3.0])
    one, other = (sweep(powers, design, key, seeds=16, lanes=lanes).values for lanes in (1, 4))
    np.testing.assert_allclose(one["last"][:3], other["last"][:3], rtol=tol(1e-5, 1e-11), atol=tol(1e-5, 1e-11))
    np.testing.assert_allclose(one["power"][:3], other["power"][:3], rtol=tol(1e-5, 1e-11))
    assert one["power"][3].mean() == pytest.approx(other["power"][3].mean(), rel=0.05)


def powers(model, key):
    params = model.init(jax.random.fold_in(key, 0))
    u = 0.1 * jax.random.uniform(jax.random.fold_in(key, 1), (400, 1))
    states = simulate(model, params, u, washout=100).outputs
    return {"power": jnp.mean(states**2), "last": states[-1, :2]}


def test_diverged_and_bad_members_leave_the_others_alone(key):
    """Radius 1e6 in linear units and a NaN knob: two statuses, the others bit for bit as in a run without them."""
    base = ESN(n_units=12, activation="identity")
    good = sweep(states_of, grid(base, spectral_radius=[0.3, 0.5, 0.9], leak_rate=[0.2, 0.5, 1.0]), key, seeds=2)
    found = sweep(states_of, grid(base, spectral_radius=[0.3, 1e6, 0.9], leak_rate=[0.2, np.nan, 1.0]), key, seeds=2)
    assert np.all(good.status == 0)
    expected = np.zeros((3, 3, 2), int)
    expected[1] = 1
    expected[:, 1] = 2
    np.testing.assert_array_equal(found.status, expected)
    np.testing.assert_array_equal(found.values["last"][::2, ::2], good.values["last"][::2, ::2])
    assert np.isnan(found.values["last"][:, 1]).all()
    assert not np.isinf(found.values["last"]).any()
    text = found.summary()
    assert text.startswith("18 members: 8 ok, 4 diverged, 6 knob not finite")
    assert "diverged: spectral_radius=1e+06, leak_rate=0.2, seed=0" in text
    assert len(found.troubled()) == 10
    fewer = sweep(states_of, grid(base, spectral_radius=[0.3, 0.9], leak_rate=[0.2, 1.0]), key, seeds=2, lanes=9)
    np.testing.assert_allclose(found.values["last"][::2, ::2], fewer.values["last"], rtol=1e-5)


def fragile(model, key):
    """Fails on the host for one leak rate."""

    def host(leak):
        if abs(leak - 0.5) < 1e-6:
            raise RuntimeError("no such member")
        return np.asarray(leak)

    leak = jax.pure_callback(host, jax.ShapeDtypeStruct((), model.leak_rate.dtype), model.leak_rate,
                             vmap_method="sequential")
    return {"leak": leak, "draw": jax.random.uniform(key)}


def test_failing_members_are_found(key):
    found = sweep(fragile, grid(ESN(), leak_rate=[0.1, 0.5, 0.9]), key, seeds=2)
    np.testing.assert_array_equal(found.status, [[0, 0], [3, 3], [0, 0]])
    np.testing.assert_allclose(found.values["leak"][[0, 2]], [[0.1, 0.1], [0.9, 0.9]], rtol=1e-6)
    assert np.isnan(found.values["draw"][1]).all()


def test_random_and_sobol_points():
    for make in (random_points, sobol_points):
        design = make(ESN(), 100, 3, spectral_radius=(0.1, 1.5), input_scaling=(1e-3, 1.0, "log"))
        assert design.shape == (100,)
        assert design.values["spectral_radius"].min() >= 0.1
        assert design.values["spectral_radius"].max() <= 1.5
        assert np.median(np.log10(design.values["input_scaling"])) == pytest.approx(-1.5, abs=0.3)
        again = make(ESN(), 100, 3, spectral_radius=(0.1, 1.5), input_scaling=(1e-3, 1.0, "log"))
        np.testing.assert_array_equal(design.values["spectral_radius"], again.values["spectral_radius"])
    eighths = np.floor(sobol_points(ESN(), 64, 0, leak_rate=(0.1, 1.0)).values["leak_rate"] / 0.9 * 8 - 8 / 9)
    assert np.all(np.bincount(eighths.astype(int)) == 8)


def test_progress_lines():
    stream = io.StringIO()
    meter = Meter(100, 20, True, stream)
    meter.start()
    meter.note("program 1 of 1")
    meter.add(80)
    meter.stop()
    lines = stream.getvalue().splitlines()
    assert lines[0] == "program 1 of 1"
    assert lines[1].startswith("100 of 100 members, ")
    assert lines[1].endswith("0 s left")
    assert [clock(s) for s in (12, 185, 7800)] == ["12 s", "3:05", "2:10:00"]


def test_identity_sees_what_a_function_closes_over():
    def make(scale, other=None):
        def inner(model, key):
            return scale

        return inner

    assert identity.function(make(1.0)) == identity.function(make(1.0))
    assert identity.function(make(1.0)) != identity.function(make(2.0))
    assert identity.function(make(np.arange(3))) != identity.function(make(np.arange(1, 4)))
    assert identity.function(widths) != identity.function(powers)
