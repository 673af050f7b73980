"""Batches whose pairs are read and checked as ever, but registered in no time."""

import base64
import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from drivenmorph_jax.images import Volume, save_volume
from drivenmorph_jax.pipeline import Method
from drivenmorph_jax.pipeline.batch import run
from drivenmorph_jax.pipeline.formats import FORMAT_FILES
from drivenmorph_jax.pipeline.output_folder import output_folder
from drivenmorph_jax.pipeline.quality import check_folding, check_outline
from drivenmorph_jax.pipeline.results import FIGURE, FILES, SUMMARY
from drivenmorph_jax.pipeline.scans import read_scans
from drivenmorph_jax.pipeline.summary import environment

METHOD = Method("none", None, None, lambda *_: None, {"iterations": (1, 2)})  # type: ignore[arg-type,return-value]
_PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


class Registrations:
    """In place of `register_files`: reads the scans, and writes what a batch looks at.

    Attributes:
        done: names of the pairs that it was called for, in order.
        before: called first, with the name; it may raise.
    """

    def __init__(self) -> None:
        self.done: list[str] = []
        self.before: Callable[[str], None] = lambda _: None

    def __call__(
        self, *, output, method, formats, overwrite, command, say, initial_affine=None, **files
    ):
        name = Path(output).name
        self.done.append(name)
        inputs = files | ({} if initial_affine is None else {"initial_affine": initial_affine})
        with output_folder(output, overwrite=overwrite, names=FILES) as folder:
            self.before(name)
            say("reading")
            scans = read_scans(**files)
            summary = summarise(name, labels=scans.fixed_labels is not None) | {
                "command": command,
                "inputs": {role: str(Path(path).absolute()) for role, path in inputs.items()},
                "method": {"name": method.name, **method.details},
            }
            (folder / FIGURE).write_bytes(_PIXEL)
            (folder / "report.html").write_text("a report")
            for format in set(formats) - {"itk"}:
                (folder / FORMAT_FILES[format]).write_text("a map")
            (folder / SUMMARY).write_text(json.dumps(summary))
        return summary


def summarise(name: str, *, labels: bool) -> dict:
    """The parts of a summary that a batch reads; other figures for every name."""
    rng = np.random.default_rng(sum(name.encode()))
    dice = {"dice": dict(zip(("before", "affine", "after"), rng.uniform(size=3), strict=True))}
    checks = [check_folding(rng.choice([0.0, 0.01, 0.5, 1.5])), check_outline(rng.uniform(0.8, 1))]
    return (dice if labels else {}) | {
        "similarity": {"before": 0.1, "affine": rng.uniform(), "after": rng.uniform()},
        # On the working grid, which no table shows.
        "deformation": {
            "folding_percent": 99.0,
            "ndv_percent": 99.0,
            "largest_displacement_mm": rng.uniform(1, 20),
        },
        "whole_map": {"folding_percent": checks[0].value, "ndv_percent": rng.uniform()},
        "quality": [check.as_document() for check in checks],
        "seconds": {"read": 0.5, "deform": rng.uniform()},
        **environment(),
    }


def install(monkeypatch: pytest.MonkeyPatch) -> Registrations:
    """Let batches register by a `Registrations`."""
    registrations = Registrations()
    monkeypatch.setattr(run, "register_files", registrations)
    return registrations


def write_scan(path: Path, value: float = 1.0) -> Path:
    """A block that passes for a brain; `value` is in its middle."""
    data = np.zeros((12, 12, 12), np.float32)
    data[3:9, 3:9, 3:9] = 1 + np.arange(6) / 10
    data[6, 6, 6] = value
    save_volume(path, Volume(data, np.diag([2.0, 2, 2, 1])))
    return path


def write_labels(path: Path) -> Path:
    """One label on the grid of `write_scan`."""
    data = np.zeros((12, 12, 12), np.int32)
    data[4:8, 4:8, 4:8] = 1
    save_volume(path, Volume(data, np.diag([2.0, 2, 2, 1])))
    return path


def write_csv(path: Path, rows: Sequence[dict[str, str]]) -> Path:
    """Rows of the same columns, or fewer than the first."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path
