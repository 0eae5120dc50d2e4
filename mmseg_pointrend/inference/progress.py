"""A progress bar, where there is rich to draw it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import rich.progress


class Progress:
    """Is told of the images that are done; this one shows nothing but messages."""

    def advance(self, count: int = 1) -> None:
        """Say that so many more images are done."""

    def say(self, message: str) -> None:
        """Print a line on stderr."""
        print(message, file=sys.stderr, flush=True)


class Bar(Progress):
    """A bar of rich.

    Args:
        progress (rich.progress.Progress): Shows the bar.
        total (int, optional): How many images there are; None if nobody knows.
    """

    def __init__(self, progress: "rich.progress.Progress", total: int | None) -> None:
        self.progress = progress
        self.task = progress.add_task("predict", total=total, rate="")

    def advance(self, count: int = 1) -> None:
        self.progress.advance(self.task, count)
        speed = self.progress.tasks[self.task].speed
        self.progress.update(self.task, rate=f"{speed:.2f} images/s" if speed else "")

    def say(self, message: str) -> None:
        # As it is, in one piece: a name may look like markup or be longer than a line.
        print_line = self.progress.console.print
        print_line(message, style="red", markup=False, highlight=False, soft_wrap=True)


@contextmanager
def progress_bar(total: int | None, shown: bool = True) -> Iterator[Progress]:
    """Show on stderr how many images are done.

    Args:
        total (int, optional): How many there are; None if nobody knows.
        shown (bool): Whether to show it; without rich it is not. Defaults to True.

    Yields:
        Progress: To be told of each image that is done.
    """
    try:
        from rich import progress
        from rich.console import Console
    except ImportError:
        shown = False
    if not shown:
        yield Progress()
        return
    columns = (
        progress.TextColumn("predicting"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[rate]}"),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=Console(stderr=True)) as bar:
        yield Bar(bar, total)
