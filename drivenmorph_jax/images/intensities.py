"""Which intensities a brain may have, on a background of 0."""

import numpy as np

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.images.volume import Volume

# Interpolation that overshoots leaves faint negative rims; a brain scaled to mean 0 is half below.
_LARGEST_SHARE_BELOW = 0.05


def check_brain_above_zero(volume: Volume, title: str) -> None:
    """Raise InputError unless the intensities of the brain are above 0: what is below is cut off.

    Args:
        volume: 0 outside the brain.
        title: names the file in the message.
    """
    data = volume.data
    if not (data > 0).any():
        raise InputError(f"{title}: no voxel is above 0: shift the intensities of the brain")
    weight_below = -np.minimum(data, 0).sum(dtype=np.float64) / np.abs(data).sum(dtype=np.float64)
    if weight_below > _LARGEST_SHARE_BELOW:
        share = (data < 0).sum() / (data != 0).sum()
        raise InputError(
            f"{title}: {share:.0%} of its brain is below 0, which is background: add a constant "
            "inside the brain, so that all of it is above 0"
        )
