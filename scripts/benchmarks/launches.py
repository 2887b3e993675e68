"""Count the launches in a training step on a GPU by JAX and PyTorch. No GPU is needed.

JAX's compiler knows a GPU by its data sheet alone, so it compiles the step for the GPU. PyTorch's
operations do not depend on the device.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import click

from benchmarks.competitors import version
from benchmarks.images import BATCH, EPOCHS, NETWORKS, SIZES, Layers, jax_step, torch_turn

H100 = """
device_description_str: "NVIDIA H100 80GB HBM3"
platform_name: "CUDA"
runtime_version { major: 13 }
dnn_version_info { major: 9 minor: 7 }
gpu_device_info {
  cuda_compute_capability { major: 9 }
  core_count: 132
  fpus_per_core: 128
  clock_rate_ghz: 1.98
  threads_per_warp: 32
  threads_per_block_limit: 1024
  threads_per_core_limit: 2048
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  registers_per_block_limit: 65536
  registers_per_core_limit: 65536
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472
  l2_cache_size: 52428800
  memory_bandwidth: 3352320000000
  device_memory_size: 84929347584
}
"""

FREE = {"bitcast", "constant", "get-tuple-element", "parameter", "tuple"}
"""Instructions of XLA that launch nothing."""

UNCOUNTED = {
    *("_record_function_enter_new", "_record_function_exit", "empty", "new_empty_strided"),
    *("_unsafe_view", "detach", "permute", "split", "t", "transpose", "unsqueeze", "view"),
    *("clone", "copy_"),
}
"""Operations of PyTorch that launch nothing, or on a CPU only copy to another memory layout."""

EXTRA: dict[str, Layers] = {
    "784-512-512-10": [
        *[("flatten",), ("dense", 784, 512), ("relu",), ("dense", 512, 512), ("relu",)],
        ("dense", 512, 10),
    ]
}


def instructions(program: str) -> Iterator[str]:
    """Yield the opcodes of a compiled program, without its fusions' own computations."""
    entry = re.search(r"^ENTRY .*?\n(.*?)^}", program, re.M | re.S)
    assert entry is not None, program
    for line in entry[1].splitlines():
        shape_and_opcode = line.partition(" = ")[2]
        opcode = re.search(r"(?:^|[\s)}\]])([a-z][a-z-]*)\(", shape_and_opcode)
        assert opcode is not None, line
        yield opcode[1]


def jax_launches(layers: Layers) -> Counter[str]:
    os.environ["JAX_SKIP_CUDA_CONSTRAINTS_CHECK"] = "1"  # else JAX requires a driver
    os.environ["XLA_FLAGS"] = "--xla_gpu_autotune_level=0 --xla_gpu_enable_triton_gemm=false"
    import jax
    from jax import numpy as jnp
    from jax.experimental import topologies

    jax.config.update("jax_platforms", "cuda")
    topology = topologies.get_topology_desc(platform="cuda", target_config=H100, topology="1x1x1")
    devices = jax.sharding.Mesh(topology.devices, ("gpu",))
    sharding = jax.sharding.NamedSharding(devices, jax.sharding.PartitionSpec())

    def on_gpu(array: Any) -> Any:
        return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding)

    first, start, step = jax_step(layers)
    state = jax.eval_shape(start, first)
    batch = [jax.ShapeDtypeStruct((BATCH, *SIZES), jnp.float32)]
    batch.append(jax.ShapeDtypeStruct((BATCH,), jnp.int32))
    arguments = jax.tree.map(on_gpu, (state, batch))
    compiled = jax.jit(step, donate_argnums=0).lower(*arguments).compile()
    return Counter(each for each in instructions(compiled.as_text()) if each not in FREE)


def torch_launches(layers: Layers) -> Counter[str]:
    from torch.utils._python_dispatch import TorchDispatchMode

    called: Counter[str] = Counter()

    class Counting(TorchDispatchMode):
        def __torch_dispatch__(
            self, operation: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            called[operation.overloadpacket.__name__] += 1
            return operation(*args, **(kwargs or {}))

    turn = torch_turn(layers, 1, 1)
    turn()  # makes Adam's arrays
    with Counting():
        turn()
    return Counter({each: called[each] // EPOCHS for each in called if each not in UNCOUNTED})


LIBRARIES = {"JAX": ("jax-cuda13-plugin", jax_launches), "PyTorch": ("torch", torch_launches)}


@click.command("launches")
def command() -> None:
    """Count the launches of a training step by JAX and PyTorch, for a GPU that need not exist."""
    networks = {name: layers for name, (layers, _) in NETWORKS.items()} | EXTRA
    for library, (package, count) in LIBRARIES.items():
        if version(package) is None:
            click.echo(f"{library}: {package} is not installed")
            continue
        for name, layers in networks.items():
            counts = count(layers)
            click.echo(f"{library} {version(package)}, {name}: {counts.total()}, {dict(counts)}")
