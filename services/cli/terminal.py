"""Where the commands write."""

from rich.console import Console

_WIDTH_WITHOUT_TERMINAL = 200


def console() -> Console:
    """As wide as the terminal; where there is none, wide enough that no table is folded."""
    found = Console()
    return found if found.is_terminal else Console(width=_WIDTH_WITHOUT_TERMINAL)
