"""What of a run's log is on the screen; the log file has all of it."""

import logging
import time


class Console(logging.Filter):
    """While a run is prepared, warnings alone: mmengine logs the whole config, and a line for every parameter.

    Attributes:
        preparing: Whether it is.
        last: When something was shown last, in seconds of ``time.monotonic``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.preparing = True
        self.last = time.monotonic()

    def filter(self, record: logging.LogRecord) -> bool:
        """See logging.Filter."""
        shown = not self.preparing or record.levelno >= logging.WARNING
        if shown:
            self.last = time.monotonic()
        return shown

    def attach(self, logger: logging.Logger) -> None:
        """Filter what a logger shows, not what it writes to files."""
        for handler in logger.handlers:
            if not isinstance(handler, logging.FileHandler):
                handler.addFilter(self)
