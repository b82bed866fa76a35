"""The show's progress: bars on a terminal, a line now and then elsewhere."""

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

LINE_EACH_S = 2.0


class Screen:
    """Says things, and inside ``with screen:`` shows how much was pushed and how much of it is in the target."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = self._last_line = time.monotonic()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bars = Progress(*columns, console=console)
        self._pushed = self._arrived = TaskID(-1)

    def say(self, line: str) -> None:
        """Print a line, above the bars."""
        elapsed_s = time.monotonic() - self._started
        self._console.print(f"{elapsed_s:6.1f} s  {line}", highlight=False, markup=False, soft_wrap=True)

    def show(self, pushed: int, total: int, arrived: int, known: int) -> None:
        """Show that ``pushed`` of ``total`` resources were pushed, and ``arrived`` of ``known`` are as wanted."""
        if self._console.is_terminal:
            self._bars.update(self._pushed, completed=pushed, total=total)
            self._bars.update(self._arrived, completed=arrived, total=max(known, total))
        elif time.monotonic() - self._last_line >= LINE_EACH_S:
            self._last_line = time.monotonic()
            self.say(f"pushed {pushed} of {total}; {arrived} of {known} are in the target as wanted")

    def __enter__(self) -> "Screen":
        if self._console.is_terminal:
            self._pushed = self._bars.add_task("pushed by the identity providers", total=None)
            self._arrived = self._bars.add_task("as wanted in the target app", total=None)
            self._bars.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self._console.is_terminal:
            self._bars.stop()
