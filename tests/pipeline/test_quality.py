"""Every gate, at values on either side of its limits."""

import json

import pytest

from drivenmorph_jax.pipeline import quality

# gate: values, and the verdict on each.
TABLE = {
    "check_folding": {(0.0,): "pass", (0.04,): "pass", (0.2,): "warn", (3.0,): "fail"},
    "check_inverse": {(0.0,): "pass", (0.1,): "pass", (0.3,): "warn", (2.0,): "fail"},
    "check_round_trip": {
        (0.2, 1.0): "pass",
        (0.8, 1.0): "warn",
        (0.8, 2.0): "pass",
        (5, 2): "fail",
    },
    "check_displacement": {(0.0,): "pass", (12.0,): "pass", (25.0,): "warn", (60.0,): "fail"},
    "check_compression": {
        (1.0,): "pass",
        (0.3,): "pass",
        (0.05,): "warn",
        (-0.1,): "warn",
        (-1.5,): "fail",
    },
    "check_expansion": {(1.0,): "pass", (4.0,): "pass", (12.0,): "warn", (50.0,): "fail"},
    "check_information_gain": {(0.4, 0.6): "pass", (0.4, 0.39): "warn", (0.4, 0.3): "fail"},
    "check_similarity_gain": {
        (0.7, 0.8): "pass",
        (0.7, 0.7): "pass",
        (0.7, 0.69): "warn",
        (0.7, 0.5): "fail",
        (0.99, 0.988): "pass",
        (0.99, 0.98): "warn",
    },
    "check_scale": {
        (1.0, 1.0): "pass",
        (0.85, 1.2): "pass",
        (0.7, 1.1): "warn",
        (0.9, 1.5): "warn",
        (0.4, 1.0): "fail",
        (1.0, 2.5): "fail",
    },
    "check_shear": {(0.0,): "pass", (0.1,): "pass", (0.2,): "warn", (0.6,): "fail"},
    "check_volume_ratio": {
        (1.0,): "pass",
        (0.5,): "warn",
        (2.0,): "warn",
        (0.1,): "fail",
        (8.0,): "fail",
    },
    "check_outline": {(1.0,): "pass", (0.9,): "pass", (0.8,): "warn", (0.3,): "fail"},
    "check_contrast": {(0.8,): "pass", (0.1,): "warn", (-0.7,): "warn"},
    "check_spacing": {(2.0, 2.0): "pass", (1.0, 2.0): "pass", (5.0, 2.0): "warn"},
    "check_brain_volume": {
        ("fixed", 1.3): "pass",
        ("moving", 0.4): "warn",
        ("moving", 2.4): "warn",
    },
}


def gates() -> list[str]:
    return [name for name in vars(quality) if name.startswith("check_")]


@pytest.mark.parametrize("name", gates())
def test_verdicts(name):
    for arguments, verdict in TABLE[name].items():
        check = getattr(quality, name)(*arguments)
        assert check.verdict == verdict, (arguments, check)
        assert check.name and len(check.reason) > 10 and not check.reason.endswith(".")
        assert json.loads(json.dumps(check.as_document(), allow_nan=False))["verdict"] == verdict


@pytest.mark.parametrize("name", gates())
def test_what_could_not_be_measured_is_a_warning(name):
    first = next(iter(TABLE[name]))
    unknown = [float("nan") if isinstance(value, float) else value for value in first]
    check = getattr(quality, name)(*unknown)
    assert (check.verdict, check.value) == ("warn", None)
    assert "not be measured" in check.reason


@pytest.mark.parametrize("name", gates())
def test_a_reason_says_what_the_verdict_says(name):
    """One that passes and one that does not never read the same."""
    checks = [getattr(quality, name)(*arguments) for arguments in TABLE[name]]
    good = {check.reason for check in checks if check.verdict == "pass"}
    bad = {check.reason for check in checks if check.verdict != "pass"}
    assert len(good) == len(bad) == 1 and not good & bad


def test_the_limits_are_those_that_judge():
    for name in gates():
        limits = getattr(quality, name)(*next(iter(TABLE[name]))).limits
        low = [x for x in (limits.fail_below, limits.pass_from) if x is not None]
        high = [x for x in (limits.pass_to, limits.fail_above) if x is not None]
        assert low + high == sorted(low + high) and low + high


def test_worst():
    assert quality.worst(["pass", "warn", "pass"]) == "warn"
    assert quality.worst(["warn", "fail", "pass"]) == "fail"
    assert quality.worst([]) == "pass"
