"""Vector images that ITK and Slicer load as vectors, with their meaning in the header."""

import os

from jaxtyping import Float
from numpy import ndarray

from drivenmorph_jax.images.displacement_files import field_image, save_field
from drivenmorph_jax.images.geometry import to_lps
from drivenmorph_jax.images.itk import VECTOR_INTENT

_LONGEST_NAME, _LONGEST_DESCRIPTION = 15, 79


def write_vectors(
    path: str | os.PathLike[str],
    vectors: Float[ndarray, "x y z 3"],
    affine: Float[ndarray, "4 4"],
    *,
    name: str,
    description: str,
) -> None:
    """Write NIfTI (X, Y, Z, 1, 3), float32, intent 1007, components in LPS as ITK counts them.

    Args:
        path: a .nii or .nii.gz file; it appears whole or not at all.
        vectors: (X, Y, Z, 3), RAS components.
        affine: (4, 4), voxels to RAS mm.
        name: of the quantity, to the header's intent_name (15 characters).
        description: what it is, with its units, to the header's descrip (79 characters).

    Raises:
        InputError: the affine is sheared, or the file cannot be written.
        ValueError: name or description do not fit, or a vector is not finite.
    """
    if len(name) > _LONGEST_NAME or len(description) > _LONGEST_DESCRIPTION:
        raise ValueError(f"a header has no room for {name!r}, {description!r}")
    image = field_image(
        path,
        to_lps(vectors)[:, :, :, None, :],
        affine,
        code=VECTOR_INTENT,
        name=name,
        description=description,
    )
    save_field(path, image)
