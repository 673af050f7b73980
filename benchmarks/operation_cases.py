"""The operations that are timed, each with what else does the same."""

import functools
import importlib.util
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.ndimage import map_coordinates
from scipy import ndimage

from drivenmorph_jax.cli.terminal import say
from drivenmorph_jax.model.attention import local_cross_attention
from drivenmorph_jax.spatial.convolution import convolve
from drivenmorph_jax.spatial.filters import box_mean, gaussian_smooth
from drivenmorph_jax.spatial.sampling import identity_grid, warp

Shape = tuple[int, int, int]
OPERATIONS = ("convolution", "warp", "box", "gaussian", "attention")
SIGMA, WINDOW = 1.0, 7


class Operation(NamedTuple):
    """One operation and what else does the same.

    Attributes:
      name: of the row; the PyTorch script knows it by the same.
      ours: of arrays, for JAX.
      arrays: that it is given, and is differentiated by.
      others: by name, of the same arrays, for JAX.
      outside: by name, other libraries' runs, forward only.
    """

    name: str
    ours: Callable[..., Any]
    arrays: tuple[jax.Array, ...]
    others: dict[str, Callable[..., Any]]
    outside: dict[str, Callable[[], Any]]


def make_operations(shape: Shape, only: Sequence[str] = OPERATIONS) -> Iterator[Operation]:
    """Those of the names, at the sizes that the levels of a network on this grid have."""
    half: Shape = (shape[0] // 2, shape[1] // 2, shape[2] // 2)
    quarter: Shape = (shape[0] // 4, shape[1] // 4, shape[2] // 4)
    if "convolution" in only:
        for size, width in ((shape, 16), (half, 32), (quarter, 48)):
            yield convolution(size, width)
    if "warp" in only:
        yield warping(shape, 1)
        yield warping(half, 13)
    if "box" in only:
        yield box(shape)
    if "gaussian" in only:
        yield gaussian(shape)
    if "attention" in only:
        yield attention(quarter)


def convolution(shape: Shape, width: int) -> Operation:
    return Operation(
        f"convolution 3³ {width}→{width}, {by(shape)}",
        convolve,
        (normal(1, *shape, width), normal(3, 3, 3, width, width)),
        {"XLA's own": native},
        {},
    )


def native(image: jax.Array, kernel: jax.Array) -> jax.Array:
    numbers = ("NDHWC", "DHWIO", "NDHWC")
    return lax.conv_general_dilated(image, kernel, (1, 1, 1), "SAME", dimension_numbers=numbers)


def warping(shape: Shape, channels: int) -> Operation:
    image, displacement = normal(*shape, channels), 2 * normal(*shape, 3)

    def mapped(image: jax.Array, displacement: jax.Array) -> jax.Array:
        points = jnp.moveaxis(identity_grid(shape) + displacement, -1, 0)
        one = functools.partial(map_coordinates, order=1)
        return jax.vmap(one, in_axes=(-1, None), out_axes=-1)(image, points)

    host, moved = np.asarray(image), np.asarray(identity_grid(shape) + displacement)
    points = np.moveaxis(moved, -1, 0)

    def by_scipy() -> list[Any]:
        return [ndimage.map_coordinates(host[..., c], points, order=1) for c in range(channels)]

    outside: dict[str, Callable[[], Any]] = {"SciPy map_coordinates": by_scipy}
    if sitk := simple_itk():
        outside["SimpleITK resampling"] = itk_warp(sitk, host, np.asarray(displacement))
    return Operation(
        f"warp of {channels} channel(s), {by(shape)}",
        warp,
        (image, displacement),
        {"jax.scipy map_coordinates": mapped},
        outside,
    )


def itk_warp(sitk: Any, image: np.ndarray, displacement: np.ndarray) -> Callable[[], Any]:
    # Its arrays run z, y, x and its vectors x, y, z; units do not matter to the time.
    vector = image.shape[-1] > 1
    picture = sitk.GetImageFromArray(image if vector else image[..., 0], isVector=vector)
    field = sitk.GetImageFromArray(displacement[..., ::-1].astype(np.float64), isVector=True)
    transform = sitk.DisplacementFieldTransform(field)
    return lambda: sitk.Resample(picture, transform, sitk.sitkLinear, 0.0)


def box(shape: Shape) -> Operation:
    image = normal(*shape, 5)
    host = np.asarray(image)

    def direct(image: jax.Array) -> jax.Array:
        window = (*[WINDOW] * 3, 1)
        zero = np.zeros((), np.float32)
        return lax.reduce_window(image, zero, lax.add, window, (1,) * 4, "SAME") / WINDOW**3

    return Operation(
        f"box mean {WINDOW}³ of 5 channels, {by(shape)}",
        lambda image: box_mean(image, WINDOW),
        (image,),
        {"one 3-D window": direct},
        {"SciPy uniform_filter": lambda: ndimage.uniform_filter(host, (*[WINDOW] * 3, 0))},
    )


def gaussian(shape: Shape) -> Operation:
    field = normal(*shape, 3)
    host = np.asarray(field)

    def taps(field: jax.Array) -> jax.Array:
        reach = np.arange(-4, 5)
        weights = np.exp(-0.5 * (reach / SIGMA) ** 2)
        weights = (weights / weights.sum()).astype(np.float32)
        for axis in range(3):
            padding = [(4, 4) if n == axis else (0, 0) for n in range(4)]
            padded, size = jnp.pad(field, padding), field.shape[axis]
            field = sum(
                weight * lax.slice_in_dim(padded, n, n + size, axis=axis)
                for n, weight in enumerate(weights)
            )
        return field

    outside: dict[str, Callable[[], Any]] = {
        "SciPy gaussian_filter": lambda: ndimage.gaussian_filter(host, (*[SIGMA] * 3, 0))
    }
    if sitk := simple_itk():
        image = sitk.GetImageFromArray(host, isVector=True)
        outside["SimpleITK recursive Gaussian"] = lambda: sitk.SmoothingRecursiveGaussian(
            image, [SIGMA] * 3
        )
    return Operation(
        f"Gaussian σ = {SIGMA:g} of a field, {by(shape)}",
        lambda field: gaussian_smooth(field, SIGMA),
        (field,),
        {"nine shifted slices an axis": taps},
        outside,
    )


def attention(shape: Shape) -> Operation:
    params = {"log_temperature": jnp.asarray(-1.0), "bias": jnp.zeros(14)}
    queries = [normal(*shape, 8, seed=n) for n in range(2)]
    queries = [q / jnp.linalg.norm(q, axis=-1, keepdims=True) for q in queries]
    values = [normal(*shape, 4, seed=n) for n in range(2, 4)]
    return Operation(
        f"cross-attention 3³, 8 + 4 channels, {by(shape)}",
        lambda *arrays: local_cross_attention(params, *arrays),
        (*queries, *values),
        {"all 27 shifts stacked": stacked_attention},
        {},
    )


def stacked_attention(query_fixed, query_moving, value_fixed, value_moving) -> Any:
    """The same sums, with every shifted copy in memory at once."""

    def attend(query, key, value):
        packed = jnp.pad(jnp.concatenate([key, value], -1), ((1, 1), (1, 1), (1, 1), (0, 0)))
        d, h, w = query.shape[:3]
        offsets = list(itertools.product(range(3), repeat=3))
        window = jnp.stack([packed[i : i + d, j : j + h, k : k + w] for i, j, k in offsets])
        logits = (query[None] * window[..., :8]).sum(-1) / (0.03 + jnp.exp(-1.0))
        weights = jax.nn.softmax(logits, axis=0)
        steps = jnp.asarray(offsets, jnp.float32) - 1
        return jnp.einsum("odhw,ox->dhwx", weights, steps), (
            weights[..., None] * window[..., 8:]
        ).sum(0)

    one = attend(query_fixed, query_moving, value_moving)
    other = attend(query_moving, query_fixed, value_fixed)
    return 0.5 * (one[0] - other[0]), one[1], other[1]


@functools.cache
def simple_itk() -> Any:
    if importlib.util.find_spec("SimpleITK") is None:
        say("without SimpleITK: it is not installed")
        return None
    import SimpleITK

    return SimpleITK


def normal(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32))


def by(shape: Shape) -> str:
    return "×".join(map(str, shape))
