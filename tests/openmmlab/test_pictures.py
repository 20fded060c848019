"""How pictures of predictions are painted, compared with what can be worked out by hand."""

import itertools

import cv2
import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from torch import nn

from ss_backbones.openmmlab.inference import _merged
from ss_backbones.openmmlab.pictures.classes import Classes, distinct_colours
from ss_backbones.openmmlab.pictures.evaluation import describe
from ss_backbones.openmmlab.pictures.painting import NOTHING, ClassMap, Instances, enlarged

RED, BLUE = (200, 0, 0), (0, 0, 200)
CLASSES = Classes(('apple', 'sea'), (RED, BLUE))
GREY = torch.full((3, 120, 120), 100, dtype=torch.uint8)


def of_detector(threshold: float, model: nn.Module, **found: BaseDataElement) -> Instances:
    """What is painted of a detector's output."""
    structures = pytest.importorskip('mmdet.structures')
    from ss_backbones.openmmlab.pictures.mmdet_samples import prediction

    return prediction(structures.DetDataSample(**found), threshold, model)


def mask(top: int, left: int, bottom: int, right: int) -> torch.Tensor:
    result = torch.zeros(120, 120, dtype=torch.bool)
    result[top:bottom, left:right] = True
    return result


def test_masks_have_the_colours_of_their_classes_and_the_smaller_is_on_top() -> None:
    masks = torch.stack([mask(70, 70, 80, 80), mask(40, 20, 110, 110)])
    boxes = torch.tensor([[70.0, 70, 80, 80], [20, 40, 110, 110]])
    painted = Instances(boxes, torch.tensor([0, 1]), masks=masks).painted(GREY, CLASSES)
    assert painted[:, 75, 75].tolist() == [160, 40, 40]  # 0.4 of 100 and 0.6 of red
    assert painted[:, 100, 60].tolist() == [40, 40, 160]
    assert painted[:, 71, 75].tolist() == list(RED) and painted[:, 41, 100].tolist() == list(BLUE)  # outlines
    assert painted[:, 117, 60].tolist() == [100] * 3  # outside
    assert torch.equal(GREY, torch.full_like(GREY, 100))


def test_names_are_legible_and_cover_no_other() -> None:
    boxes = torch.tensor([[10.0, 40, 100, 100]] * 3)
    seen = Instances(boxes, torch.tensor([0, 1, 0]), torch.tensor([0.9, 0.8, 0.7]))
    painted = seen.painted(GREY, CLASSES)
    assert not (painted[:, 60:80, 30:60] != 100).any()  # a box is not filled
    filled = [(painted.permute(1, 2, 0) == torch.tensor(colour)).all(dim=2) for colour in (RED, BLUE)]
    assert all(colour.sum() > 400 for colour in filled)  # each name has a ground of its own, or it would be hidden
    assert (painted == 255).all(dim=0).sum() > 40  # white letters on dark colours
    light = Instances(boxes[:1], torch.tensor([0])).painted(GREY, Classes(('apple',), ((255, 255, 0),)))
    assert (light == 0).all(dim=0).sum() > 15


def test_nothing_found_changes_nothing() -> None:
    none = Instances(torch.zeros(0, 4), torch.zeros(0, dtype=int), torch.zeros(0), torch.zeros(0, 120, 120).bool())
    image, seen = enlarged(GREY, none, 2.0)
    assert image.shape == (3, 240, 240) and seen.masks.shape == (0, 240, 240)
    assert torch.equal(seen.painted(image, CLASSES), image)
    assert torch.equal(ClassMap(torch.full((120, 120), NOTHING)).painted(GREY, CLASSES), GREY)


@pytest.mark.parametrize('kind', ['instances', 'map'])
def test_enlarged_outlines_have_no_steps(kind: str) -> None:
    """A slanting edge goes on evenly, where pixels made into squares of 10 would have steps of 10."""
    small = torch.arange(20)[:, None] + torch.arange(20) < 20
    image = torch.zeros(3, 20, 20, dtype=torch.uint8)
    instance = Instances(torch.zeros(1, 4), torch.tensor([0]), masks=small[None])
    _, large = enlarged(image, instance if kind == 'instances' else ClassMap(small.long()), 10.0)
    smooth = large.masks[0] if kind == 'instances' else large.labels == 1
    widths = smooth.sum(dim=1)[10:-20]
    assert widths.diff().abs().max() <= 3 and abs(widths[0] - widths[-1] - len(widths) + 1) <= 3


def test_boxes_are_resized_with_the_image() -> None:
    _, seen = enlarged(GREY, Instances(torch.tensor([[1.0, 2, 3, 4]]), torch.tensor([0])), 0.5)
    assert seen.boxes.tolist() == [[0.5, 1, 1.5, 2]]


def test_shares() -> None:
    labels = torch.tensor([[NOTHING, 1, 1, 1], [0, 1, 1, 1]])
    assert ClassMap(labels).shares() == {1: 0.75, 0: 0.125}
    assert ClassMap(labels).legend() == [0, 1]


def test_colours_without_a_palette_differ_to_the_eye() -> None:
    own = distinct_colours()
    assert len(set(own)) == len(own) == 256
    lab = cv2.cvtColor(np.array([own], dtype=np.float32) / 255, cv2.COLOR_RGB2LAB)[0]
    nearest = min(np.linalg.norm(a - b) for a, b in itertools.combinations(lab[:20], 2))
    assert nearest > 25  # where 2.3 can just be seen
    unnamed = Classes.of({'palette': 'random'})
    assert unnamed.name(7) == '7' and unnamed.colour(7) == own[7] and unnamed.colour(256 + 7) == own[7]
    short = Classes.of({'classes': ('a', 'b'), 'palette': [(1, 2, 3)]})
    assert short.colour(0) == own[0] and short.name(1) == 'b'


def test_a_made_up_palette_is_not_believed() -> None:
    """mmseg makes one up for training where the config has none, and the checkpoint keeps it."""
    mine = {'classes': ('a', 'b')}
    trained = {'classes': ['a', 'b'], 'palette': [[1, 1, 1], [2, 2, 2]]}
    assert _merged(mine, trained)['palette'] is None
    assert _merged({**mine, 'palette': [RED, BLUE]}, trained)['palette'] == [RED, BLUE]
    assert _merged({'classes': ('c', 'd'), 'palette': [RED, BLUE]}, trained) == trained
    assert _merged(mine, {})['classes'] == ('a', 'b')


def test_panoptic_maps_are_instances() -> None:
    segments = torch.full((6, 8), 2)  # of two classes, so that the third label is nothing
    segments[:3, :4], segments[3:, :4], segments[:, 6:] = 0, 1000, 1
    model = nn.Module()
    model.panoptic_fusion_head = nn.Module()
    model.panoptic_fusion_head.num_classes = 2
    found = of_detector(0.5, model, pred_panoptic_seg=PixelData(sem_seg=segments[None]))
    assert found.labels.tolist() == [0, 1, 0] and found.scores is None
    assert [int(area) for area in found.masks.sum(dim=(1, 2))] == [12, 12, 12]
    assert found.boxes.tolist() == [[0, 0, 3, 2], [6, 0, 7, 5], [0, 3, 3, 5]]
    painted = found.painted(torch.zeros(3, 6, 8, dtype=torch.uint8), CLASSES)
    assert painted.shape == (3, 6, 8)


def test_masks_without_boxes_get_some() -> None:
    masks = torch.stack([mask(10, 20, 30, 50), mask(0, 0, 0, 0), mask(5, 5, 9, 9)])
    instances = InstanceData(
        bboxes=torch.zeros(3, 4), labels=torch.arange(3), scores=torch.tensor([0.9, 0.8, 0.1]), masks=masks
    )
    found = of_detector(0.5, nn.Module(), pred_instances=instances)
    assert found.boxes.tolist() == [[20, 10, 49, 29]] and found.labels.tolist() == [0]


def test_metrics_in_words() -> None:
    coco = {'coco/bbox_mAP': 0.5, 'coco/bbox_mAP_50': 0.91234, 'coco/segm_mAP_50': 0.8, 'coco/bbox_mAP_l': -1.0}
    assert describe(coco) == 'box AP50 0.912, mask AP50 0.800'
    assert describe({'coco/bbox_mAP_50': 0.9, 'coco/segm_mAP_50': -1.0}) == 'box AP50 0.900'
    assert describe({'aAcc': np.float32(91.0), 'mIoU': np.float32(78.84)}) == 'mIoU 0.788'
    assert describe({'pascal_voc/mAP': 0.7, 'pascal_voc/AP50': 0.71, 'pascal_voc/x': 1.0}) == 'mAP 0.7, AP50 0.71'
