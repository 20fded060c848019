"""An image classifier for mmengine's Runner around a timm model."""

from collections.abc import Mapping

import timm
import torch.nn.functional as F
from mmengine.model import BaseModel, ImgDataPreprocessor
from timm.data.mixup import Mixup
from timm.data.random_erasing import RandomErasing
from timm.loss import LabelSmoothingCrossEntropy, SoftTargetCrossEntropy
from torch import Tensor, nn

from ..networks.arguments import check_flag, check_rate
from ..openmmlab.pretrained import is_pretrained, load_pretrained
from ..registry import MODELS
from ..timm_models.models import name_and_options
from .teacher import Teacher


@MODELS.register_module()
class ImageClassifier(BaseModel):
    """A timm model with a classifier's losses.

    The network is ``backbone``, its head included, so that ``prefix='backbone.'`` finds the weights in a checkpoint.

    Args:
        backbone: Arguments of ``timm.create_model``, with the model's name as ``name``.
        mixup: Arguments of timm's Mixup (``mixup_alpha``, ``cutmix_alpha``, ``prob``, ...); None for none.
        random_erasing: Arguments of timm's RandomErasing (``probability``, ``mode``, ...); None for none.
        label_smoothing: Share of a label that goes to all classes, in [0, 1).
        teacher: A trained timm model to learn from too, see :class:`Teacher`, with ``alpha``, the weight of its loss in
            [0, 1), and ``soft``; None for none.
        init_cfg: ``dict(type='Pretrained', checkpoint=FILE)`` starts from weights of any layout that
            :func:`~ss_backbones.load_weights` knows; a head for other classes starts anew.

    Raises:
        ValueError: timm has no such model, or an argument is out of its range.
    """

    def __init__(
        self,
        backbone: Mapping[str, object],
        mixup: Mapping[str, object] | None = None,
        random_erasing: Mapping[str, object] | None = None,
        label_smoothing: float = 0.0,
        teacher: Mapping[str, object] | None = None,
        init_cfg: Mapping[str, object] | None = None,
    ) -> None:
        check_rate('label_smoothing', label_smoothing)
        name, options = name_and_options('backbone', backbone)
        network = timm.create_model(name, **options)
        about = network.pretrained_cfg
        mean, std = ([255 * value for value in about[key]] for key in ('mean', 'std'))
        if init_cfg and not is_pretrained(init_cfg):
            raise ValueError(f"init_cfg={init_cfg!r} must be dict(type='Pretrained', checkpoint=FILE), or None.")
        super().__init__(ImgDataPreprocessor(mean=mean, std=std, non_blocking=True), init_cfg)
        self.backbone = network
        self.mixup = self.random_erasing = self.teacher = None
        if mixup is not None:
            classes = network.num_classes
            self.mixup = Mixup(**mixup, label_smoothing=label_smoothing, num_classes=classes)
        if random_erasing is not None:
            self.random_erasing = RandomErasing(**random_erasing, device='cpu')
        if teacher is not None:
            theirs = dict(teacher)
            self.alpha = theirs.pop('alpha', 0.5)
            check_rate('teacher: alpha', self.alpha)
            processor = self.data_preprocessor
            soft = theirs.pop('soft', False)
            check_flag('teacher: soft', soft)
            self.teacher = Teacher(theirs, network.num_classes, processor.mean, processor.std, soft)
        self.loss: nn.Module = (
            LabelSmoothingCrossEntropy(label_smoothing) if self.mixup is None else SoftTargetCrossEntropy()
        )

    def init_weights(self) -> None:
        """Load the weights that ``init_cfg`` names; otherwise the network's own initialisation stands.

        Raises:
            CheckpointError: They cannot be read, or do not fit.
        """
        if self.init_cfg:
            load_pretrained(self.backbone, self.init_cfg, 'model.init_cfg')

    def forward(
        self, inputs: Tensor, data_samples: Tensor, mode: str = 'tensor'
    ) -> Tensor | dict[str, Tensor] | list[Tensor]:
        """Images (B, 3, H, W), normalised, with their classes (B,).

        Args:
            inputs: The images.
            data_samples: The classes.
            mode: 'loss' for a dict with the loss, 'predict' for a list with the logits (num_classes,) of each image,
                'tensor' for the logits (B, num_classes).
        """
        if mode == 'loss':
            return self._losses(inputs, data_samples)
        logits = self.backbone(inputs)
        return list(logits) if mode == 'predict' else logits

    def _losses(self, x: Tensor, target: Tensor) -> dict[str, Tensor]:
        if self.random_erasing is not None:
            self.random_erasing.device = x.device
            x = self.random_erasing(x)
        if self.mixup is not None:
            x, target = self.mixup(x, target)
        logits = self.backbone(x)
        loss = self.loss(logits, target)
        if self.teacher is None:
            return {'loss': loss}
        distilled = F.cross_entropy(logits, self.teacher(x))
        # mmengine's total is the sum of what has 'loss' in its name
        return {'loss_label': (1 - self.alpha) * loss, 'loss_teacher': self.alpha * distilled}
