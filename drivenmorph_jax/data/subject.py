"""One brain on the common grid."""

from typing import NamedTuple

from jaxtyping import Float, Integer
from numpy import ndarray


class NativeLabels(NamedTuple):
    """A subject's labels as its file holds them, not resampled.

    Attributes:
      labels: (X, Y, Z) integers on the subject's own voxels, axes right, anterior, superior.
      from_common: (4, 4), a voxel of the common grid to one of these.
    """

    labels: Integer[ndarray, "x y z"]
    from_common: Float[ndarray, "4 4"]


class Subject(NamedTuple):
    """An image, with labels where they exist, on the grid that all subjects of a run share.

    Attributes:
      name: unique among the subjects of a run.
      image: (D, H, W), axes right, anterior, superior; brain > 0, background exactly 0.
      labels: (D, H, W) integers of the data set's own protocol, or None.
      native: the same labels before they were resampled, to score with; None where `labels` are.
    """

    name: str
    image: Float[ndarray, "d h w"]
    labels: Integer[ndarray, "d h w"] | None = None
    native: NativeLabels | None = None
