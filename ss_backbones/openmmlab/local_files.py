"""mmengine reads checkpoint files of this machine through this package, whichever Runner or function asks for them."""

from collections.abc import Mapping
from pathlib import Path

from mmengine.runner import CheckpointLoader

from ..checkpoints.files import MapLocation, read_checkpoint


def load_from_local(filename: str, map_location: MapLocation = None) -> Mapping[str, object]:
    """What a file holds; mmengine's loader for paths, and so named like it.

    Its checksums are compared, nothing in it is run, and whatever is wrong is said with the file's name.

    Args:
        filename: A path; ~ is the home folder.
        map_location: See torch.load.

    Raises:
        CheckpointError: It cannot be read, see :func:`~ss_backbones.checkpoints.files.read_checkpoint`.
    """
    return read_checkpoint(str(Path(filename).expanduser()), map_location)


def register() -> None:
    """Put it in the place of mmengine's own; addresses are read as before."""
    CheckpointLoader.register_scheme('', load_from_local, force=True)
