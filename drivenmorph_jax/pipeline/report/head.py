"""How every page of ours begins: it may show what is in it, and ask the network for nothing."""

import base64
import hashlib
import html
from collections.abc import Sequence
from importlib import resources
from string import Template

_HEAD = Template("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="$policy">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>$title</title>
<style>$style</style>
</head>
""")


def head(title: str, style: str, *, images: str = "data:", scripts: Sequence[str] = ()) -> str:
    """All up to the body.

    Args:
        title: plain text.
        style: CSS; only this very style, and the scripts, run, whatever else got in.
        images: from where, as a Content-Security-Policy says it.
        scripts: in full, as they stand in the page.
    """
    policy = f"default-src 'none'; img-src {images}; style-src {_hash(style)}"
    if scripts:
        policy += f"; script-src {' '.join(_hash(script) for script in scripts)}"
    return _HEAD.substitute(title=html.escape(title), policy=policy, style=style)


def asset(name: str) -> str:
    """A file beside this one, as text."""
    place = resources.files("drivenmorph_jax.pipeline.report").joinpath(name)
    return place.read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
