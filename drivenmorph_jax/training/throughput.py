"""How fast a run goes, how much memory it takes, and what share of the chip it uses."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from drivenmorph_jax.training.flops import product_flops

# Dense FLOP/s of one device in 1e12: of bfloat16 products, and of float32 ones as XLA runs them by
# default: in TF32 on NVIDIA's, in one bfloat16 pass on TPUs. From the makers' data sheets, without
# sparsity: NVIDIA A100 (2021), H100 (2023) and H200 (2024) Tensor Core GPU.
_NVIDIA = {
    "NVIDIA A100": (312.0, 156.0),
    "NVIDIA H100 PCIe": (756.5, 378.0),
    "NVIDIA H100 NVL": (835.5, 417.5),
    "NVIDIA H100": (989.5, 494.5),
    "NVIDIA H200 NVL": (835.5, 417.5),
    "NVIDIA H200": (989.5, 494.5),
}
# Google Cloud's pages of TPU v4, v5e, v5p and v6e.
_TPU = {
    "TPU v4": (275.0, 275.0),
    "TPU v5 lite": (197.0, 197.0),
    "TPU v5e": (197.0, 197.0),
    "TPU v5": (459.0, 459.0),
    "TPU v5p": (459.0, 459.0),
    "TPU v6 lite": (918.0, 918.0),
    "TPU v6e": (918.0, 918.0),
}


def peak_flops(device_kind: str, precision: str) -> float | None:
    """FLOP/s that a device reaches at best, None where it is not known.

    Args:
        device_kind: as JAX names it.
        precision: of the products, "float32" or "bfloat16".
    """
    fitting = (peaks for name, peaks in _NVIDIA.items() if device_kind.startswith(name))
    found = _TPU.get(device_kind) or next(fitting, None)
    return None if found is None else 1e12 * found[precision == "float32"]


class Throughput:
    """Rates of a run from the seconds of a step.

    Args:
        step: of the backend, `(state, batch) -> …`.
        pairs: of a step, over all processes.
        devices: that the step runs on, over all processes.
        local: those of them that belong to this process.
        precision: of the model's products.
    """

    def __init__(
        self,
        step: Callable[..., Any],
        *,
        pairs: int,
        devices: int,
        local: Sequence[Any],
        precision: str,
    ) -> None:
        self._step, self._pairs, self._devices, self._local = step, pairs, devices, local
        self._peak = peak_flops(local[0].device_kind, precision)
        self._voxels, self._flops = 0, 0.0

    def see(self, state: Any, batch: dict[str, Any]) -> None:
        """Count what a step does, from the shapes alone; nothing is compiled."""
        self._voxels = int(np.prod(batch["fixed"].shape[-4:-1]))
        platform = self._local[0].platform
        self._flops = product_flops(jax.make_jaxpr(self._step)(state, batch).jaxpr, platform)

    def read(self, seconds: float) -> dict[str, float]:
        """`pairs_per_second`, `voxels_per_second` (of the grid, once a pair), `step_flops`.

        Where the device's peak is known, `utilisation`, the share of it that the step's products
        make up; where the device tells its memory, `memory_bytes` and `memory_peak_bytes`, of the
        fullest device of this process.

        Args:
            seconds: of a step.
        """
        rate = self._pairs / seconds
        values = {
            "pairs_per_second": rate,
            "voxels_per_second": rate * self._voxels,
            "step_flops": self._flops,
        }
        if self._peak is not None:
            values["utilisation"] = self._flops / seconds / (self._devices * self._peak)
        memory = [device.memory_stats() or {} for device in self._local]
        for name, key in (
            ("memory_bytes", "bytes_in_use"),
            ("memory_peak_bytes", "peak_bytes_in_use"),
        ):
            found = [stats[key] for stats in memory if key in stats]
            if found:
                values[name] = float(max(found))
        return values
