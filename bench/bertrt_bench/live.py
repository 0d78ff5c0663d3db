"""The table that fills while a benchmark runs."""

from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from bertrt_bench.plan import Turn
from bertrt_bench.results import Results
from bertrt_bench.tables import board

__all__ = ["Board"]


class Board:
    """Shows the figures as they stand and what runs, on a terminal; nothing elsewhere.

    It is drawn between turns only, so that drawing takes no time from a peer.
    """

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._on = console.is_terminal
        self._progress = Progress(
            BarColumn(),
            TextColumn("{task.percentage:.0f}%"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
            auto_refresh=False,
        )
        self._task = self._progress.add_task("", total=None)

    def __enter__(self) -> "Board":
        if self._on:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._on:
            self._live.stop()

    def show(self, turn: Turn, results: Results) -> None:
        """Draw once."""
        if not self._on:
            return
        self._progress.update(
            self._task, description=turn.title, completed=turn.done, total=turn.total
        )
        self._live.update(Group(board(results).to_rich(), self._progress), refresh=True)
