"""A schedule as one CUDA kernel for all its steps; `persistent` says how its blocks work together.

The text has three floors: a few functions that are always the same, the loop over the steps with what stands
still in it (`_KERNEL`), and the stages of a step: the products, with a meeting of all blocks before them,
then the assignments as `cuda_emitter` writes them, run by the threads that have the products' sums.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tinygrad_rnn.kernels.cuda_emitter import Body, kind, prelude
from tinygrad_rnn.kernels.fusion import Fusion
from tinygrad_rnn.kernels.program import NotCompilable
from tinygrad_rnn.kernels.schedule import Assign, Product, Schedule, Stage

_FUNCTIONS = """
// All blocks of a group meet here; with those of earlier meetings `expected` have then arrived.
__device__ inline void meet(unsigned *arrived, unsigned expected)
{
    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence();
        atomicAdd(arrived, 1u);
        while (int(*(volatile unsigned *)arrived - expected) < 0);
        __threadfence();
    }
    __syncthreads();
}

// A block's slice of a weight: for every gate and row of `depth` numbers, its features from `first` on.
__device__ inline void stash(
    storage *slice, const storage *weight, int gates, int depth, int down, int across,
    int first, int units, int width)
{
    for (int i = threadIdx.x; i < gates * depth * units; i += blockDim.x) {
        int j = first + i % units, k = i / units % depth, gate = i / units / depth;
        slice[i] = j < width ? weight[k * down + (gate * width + j) * across] : storage(0.0f);
    }
}

// Rows that other blocks have written, into shared memory; one number further apart, for its banks.
__device__ inline void fetch(real *tile, const storage *rows, int many, int depth, int wide)
{
    for (int n = 0; n < many; n += 4)
        for (int k = threadIdx.x; k < depth; k += blockDim.x) {
            real row[4];  // four loads under way before the first is waited for
            for (int r = 0; r < 4; r++) row[r] = real(__ldcg(rows + min(n + r, many - 1) * wide + k));
            for (int r = 0; r < 4; r++) tile[(n + r) * (depth + 1) + k] = row[r];
        }
}

// tile @ slice; each part of the threads sums over some of the features, four rows and `features` at a time.
template <int gates, int features> __device__ inline void multiply(
    real *sums, const real *tile, const storage *slice, int many, int depth, int units, int parts, int size)
{
    int lanes = blockDim.x / parts, part = threadIdx.x / lanes, apart = (units + features - 1) / features;
    for (int i = threadIdx.x % lanes; part < parts && i < (many + 3) / 4 * apart; i += lanes) {
        int j = i % apart, n = i / apart * 4;
        real sum[4][features][gates] = {};
        for (int k = part; k < depth; k += parts) {
            real row[4];
            for (int r = 0; r < 4; r++) row[r] = tile[(n + r) * (depth + 1) + k];
            for (int f = 0; f < features; f++)
                for (int gate = 0; gate < gates; gate++) {
                    real weight = real(slice[(gate * depth + k) * units + min(j + f * apart, units - 1)]);
                    for (int r = 0; r < 4; r++) sum[r][f][gate] += row[r] * weight;
                }
        }
        for (int f = 0; f < features && j + f * apart < units; f++)
            for (int r = 0; r < 4; r++)
                for (int gate = 0; gate < gates; gate++)
                    sums[part * size + ((n + r) * gates + gate) * units + j + f * apart] = sum[r][f][gate];
    }
}

__device__ inline real total(const real *sums, int parts, int size, int at)
{
    real sum = 0;
    for (int part = 0; part < parts; part++) sum += sums[part * size + at];
    return sum;
}
"""

_KERNEL = """
extern "C" __global__ void {name}(
    int steps, int rows, int width, int backwards, int before, int tall, int tile, int slices, int units,
    int parts, int *counts, unsigned *arrived{parameters})
{{
    extern __shared__ double shared[];
    int group = blockIdx.x / slices, first = blockIdx.x % slices * units, own = min(units, width - first);
    int size = tile * units;
    real *multiplied = (real *)shared, *sums = multiplied + tile * ({depth} * width + 1);
    storage *slices0 = (storage *)(sums + parts * size * {sums});
{stashed}
    unsigned expected = 0;
    for (int s = 0; s < steps; s++) {{
        int t = backwards ? steps - 1 - s : s, begin = group * tall, end = min(counts[t], begin + tall);
{pointers}{stages}
    }}
}}
"""
_STASH = """\
    storage *slice{i} = slices0 + {offset} * width * units;
    stash(slice{i}, {array}, {gates}, {depth} * width, {down}, {across}, first, units, width);"""
_STAGE = """
        {meeting}for (int top = begin; top < end; top += tile) {{
            int many = min(tile, end - top);
{products}
            for (int i = threadIdx.x; i < many * own; i += blockDim.x) {{
                int n = top + i / own, j = first + i % own;
{assignments}
            }}
        }}"""
_FETCH = """\
            fetch(multiplied, {rows} + (size_t(top) * {wide} + {start}) * width, many, {depth} * width,
                  {wide} * width);
            __syncthreads();
"""
_PRODUCT = """\
            multiply<{gates}, {features}>(
                {sums}, multiplied, slice{i}, many, {depth} * width, units, parts, size * {gates});
            __syncthreads();
"""
_STEPS = {"t": "t", "before": "t + before", "after": "t + 1 - before", "old": "(s & 1)", "new": "(~s & 1)"}
"""Which step of an array a place means."""


class Needs(NamedTuple):
    """What the loop of a layer keeps in a block's shared memory."""

    width: int
    """Features of h, which blocks share out."""
    weights: int
    """Bytes of weights for one feature."""
    depth: int
    """Features of the longest row that is multiplied."""
    sums: int
    """Results for one feature and row, at most, that are summed at the same time."""
    features: int
    """A thread sums for so many features at a time."""
    real: int
    """Bytes of a number that is computed with."""

    def shared(self, units: int, tile: int, parts: int) -> int:
        """Bytes for the weights of `units` features, `tile` rows, and sums in so many parts."""
        values = tile * (self.depth + 1) + parts * tile * self.sums * units
        return units * self.weights + values * self.real


@dataclass
class Loop:
    """The text of a kernel for all steps, and what it is called with."""

    name: str
    source: str
    arrays: list[str]
    buffers: dict[str, int]
    needs: Needs


def emit(schedule: Schedule, dtype: Any) -> Loop:
    """Write a whole loop down; NotCompilable where blocks cannot share it out by the features of h."""
    return _Writing(schedule).loop(np.dtype(dtype))


class _Writing:
    """Rows are as many features wide as h, or several times that: so many widths."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule, self.fusion = schedule, Fusion(schedule, whole_stages=True)
        if not schedule.factors or len(self.fusion.runs) != len(schedule.stages):
            raise NotCompilable("expected a product, and rows of one width, in every step")
        sizes = [self.fusion.shortest(run) for _, run in self.fusion.runs if run]
        for product in (p for stage in schedule.stages for p in stage.products):
            sizes += [self.fusion.width(product.target), self.fusion.width(product.a)]
        self.width = min(sizes)
        for size in sizes:
            self.widths(size)
        gates = max(self.shape(p)[0] for stage in schedule.stages for p in stage.products)
        self.features = max(1, 4 // gates)
        self.body = Body(self.fusion, self.width)

    def widths(self, size: int) -> int:
        """How many widths make up a row; NotCompilable where they do not."""
        if size % self.width:
            raise NotCompilable(f"expected rows of multiples of {self.width} features, got {size}")
        return size // self.width

    def shape(self, product: Product) -> tuple[int, int]:
        """Gates and depth of a product's weight."""
        return self.widths(self.fusion.width(product.target)), self.widths(self.fusion.width(product.a))

    def loop(self, dtype: Any) -> Loop:
        schedule = self.schedule
        stages = "".join(map(self.stage, schedule.stages, (run for _, run in self.fusion.runs)))
        factors = {p.array: self.shape(p) for stage in schedule.stages for p in stage.products}
        depth = max(deep for _, deep in factors.values())
        sums = max(sum(self.shape(p)[0] for p in stage.products) for stage in schedule.stages)
        stashed, offset = [], 0
        for i, factor in enumerate(schedule.factors):
            gates, deep = factors[factor.array]
            down, across = ("1", f"{deep} * width") if factor.transposed else (f"{gates} * width", "1")
            stashed.append(_STASH.format(
                i=i, offset=offset, array=factor.array, gates=gates, depth=deep, down=down, across=across
            ))  # fmt: skip
            offset += gates * deep
        pointers = "".join(
            f"        {kind(array)} *{name} = {array} + "
            f"size_t({_STEPS[time]}) * rows * {self.wide(array)} * width;\n"
            for name, (array, time) in self.body.arguments.items() if time
        )  # fmt: skip
        arrays = sorted({array for array, _ in self.body.arguments.values()} | factors.keys())
        name = f"{schedule.name}_all_steps"
        source = _KERNEL.format(
            name=name, parameters="".join(f", {kind(array)} *{array}" for array in arrays), depth=depth,
            sums=sums, stashed="\n".join(stashed), pointers=pointers, stages=stages,
        )  # fmt: skip
        real = max(dtype.itemsize, 4)
        weights = offset * self.width * dtype.itemsize
        needs = Needs(self.width, weights, depth * self.width, sums, self.features, real)
        return Loop(name, prelude(dtype) + _FUNCTIONS + source, arrays, self.fusion.buffers, needs)

    def wide(self, array: str) -> int:
        """The widths of an array's rows."""
        return self.widths(self.fusion.shape(array)[1])

    def stage(self, stage: Stage, assignments: list[Assign]) -> str:
        """The products of a stage, then its assignments in the threads that have their sums."""
        products, before, fetched = "", 0, ""
        self.body.lines, self.body.registers = [], {}
        for product in stage.products:
            gates, depth = self.shape(product)
            place = self.fusion.place(product.a)
            assert place is not None, product.a
            if place.time == "" or (place.time in ("old", "new") and place.array not in self.fusion.buffers):
                raise NotCompilable(f"expected a factor of its own for every step, got {place.array}")
            sums = f"sums + parts * size * {before}"
            rows, wide = self.body.argument(place), self.wide(place.array)
            fetch = _FETCH.format(rows=rows, wide=wide, start=self.widths(place.start), depth=depth)
            products += fetch if fetch != fetched else ""
            fetched = fetch
            index = product.array.removeprefix("factor")
            products += _PRODUCT.format(
                gates=gates, features=self.features, sums=sums, i=index, depth=depth
            )  # fmt: skip
            for gate in range(gates):
                at = f"((n - top) * {gates} + {gate}) * units + j - first"
                total = f"total({sums}, parts, size * {gates}, {at})"
                self.body.let(product.target, gate * self.width, total)
            before += gates
        self.body.run(assignments)
        meeting = "meet(arrived + group, expected += slices);\n        " if products else ""
        lines = "\n".join(" " * 12 + line for line in self.body.lines)
        return _STAGE.format(meeting=meeting, products=products.rstrip("\n"), assignments=lines)
