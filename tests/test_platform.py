"""Two faults of some jax releases that would make every number here worthless, and the test tools themselves.

The bounds on jax in pyproject.toml keep these releases out; the tests notice one that comes back.
"""

from __future__ import annotations

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest


@pytest.mark.parametrize("n", [1000, 16_385, 32_769])
@pytest.mark.conformance
def test_matvec_and_reduction_is_compiled_right(n):
    """jax issue 39103 (0.10.2, CPU): with n over a block size the last row came out wrong, under jit only."""
    rows = jnp.stack([jnp.arange(n, dtype=float), jnp.zeros(n), jnp.zeros(n)], axis=1)
    compiled = jax.jit(jax.vmap(lambda row: jnp.sum((jnp.eye(3) @ row) ** 2)))
    np.testing.assert_allclose(compiled(rows), np.arange(n, dtype=np.float64) ** 2, rtol=1e-6)


SOLVES = """
import jax, jax.numpy as jnp
many = [jax.random.normal(key, (16, 60, 60)) for key in jax.random.split(jax.random.key(0), 8)]
positive = [a @ a.swapaxes(-1, -2) + jnp.eye(60) for a in many]
solve = jax.jit(lambda batch: [jnp.linalg.solve(a, jnp.ones((16, 60, 1))) for a in batch])
cholesky = jax.jit(lambda batch: [jnp.linalg.cholesky(a) for a in batch])
for _ in range(30):
    jax.block_until_ready(solve(many))
    jax.block_until_ready(cholesky(positive))
print("done")
"""


def test_batched_solves_in_one_program_do_not_deadlock():
    """jax 0.10 (CPU): batched LAPACK calls of one program waited for each other for ever on few cores (2 here)."""
    done = subprocess.run([sys.executable, "-c", SOLVES], capture_output=True, text=True, timeout=90, check=False)
    assert done.stdout.strip() == "done", done.stderr


def test_counter_counts(count_compilations):
    """A first call compiles, a second does not, a new shape does: on this jax the counter sees all three."""
    double = jax.jit(lambda x: 2 * x)
    three, four = jnp.ones(3), jnp.ones(4)
    with count_compilations() as first:
        double(three)
    with count_compilations() as second:
        double(three)
    with count_compilations() as third:
        double(four)
    assert (first.compilations, second.compilations, third.compilations) == (1, 0, 1)
    assert first.traces >= 1
    assert second.traces == 0


def test_old_style_keys_are_refused():
    """The tests' own strictness is on: a library function that made a uint32 key would be found."""
    with pytest.raises(ValueError, match="Legacy"):
        jax.random.split(jnp.zeros(2, dtype=jnp.uint32))
