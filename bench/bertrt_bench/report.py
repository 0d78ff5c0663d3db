"""A run as a folder: all figures, pictures, a page of Markdown and one of HTML."""

import base64
import shutil
from pathlib import Path

import jinja2

from bertrt_bench.compare import Comparison
from bertrt_bench.plots import write_plots
from bertrt_bench.results import Results
from bertrt_bench.tables import all_tables

__all__ = ["run_facts", "write_report"]

_RESULTS = "results.json"


def write_report(results: Results, folder: Path, comparison: Comparison | None = None) -> None:
    """Write `results.json`, `report.md`, `report.html` and `plots/` in place of an older report.

    A comparison with another run is shown with all its ratios. Raises ValueError if the folder
    holds anything else.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / _RESULTS).exists():
        raise ValueError(f"{folder} is no report of this benchmark: give --output an empty folder")
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    results.save(partial / _RESULTS)
    plots = write_plots(results, partial / "plots")
    grids = all_tables(results)
    if comparison is not None:
        grids.append(comparison.to_grid(everything=True))
    facts = run_facts(results)
    parts = [f"# bertrt bench: {results.model['description']}", ""]
    parts += [f"- {name}: {value}" for name, value in facts.items()]
    parts += ["", *(f"![{plot.caption}](plots/{plot.name}.png)\n" for plot in plots)]
    parts += [grid.to_markdown() for grid in grids]
    (partial / "report.md").write_text("\n".join(parts), encoding="utf-8")
    images = [
        (plot, base64.b64encode((partial / "plots" / f"{plot.name}.svg").read_bytes()).decode())
        for plot in plots
    ]
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    page = templates.get_template("report.html.jinja")
    (partial / "report.html").write_text(
        page.render(results=results, facts=facts, images=images, grids=grids), encoding="utf-8"
    )
    older = folder.with_name(f".{folder.name}.old")
    if folder.exists():
        folder.rename(older)
    partial.rename(folder)
    shutil.rmtree(older, ignore_errors=True)


def run_facts(results: Results) -> dict[str, str]:
    """What a reader must know of the run: how, where, with what."""
    machine, settings = results.machine, results.settings
    stopped = results.rounds < settings["rounds"]
    interrupted = f" of {settings['rounds']}, then interrupted" if stopped else ""
    facts = {
        "command": f"`{settings['command']}`" if "command" in settings else "",
        "machine": f"{machine['cpu']} ({', '.join(machine['instructions'])}), {machine['cpus']} "
        f"CPUs, {machine['memory_gb']} GB; {machine['gpu'] or 'no GPU'}; {machine['system']}",
        "threads": f"{settings['threads']}, the same for every peer",
        "versions": f"bertrt {machine['bertrt']} ({machine['commit']}), Python "
        f"{machine['python']}; the peers' below",
        "method": f"{results.rounds} rounds{interrupted}; in each, every peer by turns on every "
        "workload, each in a process of its own; ratios round by round",
        "when": f"{results.started}, {results.seconds / 60:.0f} minutes",
    }
    return {name: value for name, value in facts.items() if value}
