"""The gates and the summary as HTML; every value is escaped."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

from drivenmorph_jax.pipeline.quality import Check, Limits

_SIGNS = {"pass": "✓", "warn": "!", "fail": "✕"}
_NOTE = "of"
"""The key under which a part of the summary says what its figures are of."""
_GATES = "quality"
"""The key under which the summary repeats the gates, which the page shows apart."""


def number(value: Any) -> str:
    """A single value as text: four digits, a dash where there is none."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def badge(verdict: str) -> str:
    """Sign and word, for those who see no colours."""
    sign = f'<b aria-hidden="true">{_SIGNS[verdict]}</b>'
    return f'<span class="badge {verdict}">{sign} {verdict}</span>'


def gates(checks: Sequence[Check]) -> str:
    """One row a check, the worst first."""
    worst_first = sorted(checks, key=lambda check: -list(_SIGNS).index(check.verdict))
    return "\n".join(_gate(check) for check in worst_first)


def summary(document: Mapping[str, Any]) -> str:
    """One card for every part, and one for the values that are in none."""
    parts = {key: v for key, v in document.items() if key != _GATES and _nested(v)}
    rest = {key: value for key, value in document.items() if not _nested(value)}
    cards = [("run", rest)] if rest else []
    return "\n".join(_card(name, part) for name, part in [*cards, *parts.items()])


def _gate(check: Check) -> str:
    value = "–" if check.value is None else f"{number(check.value)} {check.unit}".strip()
    passes = _passes(check.limits, check.unit)
    return (
        f'<tr><td>{badge(check.verdict)}</td><th scope="row">{_text(check.name)}</th>'
        f'<td class="value">{_text(value)}</td><td class="value">{_text(passes)}</td>'
        f"<td>{_text(check.reason)}</td></tr>"
    )


def _passes(limits: Limits, unit: str) -> str:
    low, high = limits.pass_from, limits.pass_to
    if low is None and high is None:
        return ""
    if low is None:
        text = f"at most {number(high)}"
    else:
        text = f"at least {number(low)}" if high is None else f"{number(low)} to {number(high)}"
    return f"{text} {unit}".strip()


def _card(name: str, part: Any) -> str:
    note = part.get(_NOTE) if isinstance(part, Mapping) else None
    caption = f"<p>{_text(note)}</p>" if isinstance(note, str) else ""
    return f'<section class="card"><h3>{_label(name)}</h3>{caption}{_value(part)}</section>'


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        records = list(value.values())
        if len(records) > 1 and _alike(records):
            return _records(records, heads=list(value))
        return f"<table>{''.join(_rows(value))}</table>"
    if isinstance(value, list | tuple):
        if value and _alike(value):
            return _records(value, heads=None)
        if any(_nested(item) for item in value):
            return f"<table>{''.join(f'<tr>{_cells(row)}</tr>' for row in value)}</table>"
        return _text(", ".join(number(item) for item in value))
    return _text(number(value))


def _rows(part: Mapping[str, Any], above: str = "") -> list[str]:
    """A row a value; those of parts of parts follow under their joined names."""
    rows = []
    for key, value in part.items():
        if key == _NOTE and isinstance(value, str):
            continue
        name = f"{above}{key}"
        plain = isinstance(value, Mapping) and not _alike(list(value.values()))
        if plain:
            rows += _rows(value, above=f"{name} · ")
        else:
            rows.append(f'<tr><th scope="row">{_label(name)}</th><td>{_value(value)}</td></tr>')
    return rows


def _records(records: Sequence[Mapping[str, Any]], heads: Sequence[Any] | None) -> str:
    """Records of the same keys: a column a key."""
    corner = "" if heads is None else "<td></td>"
    columns = "".join(f'<th scope="col">{_label(key)}</th>' for key in records[0])
    rows = [f"<tr>{corner}{columns}</tr>"]
    for place, record in enumerate(records):
        head = "" if heads is None else f'<th scope="row">{_label(heads[place])}</th>'
        rows.append(f"<tr>{head}{_cells(record.values())}</tr>")
    return f'<div class="scroll"><table>{"".join(rows)}</table></div>'


def _cells(row: Any) -> str:
    values = row if not isinstance(row, str | int | float) and row is not None else [row]
    return "".join(f"<td>{_value(value)}</td>" for value in values)


def _alike(records: Sequence[Any]) -> bool:
    if not records or not all(isinstance(record, Mapping) and record for record in records):
        return False
    return all(list(record) == list(records[0]) for record in records)


def _nested(value: Any) -> bool:
    return isinstance(value, Mapping | list | tuple)


def _label(key: Any) -> str:
    return _text(str(key).replace("_", " "))


def _text(value: Any) -> str:
    return html.escape(str(value))
