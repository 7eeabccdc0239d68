"""The hub inside the package: small networks, so that everything can be tried at once and offline."""

from pathlib import Path

from hubtune.errors import ModelError, unknown_name
from hubtune.hub.hub import Hub
from hubtune.hub.local import open_local

FOLDER = Path(__file__).parent / "embedded"


def open_demo(name: str = "") -> Hub:
    """All embedded models, or the one named.

    Raises:
        ModelError: the installation lacks them.
        UnknownNameError: no embedded model of that name.
    """
    if not FOLDER.is_dir():
        raise ModelError(f"the embedded models are missing from {FOLDER}; install hubtune again")
    hub = open_local(str(FOLDER), source="demo")
    if not name:
        return hub
    if name not in hub:
        raise unknown_name("embedded model", name, hub.names)
    return hub.subset([name])
