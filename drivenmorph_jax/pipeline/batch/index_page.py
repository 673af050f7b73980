"""The page of a batch: what became of each pair, with its picture and a link to its report."""

import html
from collections.abc import Sequence
from pathlib import Path
from string import Template
from urllib.parse import quote

from drivenmorph_jax.pipeline.batch.outcome import Outcome
from drivenmorph_jax.pipeline.report.head import asset, head
from drivenmorph_jax.pipeline.report.of_registration import REPORT
from drivenmorph_jax.pipeline.report.tables import badge, number
from drivenmorph_jax.pipeline.results import FIGURE
from drivenmorph_jax.writing import write_atomically

_PAGE = Template("""\
$head<body>
<header>
<h1>$title</h1>
<p>$tally</p>
<p class="muted">The worst first. A name leads to the pair's report, a picture to its full size; all
figures are in <a href="$table">$table</a>. Folding and NDV are of the whole map on the fixed
image's grid, the largest displacement is of the deformation, without the affine.</p>
</header>
<main>
<div class="scroll"><table class="gates pairs">
<thead>$heads</thead>
<tbody>
$rows
</tbody>
</table></div>
</main>
</body>
</html>
""")
_STYLE = """
a { color: var(--accent); }
h1 + p { display: flex; flex-wrap: wrap; gap: 2px 18px; }
.pairs { margin: 16px 0 32px; }
.gates.pairs :is(td, th) { vertical-align: middle; }
.pairs td:has(img) { padding: 6px; width: 1px; }
.pairs img { display: block; width: 224px; height: 126px; object-fit: contain; }
.pairs img { background: #fff; border-radius: 4px; }
.gates.pairs th[scope=row] { white-space: normal; overflow-wrap: anywhere; min-width: 14em; }
.pairs .muted { font-weight: 400; }
.pairs .number { text-align: right; white-space: nowrap; }
.pairs .why { min-width: 14em; }
.pairs .error { overflow-wrap: anywhere; }
"""
_ORDER = ("failed", "fail", "warn", "pass")
_FAILED = '<span class="badge fail"><b aria-hidden="true">✕</b> not registered</span>'
# Heading: what is under it, from one column of the table or two.
_FIGURES = {
    "Dice": ("dice_affine", "dice_after"),
    "correlation": ("correlation_affine", "correlation_after"),
    "folding": ("folding_percent",),
    "NDV": ("ndv_percent",),
    "largest": ("largest_displacement_mm",),
    "time": ("seconds",),
}
_UNITS = {
    "Dice": "affine → after",
    "correlation": "affine → after",
    "folding": "%",
    "NDV": "%",
    "largest": "mm",
    "time": "s",
}


def write_index(
    path: Path, outcomes: Sequence[Outcome], *, title: str, left: int, table: str
) -> None:
    """Write the page beside the folders of the pairs; it appears whole or not at all.

    Args:
        path: of the page.
        outcomes: of the pairs done so far.
        title: of the page.
        left: how many are still to be done.
        table: name of the table, beside the page.

    Raises:
        InputError: the file cannot be written.
    """
    heads = [name for name in _FIGURES if name != "Dice" or _have_labels(outcomes)]
    ordered = sorted(outcomes, key=lambda outcome: _ORDER.index(outcome.quality or "failed"))
    text = _PAGE.substitute(
        # The report's own style, and what only this page has.
        head=head(title, asset("report.css") + _STYLE, images="'self' data:"),
        title=html.escape(title),
        tally=_tally(outcomes, left),
        table=table,
        heads=_head(heads),
        rows="\n".join(_row(outcome, heads, path.parent) for outcome in ordered),
    )
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _have_labels(outcomes: Sequence[Outcome]) -> bool:
    return any(outcome.figures.get("dice_after") is not None for outcome in outcomes)


def _tally(outcomes: Sequence[Outcome], left: int) -> str:
    verdicts = [outcome.quality for outcome in outcomes]
    parts = [f"{badge(v)} {n}" for v in ("pass", "warn", "fail") if (n := verdicts.count(v))]
    if failures := verdicts.count(None):
        parts.append(f"{_FAILED} {failures}")
    if left:
        parts.append(f'<span class="muted">{left} still to do</span>')
    return " ".join(f"<span>{part}</span>" for part in parts)


def _head(heads: Sequence[str]) -> str:
    figures = (f'<th scope="col" class="number">{name}<br>{_UNITS[name]}</th>' for name in heads)
    columns = "".join(f'<th scope="col">{name}</th>' for name in ("figure", "pair", "quality"))
    return f"<tr>{columns}{''.join(figures)}</tr>"


def _row(outcome: Outcome, heads: Sequence[str], folder: Path) -> str:
    cells = [_picture(outcome, folder), _name(outcome, folder)]
    if outcome.quality is None:
        error = html.escape(outcome.error or "")
        cells.append(f'<td class="error" colspan="{1 + len(heads)}">{_FAILED}<br>{error}</td>')
    else:
        cells.append(f'<td class="why">{badge(outcome.quality)}{_why(outcome)}</td>')
        cells += [f'<td class="number">{_figure(outcome, head)}</td>' for head in heads]
    return f"<tr>{''.join(cells)}</tr>"


def _picture(outcome: Outcome, folder: Path) -> str:
    link = _link(outcome, FIGURE, folder)
    if link is None:
        return "<td></td>"
    alt = html.escape(f"{outcome.pair.name}: images, differences, deformation and force")
    image = f'<img src="{link}" alt="{alt}" loading="lazy" width="224" height="126">'
    return f'<td><a href="{link}">{image}</a></td>'


def _name(outcome: Outcome, folder: Path) -> str:
    files, name = outcome.pair.files, html.escape(outcome.pair.name)
    if link := _link(outcome, REPORT, folder):
        name = f'<a href="{link}">{name}</a>'
    between = html.escape(f"{files['moving'].name} → {files['fixed'].name}")
    paths = html.escape(f"{files['moving']} → {files['fixed']}")
    return f'<th scope="row">{name}<div class="muted" title="{paths}">{between}</div></th>'


def _link(outcome: Outcome, file: str, folder: Path) -> str | None:
    """To a file of the pair's results; those that lie where a pair failed are not its own."""
    name = outcome.pair.name
    if outcome.error is not None or not (folder / name / file).exists():
        return None
    # "./", or a name with a colon would be taken for an address.
    return f"./{quote(name)}/{file}"


def _why(outcome: Outcome) -> str:
    """The checks that gave the verdict; their reasons in full are in the report."""
    if outcome.quality == "pass":
        return ""
    names = [check["name"] for check in outcome.checks if check["verdict"] == outcome.quality]
    return f'<div class="muted">{html.escape(", ".join(names))}</div>'


def _figure(outcome: Outcome, head: str) -> str:
    values = [outcome.figures[column] for column in _FIGURES[head]]
    there = [value for value in values if value is not None]
    if len(there) < len(values):
        return number(None)
    if len(there) == 1:
        return f"{there[0]:.3g}"
    return " → ".join(f"{value:.3f}" for value in there)
