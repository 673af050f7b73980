"""Which method the options of a command ask for."""

import argparse

import pytest

from drivenmorph_jax import pipeline
from drivenmorph_jax.cli.method_options import add_method_options, make_method
from drivenmorph_jax.progress import silent


def parsed(*words: str, refine: bool = True) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_method_options(parser, refine=refine)
    return parser.parse_args(words)


def test_finer_images_are_used_unless_it_has_to_be_fast():
    assert make_method(parsed(), silent).finish is not None
    assert make_method(parsed("--refine", "2"), silent).finish is not None
    asked_not_to = (
        make_method(parsed("--fast"), silent),
        make_method(parsed("--weights", "brain-any"), silent),
        make_method(parsed("--refine", "2", "--similarity", "mi"), silent),
        make_method(parsed("--method", "demons"), silent),
    )
    for method in asked_not_to:
        assert method.finish is None and "goes_on_finer" not in method.details


def test_across_contrasts_a_network_goes_on_with_its_own_iterations(monkeypatch):
    asked, network_method = [], pipeline.network_method
    monkeypatch.setattr(
        pipeline, "network_method", lambda *a, **k: (asked.append(a[0]), network_method(*a, **k))[1]
    )
    method = make_method(parsed("--weights", "brain-any", "--refine", "7"), silent)
    assert method.name == "drivenmorph, refined" and method.any_contrast
    assert method.details["refinement"] == {"correlation_iterations": 7}
    assert asked[0].config.correlation_iterations == (17, 40)
    words = ("--weights", "brain-any", "--refine", "7", "--similarity", "mind")
    by_descent = make_method(parsed(*words), silent)
    assert by_descent.details["refinement"]["loss"]["similarity"] == "mind"


def test_a_command_without_refinement_has_no_use_for_fast(capsys):
    assert parsed(refine=False).fast is False
    with pytest.raises(SystemExit):
        parsed("--fast", refine=False)
    assert "unrecognized arguments: --fast" in capsys.readouterr().err
