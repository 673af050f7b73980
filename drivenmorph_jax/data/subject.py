"""One brain on the common grid."""

from typing import NamedTuple

from jaxtyping import Float, Integer
from numpy import ndarray


class Subject(NamedTuple):
    """An image, with labels where they exist, on the grid that all subjects of a run share.

    Attributes:
      name: unique among the subjects of a run.
      image: (D, H, W), axes right, anterior, superior; brain > 0, background exactly 0.
      labels: (D, H, W) integers of the data set's own protocol, or None.
    """

    name: str
    image: Float[ndarray, "d h w"]
    labels: Integer[ndarray, "d h w"] | None = None
