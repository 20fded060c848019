"""The outputs of the official models, computed on a device: ``python tests/reference_on_device.py cuda [FOLDER]``.

FOLDER has the reference's files; by default it is where the tests look for it. Exit code 1 if a number is wrong.
"""

import sys
from pathlib import Path

import numpy as np
import reference
import timm
import torch

import ss_backbones


def main(device: str, folder: str = '') -> int:
    """Compare logits in float64 and float32, and print the largest differences."""
    ss_backbones.register()
    if folder:
        reference.FOLDER = Path(folder)
    torch.backends.cudnn.allow_tf32 = False
    wrong = 0
    for name in sorted(path.stem for path in reference.FOLDER.glob('*.json') if timm.is_model(path.stem)):
        for dtype, allowed in ((torch.float64, 1e-9), (torch.float32, 1e-4)):
            model = timm.create_model(name).double().eval()
            model.load_state_dict(reference.weights(name, model))
            model.to(device, dtype)
            for image, logits, _ in reference.cases(name):
                with torch.no_grad():
                    found = model(image.to(device, dtype)).double().cpu().numpy()
                error = np.abs(found - logits).max() / np.abs(logits).max()
                wrong += not error <= allowed
                print(f'{name} {str(dtype)[6:]} {tuple(image.shape)}: {error:.1e} (at most {allowed:.0e})', flush=True)
    return int(wrong > 0)


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
