"""Mask R-CNN around a backbone, with random weights, made so that every backbone leaves it the same work.

What a detector does after its backbone depends on what it finds, and random weights find anything. So for inference the
region proposal network runs, and its proposals are then replaced by boxes drawn once; the box head gives every box to
one class and leaves it where it is. What follows, from RoIAlign to the pasted masks, is then the same for all.
"""

from collections.abc import Callable

import torch
from mmdet.structures import DetDataSample
from mmdet.testing import demo_mm_inputs
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ..openmmlab.configs import read_config
from .candidates import is_channels_last, outputs
from .plan import Plan, Shape

CONFIG = 'ss_backbones::mask_rcnn/mask-rcnn_ss-pvtv2-b0_fpn_1x_coco.py'
OBJECTS = 7  # true ones an image in training; COCO has 7.3 on average
SMALLEST = 16.0  # pixels of the shortest side of a proposal; the longest is half the image's


class Backbone(nn.Module):
    """A candidate as a detector wants it: float32 maps of (B, C, H, W) that are contiguous, as RoIAlign reads them."""

    def __init__(self, model: nn.Module, plan: Plan) -> None:
        super().__init__()
        self.model, self.plan = model, plan
        self.channels_last = is_channels_last(model)
        if plan.compiled:
            model.compile(dynamic=False)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        with self.plan.autocast():
            maps = self.model(x)
        maps = [m.permute(0, 3, 1, 2) for m in maps] if self.channels_last else maps
        return tuple(m.float().contiguous() for m in maps)


def detector_step(backbone: nn.Module, shape: Shape, plan: Plan) -> tuple[nn.Module, Callable[[], object]]:
    """A detector and one run of it: images in, boxes and masks out, or the losses' backward pass.

    Args:
        backbone: Gives maps of strides 4, 8, 16 and 32.
        shape: Of the images.
        plan: How to run.
    """
    init_default_scope('mmdet')
    config = read_config(CONFIG, {}).model
    config.backbone.init_cfg = None
    config.neck.in_channels = [channels for channels, _, _ in outputs(backbone, shape)]
    detector = MODELS.build(config)
    detector.backbone = Backbone(backbone, plan)
    detector.to(plan.device).train(plan.mode == 'train')
    data = demo_mm_inputs(
        shape.batch,
        (3, shape.height, shape.width),
        num_items=[OBJECTS] * shape.batch,
        num_classes=config.roi_head.bbox_head.num_classes,
        with_mask=True,
        device=plan.device,
    )
    for sample in data['data_samples']:
        sample.set_metainfo({'scale_factor': (1.0, 1.0)})
    if plan.mode == 'infer':
        _settle(detector, shape, plan)

        def infer() -> list[DetDataSample]:
            with torch.inference_mode():
                return detector.test_step(data)

        return detector, infer

    def train() -> None:
        detector.zero_grad(set_to_none=True)
        losses = detector(**detector.data_preprocessor(data, training=True), mode='loss')
        detector.parse_losses(losses)[0].backward()

    return detector, train


def _settle(detector: nn.Module, shape: Shape, plan: Plan) -> None:
    """Make the work after the backbone's maps the same for all: so many proposals, so many masks."""
    proposals = [_boxes(shape, detector.test_cfg.rpn.max_per_img, plan.device) for _ in range(shape.batch)]
    predict = detector.rpn_head.predict

    def run_and_replace(*arguments: object, **options: object) -> list[InstanceData]:
        predict(*arguments, **options)
        return proposals

    detector.rpn_head.predict = run_and_replace
    head = detector.roi_head.bbox_head
    for layer in (head.fc_cls, head.fc_reg):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    nn.init.constant_(head.fc_cls.bias[:1], 10.0)  # by far above the threshold of score_thr


def _boxes(shape: Shape, count: int, device: str) -> InstanceData:
    """Boxes of all sizes and places, the same at every call."""
    numbers = torch.rand(4, count, generator=torch.Generator().manual_seed(0)).to(device)
    sides = []
    for length, part in ((shape.width, numbers[0]), (shape.height, numbers[1])):
        smallest = min(SMALLEST, length / 2)
        sides.append(smallest * (length / 2 / smallest) ** part)  # evenly in the logarithm, as objects are
    width, height = sides
    left, top = numbers[2] * (shape.width - width), numbers[3] * (shape.height - height)
    boxes = torch.stack([left, top, left + width, top + height], dim=1)
    return InstanceData(bboxes=boxes, scores=torch.ones(count, device=device), labels=torch.zeros_like(left).long())
