"""What is wrong with what a probe was given."""


from ..errors import ProbeError as ProbeError
