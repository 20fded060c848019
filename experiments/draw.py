"""Draw what ramps.py or inheriting.py wrote: by epoch, a column for each network, a line for each seed of each way.

python experiments/draw.py experiments/ramps.csv docs/ramps.png
"""

import sys

import pandas as pd
from matplotlib import style
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

TITLES = {'top1': 'top-1, %', 'ramp_share': "share of the ramp's direction\nin the squared gradient"}
COLOURS = ('0.4', '#D55E00', '#0072B2', '#009E73')


def main(source: str, out: str) -> None:
    """Draw a file."""
    rows = pd.read_csv(source)
    shown = [name for name in TITLES if name in rows]
    networks, ways = rows['network'].unique(), rows['way'].unique()
    with style.context({'font.size': 9, 'axes.spines.top': False, 'axes.spines.right': False}):
        figure = Figure(figsize=(4.2 * len(networks), 3.2 * len(shown)), layout='constrained')
        panels = figure.subplots(len(shown), len(networks), squeeze=False, sharex=True)
        for column, network in enumerate(networks):
            for line, name in enumerate(shown):
                panel = panels[line][column]
                for way, colour in zip(ways, COLOURS, strict=False):
                    of_way = rows[(rows['network'] == network) & (rows['way'] == way)]
                    for number, (_, run) in enumerate(of_way.groupby('seed')):
                        panel.plot(
                            run['epoch'], run[name], color=colour, linewidth=1.2, label=way if not number else None
                        )
                panel.set_ylabel(TITLES[name])
                panel.xaxis.set_major_locator(MaxNLocator(integer=True))
            panels[0][column].set_title(network, loc='left')
            panels[-1][column].set_xlabel('epoch')
        panels[0][0].legend(frameon=False)
        figure.savefig(out, dpi=110)


if __name__ == '__main__':
    main(*sys.argv[1:])
