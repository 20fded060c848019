"""What cannot be exported."""


class ExportError(Exception):
    """There will be no ONNX file; the text says what was given, what was expected and what to do."""
