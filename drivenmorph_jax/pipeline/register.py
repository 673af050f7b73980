"""Register two files: read, check, register, measure, write."""

from collections.abc import Sequence
from pathlib import Path

from drivenmorph_jax.images import Volume, warp_volume
from drivenmorph_jax.pipeline.assessment import assess
from drivenmorph_jax.pipeline.derived_fields import derive_fields
from drivenmorph_jax.pipeline.formats import check_formats
from drivenmorph_jax.pipeline.initial_affine import read_initial_affine
from drivenmorph_jax.pipeline.methods import Method
from drivenmorph_jax.pipeline.output_folder import output_folder
from drivenmorph_jax.pipeline.registration import Registered, register_volumes
from drivenmorph_jax.pipeline.report.of_registration import report_registration
from drivenmorph_jax.pipeline.results import (
    NAMES,
    check_replay,
    write_results,
    write_summary,
)
from drivenmorph_jax.pipeline.scans import PathLike, Scans, read_scans
from drivenmorph_jax.pipeline.stages import Stages
from drivenmorph_jax.pipeline.summary import Summary, environment, summarise
from drivenmorph_jax.progress import Say, silent


def register_files(
    fixed: PathLike,
    moving: PathLike,
    output: PathLike,
    method: Method,
    *,
    fixed_mask: PathLike | None = None,
    moving_mask: PathLike | None = None,
    fixed_labels: PathLike | None = None,
    moving_labels: PathLike | None = None,
    fixed_lesion: PathLike | None = None,
    moving_lesion: PathLike | None = None,
    initial_affine: PathLike | None = None,
    deformable_only: bool = False,
    formats: Sequence[str] = (),
    overwrite: bool = False,
    command: str | None = None,
    say: Say = silent,
) -> Summary:
    """Register two files and write the results, all or none, into a folder.

    Args:
        fixed, moving: images (NIfTI, MGH), brain-extracted or with a mask.
        output: the folder, for `FILES` of `drivenmorph_jax.pipeline.results`.
        method: `network_method(...)` or `demons_method(...)`.
        fixed_mask, moving_mask: not 0 in the brain; outside it the image becomes 0.
        fixed_labels, moving_labels: label maps on their images' grids, for Dice.
        fixed_lesion, moving_lesion: maps on their images' grids, not 0 where nothing is to be
            compared; the map continues smoothly from around it.
        initial_affine: a file (ITK, FSL, FreeSurfer), fixed to moving, in place of a search.
        deformable_only: write the Jacobian of the deformable part, without the affine.
        formats: further files of the map: "fsl", "freesurfer", "h5" (ITK's is always written).
        overwrite: replace earlier results in the folder.
        command: to be kept in the summary.
        say: called with a line at the start of each stage.

    Returns:
        The content of `summary.json`.

    Raises:
        InputError: an input cannot be used, the output cannot be written, or the written warp,
            read back and applied by other code, does not give the warped image.
    """
    check_formats(formats)
    stages = Stages(say)
    maps = {
        "fixed_mask": fixed_mask,
        "moving_mask": moving_mask,
        "fixed_labels": fixed_labels,
        "moving_labels": moving_labels,
        "fixed_lesion": fixed_lesion,
        "moving_lesion": moving_lesion,
    }
    inputs = {"fixed": fixed, "moving": moving, **maps, "initial_affine": initial_affine}
    summary: Summary = {
        "command": command,
        "inputs": {name: str(Path(path).absolute()) for name, path in inputs.items() if path},
    }
    with output_folder(output, overwrite=overwrite, names=NAMES) as folder:
        with stages.stage("read", f"reading {fixed} (fixed) and {moving} (moving)"):
            scans = read_scans(fixed, moving, **maps)
            matrix = None
            if initial_affine is not None:
                matrix = read_initial_affine(initial_affine, scans.fixed, scans.moving)
        registered = register_volumes(
            scans.fixed,
            scans.moving,
            method,
            fixed_lesion=scans.fixed_lesion,
            moving_lesion=scans.moving_lesion,
            initial_affine=matrix,
            stages=stages,
        )
        with stages.stage("invert", "inverting the map"):
            fields = derive_fields(registered, scans.fixed, scans.moving)
        with stages.stage("measure", "measuring"):
            warped_labels = _warp_labels(scans, registered)
            summary |= summarise(scans, registered, fields, method, warped_labels)
            checks = assess(scans, registered, fields, summary, method)
            summary["quality"] = [check.as_document() for check in checks]
        with stages.stage("write", f"writing {output}"):
            title = f"{Path(moving).name} to {Path(fixed).name}, {method.name}"
            write_results(
                folder,
                scans,
                registered,
                fields,
                warped_labels,
                formats=formats,
                deformable_only=deformable_only,
                title=title,
            )
        with stages.stage("replay", "reading the warp back"):
            summary |= {"replay": {"largest_difference": check_replay(folder, scans.moving)}}
        summary |= {"seconds": {k: round(v, 3) for k, v in stages.seconds.items()}}
        summary |= environment()
        write_summary(folder, summary)
        report_registration(folder, registered, summary, checks, title=title)
    return summary


def _warp_labels(scans: Scans, registered: Registered) -> Volume | None:
    if scans.moving_labels is None:
        return None
    return warp_volume(scans.moving_labels, registered.displacement, scans.fixed.affine, order=0)
