"""Every kind of config, and every swapped one, takes a training step: its data, heads, losses, optimiser and schedule.

Networks keep their width, and one block of each stage. test_configs.py builds all of them, and shows what one config of
a kind stands for.
"""

import math
from pathlib import Path

import pytest

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

import torch  # noqa: E402
from config_files import KINDS, SWAPPED, load  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.runner import Runner  # noqa: E402
from tiny_configs import make_tiny  # noqa: E402

from ss_backbones.openmmlab.swapping.verifying import check_fit  # noqa: E402


@pytest.mark.parametrize('name', [*KINDS, *SWAPPED])
def test_one_step(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Config, 'pretty_text', '')  # formatting the config for the log takes longer than the step
    config = make_tiny(load(name), tmp_path)
    assert check_fit(config, name, config.default_scope) == ''  # which finds no gradients by a run without memory
    runner = Runner.from_cfg(config)
    gradients = {}
    for key, parameter in runner.model.backbone.named_parameters():
        # the optimiser's wrapper throws the gradients away after the step
        parameter.register_post_accumulate_grad_hook(
            lambda of, key=key: gradients.update({key: bool(torch.isfinite(of.grad).all())})
        )
    runner.train()

    assert runner.iter == 1
    assert math.isfinite(runner.message_hub.get_scalar('train/loss').current())
    trainable = {key for key, parameter in runner.model.backbone.named_parameters() if parameter.requires_grad}
    assert trainable
    assert set(gradients) == trainable
    assert all(gradients.values())
