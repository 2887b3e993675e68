"""Realistic bugs in the CuPy backend: each replaces text in one file."""

from dataclasses import dataclass

PARITY = "tests/parity/test_operations.py"
RUNS = "tests/parity/test_runs.py"
STEPS = "tests/gpu/test_steps.py"
DEVICES = "tests/gpu/test_devices.py"
IMPORTS = "tests/gpu/test_imports.py"
GRAPH = "tests/gpu_graph/test_graph.py"
SCRATCH = "tests/gpu_graph/test_scratch.py"
CONVOLUTION = "tests/gpu_graph/test_convolution.py"
SUMS = "tests/gpu_graph/test_sums.py"
SCALE = "tests/gpu_graph/test_loss_scale.py"
FAILURE = "tests/gpu_graph/test_failure.py"
STAGING = "tests/gpu_graph/test_staging.py"
PRODUCTS = "tests/gpu_graph/test_matmul.py"
WEIGHTS = "tests/gpu_graph/test_weight_gradients.py"
BOUNDS = "tests/gpu_graph/test_error_bounds.py"
FUSED = "tests/gpu_graph/test_fused_products.py"
ALGORITHMS = "tests/gpu_graph/test_algorithms.py"
FUSION = "tests/gpu_graph/test_fusion.py"
NCCL = "tests/distributed/test_nccl.py"
COMPILED = "tests/kernels/test_cubins.py"
LOOPS = "tests/kernels/test_loops.py"
SEMANTICS = "tests/kernels/test_replay.py"

CUPY = "gpunn/backends/cupy"
KERNELS = f"{CUPY}/kernels"
PRINTED = f"{CUPY}/expressions"


@dataclass(frozen=True)
class Bug:
    """One bug.

    Parameters
    ----------
    name : str
        What is wrong, for the table.
    tier : int
        The test tier that must detect the bug.
    file : str
        Path in the repository.
    tests : tuple of str
        Arguments of pytest: the tests of that tier that are run.
    old, new : str
        The text to replace, which must occur exactly once, and what replaces it.
    """

    name: str
    tier: int
    file: str
    tests: tuple[str, ...]
    old: str
    new: str

    @property
    def device(self) -> str:
        """GPUNN_TEST_DEVICE for these tests."""
        return "emulated" if self.tier == 5 else ""


# fmt: off
BUGS = (
    Bug("plain definitions: an array on the default device", 1,
        "gpunn/backends/operations.py", (PARITY, "-k", "dropout and strict"),
        "position = xp.arange(first, first + size, dtype=xp.int64, device=self.device)",
        "position = xp.arange(first, first + size, dtype=xp.int64)"),
    Bug("a silent fallback: cupy without a driver", 2, "gpunn/backends/selection.py", (IMPORTS,),
        'if name == "auto":', 'if name in ("auto", "cupy"):'),
    Bug("a function that exists only on the host", 3,
        f"{KERNELS}/classes.py", (COMPILED, "-k", "test_training_builds"),
        "v = max(v, __shfl_xor_sync(0xffffffff, v, other));",
        "v = std::max(v, __shfl_xor_sync(0xffffffff, v, other));"),
    Bug("a row kept in an array that spills to local memory", 3,
        f"{PRINTED}/statements.py", (COMPILED, "-k", "test_training_builds"),
        'self.loop.lines.append(f"{name} = {joined};")',
        """starts.append(f"T kept{name}[64];")
            self.loop.lines.append(f"kept{name}[j % 64] = {value};")
            self.loop.lines.append(f"{name} += kept{name}[j / LANES % 64];")"""),
    Bug("a fused kernel that does not round a product before it adds the bias", 3,
        f"{KERNELS}/activations.py", (LOOPS, "-k", "rounds_as_often"),
        "z = product(factor, x);", "z = factor * x;"),
    Bug("a race: a barrier is gone", 4,
        f"{KERNELS}/columns.py", (SEMANTICS, "-k", "thread-batch_norm-float32"),
        "  __syncthreads();  // the next call overwrites the stack\n", ""),
    Bug("an index one past the end", 4,
        f"{KERNELS}/sums.py", (SEMANTICS, "-k", "address-sum-float32"),
        "k < size; k += step)\n    sum += x[k];", "k <= size; k += step)\n    sum += x[k];"),
    Bug("a race: a partial sum may become visible after its ticket", 4,
        f"{KERNELS}/raw.py", (SEMANTICS, "-k", "thread-sum-float32"),
        "    __threadfence();  // makes earlier writes visible before the ticket\n", ""),
    Bug("a race: the ticket is taken while other threads write their partial sums", 4,
        f"{KERNELS}/raw.py", (SEMANTICS, "-k", "thread-layer_norm_gradient-float32"),
        "  __shared__ bool last;\n  __syncthreads();\n", "  __shared__ bool last;\n"),
    Bug("a race: a block sums columns before its rows are summed", 4,
        f"{KERNELS}/row_normalization.py",
        (SEMANTICS, "-k", "thread-layer_norm_activation_gradient-float32"),
        "  __syncthreads();\n  for (long long left", "  for (long long left"),
    Bug("operations are fused, although a result overwrites an argument", 5,
        f"{CUPY}/fusion.py", (FUSION,),
        "any(backend.overlap(own, other) for own in others[0] for other in others[1])", "False"),
    Bug("a variance that leaves out the differences between the blocks' means", 5,
        f"{KERNELS}/normalization.py", (PARITY, "-k", "batch_norm"),
        "squares += off * (count * off + 2 * own[all]) + ", "squares += "),
    Bug("tickets that start with the memory's old content", 5, f"{CUPY}/scratch.py", (SUMS,),
        "np.dtype(np.uint32), zeros=True)", "np.dtype(np.uint32))"),
    Bug("a ticket that is not 0 for the next launch", 5, f"{KERNELS}/raw.py", (SUMS,),
        "atomicInc(ticket, blocks - 1) == blocks - 1", "atomicAdd(ticket, 1u) == blocks - 1"),
    Bug("a race: rows are counted before all blocks have read their start", 4,
        f"{KERNELS}/rows.py", (SEMANTICS, "-k", "thread-next_batch-float32"),
        "if (last_block(ticket, gridDim.x) && threadIdx.x == 0)",
        "if (blockIdx.x == gridDim.x - 1 && threadIdx.x == 0)"),
    Bug("a race: a flag is set without an atomic operation", 4,
        f"{KERNELS}/loss_scale.py", (SEMANTICS, "-k", "thread-unscale-float32"),
        "atomicExch((unsigned long long*)&finite[0], 0ULL);", "finite[0] = 0;"),
    Bug("wrong index: rows from the start of the order", 5,
        f"{KERNELS}/rows.py", (PARITY, "-k", "gather_rows"),
        "order[start[0] + row]", "order[row]"),
    Bug("the last rows are left out by the grid", 5,
        f"{KERNELS}/raw.py", (PARITY, "-k", "layer_norm"),
        "kernel((-(-rows // ROWS),), (LANES, ROWS), tuple(arguments))",
        "kernel((max(rows // ROWS, 1),), (LANES, ROWS), tuple(arguments))"),
    Bug("a gather that misses a tap: that of the first window in each row", 5,
        f"{KERNELS}/windows.py", (PARITY, "-k", "convolution_inputs"),
        "if (b < 0) continue;", "if (b <= 0) continue;"),
    Bug("a gather that forgets the part of an image before", 5,
        f"{KERNELS}/patches.py", (CONVOLUTION, "-k", "within_images"),
        "T sum = image * out_height * out_width < first ? y : (T)0;", "T sum = 0;"),
    Bug("a missing bias", 5, f"{KERNELS}/activations.py", (PARITY, "-k", "activate-relu"),
        '"const T z = a + bias; VALUE"', '"const T z = a; VALUE"'),
    Bug("an overload of the wrong type: float's tanh for double", 5,
        f"{KERNELS}/activations.py", (PARITY, "-k", "float64-activate-tanh", "-m", "full"),
        'activations.Tanh: Formula("a = tanh(z);"', 'activations.Tanh: Formula("a = tanhf(z);"'),
    Bug("a missing return: gradients within the norm are scaled too", 5,
        f"{KERNELS}/sums.py", (PARITY, "-k", "clip"),
        "  if (!(norm > limit)) return;  // also for NaN, which would stay in the padding\n", ""),
    Bug("a wrong mask key: all layers drop the same", 5,
        f"{KERNELS}/dropout.py", (PARITY, "-k", "dropout"),
        "u ^ key);", "u);"),
    Bug("constants that differ only in their last digits share a parameter", 5,
        f"{PRINTED}/printer.py", (PARITY, "-k", "update-adam"),
        "key = repr(value)", 'key = f"{value:.2f}"'),
    Bug("the corrections of the last update", 5,
        f"{KERNELS}/optimizers.py", (PARITY, "-k", "counted_update"),
        '"updates[0] + 1"', '"updates[0]"'),
    Bug("a cuBLAS other than the loaded one", 5,
        f"{CUPY}/matmul/cublas.py", (PRODUCTS, "-k", "loaded"),
        'hasattr(os, "RTLD_NOLOAD")', 'hasattr(os, "RTLD_NOSUCH")'),
    Bug("transposed GEMM flags", 5, f"{CUPY}/matmul/cublas.py", (PRODUCTS, "-k", "every_layout"),
        "status = self._gemm(\n            *(handle, int(transpose_b), int(transpose_a)",
        "status = self._gemm(\n            *(handle, int(transpose_a), int(transpose_b)"),
    Bug("float32 products in TF32", 5, f"{CUPY}/matmul/cublas.py", (BOUNDS, "-k", "float32"),
        '    "float32": COMPUTE_32F,\n', '    "float32": COMPUTE_32F_FAST_TF32,\n'),
    Bug("a bias's gradient from the other matrix", 5,
        f"{CUPY}/matmul/cublaslt.py", (FUSED, "-k", "every_epilogue"),
        "EPILOGUE_BIAS, EPILOGUE_BGRADA = 1, 2, 4, 256",
        "EPILOGUE_BIAS, EPILOGUE_BGRADA = 1, 2, 4, 512"),
    Bug("a bias's gradient requested from a transposed matrix", 5,
        f"{CUPY}/matmul/cublaslt.py",
        (FUSED, "-k", "every_epilogue and shape1 and True and gradient"),
        "MATMUL_DESC_TRANSA, MATMUL_DESC_TRANSB = 3, 4",
        "MATMUL_DESC_TRANSA, MATMUL_DESC_TRANSB = 4, 3"),
    Bug("a layout for C, which is not read, that differs from D's", 5,
        f"{CUPY}/matmul/cublaslt.py", (FUSED, "-k", "every_epilogue"),
        "REAL_32F, columns, rows, columns\n",
        "REAL_32F, columns, rows, columns + (len(self._layouts) == 2)\n"),
    Bug("a refused product is computed without its bias", 5,
        f"{CUPY}/lowerings.py", (ALGORITHMS, "-k", "refused"),
        "*activations.forward(op)", "*activations.forward(op.replace(bias=None))"),
    Bug("an algorithm whose sums change their order in each run", 5,
        f"{CUPY}/matmul/cublaslt.py", (ALGORITHMS, "-k", "bits_change"),
        "REPEATABLE_REDUCTIONS = REDUCTION_SCHEME_COMPUTE_TYPE | REDUCTION_SCHEME_OUTPUT_TYPE",
        "REPEATABLE_REDUCTIONS = REDUCTION_SCHEME_COMPUTE_TYPE | REDUCTION_SCHEME_OUTPUT_TYPE | 1"),
    Bug("a candidate that cuBLASLt marks as invalid", 5,
        f"{CUPY}/matmul/cublaslt.py", (ALGORITHMS, "-k", "marked_as_invalid"),
        " for result in results[: count.value] if not result.state]",
        " for result in results[: count.value]]"),
    Bug("measured algorithms are not part of a checkpoint", 5,
        "gpunn/training/checkpoints/checkpoint.py", (ALGORITHMS, "-k", "resumed"),
        "model.backend.algorithms()", "{}"),
    Bug("an algorithm for matrices that are better aligned", 5,
        f"{CUPY}/matmul/cublaslt.py", (FUSED, "-k", "aligned"),
        "    return min(address & -address, LARGEST_ALIGNMENT)", "    return LARGEST_ALIGNMENT"),
    Bug("too many steps: the rest of a launch is all of them", 5, f"{CUPY}/capture.py", (GRAPH,),
        "            times %= UNROLLED\n", ""),
    Bug("one step a launch: the larger graph waits for a request for 64 updates", 5,
        f"{CUPY}/capture.py", (GRAPH, "-k", "default_trainer or enough_requests"),
        "times >= UNROLLED and self._requested >= UNROLL_AFTER", "times >= UNROLL_AFTER"),
    Bug("loss scaling: a skipped update is counted", 5,
        f"{KERNELS}/loss_scale.py", (PARITY, "-k", "adjust_loss_scale"),
        "         --count;\n", ""),
    Bug("loss scaling: after one infinity every update is skipped", 5,
        f"{KERNELS}/loss_scale.py", (SCALE,),
        "normalizer = weight / scale; finite = 1;", "normalizer = weight / scale;"),
    Bug("a race: rows are copied over others that are still being read", 5,
        f"{CUPY}/staging.py", (STAGING,),
        "        self._stream.wait_event(buffer.read)\n", ""),
    Bug("a race: kernels do not wait for the rows that are being copied", 5,
        f"{CUPY}/staging.py", (STAGING,),
        "        cupy.cuda.get_current_stream().wait_event(self._buffers[self._current].copied)\n",
        "        pass\n"),
    Bug("a race: rows are copied to memory whose last owner may still use it", 5,
        f"{CUPY}/staging.py", (STAGING,),
        "            self._stream.wait_event(cupy.cuda.get_current_stream().record())\n", ""),
    Bug("a race: memory is freed while rows are being copied to it", 5,
        f"{CUPY}/staging.py", (STAGING,),
        "        weakref.finalize(self, wait, self._stream).atexit = False\n", ""),
    Bug("a float64 leak: the learning rate in double precision", 5,
        f"{KERNELS}/optimizers.py", (PARITY, "-k", "float32 and update"),
        "const T rate = factor * {variant.rate};", "const double rate = factor * {variant.rate};"),
    Bug("a host sync: the host reads the norm before clipping", 5,
        f"{KERNELS}/sums.py", (STEPS, "-k", "neither_waits"),
        "        kernel((blocks,), (THREADS,), (x,",
        "        bool(x.any())\n        kernel((blocks,), (THREADS,), (x,"),
    Bug("an allocation in each step", 5, f"{CUPY}/lowerings.py", (STEPS, "-k", "neither_waits"),
        "return [partial(each, self.scratch) for each in kernels]",
        "return [partial(cupy.empty, 9), *(partial(each, self.scratch) for each in kernels)]"),
    Bug("wrong device: operations run on the current one", 5, f"{CUPY}/backend.py", (DEVICES,),
        "        if self._several_devices:\n            self.device.use()\n", "        pass\n"),
    Bug("wrong device: arrays of another device are accepted", 5, f"{CUPY}/devices.py", (DEVICES,),
        "return value if value.data.device_id != device else None", "return None"),
    Bug("a failed device is reported in the words of a library", 5,
        f"{CUPY}/memory.py", (FAILURE,),
        "        if failed := failure():\n", "        if failed := '':\n"),
    Bug("a failure at the end of training hides the first failure", 5,
        "gpunn/training/session.py", (FAILURE,),
        "ending.enter_context(backend.device_errors())", "pass"),
    Bug("a broken capture: garbage is collected meanwhile", 5,
        f"{CUPY}/capture.py", (GRAPH, "-k", "garbage"),
        "    with CAPTURING, COLLECTION.pause():\n", "    with CAPTURING:\n"),
    Bug("a broken capture: another thread waits for the device meanwhile", 5,
        f"{CUPY}/capture.py", (GRAPH, "-k", "other_threads"),
        "    with CAPTURING:\n        wait(*arguments)\n", "    wait(*arguments)\n"),
    Bug("a stream with the address of another: cuBLAS is not set to it", 5,
        f"{CUPY}/matmul/cublas.py",
        (GRAPH, "-k", "several_updates and whole_batches_only", "-m", "full"),
        '        check("cublasSetStream", library.cublasSetStream_v2(handle, stream))\n',
        '        if stream != getattr(self, "stream", None):\n'
        '            check("cublasSetStream", library.cublasSetStream_v2(handle, stream))\n'
        "            self.stream = stream\n"),
    Bug("a stale temporary: a graph's memory is freed", 5, f"{CUPY}/capture.py", (GRAPH,),
        "        self._kept[block] = size, weakref.ref(owner)\n",
        "        return block\n"),
    Bug("a stale temporary: a graph's memory is reused while an array is in it", 5,
        f"{CUPY}/capture.py", (GRAPH, "-k", "keeps_an_array"),
        "            if owner() is None:\n", "            if True:\n"),
    Bug("a stale temporary: a graph uses scratch memory that others replace", 5,
        f"{CUPY}/capture.py", (SCRATCH,),
        "with self._scratch.using(self._buffers):", "if True:"),
    Bug("a race: clipping does not wait for the gradients of another branch", 5,
        f"{CUPY}/weight_gradients.py", (GRAPH, "-k", "replayed_training and plain"),
        "            calls.append(JoinedBranch(lane))\n            pending.clear()\n",
        "            pass\n"),
    Bug("a race: the branches of a graph share scratch memory", 5,
        f"{CUPY}/scratch.py", (GRAPH, "-k", "replayed_training and plain"),
        "key = self._lane, name, dtype", "key = None, name, dtype"),
    Bug("a race: an operand changes while another branch reads it", 5,
        f"{CUPY}/weight_gradients.py", (WEIGHTS, "-k", "operands"),
        "product.writes if name in READ_ONLY[one.name] else product.reads + product.writes",
        "product.writes"),
    Bug("a baked-in scalar: a changed number is not recorded again", 5,
        "gpunn/backends/recording.py", (GRAPH,),
        "if self._made and not self._remembered.equals(self._values()):\n", "if not self._made:\n"),
    Bug("a baked-in scalar: the same learning rate for every step", 5,
        f"{KERNELS}/optimizers.py", (RUNS, "-k", "agrees_with_the_oracle and optimizer"),
        '"rates[position[0]]"', '"rates[0]"'),
    Bug("several devices: a rank does not report that its capture failed", 5,
        f"{CUPY}/capture.py", (NCCL, "-k", "no_rank_has_a_graph"),
        "refusals = self._collectives[0].gather(refusal, what)", "refusals = [refusal]"),
    Bug("several devices: all-to-all sends each rank the same", 5,
        f"{CUPY}/nccl.py", (NCCL, "-k", "what_one_process_trains and 2-plain"),
        "zip(blocks, ranks, strict=True)", "zip([blocks[0]] * self._size, ranks, strict=True)"),
    Bug("several devices: a race: the update does not wait for the sums of gradients", 5,
        f"{CUPY}/branches.py", (NCCL, "-k", "while_others_are_computed"),
        "    cupy.cuda.get_current_stream().wait_event(event)\n", ""),
    Bug("several devices: a race: gradients are exchanged before they are computed", 5,
        f"{CUPY}/branches.py", (NCCL, "-k", "while_others_are_computed"),
        "    stream.wait_event(event)\n", "    pass\n"),
    Bug("several devices: sums go to the rank next to their owner", 5,
        "gpunn/distributed/overlapped_sum.py", (NCCL, "-k", "while_others_are_computed"),
        "moves.append(Move(source, target, first, last))",
        "moves.append(Move(source, (target + 1) % ranks, first, last))"),
    Bug("several devices: graphs outlive NCCL's communicator", 5,
        "gpunn/distributed/nccl.py", (NCCL, "-k", "graphs_are_destroyed"),
        "            graph.destroy()\n", "            pass\n"),
    Bug("several devices: NCCL's calls are not aborted", 5,
        "gpunn/distributed/nccl.py", (NCCL, "-k", "planted_bugs and error"),
        "            calls.communicator.abort()\n", "            pass\n"),
    Bug("several devices: abort before the graphs are destroyed", 5,
        "gpunn/distributed/nccl.py", (NCCL, "-k", "waits_for_too_long and clock", "-m", "full"),
        "            self._destroy_graphs()\n            calls.communicator.abort()\n",
        "            calls.communicator.abort()\n            self._destroy_graphs()\n"),
)
# fmt: on
