"""A table of figures, for the terminal, for Markdown and for HTML alike."""

from collections.abc import Iterable
from dataclasses import dataclass

from rich import box
from rich.table import Table

__all__ = ["Grid"]


@dataclass(frozen=True, slots=True)
class Grid:
    """A table: its title, what its figures are, its columns, its rows of as many cells."""

    title: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def to_rich(self) -> Table:
        """For the terminal; without lines around it where it has no title."""
        table = Table(
            title=self.title or None,
            caption=self.note or None,
            title_justify="left",
            caption_justify="left",
            box=box.HEAVY_HEAD if self.title else box.SIMPLE_HEAD,
            pad_edge=bool(self.title),
        )
        for number, column in enumerate(self.columns):
            table.add_column(column, justify="right" if number else "left", overflow="fold")
        for row in self.rows:
            style = "bold" if row[0].startswith("bertrt") else None
            table.add_row(*row, style="red" if "WRONG" in row[0] else style)
        return table

    def to_markdown(self) -> str:
        """As GitHub reads it."""

        def line(cells: Iterable[str]) -> str:
            return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"

        rule = ["---", *["---:"] * (len(self.columns) - 1)]
        table = [line(self.columns), line(rule), *map(line, self.rows)]
        return "\n".join([f"### {self.title}", "", *table, "", self.note, ""])
