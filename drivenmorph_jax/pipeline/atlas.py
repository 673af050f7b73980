"""Register an image to a template, and bring what is known of the template to the image."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.images import (
    Grid,
    Volume,
    load_labels,
    load_volume,
    read_transform,
    resample,
    save_volume,
)
from drivenmorph_jax.images.volume import load_geometry, nifti_name
from drivenmorph_jax.pipeline.formats import check_formats
from drivenmorph_jax.pipeline.methods import Method
from drivenmorph_jax.pipeline.output_folder import output_folder
from drivenmorph_jax.pipeline.register import register_files
from drivenmorph_jax.pipeline.results import INVERSE_WARP, NAMES, SUBJECT_SPACE
from drivenmorph_jax.pipeline.scans import PathLike
from drivenmorph_jax.pipeline.summary import Summary
from drivenmorph_jax.progress import Say, silent

_NEAREST, _LINEAR = 0, 1


class _Map(NamedTuple):
    name: str
    volume: Volume
    order: int


def register_to_template(
    template: PathLike,
    image: PathLike,
    output: PathLike,
    method: Method,
    *,
    template_mask: PathLike | None = None,
    mask: PathLike | None = None,
    template_labels: Sequence[PathLike] = (),
    template_maps: Sequence[PathLike] = (),
    formats: Sequence[str] = (),
    overwrite: bool = False,
    command: str | None = None,
    say: Say = silent,
) -> Summary:
    """Register an image (moving) to a template (fixed), and bring the template's maps to it.

    Args:
        template, image: as `register_files` takes its fixed and its moving image.
        output: the folder, for all that `register_files` writes and, of the maps, `SUBJECT_SPACE`
            with a file of each one's own name; all or nothing.
        method: `network_method(...)` or `demons_method(...)`.
        template_mask, mask: of the brains.
        template_labels: label maps in the template's world, on any grid (nearest neighbour).
        template_maps: continuous maps in the template's world, such as probabilities (linear).
        formats: further files of the map, as for `register_files`.
        overwrite: replace earlier results in the folder.
        command: to be kept in the summary.
        say: called with a line at the start of each stage.

    Returns:
        The content of `summary.json`.

    Raises:
        InputError: as `register_files`; or a map cannot be used, shows nothing where the template
            is, or has the name of another.
    """
    check_formats(formats)
    fixed = Grid(*load_geometry(template, name="template"))
    moving = Grid(*load_geometry(image, name="image"))
    maps = _read_maps(template_labels, template_maps, fixed)
    with output_folder(output, overwrite=overwrite, names=NAMES) as folder:
        summary = register_files(
            template,
            image,
            folder,
            method,
            fixed_mask=template_mask,
            moving_mask=mask,
            formats=formats,
            command=command,
            # What is told is told of the folder that this one becomes.
            say=lambda line: say(line.replace(str(folder), str(output))),
        )
        if maps:
            say("bringing the template's maps to the image")
            _write_maps(maps, folder, moving)
    return summary


def _read_maps(
    labels: Sequence[PathLike], continuous: Sequence[PathLike], template: Grid
) -> list[_Map]:
    """All of them, before the minutes that a registration takes."""
    kinds = [
        *((path, load_labels, "template labels", _NEAREST) for path in labels),
        *((path, load_volume, "template map", _LINEAR) for path in continuous),
    ]
    maps: list[_Map] = []
    for path, load, what, order in kinds:
        name = nifti_name(path)
        if name in (other.name for other in maps):
            raise InputError(f"{what} {path}: {name} would be written twice: rename one of the two")
        volume = load(path, name=what)
        if not resample(volume, *template, order=_NEAREST).data.any():
            raise InputError(
                f"{what} {path}: shows nothing where the template is: give one of this template"
            )
        maps.append(_Map(name, volume, order))
    return maps


def _write_maps(maps: list[_Map], folder: Path, image: Grid) -> None:
    """Through the inverse as it is written, so that whoever applies that file gets the same."""
    back = read_transform(folder / INVERSE_WARP)
    with output_folder(folder / SUBJECT_SPACE, overwrite=False, names=()) as space:
        for name, volume, order in maps:
            there = back.warp(volume, image, order=order)
            save_volume(space / name, there, description="from the template, on the image's grid")
