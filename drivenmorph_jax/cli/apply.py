"""drivenmorph apply: images, label maps and points through a transform, or a chain of them."""

import argparse
import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drivenmorph_jax.cli.terminal import say
from drivenmorph_jax.cli.transform_options import (
    ORDER,
    add_command,
    add_images,
    check_outputs,
    read_chain,
    read_grid,
)
from drivenmorph_jax.errors import InputError

if TYPE_CHECKING:
    from drivenmorph_jax.images import Transform

_DESCRIPTION = f"""\
Bring images and label maps of the moving image onto the fixed image's grid, or
take points of the fixed image to the moving one (a warp pulls: points go against
the images). --inverse goes the other way: images from the fixed onto the moving
grid, points from the moving to the fixed image.

  drivenmorph apply T2.nii.gz --labels SEG.nii.gz --transforms OUT/warp.nii.gz \\
      --reference FIXED.nii.gz --output MOVED

Several files are written all or none.

Points: a CSV file with columns x,y,z in RAS mm; further columns are kept.
(ANTs' CSV files are in LPS: change the signs of x and y.)

{ORDER}"""
_LARGE_RESIDUAL = 0.1


def add(commands: Any) -> None:
    parser = add_command(
        commands,
        "apply",
        run,
        help="carry images, labels and points through transforms",
        description=_DESCRIPTION,
    )
    parser.add_argument("images", type=Path, nargs="*", metavar="IMAGE", help="images to move")
    parser.add_argument(
        "--transforms", type=Path, nargs="+", required=True, metavar="FILE", help="in this order"
    )
    parser.add_argument(
        "--labels", type=Path, nargs="+", default=[], metavar="FILE", help="label maps (nearest)"
    )
    parser.add_argument(
        "--points", type=Path, nargs="+", default=[], metavar="CSV", help="points, RAS mm"
    )
    parser.add_argument(
        "--reference",
        type=Path,
        metavar="FILE",
        help="image on whose grid to write: the fixed one (with --inverse the moving one)",
    )
    parser.add_argument(
        "--interpolation",
        choices=("linear", "cubic"),
        default="linear",
        help="of images (default linear); label maps always take the nearest voxel",
    )
    parser.add_argument("--inverse", action="store_true", help="the inverse of the whole chain")
    add_images(parser)
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="PATH",
        help="a file (.nii, .nii.gz, .csv) for one input; else a folder, where names are kept",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")


def run(options: argparse.Namespace, _: str) -> int:
    from drivenmorph_jax.images import load_labels, load_volume, save_volume
    from drivenmorph_jax.images.points import load_points, save_points
    from drivenmorph_jax.writing import write_all_or_none

    volumes = [*options.images, *options.labels]
    inputs = [*volumes, *options.points]
    outputs = dict(zip(inputs, _outputs(inputs, options), strict=True))
    reference = read_grid(options.reference)
    if volumes and reference is None:
        raise InputError("images need --reference, the image on whose grid to write them")
    chain = read_chain(options.transforms, options)

    # Read everything before anything is written.
    images = [(path, load_volume(path)) for path in options.images]
    labels = [(path, load_labels(path)) for path in options.labels]
    tables = [(path, load_points(path)) for path in options.points]
    order = 3 if options.interpolation == "cubic" else 1
    writers: dict[Path, Callable[[Path], None]] = {}
    if volumes and reference is not None:
        towards = _inverse(chain, reference) if options.inverse else chain
        for given, kind in ((images, order), (labels, 0)):
            for path, volume in given:
                warp = partial(towards.warp, volume, reference, order=kind)
                writers[outputs[path]] = lambda place, warp=warp: save_volume(place, warp())
    for path, table in tables:
        moved = table._replace(points=_moved(chain, table.points, options))
        writers[outputs[path]] = partial(save_points, table=moved)
    with _folder(options.output if options.output not in writers else None):
        write_all_or_none(writers)
    for path in outputs.values():
        say(f"written to {path}")
    return 0


def _outputs(inputs: list[Path], options: argparse.Namespace) -> list[Path]:
    """The file of each input."""
    from drivenmorph_jax.images.volume import nifti_name

    if not inputs:
        raise InputError("nothing to apply to: give images, --labels or --points")
    if options.output.name.lower().endswith((".nii", ".nii.gz", ".csv")):
        if len(inputs) > 1:
            raise InputError(
                f"output {options.output}: is one file for {len(inputs)} inputs: give a folder"
            )
        outputs = [options.output]
    else:
        outputs = [options.output / nifti_name(path) for path in inputs]
    for path, output in zip(inputs, outputs, strict=True):
        if (path in options.points) != (output.suffix.lower() == ".csv"):
            raise InputError(
                f"output {output}: images become .nii.gz, points .csv: change its name"
            )
        if output.exists() and path.exists() and output.samefile(path):
            raise InputError(f"output {output}: is the input itself: choose another place")
    check_outputs(outputs, overwrite=options.overwrite)
    return outputs


@contextlib.contextmanager
def _folder(path: Path | None) -> Iterator[None]:
    """The folder, made for what is inside; gone again if that fails."""
    made = [] if path is None else [p for p in (path, *path.parents) if not p.exists()]
    try:
        for folder in reversed(made):
            folder.mkdir()
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"output {path}: cannot be made ({reason}): choose another") from error
    try:
        yield
    except BaseException:
        for folder in made:
            folder.rmdir()
        raise


def _inverse(chain: "Transform", reference) -> "Transform":
    from drivenmorph_jax.images import invert_transform

    return invert_transform(chain, reference).transform


def _moved(chain: "Transform", points, options: argparse.Namespace):
    from drivenmorph_jax.images import invert_points

    if not options.inverse:
        return chain(points)
    found = invert_points(chain, points)
    lost = int((found.residual > _LARGE_RESIDUAL).sum())
    if lost:
        say(
            f"warning: {lost} of {len(points)} points have no exact inverse (the largest is off by "
            f"{found.residual.max():.2f} mm): the transform folds there, or never leads there"
        )
    return found.points
