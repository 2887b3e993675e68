"""Realistic bugs of the CuPy path, each a small replacement in one file, and who must notice."""

from __future__ import annotations

from dataclasses import dataclass

PARITY = "tests/parity/test_operations.py"
RUNS = "tests/parity/test_runs.py"
STEPS = "tests/gpu/test_steps.py"
DEVICES = "tests/gpu/test_devices.py"
IMPORTS = "tests/gpu/test_imports.py"
GRAPH = "tests/gpu_graph/test_graph.py"
SCRATCH = "tests/gpu_graph/test_scratch.py"
SUMS = "tests/gpu_graph/test_sums.py"
SCALE = "tests/gpu_graph/test_loss_scale.py"
FAILURE = "tests/gpu_graph/test_failure.py"
STAGING = "tests/gpu_graph/test_staging.py"
PRODUCTS = "tests/gpu_graph/test_matmul.py"
BOUNDS = "tests/gpu_graph/test_error_bounds.py"
FUSED = "tests/gpu_graph/test_fused_products.py"
ALGORITHMS = "tests/gpu_graph/test_algorithms.py"
COMPILED = "tests/kernels/test_cubins.py"
SEMANTICS = "tests/kernels/test_replay.py"

CUPY = "gpunn/backends/cupy"
KERNELS = f"{CUPY}/kernels"

SOFTMAX_SUMS = """\
    T total_exp = 0, expected = 0;
    for (long long j = lane; j < columns; j += LANES) {{
      const T shifted = p_row[j] - top;  // so that none overflows
      total_exp += exp(shifted);
      expected += (kept * probability(targets, row, j, columns) + spread) * shifted;
    }}
    total_exp = warp_sum(total_exp);
    expected = warp_sum(expected);
    value = log(total_exp) - expected;
    if (gradient)
      for (long long j = lane; j < columns; j += LANES) {{
        const T smoothed = kept * probability(targets, row, j, columns) + spread;
        gradient_row[j] = share * (exp(p_row[j] - top) / total_exp - smoothed);
"""


@dataclass(frozen=True)
class Bug:
    """One bug.

    Parameters
    ----------
    name : str
        What is wrong, for the table.
    tier : int
        The test tier that has to notice.
    file : str
        Path in the repository.
    old, new : str
        The text to replace, which must occur exactly once, and what replaces it.
    tests : tuple of str
        Arguments of pytest: the tests of that tier that are run.
    device : str
        GPUNN_TEST_DEVICE for them.
    """

    name: str
    tier: int
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    device: str = "emulated"


BUGS = (
    Bug(
        "plain definitions: an array on the default device",
        1,
        "gpunn/backends/operations.py",
        "position = xp.arange(size, dtype=xp.int64, device=self.device)",
        "position = xp.arange(size, dtype=xp.int64)",
        (PARITY, "-k", "dropout and strict"),
        device="",
    ),
    Bug(
        "a silent fallback: cupy without a driver",
        2,
        "gpunn/backends/selection.py",
        'if name == "auto":',
        'if name in ("auto", "cupy"):',
        (IMPORTS,),
        device="",
    ),
    Bug(
        "a function that only the host has",
        3,
        f"{KERNELS}/losses.py",
        "v = max(v, __shfl_xor_sync(0xffffffff, v, other));",
        "v = std::max(v, __shfl_xor_sync(0xffffffff, v, other));",
        (COMPILED, "-k", "test_training_builds"),
        device="",
    ),
    Bug(
        "a row kept in an array that spills to local memory",
        3,
        f"{KERNELS}/losses.py",
        SOFTMAX_SUMS,
        SOFTMAX_SUMS.replace("T total", "T row_kept[64];\n  T total")
        .replace("+= exp(shifted);", "+= row_kept[j / LANES % 64] = exp(shifted);")
        .replace("exp(p_row[j] - top) /", "row_kept[j / LANES % 64] /"),
        (COMPILED, "-k", "test_training_builds"),
        device="",
    ),
    Bug(
        "a race: a barrier is gone",
        4,
        f"{KERNELS}/columns.py",
        "  __syncthreads();  // the next call overwrites the stack\n",
        "",
        (SEMANTICS, "-k", "thread-batch_norm-float32"),
        device="",
    ),
    Bug(
        "an index one beyond the end",
        4,
        f"{KERNELS}/sums.py",
        "k < size; k += step)\n    sum += x[k];",
        "k <= size; k += step)\n    sum += x[k];",
        (SEMANTICS, "-k", "address-sum-float32"),
        device="",
    ),
    Bug(
        "a race: a part may be seen after the ticket that tells of it",
        4,
        f"{KERNELS}/raw.py",
        "    __threadfence();  // what was written is seen before the ticket is\n",
        "",
        (SEMANTICS, "-k", "thread-sum-float32"),
        device="",
    ),
    Bug(
        "a race: the ticket is taken while other threads write their parts",
        4,
        f"{KERNELS}/raw.py",
        "  __shared__ bool last;\n  __syncthreads();\n",
        "  __shared__ bool last;\n",
        (SEMANTICS, "-k", "thread-layer_norm_gradient-float32"),
        device="",
    ),
    Bug(
        "a variance that leaves out how far the blocks' means lie apart",
        5,
        f"{KERNELS}/normalization.py",
        " + count * apart * apart",
        "",
        (PARITY, "-k", "batch_norm"),
    ),
    Bug(
        "tickets that begin with what the memory held",
        5,
        f"{CUPY}/scratch.py",
        "np.dtype(np.uint32), cupy.zeros)",
        "np.dtype(np.uint32), cupy.empty)",
        (SUMS,),
    ),
    Bug(
        "a ticket that is not 0 for the next launch",
        5,
        f"{KERNELS}/raw.py",
        "atomicInc(ticket, blocks - 1) == blocks - 1",
        "atomicAdd(ticket, 1u) == blocks - 1",
        (SUMS,),
    ),
    Bug(
        "a race: rows are counted before all blocks know where they begin",
        4,
        f"{KERNELS}/rows.py",
        "if (last_block(ticket, gridDim.x) && threadIdx.x == 0)",
        "if (blockIdx.x == gridDim.x - 1 && threadIdx.x == 0)",
        (SEMANTICS, "-k", "thread-next_batch-float32"),
        device="",
    ),
    Bug(
        "a race: a flag is set without an atomic operation",
        4,
        f"{KERNELS}/loss_scale.py",
        "atomicExch((unsigned long long*)&finite[0], 0ULL);",
        "finite[0] = 0;",
        (SEMANTICS, "-k", "thread-unscale-float32"),
        device="",
    ),
    Bug(
        "wrong index: rows from the beginning of the order",
        5,
        f"{KERNELS}/rows.py",
        "order[start[0] + row]",
        "order[row]",
        (PARITY, "-k", "gather_rows"),
    ),
    Bug(
        "the last rows are left out by the grid",
        5,
        f"{KERNELS}/raw.py",
        "kernel((-(-rows // ROWS),), (LANES, ROWS), tuple(arguments))",
        "kernel((max(rows // ROWS, 1),), (LANES, ROWS), tuple(arguments))",
        (PARITY, "-k", "layer_norm"),
    ),
    Bug(
        "a missing bias",
        5,
        f"{KERNELS}/activations.py",
        'f"const T z = a + bias; {formula.value}"',
        'f"const T z = a; {formula.value}"',
        (PARITY, "-k", "activate-relu"),
    ),
    Bug(
        "an overload of the wrong type: float's tanh for double",
        5,
        f"{KERNELS}/activations.py",
        'activations.Tanh: Formula("a = tanh(z);"',
        'activations.Tanh: Formula("a = tanhf(z);"',
        (PARITY, "-k", "activate-tanh"),
    ),
    Bug(
        "a missing return: gradients within the norm are scaled too",
        5,
        f"{KERNELS}/sums.py",
        "  if (norm <= limit) return;  // not if the norm is NaN, which has to spread\n",
        "",
        (PARITY, "-k", "clip"),
    ),
    Bug(
        "a wrong mask key: all layers drop the same",
        5,
        f"{KERNELS}/dropout.py",
        "u ^ key);",
        "u);",
        (PARITY, "-k", "dropout"),
    ),
    Bug(
        "the second moment's correction with the first one's beta",
        5,
        f"{KERNELS}/optimizers.py",
        '("square_weight", "-expm1(t * log2)")',
        '("square_weight", "-expm1(t * log1)")',
        (PARITY, "-k", "update-adam"),
    ),
    Bug(
        "the corrections of the last update",
        5,
        f"{KERNELS}/optimizers.py",
        '"updates[0] + 1"',
        '"updates[0]"',
        (PARITY, "-k", "counted_update"),
    ),
    Bug(
        "another cuBLAS than the one that is loaded",
        5,
        f"{CUPY}/matmul/cublas.py",
        'hasattr(os, "RTLD_NOLOAD")',
        'hasattr(os, "RTLD_NOSUCH")',
        (PRODUCTS, "-k", "loaded"),
    ),
    Bug(
        "transposed GEMM flags",
        5,
        f"{CUPY}/matmul/cublas.py",
        "int(transpose_b), int(transpose_a)",
        "int(transpose_a), int(transpose_b)",
        (PRODUCTS, "-k", "every_layout"),
    ),
    Bug(
        "float32 products in TF32",
        5,
        f"{CUPY}/matmul/cublas.py",
        '    "float32": COMPUTE_32F,\n',
        '    "float32": COMPUTE_32F_FAST_TF32,\n',
        (BOUNDS, "-k", "float32"),
    ),
    Bug(
        "a bias's gradient from the other matrix",
        5,
        f"{CUPY}/matmul/cublaslt.py",
        "EPILOGUE_BIAS, EPILOGUE_BGRADA = 1, 2, 4, 256",
        "EPILOGUE_BIAS, EPILOGUE_BGRADA = 1, 2, 4, 512",
        (FUSED, "-k", "every_epilogue"),
    ),
    Bug(
        "a bias's gradient asked of a transposed matrix",
        5,
        f"{CUPY}/matmul/cublaslt.py",
        "MATMUL_DESC_TRANSA, MATMUL_DESC_TRANSB = 3, 4",
        "MATMUL_DESC_TRANSA, MATMUL_DESC_TRANSB = 4, 3",
        (FUSED, "-k", "every_epilogue and shape1 and True and gradient"),
    ),
    Bug(
        "a layout for C, which isn't read, that is not D's",
        5,
        f"{CUPY}/matmul/cublaslt.py",
        "REAL_32F, columns, rows, columns\n",
        "REAL_32F, columns, rows, columns + (len(self._layouts) == 2)\n",
        (FUSED, "-k", "every_epilogue"),
    ),
    Bug(
        "a product that is refused is done without its bias",
        5,
        f"{CUPY}/launches.py",
        "self.activate(activation, z, bias, out)\n",
        "self.activate(activation, z, None, out)\n",
        (ALGORITHMS, "-k", "refused"),
    ),
    Bug(
        "an algorithm whose sums have another order each time",
        5,
        f"{CUPY}/matmul/cublaslt.py",
        "REPEATABLE_REDUCTIONS = REDUCTION_SCHEME_COMPUTE_TYPE | REDUCTION_SCHEME_OUTPUT_TYPE",
        "REPEATABLE_REDUCTIONS = REDUCTION_SCHEME_COMPUTE_TYPE | REDUCTION_SCHEME_OUTPUT_TYPE | 1",
        (ALGORITHMS, "-k", "bits_change"),
    ),
    Bug(
        "a candidate that cuBLASLt marks as invalid",
        5,
        f"{CUPY}/matmul/cublaslt.py",
        " for result in results[: found.value] if not result.state]",
        " for result in results[: found.value]]",
        (ALGORITHMS, "-k", "results_of_the_base"),
    ),
    Bug(
        "measured algorithms are not part of a checkpoint",
        5,
        "gpunn/training/checkpoint.py",
        "model.backend.algorithms()",
        "{}",
        (ALGORITHMS, "-k", "resumed"),
    ),
    Bug(
        "an algorithm for matrices that are better aligned",
        5,
        f"{CUPY}/matmul/cublaslt.py",
        "    return min(address & -address, LARGEST_ALIGNMENT)",
        "    return LARGEST_ALIGNMENT",
        (FUSED, "-k", "aligned"),
    ),
    Bug(
        "too many steps: the rest of a launch is all of them",
        5,
        f"{CUPY}/capture.py",
        "            times %= IN_A_ROW\n",
        "",
        (GRAPH,),
    ),
    Bug(
        "one step a launch: the larger graph waits for 64 updates at once",
        5,
        f"{CUPY}/capture.py",
        "times >= IN_A_ROW and self._asked >= WORTHWHILE",
        "times >= WORTHWHILE",
        (GRAPH, "-k", "as_it_is or enough_was_asked_for"),
    ),
    Bug(
        "loss scaling: an update that was left out is counted",
        5,
        f"{KERNELS}/loss_scale.py",
        "             --updates;\n",
        "",
        (PARITY, "-k", "adjust_loss_scale"),
    ),
    Bug(
        "loss scaling: after one infinity no update is done any more",
        5,
        f"{KERNELS}/loss_scale.py",
        "normalizer = weight / scale; finite = 1;",
        "normalizer = weight / scale;",
        (SCALE,),
    ),
    Bug(
        "a race: rows are copied over others that are still being read",
        5,
        f"{CUPY}/staging.py",
        "        self._stream.wait_event(place.read)\n",
        "",
        (STAGING,),
    ),
    Bug(
        "a race: kernels do not wait for the rows that are being copied",
        5,
        f"{CUPY}/staging.py",
        "        cupy.cuda.get_current_stream().wait_event(self._places[self._turn].copied)\n",
        "        pass\n",
        (STAGING,),
    ),
    Bug(
        "a race: rows are copied to memory whose last owner may still use it",
        5,
        f"{CUPY}/staging.py",
        "            self._stream.wait_event(cupy.cuda.get_current_stream().record())\n",
        "",
        (STAGING,),
    ),
    Bug(
        "a race: memory is given back while rows are being copied to it",
        5,
        f"{CUPY}/staging.py",
        "        weakref.finalize(self, wait, self._stream).atexit = False\n",
        "",
        (STAGING,),
    ),
    Bug(
        "a float64 leak: the learning rate in double precision",
        5,
        f"{KERNELS}/optimizers.py",
        "const T rate = {form.rate}, t = (T)({form.t});",
        "const double rate = {form.rate}; const T t = (T)({form.t});",
        (RUNS, "-k", "agrees_with_the_oracle and float32"),
    ),
    Bug(
        "a host sync: the norm is looked at before clipping",
        5,
        f"{CUPY}/launches.py",
        "        return [partial(sums.clip,",
        "        return [lambda: bool(gradients.any()), partial(sums.clip,",
        (STEPS, "-k", "neither_waits"),
    ),
    Bug(
        "an allocation in each step",
        5,
        f"{CUPY}/launches.py",
        "        return [partial(losses.add_loss,",
        "        return [partial(weights.astype, weights.dtype), partial(losses.add_loss,",
        (STEPS, "-k", "neither_waits"),
    ),
    Bug(
        "wrong device: operations run on the current one",
        5,
        f"{CUPY}/backend.py",
        "        if self._several_devices:\n            self.device.use()\n",
        "",
        (DEVICES,),
    ),
    Bug(
        "wrong device: arrays of another one are let through",
        5,
        f"{CUPY}/devices.py",
        "return value if value.data.device_id != device else None",
        "return None",
        (DEVICES,),
    ),
    Bug(
        "a device that has failed is told of in the words of a library",
        5,
        f"{CUPY}/memory.py",
        "        if failed := failure():\n",
        "        if failed := '':\n",
        (FAILURE,),
    ),
    Bug(
        "what fails at the end of training hides what failed before",
        5,
        "gpunn/training/session.py",
        "ending.enter_context(backend.device_errors())",
        "pass",
        (FAILURE,),
    ),
    Bug(
        "a capture is spoilt: garbage is collected meanwhile",
        5,
        f"{CUPY}/capture.py",
        "            gc.disable()\n",
        "",
        (GRAPH, "-k", "garbage"),
    ),
    Bug(
        "a capture is spoilt: another thread waits for the device meanwhile",
        5,
        f"{CUPY}/capture.py",
        "    with CAPTURING:\n        wait(*arguments)\n",
        "    wait(*arguments)\n",
        (GRAPH, "-k", "other_threads"),
    ),
    Bug(
        "a stream with the address of another: cuBLAS is not set to it",
        5,
        f"{CUPY}/matmul/cublas.py",
        '        check("cublasSetStream", library.cublasSetStream_v2(handle, stream))\n',
        '        if stream != getattr(self, "stream", None):\n'
        '            check("cublasSetStream", library.cublasSetStream_v2(handle, stream))\n'
        "            self.stream = stream\n",
        (GRAPH, "-k", "several_updates and whole_batches_only"),
    ),
    Bug(
        "a stale temporary: a graph's memory is given back",
        5,
        f"{CUPY}/capture.py",
        "        self._kept.append(memory)\n",
        "",
        (GRAPH,),
    ),
    Bug(
        "a stale temporary: a graph uses scratch memory that others replace",
        5,
        f"{CUPY}/capture.py",
        "with self._scratch.using(self._buffers):",
        "if True:",
        (SCRATCH,),
    ),
    Bug(
        "a baked-in scalar: a changed number is not recorded anew",
        5,
        "gpunn/backends/recording.py",
        "if not self._made or not all(map(is_, values, self._values)):\n",
        "if not self._made:\n",
        (GRAPH,),
    ),
    Bug(
        "a baked-in scalar: the same learning rate for every step",
        5,
        f"{KERNELS}/optimizers.py",
        '"rates[position[0]]"',
        '"rates[0]"',
        (RUNS, "-k", "agrees_with_the_oracle and float32"),
    ),
)
