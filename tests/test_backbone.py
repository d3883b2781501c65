"""The convolutional backbone against PyTorch and plain NumPy, with the moments of a batch and of a population."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynlab.models.backbone import Backbone, Moments
from dynlab.models.layers import parameter_count

KEY = jax.random.key(0)


def images_of(shape, count=11, seed=0):
    return np.random.default_rng(seed).normal(0.3, 1.0, (count, *shape))


def perturbed(params, seed=1):
    """Scales and offsets other than 1 and 0."""
    rng = np.random.default_rng(seed)
    change = lambda leaf: leaf + jnp.asarray(rng.normal(0, 0.3, leaf.shape), leaf.dtype)  # noqa: E731
    return tuple(block.replace(scale=change(block.scale), offset=change(block.offset)) for block in params)


def plain(model, params, images, moments=None):
    """One pixel at a time; the moments of the batch where none are given. Returns tokens and all moments."""
    x, used = np.asarray(images, float), []
    for number, block in enumerate(params):
        w, b, g, s = (np.asarray(part, float) for part in (block.weight, block.bias, block.scale, block.offset))
        n, height, width, _ = x.shape
        y = np.zeros((n, height, width, w.shape[0]))
        for i in range(height):
            for j in range(width):
                for u in range(model.kernel):
                    for v in range(model.kernel):
                        row, column = i + u - model.kernel // 2, j + v - model.kernel // 2
                        if 0 <= row < height and 0 <= column < width:
                            y[:, i, j] += x[:, row, column] @ w[:, :, u, v].T
        y += b
        mean, variance = (y.mean((0, 1, 2)), y.var((0, 1, 2))) if moments is None else moments[number]
        used.append((mean, variance))
        y = np.maximum(g * (y - mean) / np.sqrt(variance + 1e-5) + s, 0.0)
        rows, columns = height // model.pool, width // model.pool
        x = np.zeros((n, rows, columns, w.shape[0]))
        for i in range(rows):
            for j in range(columns):
                square = y[:, i * model.pool : (i + 1) * model.pool, j * model.pool : (j + 1) * model.pool]
                x[:, i, j] = square.max((1, 2))
    return x.reshape(len(x), -1, x.shape[-1]), used


@pytest.mark.conformance
@pytest.mark.parametrize(
    "model",
    [Backbone((8, 8, 1), (3, 4)), Backbone((7, 9, 2), (3,), kernel=5, pool=3),
     Backbone((6, 5, 3), (2, 3), kernel=1, pool=1)],
    ids=["tutorial", "left over at the edges", "pointwise"],
)
def test_tokens_and_moments_equal_plain_numpy(model, tol):
    close = tol(1e-4, 1e-10)
    params, x, other = perturbed(model.init(KEY)), images_of(model.shape), images_of(model.shape, 4, seed=5)
    expected, used = plain(model, params, x)
    assert expected.shape == (11, np.prod(model.n_tokens), model.n_features)
    np.testing.assert_allclose(model.tokens(params, x), expected, rtol=close, atol=close)
    found = model.moments(params, x, batch=4)
    for each, (mean, variance) in zip(found, used, strict=True):
        np.testing.assert_allclose(each.mean, mean, rtol=close, atol=close)
        np.testing.assert_allclose(each.variance, variance, rtol=close, atol=close)
    np.testing.assert_allclose(model.tokens(params, other, found), plain(model, params, other, used)[0],
                               rtol=close, atol=close)


def test_equals_pytorch_in_training_and_in_evaluation():
    torch = pytest.importorskip("torch")
    model = Backbone()
    params, x = perturbed(model.init(KEY)), images_of(model.shape, 20)
    block = lambda n_in: [torch.nn.Conv2d(n_in, 32, 3, 1, 1), torch.nn.BatchNorm2d(32), torch.nn.ReLU(),  # noqa: E731
                          torch.nn.MaxPool2d(2, 2)]
    net = torch.nn.Sequential(*block(1), *block(32))
    with torch.no_grad():
        for number, each in enumerate(params):
            conv, norm = net[4 * number], net[4 * number + 1]
            for there, here in ((conv.weight, each.weight), (conv.bias, each.bias), (norm.weight, each.scale),
                                (norm.bias, each.offset)):
                there.copy_(torch.tensor(np.asarray(here)))
        ask = lambda: net(torch.tensor(np.moveaxis(x, -1, 1), dtype=torch.float32)).flatten(2).mT.numpy()  # noqa: E731
        np.testing.assert_allclose(model.tokens(params, x), ask(), atol=5e-5)
        known = model.moments(params, images_of(model.shape, 30, seed=3))
        for number, each in enumerate(known):
            net[4 * number + 1].running_mean.copy_(torch.tensor(np.asarray(each.mean)))
            net[4 * number + 1].running_var.copy_(torch.tensor(np.asarray(each.variance)))
        net.eval()
        np.testing.assert_allclose(model.tokens(params, x, known), ask(), atol=5e-5)


def test_with_its_own_moments_a_batch_gives_what_it_gives_in_training():
    model = Backbone((8, 8, 1), (3, 4))
    params, x = model.init(KEY), images_of(model.shape)
    for batch in (1, 4, 100):
        known = model.moments(params, x, batch=batch)
        np.testing.assert_allclose(model.tokens(params, x, known), model.tokens(params, x), rtol=1e-4, atol=1e-5)
        alone = model.tokens(params, x[:1], known)
        np.testing.assert_allclose(alone, model.tokens(params, x, known)[:1], rtol=1e-5, atol=1e-6)


def test_bytes_are_taken_as_0_to_1():
    model = Backbone((8, 8, 1), (3,))
    params = model.init(KEY)
    x = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1)).astype(np.uint8)
    np.testing.assert_array_equal(model.tokens(params, x), model.tokens(params, x.astype(np.float32) / 255))
    as_floats = model.moments(params, x.astype(np.float32) / 255)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), model.moments(params, x), as_floats)


def test_gradients_reach_every_block_but_not_its_bias():
    """A bias before a normalisation has no effect."""
    model = Backbone((8, 8, 1), (3, 4))
    params, x = model.init(KEY), images_of(model.shape)
    gradient = jax.grad(lambda p: jnp.sum(jnp.sin(model.tokens(p, x))))(params)
    for block in gradient:
        assert min(float(jnp.abs(part).max()) for part in (block.weight, block.scale, block.offset)) > 1e-2
        assert float(jnp.abs(block.bias).max()) < 1e-3


def test_start_and_count():
    model = Backbone(widths=(32, 64))
    params = model.init(KEY)
    assert parameter_count(params) == (9 + 1 + 2) * 32 + (9 * 32 + 1 + 2) * 64
    for block, n_in in zip(params, (1, 32), strict=True):
        bound = (9 * n_in) ** -0.5
        assert 0.9 * bound < float(jnp.abs(block.weight).max()) <= bound
        assert float(jnp.abs(block.bias).max()) <= bound
        np.testing.assert_array_equal(block.scale, 1.0)
        np.testing.assert_array_equal(block.offset, 0.0)


def test_moments_compile_once(count_compilations):
    model = Backbone((8, 8, 1), (3,))
    params, x = model.init(KEY), jnp.asarray(images_of(model.shape, 6), jnp.float32)
    model.moments(params, x)
    with count_compilations() as counter:
        model.moments(params, x)
    assert counter.compilations == 0


BAD = {
    "shape": ({"shape": (28, 28)}, "shape must be a tuple such as"),
    "channels": ({"shape": (28, 28, 0)}, "shape must be at least 1, got 0"),
    "widths": ({"widths": ()}, "widths must be a tuple such as"),
    "kernel": ({"kernel": 4}, "kernel must be odd, got 4"),
    "pool": ({"pool": 6}, "pool must leave at least one token"),
}


@pytest.mark.parametrize("case", BAD, ids=str)
def test_bad_fields(case):
    change, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        Backbone(**change).init(KEY)


def test_bad_arguments():
    model = Backbone((8, 8, 1), (3,))
    params, x = model.init(KEY), images_of(model.shape)
    with pytest.raises(ValueError, match=r"images must have shape \(batch, 8, 8, 1\), got \(8, 8, 1\)"):
        model.tokens(params, x[0])
    with pytest.raises(ValueError, match="images"):
        model.moments(params, x[:0])
    with pytest.raises(ValueError, match="images"):
        model.tokens(params, np.where(x > 2, np.nan, x))
    with pytest.raises(ValueError, match="moments must be those of 1 blocks"):
        model.tokens(params, x, (Moments(jnp.zeros(2), jnp.ones(2)),))
    with pytest.raises(ValueError, match="batch must be at least 1, got 0"):
        model.moments(params, x, batch=0)
    with pytest.raises(TypeError, match="key must be a typed key"):
        model.init(np.zeros(2, np.uint32))
