"""Pictures of what detectors and segmenters predict, one way of drawing for the truth and for both libraries."""
