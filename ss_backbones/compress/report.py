"""What came of inheriting, as a table and as a picture."""

from io import BytesIO

from ..tables import print_table
from .run import InheritReport


def print_report(report: InheritReport) -> None:
    """A table of the blocks, and a line for what they make together, on stdout."""
    columns = {'block': '', 'what changed': '', 'M multiply-adds': '>', 'left over': '.4f'}
    rows = [(block.name, block.changes, _millions(block.macs), block.error) for block in report.blocks]
    print_table(columns, [*rows, ('network', '', _millions(report.macs))])
    before, after = report.macs
    height, width = report.size[1:]
    print(f'{report.images} images of {height} x {width}; {1 - after / before:.1%} fewer multiply-adds.')
    if report.agreement is not None:
        print(f'On {report.checked}: {report.agreement:.1%} get the same class from both networks.')
    if report.top1 is not None:
        print(f'Top-1, with the folders as classes: {report.top1[0]:.1%} before, {report.top1[1]:.1%} after.')
    if report.map_errors:
        errors = ', '.join(f'{error:.3f}' for error in report.map_errors)
        print(f'On {report.checked}: of the variance of the maps {errors} is left over.')


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
