"""Time and memory of backbones and detectors, against each other in one run."""
