"""Images with geometry: NIfTI and MGH files, grids, transforms and their files in other tools."""

from drivenmorph_jax.images.freesurfer import (
    read_freesurfer_displacement,
    write_freesurfer_displacement,
)
from drivenmorph_jax.images.fsl import (
    read_fsl_affine,
    read_fsl_displacement,
    write_fsl_affine,
    write_fsl_displacement,
)
from drivenmorph_jax.images.itk import read_itk_displacement, write_itk_displacement
from drivenmorph_jax.images.itk_composite import read_composite, write_composite
from drivenmorph_jax.images.itk_linear import read_itk_affine, write_itk_affine
from drivenmorph_jax.images.lta import read_lta, write_lta
from drivenmorph_jax.images.orientation import canonical, like
from drivenmorph_jax.images.resample import Grid, resample, working_grid
from drivenmorph_jax.images.transform import Affine, Field, Transform
from drivenmorph_jax.images.transform_files import FORMATS, Format, read_transform, write_transform
from drivenmorph_jax.images.transform_inverse import (
    Inverse,
    InversePoints,
    invert_points,
    invert_transform,
)
from drivenmorph_jax.images.volume import Volume, load_labels, load_volume, save_volume
from drivenmorph_jax.images.world import transform_points, warp_volume, world_displacement

__all__ = [
    "FORMATS",
    "Affine",
    "Field",
    "Format",
    "Grid",
    "Inverse",
    "InversePoints",
    "Transform",
    "Volume",
    "canonical",
    "invert_points",
    "invert_transform",
    "like",
    "load_labels",
    "load_volume",
    "read_composite",
    "read_freesurfer_displacement",
    "read_fsl_affine",
    "read_fsl_displacement",
    "read_itk_affine",
    "read_itk_displacement",
    "read_lta",
    "read_transform",
    "resample",
    "save_volume",
    "transform_points",
    "warp_volume",
    "working_grid",
    "world_displacement",
    "write_composite",
    "write_freesurfer_displacement",
    "write_fsl_affine",
    "write_fsl_displacement",
    "write_itk_affine",
    "write_itk_displacement",
    "write_lta",
    "write_transform",
]
