"""Images of any contrast, synthesised from label maps: what a contrast-agnostic network learns on.

Every structure gets a random intensity, and the image the faults of a scanner and of a brain
extraction, as in SynthSeg (Billot et al., MedIA 2023) and SynthMorph (Hoffmann et al., IEEE TMI
2022), whose ranges the defaults follow at 2 mm. What labels do not tell, the folds inside a
structure, some of the images have from the subject's own one, through a random curve. All is a pure
function of a key, under `jit`.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from drivenmorph_jax.data.labels import LabelTable
from drivenmorph_jax.errors import InputError
from drivenmorph_jax.spatial.fields import exponential
from drivenmorph_jax.spatial.filters import FWHM_TO_SIGMA, gaussian_smooth
from drivenmorph_jax.spatial.resize import resize_displacement, resize_image
from drivenmorph_jax.spatial.sampling import warp
from drivenmorph_jax.spatial.split import multiply_axis

FLUID = 24
"""FreeSurfer's number of the fluid around the brain, of which a brain extraction keeps some."""

LARGEST_LABEL = 255

_FLOOR = 0.02
_CORE_BLUR = 2.0
_KNOTS = 6  # of a curve of intensity, which may rise and fall
_SQUARINGS = 5


@dataclasses.dataclass(frozen=True)
class SynthesisConfig:
    """Ranges of what is random about an image; lengths in voxels, intensities of a range of 1.

    Attributes:
      enabled: train on images synthesised from both subjects' label maps, not on theirs.
      mean: least and largest mean of a structure; both sides of the brain share it. SynthSeg draws
        25 to 225, of 255.
      deviation: least and largest standard deviation inside a structure; SynthSeg: 5 to 25 at 1 mm,
        less here because a voxel of 2 mm is the mean of eight.
      bias: largest standard deviation of the logarithm of the intensity bias, drawn on 4³ nodes;
        SynthSeg 0.5, SynthMorph 0.3.
      texture: share of the images that show the subject's own image through a random curve of
        intensity, with a random shift of each structure, and not structures alone.
      shift: largest such shift.
      gamma: standard deviation of the logarithm of the exponent; SynthSeg 0.5, SynthMorph 0.25.
      blur: largest isotropic resolution; SynthSeg 4 mm.
      thickness: largest slice thickness, along one axis, of half of the images; SynthSeg 8 mm.
      noise: largest standard deviation of the noise that is added last.
      strip: largest share of what may go wrong at the brain's surface: how much fluid is left,
        and how deep the brain is cut; 0 leaves what the labels cover.
      deformation: largest standard deviation of the velocity on its nodes; SynthMorph 3 mm.
      deformation_nodes: distance of the velocity's nodes; SynthSeg 25 mm.
    """

    enabled: bool = False
    mean: tuple[float, float] = (0.1, 0.9)
    deviation: tuple[float, float] = (0.01, 0.05)
    texture: float = 0.0
    shift: float = 0.1
    bias: float = 0.5
    gamma: float = 0.4
    blur: float = 2.0
    thickness: float = 4.0
    noise: float = 0.03
    strip: float = 0.4
    deformation: float = 1.5
    deformation_nodes: int = 12

    def __post_init__(self) -> None:
        for name in ("mean", "deviation"):
            low, high = getattr(self, name)
            if not 0 <= low <= high <= 1:
                raise InputError(f"training.synthesis.{name} is [{low}, {high}]: within 0 to 1")
        for name in (
            "texture",
            "shift",
            "bias",
            "gamma",
            "blur",
            "thickness",
            "noise",
            "strip",
            "deformation",
        ):
            if not getattr(self, name) >= 0:
                raise InputError(f"training.synthesis.{name} is {getattr(self, name)}: 0 or more")
        if self.texture > 1:
            raise InputError(f"training.synthesis.texture is {self.texture}: a share, at most 1")
        if self.strip >= 0.5:
            raise InputError(f"training.synthesis.strip is {self.strip}: below 0.5")
        if self.deformation_nodes < 2:
            raise InputError(
                f"training.synthesis.deformation_nodes is {self.deformation_nodes}: at least 2"
            )


def intensity_classes(table: LabelTable | None) -> Int[np.ndarray, " n"]:
    """Of each label value the one whose intensity it has: both sides of a structure have one.

    Raises:
      InputError: the labels are not numbered as FreeSurfer's, which tell what is fluid.
    """
    classes = np.arange(LARGEST_LABEL + 1)
    if table is None:
        return classes
    for value, name in zip(table.values, table.names, strict=True):
        if value > LARGEST_LABEL or (value == FLUID and "csf" not in name.lower()):
            raise InputError(
                f"training.synthesis: label {value} is {name!r}, but of FreeSurfer's numbers "
                f"{FLUID} is CSF and {LARGEST_LABEL} the largest: renumber the label maps, or set "
                "training.synthesis.enabled to false"
            )
    classes[list(table.values)] = table.structures
    return classes


class Synthesised(NamedTuple):
    """An image of a label map, and what it was made of, deformed alike.

    Attributes:
      image: (D, H, W, 1), brain-extracted: background exactly 0, brain above it up to 1.
      labels: (D, H, W); brain that had no label is FLUID.
      original: (D, H, W, 1), the subject's own image.
    """

    image: Float[Array, "d h w 1"]
    labels: Int[Array, "d h w"]
    original: Float[Array, "d h w 1"]


def synthesise(
    key: PRNGKeyArray,
    labels: Int[Array, "d h w"],
    original: Float[Array, "d h w 1"],
    cfg: SynthesisConfig,
    classes: Int[np.ndarray, " n"],
) -> Synthesised:
    """An image of a label map.

    Args:
      key: decides everything.
      labels: 0 to LARGEST_LABEL, 0 in the background.
      original: the subject's own image, 0 in the background and about 1 where brightest.
      cfg: the ranges.
      classes: from `intensity_classes`.
    """
    keys = iter(jax.random.split(key, 8))
    labels = jnp.where((labels == 0) & (original[..., 0] > 0), FLUID, labels)
    labels, original = _deform(next(keys), labels, original, cfg)
    image = _paint(next(keys), labels, original[..., 0], cfg, classes)
    image = image * jnp.exp(_smooth_noise(next(keys), labels.shape, 4, cfg.bias))
    image = _to_unit_range(image)
    image = image ** jnp.exp(cfg.gamma * jax.random.normal(next(keys)))
    image = _acquire(next(keys), image, cfg)
    spread = jax.random.uniform(next(keys), maxval=cfg.noise)
    image = image + spread * jax.random.normal(next(keys), image.shape)
    brain = _strip(next(keys), labels, cfg)
    image = jnp.where(brain, jnp.clip(image, _FLOOR, 1.0), 0.0)[..., None]
    return Synthesised(image, labels, original)


def synthesise_pair(
    key: PRNGKeyArray,
    example: dict[str, Array],
    cfg: SynthesisConfig,
    classes: Int[np.ndarray, " n"],
) -> dict[str, Array]:
    """An example whose images are synthesised from its subjects, each by a key of its own.

    The subjects' own images stay as `fixed_original` and `moving_original`: of one contrast, they
    can be compared.
    """
    result = dict(example)
    for name, own in zip(("fixed", "moving"), jax.random.split(key), strict=True):
        made = synthesise(own, example[f"{name}_labels"], example[name], cfg, classes)
        result[name], result[f"{name}_labels"], result[f"{name}_original"] = made
    return result


def _deform(key, labels, original, cfg: SynthesisConfig):
    """A random diffeomorphism, worked out at half the resolution, where it is smooth."""
    if not cfg.deformation:
        return labels, original
    size_key, field_key = jax.random.split(key)
    half = tuple(-(-n // 2) for n in labels.shape)
    nodes = tuple(max(2, round(n / cfg.deformation_nodes)) for n in labels.shape)
    size = jax.random.uniform(size_key, maxval=cfg.deformation)
    velocity = resize_image(0.5 * size * jax.random.normal(field_key, (*nodes, 3)), half)
    displacement = exponential(velocity, squarings=_SQUARINGS)
    displacement = resize_displacement(displacement, labels.shape, factor=2.0)
    labels = warp(labels[..., None], displacement, order=0)
    return labels[..., 0], jnp.where(labels > 0, warp(original, displacement), 0)


def _paint(key, labels, original, cfg: SynthesisConfig, classes):
    """Each structure in its own intensity, the background too: a scanner sees a whole head."""
    keys = jax.random.split(key, 6)
    means, deviations = (
        jax.random.uniform(one, (len(classes),), minval=low, maxval=high)[classes]
        for one, (low, high) in zip(keys, (cfg.mean, cfg.deviation), strict=False)
    )
    noise = deviations[labels] * jax.random.normal(keys[2], labels.shape)
    if not cfg.texture:
        return means[labels] + noise
    low, high = cfg.mean
    curve = jax.random.uniform(keys[3], (_KNOTS,), minval=low, maxval=high)
    shifts = jax.random.uniform(keys[4], (len(classes),), minval=-1) * cfg.shift
    seen = jnp.interp(original, jnp.linspace(0, 1, _KNOTS), curve) + shifts[classes][labels]
    shown = jax.random.bernoulli(keys[5], cfg.texture)
    return jnp.where(shown, seen, means[labels]) + noise


def _smooth_noise(key, shape: Sequence[int], nodes: int, largest: float):
    """Normal on a few nodes, linear between them; its size is uniform up to the largest."""
    size_key, field_key = jax.random.split(key)
    size = jax.random.uniform(size_key, maxval=largest)
    return resize_image(size * jax.random.normal(field_key, (nodes,) * 3 + (1,)), shape)[..., 0]


def _to_unit_range(image):
    low, high = image.min(), image.max()
    return jnp.clip((image - low) / jnp.maximum(high - low, 1e-6), 1e-4, 1)


def _acquire(key, image, cfg: SynthesisConfig):
    """Blurred to a random resolution; half of the images in slices along a random axis."""
    keys = jax.random.split(key, 4)
    widths = jnp.full(3, jax.random.uniform(keys[0], maxval=cfg.blur))
    thick = jax.random.uniform(keys[1], minval=1.0, maxval=max(cfg.thickness, 1.0))
    thick = jnp.where(jax.random.bernoulli(keys[2]), thick, 1.0)
    along = jnp.arange(3) == jax.random.randint(keys[3], (), 0, 3)
    widths = jnp.where(along & (thick > 1), jnp.maximum(widths, thick), widths)
    image = gaussian_smooth(image[..., None], FWHM_TO_SIGMA * widths)
    for axis in range(3):
        matrix = _slices(image.shape[axis], jnp.where(along[axis], thick, 1.0))
        image = multiply_axis(matrix, image, axis)
    return image[..., 0]


def _slices(size: int, step) -> Float[Array, "n n"]:
    """Read linearly at every `step` voxels, and interpolated linearly between these slices."""
    place = jnp.arange(size, dtype=jnp.float32)
    last = jnp.floor((size - 1) / step)
    slices = jnp.minimum(place, last)
    down = jnp.maximum(1 - jnp.abs(slices[:, None] * step - place[None, :]), 0)
    at = jnp.minimum(place / step, last)
    up = jnp.maximum(1 - jnp.abs(at[:, None] - place[None, :]), 0)
    return jnp.where(step > 1, up @ down, jnp.eye(size))


def _strip(key, labels, cfg: SynthesisConfig):
    """What a brain extraction leaves: tissue, less what it cuts off, and some of the fluid.

    A flat surface of tissue, blurred, is 1/2 there: a lower threshold leaves fluid, and where
    smooth noise is added or taken away, more fluid is left or some tissue is cut.
    """
    brain = labels > 0
    if not cfg.strip:
        return brain
    level_key, noise_key = jax.random.split(key)
    tissue = (brain & (labels != FLUID)).astype(jnp.float32)
    core = gaussian_smooth(tissue[..., None], _CORE_BLUR)[..., 0]
    core = core + _smooth_noise(noise_key, labels.shape, 8, 0.3 * cfg.strip)
    return brain & (core > 0.5 - jax.random.uniform(level_key, minval=0.1, maxval=0.1 + cfg.strip))
