import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from drivenmorph_jax.spatial.convolution import convolve
from drivenmorph_jax.training.flops import product_flops
from drivenmorph_jax.training.throughput import Throughput, peak_flops

SQUARE = jnp.ones((16, 16))
PRODUCT = 2 * 16**3


def flops(function, *arguments, platform="cpu"):
    return product_flops(jax.make_jaxpr(function)(*arguments).jaxpr, platform)


def xla(function, *arguments):
    return jax.jit(function).lower(*arguments).compile().cost_analysis()["flops"]


def test_a_product_counts_as_xla_counts_it():
    assert flops(jnp.matmul, SQUARE, SQUARE) == xla(jnp.matmul, SQUARE, SQUARE) == PRODUCT


def test_a_loop_counts_as_often_as_it_runs():
    def loop(x, length):
        return jax.lax.scan(lambda x, _: (x @ SQUARE, None), x, None, length)[0]

    assert flops(lambda x: loop(x, 10), SQUARE) == 10 * PRODUCT
    # The reason for counting here: XLA's count does not grow with the loop.
    assert xla(lambda x: loop(x, 10), SQUARE) < 2 * PRODUCT
    nested = jax.jit(jax.checkpoint(lambda x: loop(loop(x, 3), 2)))
    assert flops(nested, SQUARE) == 5 * PRODUCT


@pytest.mark.parametrize("platform", ["cpu", "gpu"])
def test_a_convolution_and_its_gradient_count_the_taps(platform):
    image, kernel = jnp.ones((2, 5, 6, 7, 3)), jnp.ones((3, 3, 3, 3, 4))
    once = 2 * 2 * 5 * 6 * 7 * 27 * 3 * 4
    assert flops(convolve, image, kernel, platform=platform) == once
    both = jax.grad(lambda x, k: (convolve(x, k) ** 2).sum(), argnums=(0, 1))
    found = flops(both, image, kernel, platform=platform)
    # Forward, by the image and by the kernel; on a CPU some of it twice.
    assert 3 * once <= found <= 6 * once


def test_of_branches_that_of_the_platform_counts_else_the_dearest():
    def on(x):
        return jax.lax.platform_dependent(x, cpu=lambda x: x @ x @ x, default=lambda x: x @ x)

    assert flops(on, SQUARE, platform="cpu") == 2 * PRODUCT
    assert flops(on, SQUARE, platform="gpu") == PRODUCT
    either = flops(lambda x: jax.lax.cond(x.sum() > 0, lambda x: x @ x, lambda x: x, x), SQUARE)
    assert either == PRODUCT


@pytest.mark.parametrize("manual", [{"a"}, {"a", "b"}])
def test_every_shard_of_a_mesh_counts(manual):
    mesh = jax.make_mesh((4, 2), ("a", "b"), axis_types=(AxisType.Auto,) * 2)
    spec = PartitionSpec(("a", "b") if len(manual) > 1 else "a")
    shared = jax.shard_map(
        lambda x: x @ SQUARE, mesh=mesh, in_specs=spec, out_specs=spec, axis_names=manual
    )
    assert flops(jax.jit(shared), jnp.ones((64, 16))) == 4 * PRODUCT


@pytest.mark.parametrize(
    ("kind", "bfloat16", "float32"),
    [
        ("NVIDIA A100-SXM4-80GB", 312e12, 156e12),
        ("NVIDIA H100 80GB HBM3", 989.5e12, 494.5e12),
        ("NVIDIA H100 PCIe", 756.5e12, 378e12),
        ("TPU v5 lite", 197e12, 197e12),
        ("TPU v5", 459e12, 459e12),
        ("TPU v4i", None, None),
        ("cpu", None, None),
    ],
)
def test_peaks_are_those_of_the_device(kind, bfloat16, float32):
    assert peak_flops(kind, "bfloat16") == bfloat16
    assert peak_flops(kind, "float32") == float32


def device(kind, memory):
    return types.SimpleNamespace(device_kind=kind, platform="gpu", memory_stats=lambda: memory)


def test_rates_memory_and_share_of_the_peak_of_a_known_device():
    local = [
        device("NVIDIA H100 80GB HBM3", {"bytes_in_use": used, "peak_bytes_in_use": 10 * used})
        for used in (100, 300)
    ]
    steps = jax.jit(lambda state, batch: batch["fixed"][..., 0].reshape(-1, 16) @ state)
    meter = Throughput(steps, pairs=4, devices=2, local=local, precision="bfloat16")
    meter.see(SQUARE, {"fixed": np.ones((4, 2, 4, 8, 1), np.float32)})
    found = meter.read(0.5)
    assert found["pairs_per_second"] == 8
    assert found["voxels_per_second"] == 8 * 64
    assert found["step_flops"] == PRODUCT
    assert found["utilisation"] == pytest.approx(PRODUCT / 0.5 / (2 * 989.5e12))
    assert (found["memory_bytes"], found["memory_peak_bytes"]) == (300, 3000)


def test_what_a_device_does_not_tell_is_left_out():
    meter = Throughput(
        lambda s, b: s, pairs=1, devices=1, local=jax.local_devices()[:1], precision="float32"
    )
    meter.see(SQUARE, {"fixed": np.ones((1, 2, 2, 2, 1), np.float32)})
    assert meter.read(1.0).keys() == {"pairs_per_second", "voxels_per_second", "step_flops"}


def test_seeing_a_step_compiles_nothing_and_leaves_the_trace_to_the_first_call():
    traces = []

    def step(state, batch):
        traces.append(1)
        return state + batch["fixed"].sum()

    compiled = jax.jit(step)
    batch = {"fixed": jnp.ones((1, 2, 2, 2, 1))}
    meter = Throughput(
        compiled, pairs=1, devices=1, local=jax.local_devices()[:1], precision="float32"
    )
    events = []

    def listen(event: str, *_: object, **__: object) -> None:
        if "backend_compile" in event:
            events.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        meter.see(SQUARE, batch)
        assert not events
        compiled(SQUARE, batch)
        assert events
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert len(traces) == 1
