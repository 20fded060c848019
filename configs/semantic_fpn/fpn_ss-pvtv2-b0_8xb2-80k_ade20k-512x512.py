_base_ = [
    'mmseg::_base_/models/fpn_r50.py',
    'mmseg::_base_/datasets/ade20k.py',
    'mmseg::_base_/default_runtime.py',
    'mmseg::_base_/schedules/schedule_80k.py',
]

custom_imports = dict(imports=['ss_backbones'], allow_failed_imports=False)
runner_type = 'ss_backbones.Runner'  # goes on after any stop, saves on Ctrl-C, has a short log
auto_scale_lr = dict(enable=False, base_batch_size=16)  # images an update, for which the learning rate is

# ImageNet weights of exactly this model: make them out of public plain ones (ss-backbones inherit SOURCE ss_pvt_v2_b0
# OUT --images DIR) or train that classifier, and put the file's path here, or pass --cfg-options
# model.backbone.init_cfg.checkpoint=FILE. To train from random weights on purpose: --cfg-options
# model.backbone.init_cfg=None
checkpoint = ''

model = dict(
    pretrained=None,  # the base has weights of ResNet here
    data_preprocessor=dict(size=_base_.crop_size),
    backbone=dict(
        _delete_=True,
        type='SSPVTv2',
        arch='b0',
        settings='specific',
        ramp='bias',  # learns faster than the fixed ramp of the paper: docs/classifiers.md
        drop_path_rate=0.1,
        init_cfg=dict(type='Pretrained', checkpoint=checkpoint),
    ),
    neck=dict(in_channels=[32, 64, 160, 256]),
    decode_head=dict(num_classes=150),
)

# Test images are stretched until both sides are multiples of 32, so that no map of the pyramid is cut.
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(2048, 512), keep_ratio=True),
    dict(type='ResizeToMultiple', size_divisor=32),
    # after resizing, because the truth keeps its size
    dict(type='LoadAnnotations', reduce_zero_label=True),
    dict(type='PackSegInputs'),
]

# PVT's recipe, for a total batch of 16 (8 GPUs x 2); its own file has twice the batch and rate in half the iterations
train_dataloader = dict(batch_size=2)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', lr=1e-4, weight_decay=1e-4))
param_scheduler = [dict(type='PolyLR', power=0.9, eta_min=0.0, begin=0, end=80000, by_epoch=False)]
