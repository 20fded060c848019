"""What came of inheriting, as a table and as a picture."""

from io import BytesIO

from rich.console import Console
from rich.table import Table

from .run import InheritReport

_WIDTH = 160  # characters of a line that does not go to a terminal


def print_report(report: InheritReport) -> None:
    """A table of the blocks, and a line for what they make together, on stdout."""
    table = Table(box=None, padding=(0, 0, 0, 2), header_style='')
    for head in ('block', 'what changed', 'M multiply-adds', 'left over'):
        table.add_column(head, justify='left' if head in ('block', 'what changed') else 'right', overflow='fold')
    for block in report.blocks:
        table.add_row(block.name, block.changes, _millions(block.macs), f'{block.error:.4f}')
    table.add_row('network', '', _millions(report.macs), '')
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = _WIDTH
    console.print(table)
    before, after = report.macs
    height, width = report.size[1:]
    console.print(f'{report.images} images of {height} x {width}; {1 - after / before:.1%} fewer multiply-adds.')
    if report.agreement is not None:
        console.print(f'On {report.checked}: {report.agreement:.1%} get the same class from both networks.')
    if report.top1 is not None:
        console.print(f'Top-1, with the folders as classes: {report.top1[0]:.1%} before, {report.top1[1]:.1%} after.')
    if report.map_errors:
        errors = ', '.join(f'{error:.3f}' for error in report.map_errors)
        console.print(f'On {report.checked}: of the variance of the maps {errors} is left over.')


def draw(report: InheritReport) -> bytes:
    """The picture, as PNG: by block the multiply-adds before and after, and what is left over."""
    from matplotlib import style
    from matplotlib.figure import Figure

    names = [block.name.replace('stages.', '').replace('blocks.', '') for block in report.blocks]
    places = range(len(names))
    with style.context({'font.size': 9, 'axes.spines.top': False, 'axes.spines.right': False}):
        figure = Figure(figsize=(max(5, 0.45 * len(names) + 2), 5), layout='constrained')
        cost, error = figure.subplots(2, 1, sharex=True)
        for shift, label, colour in ((-0.2, 'trained', '0.6'), (0.2, 'inherited', '#0072B2')):
            macs = [block.macs[shift > 0] / 1e6 for block in report.blocks]
            cost.bar([place + shift for place in places], macs, 0.4, label=label, color=colour)
        cost.set_ylabel('M multiply-adds')
        cost.legend(frameon=False)
        error.bar(places, [block.error for block in report.blocks], 0.6, color='#D55E00')
        error.set_ylabel('left over, share of\nwhat the block adds')
        error.set_xticks(places, names, rotation=90)
        error.set_xlabel('block')
        buffer = BytesIO()
        figure.savefig(buffer, format='png', dpi=110)
    return buffer.getvalue()


def _millions(macs: tuple[int, int]) -> str:
    return ' to '.join(f'{count / 1e6:.2f}' for count in macs)
