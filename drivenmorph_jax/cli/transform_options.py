"""Options that the commands on transforms share, and what they mean."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drivenmorph_jax.errors import InputError

if TYPE_CHECKING:
    from drivenmorph_jax.images import Grid, Transform

ORDER = """\
Order: a point of the fixed image goes through the first transform first, and the
last leads into the moving image, as with antsApplyTransforms -t: for an ANTs pair
give Warp.nii.gz, then GenericAffine.mat. An image is interpolated once.
"""
FILES = """\
Transforms: .nii.gz (field of ITK, FSL or FreeSurfer; the header tells which),
.h5 (ITK composite), .mat (ITK or FSL), .tfm and .txt (ITK), .lta (FreeSurfer).
FSL's files do not say between which images they lead: give --fixed and --moving.
"""
_FORMATS = ("itk", "fsl", "freesurfer", "h5")


def add_command(commands: Any, name: str, run: Any, *, help: str, description: str) -> Any:
    """A command whose description keeps its lines."""
    parser = commands.add_parser(
        name,
        help=help,
        description=f"{description}\n{FILES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def add_images(parser: Any) -> None:
    """The images that a transform leads between, for formats that depend on them."""
    parser.add_argument("--fixed", type=Path, metavar="FILE", help="fixed image of FSL's files")
    parser.add_argument(
        "--moving", type=Path, metavar="FILE", help="moving image of FSL's and FreeSurfer's files"
    )


def add_reference(parser: Any, *, help: str) -> None:
    """The image on whose voxels the result lies."""
    parser.add_argument("--reference", type=Path, metavar="FILE", help=help)


def add_output(parser: Any, *, help: str) -> None:
    """Where to write, and whether over something."""
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help=help)
    parser.add_argument("--overwrite", action="store_true", help="replace a file that exists")


def add_format(parser: Any) -> None:
    """In which format to write a transform."""
    parser.add_argument(
        "--format",
        choices=_FORMATS,
        help="of the output (default: by its ending; .nii.gz and .mat are ITK's)",
    )


def read_grid(path: Path | None) -> "Grid | None":
    """Where an image's voxels lie; its content does not matter."""
    from drivenmorph_jax.images import Grid
    from drivenmorph_jax.images.volume import load_geometry

    return None if path is None else Grid(*load_geometry(path))


def read_chain(paths: Sequence[Path], options: argparse.Namespace) -> "Transform":
    """The transforms, one after another in their order."""
    from drivenmorph_jax.images import Transform, read_transform

    fixed, moving = read_grid(options.fixed), read_grid(options.moving)
    chain = Transform()
    for path in paths:
        chain = chain.then(read_transform(path, fixed=fixed, moving=moving))
    return chain


def check_outputs(paths: Sequence[Path], *, overwrite: bool) -> None:
    """Ask before any work whether the files may be written.

    Raises:
        InputError: one exists and may not be replaced, is a folder, or two are the same.
    """
    for path in paths:
        if path.is_dir():
            raise InputError(f"output {path}: is a folder: give a file")
        if path.exists() and not overwrite:
            raise InputError(f"output {path}: exists: choose another, or add --overwrite")
    twice = {path for path in paths if list(paths).count(path) > 1}
    if twice:
        raise InputError(f"output {min(twice)}: would be written twice: rename one of the inputs")
