"""`bonescan audit`."""

from bonescan_utils.commands import Commands


def add(commands: Commands) -> None: ...
