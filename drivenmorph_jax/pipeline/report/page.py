"""One HTML file that holds all it needs, and can ask the network for nothing."""

import html
import json
import os
from string import Template
from typing import Any

import numpy as np

from drivenmorph_jax.pipeline.quality import worst
from drivenmorph_jax.pipeline.report import tables
from drivenmorph_jax.pipeline.report.agreement import agreements
from drivenmorph_jax.pipeline.report.content import ReportContent
from drivenmorph_jax.pipeline.report.head import asset, head
from drivenmorph_jax.pipeline.report.volumes import bright, pack_image, pack_ratio, pack_vectors
from drivenmorph_jax.writing import write_atomically

_SCRIPTS = ("volumes.js", "colours.js", "view.js", "lines.js", "report.js")


def write_report(path: str | os.PathLike, content: ReportContent) -> None:
    """Write the page; the file appears whole or not at all.

    Raises:
        InputError: the file cannot be written.
        ValueError: the volumes differ in shape.
    """
    text = render_report(content)
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def render_report(content: ReportContent) -> str:
    """The page as text."""
    _check_shapes(content)
    script = "\n".join(asset(name) for name in _SCRIPTS)
    verdict = worst(check.verdict for check in content.checks)
    return Template(asset("template.html")).substitute(
        head=head(content.title, asset("report.css"), scripts=[script]),
        title=html.escape(content.title),
        script=script,
        verdict=tables.badge(verdict),
        tally=_tally(content),
        gates=tables.gates(content.checks),
        summary=tables.summary(content.summary),
        data=_inert(_view_data(content)),
    )


def _view_data(content: ReportContent) -> dict[str, Any]:
    """What the script draws from, as plain values for JSON."""
    content = _finite(content)
    force, displacement = content.force, content.displacement_mm
    brain = content.fixed != 0
    # One white for both states of the moving image, or they could not be compared.
    moving_top = bright(content.moving_aligned)
    images = {
        "fixed": pack_image(content.fixed, top=bright(content.fixed)),
        "moving": pack_image(content.moving_aligned, top=moving_top),
        "warped": pack_image(content.warped, top=moving_top),
        "jacobian": pack_ratio(content.jacobian, doublings=_doublings(content.jacobian, brain)),
    }
    return {
        "shape": [int(size) for size in brain.shape],
        "spacing": [float(step) for step in content.spacing],
        "start": _start(brain),
        "volumes": images
        | {"displacement": pack_vectors(displacement), "force": pack_vectors(force)},
        "scales": {"displacement": _scale(displacement[brain]), "force": _scale(force[brain])},
        "agreement": agreements(force, displacement, brain),
    }


def _doublings(jacobian, brain) -> float:
    """Of the colour scale: few where the volume changes little, or all would look alike."""
    inside = jacobian[brain & (jacobian > 0)]
    reach = float(np.percentile(np.abs(np.log2(inside)), 99.5)) if inside.size else 1.0
    return next((limit for limit in (0.5, 1.0, 2.0) if reach <= limit), 3.0)


def _scale(vectors) -> dict[str, float]:
    """Round lengths: `top` of a colour bar, which hardly any exceeds, and `long`, of an arrow."""
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=-1)
    if not lengths.any():
        return {"top": 1.0, "long": 1.0}
    top, long = np.percentile(lengths[lengths > 0], (99.5, 95))
    return {"top": _round_up(top), "long": _round_up(long)}


def _round_up(length) -> float:
    unit = 10.0 ** np.floor(np.log10(length))
    rounds = (factor * unit for factor in (1, 1.5, 2, 3, 4, 5, 6, 8, 10))
    return float(next(rounded for rounded in rounds if length <= rounded * (1 + 1e-9)))


def _start(brain) -> list[int]:
    """The middle of the brain, where the crosshair begins."""
    occupied = np.argwhere(brain)
    middle = occupied.mean(0) if len(occupied) else (np.array(brain.shape) - 1) / 2
    return [int(place) for place in np.rint(middle)]


def _tally(content: ReportContent) -> str:
    verdicts = [check.verdict for check in content.checks]
    counts = (f"{verdicts.count(name)} {name}" for name in ("fail", "warn", "pass"))
    return html.escape(", ".join(count for count in counts if not count.startswith("0 ")))


def _finite(content: ReportContent) -> ReportContent:
    """A failed registration is reported too: what is not a number is drawn as 0."""
    names = ("fixed", "moving_aligned", "warped", "displacement_mm", "jacobian", "force")
    volumes = {name: np.asarray(getattr(content, name), np.float32) for name in names}
    return content._replace(
        **{name: np.nan_to_num(v, posinf=0.0, neginf=0.0) for name, v in volumes.items()}
    )


def _check_shapes(content: ReportContent) -> None:
    volumes = (content.moving_aligned, content.warped, content.jacobian)
    vectors = (content.displacement_mm, content.force)
    shapes = [v.shape for v in volumes] + [v.shape[:3] for v in vectors]
    if any(shape != content.fixed.shape for shape in shapes):
        raise ValueError(f"the volumes of a report must share a grid, not {shapes}")


def _inert(document: Any) -> str:
    """JSON that cannot end the element it stands in."""
    return json.dumps(document, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
