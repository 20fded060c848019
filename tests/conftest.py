import sys

import pytest
import torch


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _loggers_of_its_own() -> None:
    """mmengine keeps its loggers, and one of an earlier test writes to a stream that is closed by now."""
    if 'mmengine' in sys.modules:
        sys.modules['mmengine'].MMLogger._instance_dict.clear()
