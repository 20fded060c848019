"""A trained timm model that a student learns from."""

from collections.abc import Mapping

import timm
import torch
from torch import Tensor

from ..checkpoints.files import reason
from ..timm_models.models import name_and_options


class Teacher:
    """Gives what a trained timm model sees in the student's images.

    It is no module, so that it is neither trained nor saved, nor copied for averages of the weights.

    Args:
        model: Arguments of ``timm.create_model`` with the model's name as ``name``; ``checkpoint_path`` or
            ``pretrained=True`` say where its weights come from.
        num_classes: The student's classes.
        mean: Mean of the student's images, by channel, in [0, 255].
        std: Their standard deviation.
        soft: Give the probability of every class, not the likeliest one.

    Raises:
        ValueError: timm has no such model, no weights are asked for, or it has another number of classes.

    Source: hard-label distillation, DeiT (arXiv 2012.12877, section 4), with the class token alone; soft labels as in
    Hinton et al. (arXiv 1503.02531), at a temperature of 1.
    """

    def __init__(
        self, model: Mapping[str, object], num_classes: int, mean: Tensor, std: Tensor, soft: bool = False
    ) -> None:
        self.soft = soft
        name, options = name_and_options('teacher', model)
        if not options.get('pretrained') and not options.get('checkpoint_path'):
            raise ValueError(
                f'teacher: {name} would teach with random weights. Give teacher.checkpoint_path=FILE, or '
                'teacher.pretrained=True to download them.'
            )
        if options.get('checkpoint_path'):  # weights of one's own are likely to be for the student's classes
            options.setdefault('num_classes', num_classes)
        try:
            model = timm.create_model(name, **options)
        except (OSError, RuntimeError) as error:  # no internet, no file, or other weights than the model's
            source = options.get('checkpoint_path') or 'the internet'
            lines = ' '.join(str(error).split())[:300] or reason(error)
            raise ValueError(
                f'teacher: no {name} with weights from {source}: {lines}. Give a file of it and its classes: '
                'teacher.pretrained=False teacher.checkpoint_path=FILE teacher.num_classes=N'
            ) from error
        self.model = model.eval()
        if self.model.num_classes != num_classes:
            raise ValueError(
                f'teacher: {name} knows {self.model.num_classes} classes, the student has {num_classes}. Take a '
                'teacher of the same classes, or give teacher.num_classes with weights for them.'
            )
        about = self.model.pretrained_cfg
        theirs = [255 * torch.tensor(about[key]).view(-1, 1, 1) for key in ('mean', 'std')]
        # from the student's normalisation to the teacher's
        self.scale = std / theirs[1]
        self.shift = (mean - theirs[0]) / theirs[1]

    def __deepcopy__(self, memo: dict) -> 'Teacher':
        return self

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """The classes (B,) of normalised images (B, 3, H, W), or the probabilities (B, num_classes)."""
        if self.scale.device != x.device:
            self.model.to(x.device)
            self.scale, self.shift = self.scale.to(x.device), self.shift.to(x.device)
        logits = self.model(x * self.scale + self.shift)
        return logits.softmax(1) if self.soft else logits.argmax(1)
