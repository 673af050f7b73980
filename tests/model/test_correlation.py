"""Iterations that local correlation drives: a true slope, and uphill."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from drivenmorph_jax.data import phantom_pair
from drivenmorph_jax.errors import InputError
from drivenmorph_jax.model import Ignored, ModelConfig, correlation
from drivenmorph_jax.model.correlation import (
    Seen,
    compressible,
    correlation_demons,
    correlation_force,
)
from drivenmorph_jax.model.correlation_parameters import (
    Comparison,
    Steps,
    comparison,
    init_correlation,
    layer_of,
    with_correlation,
)
from drivenmorph_jax.model.smoothing import network_smoothing, with_regularity
from drivenmorph_jax.objective.similarity import lncc
from drivenmorph_jax.spatial.fields import compose, exponential
from drivenmorph_jax.spatial.filters import gaussian_smooth
from drivenmorph_jax.spatial.jacobian import (
    fourth_order_volume,
    jacobian_determinant,
    least_corner_volume,
)
from drivenmorph_jax.spatial.masks import brain_mask
from drivenmorph_jax.spatial.sampling import warp

SHAPE = (24, 26, 22)
CFG = ModelConfig(correlation_iterations=(20,))
WINDOW = 9


@jax.jit
def force(fixed, moving, u, ignored=None):
    return correlation_force(seen(fixed), seen(moving), u, window=WINDOW, ignored=ignored)


def seen(image):
    return Seen(image, (image != 0).astype(image.dtype))


@pytest.fixture(scope="module")
def images():
    """A phantom's image, and the same deformed by a voxel or so; with what it was deformed by."""
    fixed = jnp.asarray(phantom_pair(0, SHAPE, deformation=0.0).fixed)[..., None]
    noise = gaussian_smooth(jax.random.normal(jax.random.key(1), (*SHAPE, 3)), 3.0)
    velocity = 1.2 * noise / jnp.abs(noise).max()
    return fixed, warp(fixed, exponential(velocity)), exponential(-velocity)


@functools.cache
def compiled(cfg: ModelConfig):
    def run(fixed, moving, ignored=None, params=None):
        start = jnp.zeros((*fixed.shape[:3], 3), jnp.float32)
        level = len(cfg.correlation_iterations) - 1
        params = init_correlation(cfg, level) if params is None else params
        return correlation_demons(
            params,
            fixed,
            moving,
            start,
            cfg,
            iterations=cfg.correlation_iterations[level],
            level=level,
            ignored=ignored,
        )

    return jax.jit(run)


def test_the_force_is_the_slope_of_the_local_correlation(images):
    """Against central differences of the loss, of a random field, in float64."""
    fixed, moving, _ = images
    with jax.enable_x64(True):
        fixed, moving = (jnp.asarray(image, jnp.float64) for image in (fixed, moving))
        rng = np.random.default_rng(0)
        u, direction = (jnp.asarray(0.3 * rng.normal(size=(*SHAPE, 3))) for _ in range(2))
        warped = warp(moving, u)
        # As the force has it: the mask of both brains does not move with the field.
        mask = brain_mask(fixed, warped)

        def similarity(step):
            moved = warp(moving, u + step * direction)
            return float(1 - lncc(fixed, moved, window=WINDOW, mask=mask)) * int(mask.sum())

        slope = (similarity(1e-5) - similarity(-1e-5)) / 2e-5
        found = float((force(fixed, moving, u) * direction).sum())
        assert abs(slope) > 1
        np.testing.assert_allclose(found, slope, rtol=1e-4)


def test_it_finds_what_deformed_the_image_and_nothing_where_nothing_did(images):
    fixed, moving, true = images
    inside = np.asarray(fixed)[..., 0] != 0
    found = compiled(CFG)(fixed, moving)
    before = np.linalg.norm(true, axis=-1)[inside].mean()
    assert np.linalg.norm(found.displacement - true, axis=-1)[inside].mean() < 0.65 * before
    alike = [
        lncc(fixed, warp(moving, u), window=WINDOW, mask=inside)
        for u in (jnp.zeros_like(true), found.displacement)
    ]
    assert alike[1] < 0.5 * alike[0]
    assert jacobian_determinant(found.displacement).min() > 0
    assert jnp.abs(found.driving_force).max() > 0
    still = compiled(CFG)(fixed, fixed)
    assert jnp.abs(still.displacement).max() < 0.02 * before


def test_two_iterations_are_what_the_formula_says(images):
    fixed, moving, _ = images
    steps = Steps(0.4, 0.7, broad_sigma=2.0, broad=1.5, momentum=0.6, elasticity=0.05)
    how = Comparison((WINDOW,), (steps._replace(diffusion_sigma=0.3),), 0.1, 1.0)
    rng = np.random.default_rng(0)
    start = 6 * gaussian_smooth(jnp.asarray(rng.normal(size=(*SHAPE, 3)), jnp.float32), 2.0)
    found = jax.jit(correlation_demons, static_argnums=4, static_argnames=("iterations", "how"))(
        layer_of(how.steps_at(0)), fixed, moving, start, CFG, iterations=2, how=how
    )
    u, momentum, total = start, 0, 0
    for _ in range(2):
        share = compressible(u, how)
        assert share.min() < 0.5 < share.max()
        pull = share * force(fixed, moving, u)
        bent = [ndimage.laplace(u[..., i], mode="nearest") for i in range(3)]
        momentum = 0.6 * momentum + pull + 0.05 * np.stack(bent, axis=-1)
        step = 0.4 * momentum
        step /= np.sqrt(1 + (step**2).sum(-1, keepdims=True) / CFG.max_step**2)
        velocity = gaussian_smooth(step, 0.7) + 1.5 * gaussian_smooth(step, 2.0)
        u, total = gaussian_smooth(compose(u, velocity), 0.3), total + pull
    np.testing.assert_allclose(found.displacement, u, atol=1e-4)
    np.testing.assert_allclose(found.driving_force, total, atol=1e-3)
    assert jnp.abs(u - start).max() > 0.3


@pytest.mark.parametrize(("volume", "left"), [(1.5, 1.0), (0.12, 1.0), (0.05, 0.5), (-0.04, 0.0)])
def test_the_force_fades_where_tissue_is_compressed(volume, left):
    x = jnp.arange(SHAPE[0], dtype=jnp.float32)[:, None, None, None]
    squeeze = jnp.zeros((*SHAPE, 3)).at[..., :1].add((volume - 1) * x)
    found = compressible(squeeze, comparison(CFG))
    assert found.shape == (*SHAPE, 1)
    np.testing.assert_allclose(found[2:-2, 2:-2, 2:-2], left, atol=1e-5)
    # One fold takes the force from its neighbours, and from nobody else.
    bump = jnp.zeros((*SHAPE, 3)).at[12, 12, 12, 0].set(3.0)
    folded = np.argwhere(np.asarray(jacobian_determinant(bump)) <= 0)
    near = np.abs(np.indices(SHAPE).reshape(3, 1, -1) - folded.T[..., None]).max(0).min(0)
    gone = np.asarray(compressible(bump, comparison(CFG))).reshape(-1)
    assert (gone[near <= 1] == 0).all() and (gone[near > 3] == 1).all()
    # And so does one that ANTs alone would count, in every fourth plane.
    wave = jnp.zeros((*SHAPE, 3)).at[..., 0].set(0.8 * jnp.sin(-jnp.pi / 2 * x[..., 0]))
    assert least_corner_volume(wave).min() > 0.19
    share = np.asarray(compressible(wave, comparison(CFG)))
    assert share[3:6].max() == 0 and share[6].min() == 1 and share[7:10].max() == 0


def test_unlike_images_fold_hardly_anything(images, monkeypatch):
    """Two brains of noise, and hardly any smoothing: each force pulls its own way."""
    fixed, _, _ = images
    noise = [
        jnp.where(fixed != 0, 2 + gaussian_smooth(jax.random.normal(key, fixed.shape), 1.0), 0)
        for key in jax.random.split(jax.random.key(3))
    ]
    rough = {"log_fluid_sigma": jnp.log(0.5), "log_diffusion_sigma": jnp.log(0.1)}
    layer = init_correlation(CFG) | rough

    def folded():
        start = jnp.zeros((*SHAPE, 3))
        found = correlation_demons(layer, *noise, start, CFG, iterations=20).displacement
        assert jacobian_determinant(found).min() > 0
        by = least_corner_volume(found), fourth_order_volume(found)
        return np.array([float((volume < 0).mean()) for volume in by])

    fading = folded()
    monkeypatch.setattr(correlation, "compressible", lambda displacement, how: 1.0)
    assert (fading < 0.1 * folded()).all()


def test_across_contrasts_it_compares_self_similarities_at_half_the_resolution():
    """What is bright in one image is dark in the other."""
    shape = (36, 34, 32)
    place = np.moveaxis(np.indices(shape), 0, -1) - (np.array(shape) - 1) / 2
    inside = ((place / (np.array(shape) / 2 - 4)) ** 2).sum(-1) < 1
    noise = gaussian_smooth(jax.random.normal(jax.random.key(2), (*shape, 1)), 2.5)
    fixed = jnp.where(inside[..., None], 1 + 0.3 * noise / noise.std(), 0)
    rough = jax.random.normal(jax.random.key(3), (*shape, 3))
    velocity = gaussian_smooth(rough, 6.0)
    velocity = 2.5 * velocity / jnp.abs(velocity).max()
    moving = warp(fixed, exponential(velocity))
    other = jnp.where(moving > 0, 0.2 + jnp.exp(-moving), 0)
    true = exponential(-velocity)
    before = np.linalg.norm(true, axis=-1)[inside].mean()
    cfg = dataclasses.replace(CFG, sees="mind", correlation_iterations=(0, 60))
    found = compiled(cfg)(fixed, other)
    assert found.displacement.shape == (*shape, 3)
    assert found.driving_force.shape == (18, 17, 16, 3)
    assert np.linalg.norm(found.displacement - true, axis=-1)[inside].mean() < 0.85 * before


def test_neither_the_scale_of_the_intensities_nor_background_matters(images):
    fixed, moving, _ = images
    inside = np.asarray(fixed)[..., 0] != 0
    reference = compiled(CFG)(fixed, moving).displacement
    scaled = compiled(CFG)(100 * fixed, 0.01 * moving).displacement
    np.testing.assert_allclose(scaled[inside], reference[inside], atol=1e-3)

    def padded(before, after):
        widths = (*((before, after),) * 3, (0, 0))
        found = compiled(CFG)(*(jnp.pad(image, widths) for image in (fixed, moving)))
        kept = tuple(slice(before, -after) for _ in range(3))
        return np.asarray(found.displacement)[kept][inside]

    # Beyond the grid a field to be smoothed is 0: with some margin that is not felt.
    np.testing.assert_allclose(padded(6, 14), padded(6, 6), atol=2e-3)


def test_nothing_pulls_where_the_images_are_not_to_be_compared(images):
    fixed, moving, _ = images
    share = jnp.zeros((*SHAPE, 1)).at[8:16, 8:16, 8:14].set(1.0)
    nothing = jnp.zeros_like(share)
    still = jnp.zeros((*SHAPE, 3))
    masked = force(fixed, moving, still, ignored=Ignored(share, nothing))
    plain = force(fixed, moving, still)
    region = np.asarray(share[..., 0] > 0)
    assert jnp.abs(masked[region]).max() == 0 < jnp.abs(plain[region]).max()
    none = force(fixed, moving, still, ignored=Ignored(nothing, nothing))
    np.testing.assert_allclose(none, plain, atol=1e-5)
    # And what the images show there does not matter.
    scribbled = jnp.where(share > 0, 9.0, fixed)
    again = force(scribbled, moving, still, ignored=Ignored(share, nothing))
    np.testing.assert_allclose(again, masked, atol=1e-3 * float(jnp.abs(masked).max()))


@pytest.mark.parametrize("iterations", [(2,), (0, 2)])
def test_at_every_level_a_region_that_is_ignored_pulls_nothing(iterations, images):
    fixed, moving, _ = images
    share = jnp.zeros((*SHAPE, 1)).at[8:16, 8:16, 8:14].set(1.0)
    cfg = dataclasses.replace(CFG, correlation_iterations=iterations)
    masked = compiled(cfg)(fixed, moving, Ignored(share, jnp.zeros_like(share))).driving_force
    plain = compiled(cfg)(fixed, moving).driving_force
    size = 2 ** (len(iterations) - 1)
    region = np.asarray(share[::size, ::size, ::size, 0] > 0)
    assert jnp.abs(masked[region]).max() == 0 < jnp.abs(plain[region]).max()


def test_more_regularity_is_a_smoother_map(images):
    fixed, moving, _ = images
    params = {"demons": {"correlation_0": init_correlation(CFG)}}
    spreads = []
    for regularity in (0.5, 1.0, 4.0):
        layer = with_regularity(params, regularity)["demons"]["correlation_0"]
        u = compiled(CFG)(fixed, moving, params=layer).displacement
        spreads.append(float(jnp.diff(u, axis=0).std()))
    assert spreads == sorted(spreads, reverse=True) and spreads[2] < 0.7 * spreads[0]


def test_in_the_network_it_comes_last_coarse_to_fine(tiny, params, pair, compiled_register):
    cfg = dataclasses.replace(tiny, correlation_iterations=(3, 2))
    longer = with_correlation(params, cfg)
    plain = compiled_register(params, *pair, tiny)
    found = compiled_register(longer, *pair, cfg)
    assert plain.correlation == ()
    jax.tree.map(np.testing.assert_array_equal, found.levels, plain.levels)
    u = plain.displacement
    for level, result in zip((1, 0), found.correlation, strict=True):
        count = cfg.correlation_iterations[level]
        alone = correlation_demons(
            init_correlation(cfg, level), *pair, u, cfg, iterations=count, level=level
        )
        np.testing.assert_allclose(result.displacement, alone.displacement, atol=1e-4)
        assert jnp.abs(result.displacement - u).max() > 0.01
        sizes = tuple(-(-n // 2**level) for n in pair[0].shape[:3])
        assert result.driving_force.shape == (*sizes, 3)
        u = result.displacement
    np.testing.assert_array_equal(found.displacement, u)
    widths = network_smoothing(longer, cfg)
    assert [(w.level, w.iterations) for w in widths[-2:]] == [(1, 2), (0, 3)]
    assert with_correlation(longer, tiny)["demons"].keys() == params["demons"].keys()


@pytest.mark.slow
def test_it_can_be_trained_through(tiny, params, pair):
    cfg = dataclasses.replace(tiny, correlation_iterations=(2,))
    start = jnp.zeros((*pair[0].shape[:3], 3))

    @jax.jit
    def loss(layer):
        return jnp.sum(correlation_demons(layer, *pair, start, cfg, iterations=2).displacement ** 2)

    layer = init_correlation(CFG)
    gradient = jax.jit(jax.grad(loss))(layer)
    for name, slope in gradient.items():
        up, down = (loss({**layer, name: layer[name] + h}) for h in (1e-2, -1e-2))
        # The force jumps where a point passes from voxel to voxel, which a derivative does not see.
        np.testing.assert_allclose(slope, (up - down) / 2e-2, rtol=0.2)


def test_fewer_than_no_iterations():
    with pytest.raises(InputError, match=r"correlation_iterations is \[3, -1\]: none below 0"):
        ModelConfig(correlation_iterations=(3, -1))
