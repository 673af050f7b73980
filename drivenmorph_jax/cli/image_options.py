"""The two images and their masks, for the commands that take a pair."""

from pathlib import Path
from typing import Any


def add_image_options(parser: Any) -> None:
    """FIXED, MOVING, and a mask for each."""
    parser.add_argument("fixed", type=Path, metavar="FIXED", help="image that stays")
    parser.add_argument("moving", type=Path, metavar="MOVING", help="image that is moved onto it")
    parser.add_argument(
        "--fixed-mask",
        type=Path,
        metavar="FILE",
        help="mask of the fixed image's brain, on its grid: what is outside becomes 0",
    )
    parser.add_argument(
        "--moving-mask", type=Path, metavar="FILE", help="mask of the moving image's brain"
    )
