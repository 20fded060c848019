# UperNet with SS-PVTv2-B0, from scratch, on drawn shapes: under five minutes on two CPU cores.
# python tools/make_shapes.py data/shapes
# python tools/train.py configs/demo/upernet_ss-pvtv2-b0_shapes.py
_base_ = ['mmseg::_base_/models/upernet_swin.py', 'mmseg::_base_/default_runtime.py']
custom_imports = dict(imports=['ss_backbones'])
runner_type = 'ss_backbones.Runner'  # goes on after any stop, saves on Ctrl-C, has a short log

metainfo = dict(
    classes=('background', 'square', 'triangle', 'cross', 'ring'),
    palette=[(0, 0, 0), (230, 25, 75), (0, 110, 220), (255, 170, 20), (40, 190, 80)],
)
num_classes = len(metainfo['classes'])
data_root = 'data/shapes/'
work_dir = 'work_dirs/demo-seg'
max_iters = 1400
side = (96, 96)  # pixels, of images of 128 x 128: nearly twice as many iterations in the same time
warmup_iters = 50
width = 32  # channels of the heads, where the base has 512 and 256
norm = dict(type='BN')  # the base's SyncBN is for several GPUs

# --- model: the base's with narrow heads and no dropout; nothing is pretrained
head = dict(
    channels=width,
    num_classes=num_classes,
    norm_cfg=norm,
    dropout_ratio=0.0,
    # Three quarters of the pixels are background, which is learnt long before the shapes are told apart. With a weight
    # of 0.3 triangles, the smallest shapes, were taken for crosses to the end.
    loss_decode=dict(class_weight=[0.1, 1.0, 1.0, 1.0, 1.0], loss_weight=1.0),
)
model = dict(
    # mmseg's loss with class weights cannot ignore pixels, so the padding of an image that is no square is background
    data_preprocessor=dict(size=side, seg_pad_val=0),
    backbone=dict(_delete_=True, type='SSPVTv2', arch='b0', settings='specific', ramp='bias', init_cfg=None),
    decode_head=dict(in_channels=[32, 64, 160, 256], **head),
    auxiliary_head=dict(in_channels=160, **head),
)

# --- data; without _scope_ a config with a _base_ 'ss_backbones::demo/...' would look for these classes in this package
dataset = dict(type='BaseSegDataset', _scope_='mmseg', data_root=data_root, img_suffix='.png', metainfo=metainfo)
load_image = dict(type='LoadImageFromFile')
resize = dict(type='Resize', scale=side, keep_ratio=True)
load_truth = dict(type='LoadAnnotations')
pack = dict(type='PackSegInputs')
test_pipeline = [load_image, resize, load_truth, pack]  # mmseg's inference reads it here
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        data_prefix=dict(img_path='train/', seg_map_path='train_maps/'),
        pipeline=[load_image, load_truth, resize, dict(type='RandomFlip', prob=0.5), pack],
        **dataset,
    ),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        data_prefix=dict(img_path='val/', seg_map_path='val_maps/'), test_mode=True, pipeline=test_pipeline, **dataset
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='IoUMetric', _scope_='mmseg', iou_metrics=['mIoU'])
test_evaluator = val_evaluator

# --- schedule: evaluated once, at the end
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-3, weight_decay=0.05, fused=True),
    paramwise_cfg=dict(norm_decay_mult=0.0),
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=warmup_iters),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=warmup_iters, end=max_iters, eta_min=2e-5),
]
randomness = dict(seed=0)
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=100, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=max_iters),
    sampler_seed=dict(type='DistSamplerSeedHook'),
)
