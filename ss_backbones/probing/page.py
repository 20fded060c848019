"""A page of HTML in one file, with its pictures in it."""

from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape

_STYLE = """
:root { color-scheme: light; }
body { margin: 0 auto; padding: 24px 28px 60px; max-width: 1240px; background: #fff; color: #1b1f24;
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", "Liberation Sans", Arial, sans-serif; }
h1 { font-size: 26px; margin: 8px 0 16px; overflow-wrap: anywhere; }
h2 { font-size: 20px; margin: 40px 0 10px; padding-bottom: 4px; border-bottom: 1px solid #d8dee4; }
h3 { font-size: 16px; margin: 20px 0 4px; }
p, dd, li { max-width: 900px; }
p { margin: 6px 0; }
dt { font-weight: 600; margin-top: 8px; }
dd { margin: 0 0 0 18px; }
.note { color: #57606a; font-size: 14px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; margin: 8px 0; }
th, td { padding: 3px 7px; border-bottom: 1px solid #e6e9ec; text-align: right; white-space: nowrap; }
th { border-bottom-color: #9aa4ae; vertical-align: bottom; white-space: normal; line-height: 1.25; }
th:first-child, td:first-child, table.words td, table.words th { text-align: left; }
table.words td { white-space: normal; overflow-wrap: anywhere; }
table.words td:first-child { white-space: nowrap; }
th.group { text-align: center; border-bottom: 1px solid #d8dee4; }
.first { border-left: 1px solid #c8ced4; }
td.marked { font-weight: 700; background: #fff1cc; }
figure { margin: 14px 0 26px; }
figcaption { max-width: 900px; margin-bottom: 8px; }
img { max-width: 100%; height: auto; display: block; }
pre { font-size: 12px; background: #f6f8fa; padding: 12px; overflow-x: auto; }
"""


def page(title: str, parts: Iterable[str]) -> str:
    """The whole page, of parts that are HTML already."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n'
        + '\n'.join(parts)
        + '\n</body>\n</html>\n'
    )


def heading(text: str, level: int = 2) -> str:
    """A heading."""
    return f'<h{level}>{escape(text)}</h{level}>'


def paragraph(text: str, kind: str = '') -> str:
    """A paragraph; of the kind 'note' it is less prominent."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f'<p>{escape(text)}</p>'


def definitions(terms: Iterable[tuple[str, str]]) -> str:
    """A list of terms, each with what it means."""
    return '<dl>' + ''.join(f'<dt>{escape(term)}</dt><dd>{escape(text)}</dd>' for term, text in terms) + '</dl>'


def figure(name: str, png: bytes, caption: str) -> str:
    """A picture in the page, with its caption above it."""
    source = f'data:image/png;base64,{b64encode(png).decode()}'
    return (
        f'<figure><figcaption>{escape(caption)}</figcaption>'
        f'<img src="{source}" alt="{escape(name)}: {escape(caption)}"></figure>'
    )


def folded(text: str, label: str) -> str:
    """A long text as it is, behind a label to click."""
    return f'<details><summary>{escape(label)}</summary><pre>{escape(text)}</pre></details>'


def word_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of words."""
    top = '<tr>' + ''.join(f'<th>{escape(cell)}</th>' for cell in head) + '</tr>' if head else ''
    body = ''.join('<tr>' + ''.join(f'<td>{escape(cell)}</td>' for cell in row) + '</tr>' for row in rows)
    return f'<table class="words">{top}{body}</table>'


def number_table(
    groups: Sequence[tuple[str, Sequence[str]]], rows: Iterable[Sequence[str]], marked: set[tuple[int, int]]
) -> str:
    """A table of numbers, with a heading over each group of columns.

    Args:
        groups: The headings, each with those of its columns.
        rows: The cells.
        marked: Row and column of those that stand out.
    """
    starts = {sum(len(columns) for _, columns in groups[:i]) for i in range(1, len(groups))}
    kinds = [' first' if i in starts else '' for i in range(sum(len(columns) for _, columns in groups))]
    names = [column for _, columns in groups for column in columns]
    over = ''.join(
        f'<th class="group{" first" if i else ""}" colspan="{len(columns)}">{escape(group)}</th>'
        for i, (group, columns) in enumerate(groups)
    )
    under = ''.join(f'<th class="{kind}">{escape(name)}</th>' for kind, name in zip(kinds, names, strict=True))
    body = ''.join(
        '<tr>'
        + ''.join(
            f'<td class="{kind}{" marked" if (i, j) in marked else ""}">{escape(cell)}</td>'
            for j, (kind, cell) in enumerate(zip(kinds, row, strict=True))
        )
        + '</tr>'
        for i, row in enumerate(rows)
    )
    return f'<div class="wide"><table><tr>{over}</tr><tr>{under}</tr>{body}</table></div>'
