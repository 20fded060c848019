"""What a candidate's name says by itself; nothing large is imported for it."""

import re


def is_own(name: str) -> bool:
    return not name.startswith(('timm:', 'mmdet:'))


def split(name: str) -> tuple[str, list[str]]:
    """The network, with 'timm:' or 'mmdet:' before a peer's, and the options."""
    network, options = re.fullmatch(r'(.*\.py|(?:timm:|mmdet:)?[^:]*)((?::.*)?)', name, re.DOTALL).groups()
    return network, options.split(':')[1:]
