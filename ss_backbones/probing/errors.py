"""What is wrong with what a probe was given."""


class ProbeError(ValueError):
    """A checkpoint cannot be probed, or no settings can be derived from a probe."""
