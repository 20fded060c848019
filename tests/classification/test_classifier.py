"""The classifier's losses, its teacher, its accuracy, and the recipe that follows from the run."""

import copy
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

pytest.importorskip('mmengine')

from mmengine.config import Config  # noqa: E402
from torch.nn.functional import cross_entropy  # noqa: E402

from ss_backbones import CheckpointError  # noqa: E402
from ss_backbones.classification import Accuracy, DataError, ImageClassifier  # noqa: E402
from ss_backbones.classification.dataset import LEFT_OUT  # noqa: E402
from ss_backbones.classification.recipe import fit_schedule, scale_learning_rate  # noqa: E402
from ss_backbones.errors import UsageError  # noqa: E402

NAME = 'ss_pvt_v2_b0'
MEAN, STD = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])


def classifier(**options: object) -> ImageClassifier:
    torch.manual_seed(0)
    return ImageClassifier(backbone=dict(name=NAME, num_classes=4), **options)


def batch() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return dict(
        inputs=torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8), data_samples=torch.tensor([0, 3, 1, 1])
    )


def normalised(images: torch.Tensor) -> torch.Tensor:
    return (images.float() - MEAN.view(3, 1, 1)) / STD.view(3, 1, 1)


def losses(model: ImageClassifier) -> dict[str, torch.Tensor]:
    np.random.seed(0)
    model.train()
    return model(**model.data_preprocessor(batch(), training=True), mode='loss')


def test_predictions_are_the_networks() -> None:
    model = classifier().eval()
    expected = model.backbone(normalised(batch()['inputs']))
    with torch.no_grad():
        logits = model.val_step(batch())
    assert len(logits) == 4
    torch.testing.assert_close(torch.stack(logits), expected)


@pytest.mark.parametrize('smoothing', [0.0, 0.1])
def test_the_loss_without_mixing(smoothing: float) -> None:
    model = classifier(label_smoothing=smoothing)
    logits = model.backbone(normalised(batch()['inputs']))
    expected = cross_entropy(logits, batch()['data_samples'], label_smoothing=smoothing)
    torch.testing.assert_close(losses(model)['loss'], expected)


def test_the_loss_with_mixup() -> None:
    model = classifier(mixup=dict(mixup_alpha=0.8), label_smoothing=0.2)
    np.random.seed(0)
    assert np.random.rand() < 1  # whether to mix
    share = np.random.beta(0.8, 0.8)
    x, labels = normalised(batch()['inputs']), batch()['data_samples']
    logits = model.backbone(share * x + (1 - share) * x.flip(0))
    parts = [cross_entropy(logits, target, label_smoothing=0.2) for target in (labels, labels.flip(0))]
    torch.testing.assert_close(losses(model)['loss'], share * parts[0] + (1 - share) * parts[1])


def test_erasing_is_for_training_alone() -> None:
    model = classifier(random_erasing=dict(probability=1.0, mode='const'))
    seen = []
    model.backbone.register_forward_pre_hook(lambda _, args: seen.append(args[0].clone()))
    losses(model)
    with torch.no_grad():
        model.eval().val_step(batch())
    erased = (seen[0] == 0).all(1).flatten(1).sum(1)
    assert (erased >= 0.02 * 32 * 32 * 0.8).all() and (erased < 500).all()
    torch.testing.assert_close(seen[1], normalised(batch()['inputs']))


@pytest.fixture
def teacher(tmp_path: Path) -> dict[str, object]:
    torch.manual_seed(5)
    torch.save(timm.create_model('resnet18', num_classes=4).state_dict(), tmp_path / 'teacher.pth')
    return dict(name='resnet18', num_classes=4, checkpoint_path=str(tmp_path / 'teacher.pth'))


def test_a_student_learns_the_teachers_classes(teacher: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    model = classifier(teacher=dict(teacher, alpha=0.25))
    theirs = timm.create_model(**{'model_name': 'resnet18', **{k: v for k, v in teacher.items() if k != 'name'}}).eval()
    x, labels = normalised(batch()['inputs']), batch()['data_samples']
    logits, hard = model.backbone(x), theirs(x).argmax(1)
    found = losses(model)
    torch.testing.assert_close(found['loss_label'], 0.75 * cross_entropy(logits, labels))
    torch.testing.assert_close(found['loss_teacher'], 0.25 * cross_entropy(logits, hard))
    sum(found.values()).backward()
    assert all(p.grad is None for p in model.teacher.model.parameters())
    assert not any('teacher' in name for name, _ in model.named_parameters())
    assert not any('teacher' in key for key in model.state_dict())
    assert copy.deepcopy(model).teacher is model.teacher  # averages of the weights copy the model


def test_a_student_learns_the_teachers_probabilities(teacher: dict[str, object]) -> None:
    model = classifier(teacher=dict(teacher, alpha=0.25, soft=True))
    x = normalised(batch()['inputs'])
    wanted, logits = model.teacher.model(x).softmax(1), model.backbone(x)
    by_hand = -(wanted * logits.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(losses(model)['loss_teacher'], 0.25 * by_hand)


def test_a_teacher_gets_images_in_its_own_normalisation(teacher: dict[str, object]) -> None:
    overlay = dict(pretrained_cfg_overlay=dict(mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4)))
    model = classifier(teacher={**teacher, **overlay})
    seen = []
    model.teacher.model.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    losses(model)
    images = batch()['inputs'] / 255
    expected = (images - torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)) / torch.tensor([0.2, 0.3, 0.4]).view(3, 1, 1)
    torch.testing.assert_close(seen[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ('options', 'text'),
    [
        (dict(backbone=dict(name='ss_pvt_v9')), "name='ss_pvt_v9' is no timm model; there are ss_pvt_v2_b0"),
        (dict(backbone=dict(name='pvt_v2_b')), 'is no timm model; there are pvt_v2_b0'),
        (dict(backbone=dict()), 'name=None is no timm model'),
        (dict(label_smoothing=1.5), 'label_smoothing=1.5'),
        (dict(teacher=dict(name='resnet18')), 'resnet18 would teach with random weights'),
        (dict(teacher=dict(name='resnet18', soft='yes')), "teacher: soft='yes'"),
        (dict(init_cfg=dict(type='Kaiming')), 'init_cfg=.*Kaiming.* must be dict'),
        (dict(teacher=dict(name='nothing')), "teacher: name='nothing' is no timm model"),
    ],
)
def test_arguments_that_are_wrong(options: dict, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        ImageClassifier(**{'backbone': dict(name=NAME), **options})


def test_a_teacher_of_other_classes_is_refused(teacher: dict[str, object]) -> None:
    with pytest.raises(ValueError, match='resnet18 knows 4 classes, the student has 7'):
        ImageClassifier(backbone=dict(name=NAME, num_classes=7), teacher=teacher)


def test_a_teacher_without_its_weights_is_refused(tmp_path: Path) -> None:
    torch.save(timm.create_model('resnet18', num_classes=9).state_dict(), tmp_path / 'other.pth')
    for file in ('nothing.pth', 'other.pth'):
        teacher = dict(name='resnet18', checkpoint_path=str(tmp_path / file))
        with pytest.raises(ValueError, match='no resnet18 with weights from .*pth: .*checkpoint_path=FILE'):
            classifier(teacher=teacher)


def test_starting_from_weights(tmp_path: Path) -> None:
    torch.manual_seed(3)
    source = timm.create_model('ss_vit_tiny_patch16_224', num_classes=7)
    torch.save({'model': source.state_dict()}, tmp_path / 'a.pth')
    init = dict(type='Pretrained', checkpoint=str(tmp_path / 'a.pth'))
    backbone = dict(name='ss_vit_tiny_patch16_224', num_classes=4, img_size=32)
    model = ImageClassifier(backbone=backbone, init_cfg=init)
    head = model.backbone.head.weight.clone()
    model.init_weights()
    torch.testing.assert_close(model.backbone.blocks[3].mlp.fc1.weight, source.blocks[3].mlp.fc1.weight)
    assert model.backbone.pos_embed.shape[1] == 5
    torch.testing.assert_close(model.backbone.head.weight, head)
    empty = ImageClassifier(backbone=backbone, init_cfg=dict(type='Pretrained', checkpoint=''))
    with pytest.raises(CheckpointError, match='model.init_cfg.checkpoint=FILE.*model.init_cfg=None'):
        empty.init_weights()


def evaluate(logits: torch.Tensor, targets: torch.Tensor) -> dict[str, float]:
    metric = Accuracy()
    for part, classes in zip(logits.split(7), targets.split(7), strict=True):
        metric.process({'data_samples': classes}, list(part))
    return metric.evaluate(len(targets))


def test_accuracy_against_sorting() -> None:
    logits, targets = torch.randn(100, 12), torch.randint(12, (100,))
    order = logits.argsort(1, descending=True)
    expected = [100 * (order[:, :k] == targets[:, None]).any(1).float().mean().item() for k in (1, 5)]
    found = evaluate(logits, targets)
    assert [found['accuracy/top1'], found['accuracy/top5']] == pytest.approx(expected)
    assert found['accuracy/cross_entropy'] == pytest.approx(cross_entropy(logits, targets).item(), rel=1e-5)


def test_a_dead_network_is_not_right() -> None:
    targets = torch.arange(10)
    assert evaluate(torch.zeros(10, 10), targets)['accuracy/top1'] == pytest.approx(10)
    assert evaluate(torch.full((10, 10), torch.nan), targets)['accuracy/top5'] == 0
    assert evaluate(torch.eye(2), torch.tensor([0, 1]))['accuracy/top5'] == 100  # fewer classes than five


def test_images_that_could_not_be_read_do_not_count() -> None:
    logits = torch.eye(3)
    assert evaluate(logits, torch.tensor([0, LEFT_OUT, 0]))['accuracy/top1'] == pytest.approx(50)
    with pytest.raises(DataError, match='no image to evaluate'):
        evaluate(logits, torch.tensor([LEFT_OUT] * 3))


def recipe(**options: object) -> Config:
    config = dict(
        train_dataloader=dict(batch_size=16),
        train_cfg=dict(max_epochs=10),
        optim_wrapper=dict(optimizer=dict(lr=1e-3)),
        auto_scale_lr=dict(enable=True, base_batch_size=64),
        param_scheduler=[dict(type='LinearLR', begin=0, end=2), dict(type='CosineAnnealingLR', begin=2)],
    )
    return Config({**config, **options})


@pytest.mark.parametrize(
    ('world', 'accumulated', 'enable', 'rate'),
    [(4, 1, True, 1e-3), (1, 1, True, 2.5e-4), (8, 3, True, 6e-3), (8, 3, False, 1e-3)],
)
def test_the_learning_rate_follows_the_images_of_an_update(
    world: int, accumulated: int, enable: bool, rate: float
) -> None:
    config = recipe(auto_scale_lr=dict(enable=enable, base_batch_size=64))
    if accumulated > 1:
        config.optim_wrapper.accumulative_counts = accumulated
    config.param_scheduler[1].eta_min = 1e-5
    text = scale_learning_rate(config, world)
    assert config.param_scheduler[1].eta_min == pytest.approx(1e-2 * rate)
    assert config.optim_wrapper.optimizer.lr == pytest.approx(rate)
    assert config.auto_scale_lr is None  # mmengine must not do it again
    assert f'{world * 16 * accumulated} images an update' in text and f'{rate:g}' in text


def test_the_schedule_ends_with_the_training() -> None:
    config = recipe()
    fit_schedule(config)
    assert config.param_scheduler[1].end == 10 and config.param_scheduler[0].end == 2


@pytest.mark.parametrize(
    ('epochs', 'schedules', 'text'),
    [
        (2, None, 'param_scheduler.1 .* runs from epoch 2 to 2, but the training has 2 epochs'),
        (1, None, r'param_scheduler.0 \(LinearLR\) runs from epoch 0 to 2, but the training has 1'),
        (9, [dict(type='CosineAnnealingLR', end=5)], 'ends at epoch 5, the training at 9'),
        (9, [dict(type='CosineAnnealingLR', end=12)], 'runs from epoch 0 to 12'),
    ],
)
def test_a_schedule_that_does_not_fit(epochs: int, schedules: list | None, text: str) -> None:
    config = recipe(train_cfg=dict(max_epochs=epochs), **(dict(param_scheduler=schedules) if schedules else {}))
    with pytest.raises(UsageError, match=text):
        fit_schedule(config)
