"""Is this one brain, and nothing but the brain?

The network has only seen brains on a background of exactly 0. Whole heads register badly without
any sign of it, so they are refused.
"""

import numpy as np

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.images import Volume
from drivenmorph_jax.images.intensities import check_brain_above_zero

# A brain fills about half of even the tightest box.
_LARGEST_SHARE = 0.9
# The largest brains with all their fluid are some 2 litres; a head, its background cut, 3 to 5.
_LARGEST_LITRES = 2.5
_MASK = "or give a mask of the brain (--fixed-mask, --moving-mask)"
_EXTRACT = (
    f"extract the brain first (0 outside it), with HD-BET or SynthStrip for instance, {_MASK}"
)


def check_brain_extracted(volume: Volume, title: str) -> None:
    """Raise InputError unless the background is 0, and what is not may be a brain, above it.

    Args:
        volume: the image.
        title: names the file in the message.
    """
    inside = volume.data != 0
    share = inside.mean()
    if share > _LARGEST_SHARE:
        corners = volume.data[np.ix_(*([0, -1],) * 3)].ravel()
        if (corners == corners[0]).all() and corners[0] != 0:
            raise InputError(
                f"{title}: its background is {corners[0]:g}, not 0: set all voxels outside the "
                f"brain to 0, {_MASK}"
            )
        raise InputError(
            f"{title}: {share:.0%} of its voxels are not 0, so it is no brain on an empty "
            f"background: {_EXTRACT}"
        )
    litres = inside.sum() * abs(np.linalg.det(volume.affine[:3, :3])) / 1e6
    if litres > _LARGEST_LITRES:
        raise InputError(
            f"{title}: {litres:.1f} litres of it are not 0, more than any brain: {_EXTRACT}"
        )
    check_brain_above_zero(volume, title)
