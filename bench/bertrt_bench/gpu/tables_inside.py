"""Tables of what bertrt's own choices are worth on a GPU."""

from bertrt_bench.gpu.goals import UNMEASURED
from bertrt_bench.gpu.results import Results
from bertrt_bench.grid import Grid
from bertrt_bench.measure import Spread, ratio

__all__ = ["attention_table", "graphs_table", "kernels_table", "ladder_table", "nodes_table"]

_SHOWN_KERNELS = 6


def attention_table(results: Results) -> Grid:
    """One row a batch, one column a form."""
    workloads = results.data("attention").get("workloads", {})
    forms = list(dict.fromkeys(f for found in workloads.values() for f in found["seconds"]))
    rows = []
    for title, found in workloads.items():
        cells = [_ms(found["seconds"].get(form)) for form in forms]
        apart = max(found["differences"].values(), default=0.0)
        rows.append((title, *cells, f"{apart:.1e}"))
    return Grid(
        "Forms of attention",
        "ms of a batch (texts x tokens) that has been tokenized; of all batches of the sentences.",
        ("batch", *forms, "max |Δlogit| between them"),
        tuple(rows) or ((UNMEASURED, "–"),),
    )


def graphs_table(results: Results) -> Grid:
    """One row a length."""
    rows = []
    for length, found in results.data("cuda_graphs").get("lengths", {}).items():
        on, off = (found["seconds"].get(name) for name in ("on", "off"))
        faster = ratio(off, on).format(2, "x") if on and off and len(on) == len(off) else UNMEASURED
        rows.append((length, _ms(on), _ms(off), faster))
    return Grid(
        "CUDA graphs",
        "p50 in ms of one text that has been tokenized.",
        ("tokens", "on", "off", "times as fast"),
        tuple(rows) or ((UNMEASURED, *["–"] * 3),),
    )


def ladder_table(results: Results) -> Grid:
    """One row a size, one column a set of texts."""
    sets = results.data("ladder").get("sets", {})
    places = list(dict.fromkeys(size for found in sets.values() for size in found["seconds"]))
    rows = [
        (size, *(_rate(found["tokens"], found["seconds"].get(size)) for found in sets.values()))
        for size in places
    ]
    return Grid(
        "Sizes of batches",
        "Millions of tokens a second, tokenized beforehand, by `max_batch_tokens`.",
        ("places", *sets),
        tuple(rows) or ((UNMEASURED,),),
    )


def nodes_table(results: Results) -> Grid:
    """Where nodes ran, and which kernels of attention."""
    rows = []
    for name, found in results.data("nodes").get("graphs", {}).items():
        providers = ", ".join(f"{n} on {of}" for of, n in found["providers"].items())
        on_cpu = ", ".join(f"{n} {operator}" for operator, n in found["on_cpu"].items()) or "none"
        rows.append((name, providers, on_cpu, str(found["memcpy"])))
    return Grid(
        "Where nodes ran",
        "Of each graph, as onnxruntime's profiler tells.",
        ("graph", "nodes", "on the CPU", "copies"),
        tuple(rows) or ((UNMEASURED, *["–"] * 3),),
    )


def kernels_table(results: Results) -> Grid:
    """The longest kernels of a run, and what onnxruntime says of attention's."""
    said = results.data("attention_kernels").get("graphs", {})
    timed = results.data("gpu_kernels").get("graphs", {})
    rows = []
    for name in dict.fromkeys((*said, *timed)):
        for shape in dict.fromkeys((*said.get(name, {}), *timed.get(name, {}))):
            words = "; ".join(said.get(name, {}).get(shape, {})) or UNMEASURED
            kernels = timed.get(name, {}).get(shape, [])[:_SHOWN_KERNELS]
            longest = "; ".join(f"{k['us']:.0f} µs {k['kernel'][:60]}" for k in kernels)
            rows.append((f"{name}, {shape}", words, longest or UNMEASURED))
    return Grid(
        "Kernels",
        "What onnxruntime says of attention's kernels, and the longest kernels of a run.",
        ("graph, texts x tokens", "attention", "longest"),
        tuple(rows) or ((UNMEASURED, *["–"] * 2),),
    )


def _ms(seconds: list[float] | None) -> str:
    return Spread.of([1000 * value for value in seconds]).format(3) if seconds else UNMEASURED


def _rate(tokens: int, seconds: list[float] | None) -> str:
    if not seconds:
        return UNMEASURED
    return Spread.of([tokens / value / 1e6 for value in seconds]).format(2)
