"""Registration of arrays with affines, as one pure function: under jit, vmap and grad."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from drivenmorph_jax.alignment import Similarity, align
from drivenmorph_jax.images.brain_on_grid import LEAST_COVERAGE
from drivenmorph_jax.model import ModelConfig, Params, register, register_finer
from drivenmorph_jax.pipeline.working_space import Shape, Spacing
from drivenmorph_jax.spatial.affine import transform_points
from drivenmorph_jax.spatial.filters import FWHM_TO_SIGMA, gaussian_smooth
from drivenmorph_jax.spatial.resize import downsample
from drivenmorph_jax.spatial.sampling import identity_grid
from drivenmorph_jax.spatial.world_map import Linear, WorldMap, from_voxels


class WorkingGrid(NamedTuple):
    """The grid on which the network works; static.

    Attributes:
      shape: voxels along R, A, S; what of the brain lies beyond it is not seen.
      spacing: mm, that of the training.
    """

    shape: Shape = (80, 96, 80)
    spacing: Spacing = (2.0, 2.0, 2.0)


def register_in_world(
    params: Params,
    fixed: Float[Array, "x y z"],
    moving: Float[Array, "u v w"],
    fixed_affine: Float[Array, "4 4"],
    moving_affine: Float[Array, "4 4"],
    cfg: ModelConfig,
    *,
    grid: WorkingGrid = WorkingGrid(),
    matrix: Float[Array, "4 4"] | None = None,
    similarity: Similarity = "mi",
    finer: bool = False,
) -> WorldMap:
    """Affine and deformation from the fixed to the moving world, of any orientation and spacing.

    What `drivenmorph register` does to two files, without the checks: the affine search, both
    images on the working grid, the network. Differentiable in the parameters and in both images
    (through the affine's optimum as well), not in the images' affines.

    Args:
      params, cfg: of the network.
      fixed, moving: brain-extracted, background exactly 0, any intensity scale.
      fixed_affine, moving_affine: voxels to RAS mm.
      grid: the working grid.
      matrix: the affine, fixed world to moving world, in place of a search.
      similarity: of that search: "mi" for any contrasts, "ncc" for one.
      finer: go on at half the spacing of the working grid (`register_finer`), as the command does
        where both images are that fine.

    Raises:
      ValueError: `finer`, with a network that does not go on there.
    """
    if matrix is None:
        matrix = align(fixed, moving, fixed_affine, moving_affine, similarity=similarity).matrix
    if finer:
        grid = _halved(grid)
    working = _around_brain(fixed, fixed_affine, grid)
    pair = (
        _on_grid(fixed, fixed_affine, jnp.eye(4), grid, working),
        _on_grid(moving, moving_affine, matrix, grid, working),
    )
    if finer:
        half = register(params, downsample(pair[0]), downsample(pair[1]), cfg).displacement
        displacement = register_finer(params, *pair, half, cfg).displacement
    else:
        displacement = register(params, *pair, cfg).displacement
    return WorldMap((from_voxels(displacement, working), Linear(matrix)))


def _halved(grid: WorkingGrid) -> WorkingGrid:
    """The same place in twice as many voxels an axis."""
    (x, y, z), (a, b, c) = grid.shape, grid.spacing
    return WorkingGrid((2 * x, 2 * y, 2 * z), (a / 2, b / 2, c / 2))


def _around_brain(image, affine, grid: WorkingGrid) -> Float[Array, "4 4"]:
    """Affine of the working grid: along R, A, S, centred on the brain's box.

    It coincides with the image's own voxels where these lie so, counted from the corner that is
    most to the left, posterior and inferior.
    """
    inside = (image != 0)[..., None]
    world = transform_points(affine, identity_grid(image.shape, affine.dtype))
    low = jnp.where(inside, world, jnp.inf).min((0, 1, 2))
    high = jnp.where(inside, world, -jnp.inf).max((0, 1, 2))
    spacing = jnp.asarray(grid.spacing, affine.dtype)
    first = (low + high) / 2 - spacing * (jnp.asarray(grid.shape) - 1) / 2
    main = jnp.abs(affine[:3, :3]).argmax(0)
    backwards = affine[main, jnp.arange(3)] < 0
    corner = jnp.where(backwards, jnp.asarray(image.shape) - 1, 0).astype(affine.dtype)
    anchor = transform_points(affine, corner)
    first = anchor + spacing * jnp.round((first - anchor) / spacing)
    return jnp.eye(4, dtype=affine.dtype).at[:3, :3].set(jnp.diag(spacing)).at[:3, 3].set(first)


def _on_grid(image, affine, matrix, grid: WorkingGrid, working) -> Float[Array, "d h w 1"]:
    """An image on the working grid, blurred as its voxels would be there; background exactly 0."""
    voxel = jnp.linalg.norm(affine[:3, :3], axis=0)
    blur = jnp.sqrt(jnp.maximum(max(grid.spacing) ** 2 - voxel**2, 0)) * FWHM_TO_SIGMA / voxel
    brain = lax.stop_gradient((image != 0).astype(image.dtype))
    both = gaussian_smooth(jnp.stack([image, brain], axis=-1), blur)
    pulled = WorldMap((Linear(matrix),)).pull_back(both, affine, grid.shape, working)
    present = lax.stop_gradient(pulled[..., 1:] >= LEAST_COVERAGE)
    return jnp.where(present, jnp.maximum(pulled[..., :1], 0), 0)
