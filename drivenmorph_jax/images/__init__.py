"""Images with geometry: NIfTI and MGH files, grids, world-space transforms, ITK's formats."""

from drivenmorph_jax.images.itk import (
    read_itk_affine,
    read_itk_displacement,
    write_itk_affine,
    write_itk_displacement,
)
from drivenmorph_jax.images.orientation import canonical, like
from drivenmorph_jax.images.resample import Grid, resample, working_grid
from drivenmorph_jax.images.volume import Volume, load_labels, load_volume, save_volume
from drivenmorph_jax.images.world import transform_points, warp_volume, world_displacement

__all__ = [
    "Grid",
    "Volume",
    "canonical",
    "like",
    "load_labels",
    "load_volume",
    "read_itk_affine",
    "read_itk_displacement",
    "resample",
    "save_volume",
    "transform_points",
    "warp_volume",
    "working_grid",
    "world_displacement",
    "write_itk_affine",
    "write_itk_displacement",
]
