"""Whether an earlier run has done a pair already."""

import json
from collections.abc import Sequence
from pathlib import Path

from drivenmorph_jax.pipeline.batch.outcome import Outcome, succeeded
from drivenmorph_jax.pipeline.batch.pairs import Pair
from drivenmorph_jax.pipeline.formats import FORMAT_FILES
from drivenmorph_jax.pipeline.methods import Method
from drivenmorph_jax.pipeline.results import SUMMARY
from drivenmorph_jax.pipeline.summary import THIS_PACKAGE, Summary, environment


def earlier_outcome(
    folder: Path, pair: Pair, method: Method, formats: Sequence[str]
) -> Outcome | None:
    """The outcome in a folder, if what made it is what would be made now; else None.

    Compared are, with its `summary.json`, the absolute paths of all input files, and the method
    with its details (for a network its weights' checksum; the refinement's settings), and the
    version of this package. Every one of the formats must be there, and no input may be newer than
    the summary.

    Args:
        folder: of the pair's results; it may not exist.
        pair, method, formats: of this run.
    """
    path = folder / SUMMARY
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        same = (
            summary["inputs"] == {role: str(file) for role, file in pair.files.items()}
            and summary["versions"].get(THIS_PACKAGE) == environment()["versions"].get(THIS_PACKAGE)
            and summary["method"] == _as_written({"name": method.name, **method.details})
            and all((folder / file).exists() for f, file in FORMAT_FILES.items() if f in formats)
            and not any(_is_newer(file, path) for file in pair.files.values())
        )
        return succeeded(pair, summary) if same else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None  # There is none, or it is not one of this version.


def _as_written(values: Summary) -> Summary:
    """Plain values as JSON gives them back."""
    return json.loads(json.dumps(values))


def _is_newer(file: Path, than: Path) -> bool:
    """Whether it was changed since; a file that is gone was not."""
    return file.exists() and file.stat().st_mtime > than.stat().st_mtime
