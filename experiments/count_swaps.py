"""Swap the backbone of every config that the installed mmdet and mmsegmentation ship, and count what comes of it.

    python experiments/count_swaps.py OUT.csv [--backbone SSPVTv2] [--arch b2] [--match TEXT]

A row is a config: its library and name, its backbone, the state and the reason. The states are 'run' (built, and run up
to its heads, without memory), 'built', 'unbuilt' (neither it nor the config that it is from can be built here, as a
package, a file or the internet is missing), 'refused' and 'unreadable'. The table is printed.
"""

import argparse
import csv
import re
import tempfile
import warnings
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.progress import track
from shipped import shipped, swap

import ss_backbones
from ss_backbones.errors import UserError
from ss_backbones.openmmlab.configs import LIBRARIES, library_of, read_config
from ss_backbones.openmmlab.swapping import verify
from ss_backbones.openmmlab.swapping.verifying import BUILT, RUN
from ss_backbones.tables import print_table

# in the names of backbones that give a pyramid, or several maps as one
PYRAMIDS = re.compile(
    r'ResNe|RegNet|Res2Net|Swin|ConvNeXt|Pyramid|MixVision|VisionTransformer|PCPVT|SVT|HRNet|BEiT|MAE'
)
STATES = ('run', 'built', 'unbuilt', 'refused', 'unreadable')


def outcome(path: Path, backbone: dict[str, str], folder: Path) -> tuple[str, str, str]:
    """The old backbone's type, the state, and the reason."""
    try:
        config = read_config(str(path), {})
    except UserError as error:
        return '', 'unreadable', str(error)
    model = config.get('model') or {}
    kind = str(((model.get('detector') or model).get('backbone') or {}).get('type'))
    try:
        done = verify(swap(config, path, backbone, folder), config, path.name, library_of(config))
    except UserError as error:
        return kind, 'refused', str(error).removeprefix(f'{path.name}: ')
    return kind, {RUN: 'run', BUILT: 'built'}.get(done, 'unbuilt'), done


def main() -> None:
    """Count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('out', type=Path)
    parser.add_argument('--backbone', default='SSPVTv2')
    parser.add_argument('--arch', default='b2')
    parser.add_argument('--match', default='', help='count those alone that have this in their names')
    arguments = parser.parse_args()
    warnings.simplefilter('ignore')
    ss_backbones.register()
    backbone = {'type': arguments.backbone, 'arch': arguments.arch}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for library in LIBRARIES:
            configs = shipped(library, arguments.match)
            for name in track(configs, description=library, console=Console(stderr=True)):
                rows.append((library, name, *outcome(configs[name], backbone, Path(folder))))
    with arguments.out.open('w', newline='') as file:
        csv.writer(file).writerows([('library', 'config', 'backbone', 'state', 'reason'), *rows])
    shown = []
    for name, some in (
        *((library, [row for row in rows if row[0] == library]) for library in LIBRARIES),
        ('with a pyramid', [row for row in rows if PYRAMIDS.search(row[2])]),
    ):
        counts = Counter(row[3] for row in some)
        shown.append((name, len(some), *(counts[state] for state in STATES)))
    print_table({'': '', 'configs': 'd', **dict.fromkeys(STATES, 'd')}, shown)


if __name__ == '__main__':
    main()
