"""What cannot be exported."""

from ...errors import ExportError as ExportError
