# Mask R-CNN with SS-PVTv2-B0, from scratch, on drawn shapes of 128 x 128 pixels: six minutes on two CPU cores.
# python tools/make_shapes.py data/shapes
# python tools/train.py configs/demo/mask-rcnn_ss-pvtv2-b0_shapes.py
_base_ = ['mmdet::_base_/models/mask-rcnn_r50_fpn.py', 'mmdet::_base_/default_runtime.py']
custom_imports = dict(imports=['ss_backbones'])
runner_type = 'ss_backbones.Runner'  # goes on after any stop, saves on Ctrl-C, has a short log

metainfo = dict(
    classes=('square', 'triangle', 'cross', 'ring'),
    palette=[(230, 25, 75), (0, 110, 220), (255, 170, 20), (40, 190, 80)],
)
num_classes = len(metainfo['classes'])
data_root = 'data/shapes/'
work_dir = 'work_dirs/demo'
max_iters = 1500
warmup_iters = 50
width = 64  # channels of the neck and the heads, where the base has 256
norm = dict(type='BN')
strides = [4, 8, 16, 32]
one_sample = dict(sampling_ratio=1)  # a point for each bin of RoIAlign, which took a fifth of the time otherwise

# --- model: the base's, made narrow, with BatchNorm because nothing is pretrained, and with anchors of 16 to 128 pixels
model = dict(
    backbone=dict(_delete_=True, type='SSPVTv2', arch='b0', settings='specific', ramp='bias', init_cfg=None),
    neck=dict(in_channels=[32, 64, 160, 256], out_channels=width, num_outs=4, norm_cfg=norm),
    rpn_head=dict(
        in_channels=width, feat_channels=width, anchor_generator=dict(scales=[4], ratios=[1.0], strides=strides)
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=width, finest_scale=32, roi_layer=one_sample),
        bbox_head=dict(
            type='ConvFCBBoxHead',
            num_shared_convs=2,
            num_shared_fcs=1,
            in_channels=width,
            conv_out_channels=width,
            fc_out_channels=256,
            num_classes=num_classes,
            reg_class_agnostic=True,
            norm_cfg=norm,
        ),
        mask_roi_extractor=dict(out_channels=width, finest_scale=32, roi_layer=one_sample),
        mask_head=dict(
            in_channels=width,
            conv_out_channels=width,
            num_classes=num_classes,
            upsample_cfg=dict(type='bilinear', scale_factor=2),  # the base's deconvolution left a grid of holes
            norm_cfg=norm,
        ),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=64)),
        rpn_proposal=dict(nms_pre=200, max_per_img=100),
        rcnn=dict(sampler=dict(num=24, pos_fraction=0.5)),
    ),
    # one answer for each shape, not one for each class that it might be of
    test_cfg=dict(rpn=dict(nms_pre=200, max_per_img=100), rcnn=dict(max_per_img=20, nms=dict(class_agnostic=True))),
)

# --- data; without _scope_ a config with a _base_ 'ss_backbones::demo/...' would look for these classes in this package
load_image = dict(type='LoadImageFromFile')
resize = dict(type='Resize', scale=(128, 128), keep_ratio=True)
load_truth = dict(type='LoadAnnotations', with_bbox=True, with_mask=True)
train_dataloader = dict(
    batch_size=4,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='CocoDataset',
        _scope_='mmdet',
        data_root=data_root,
        ann_file='annotations/instances_train.json',
        data_prefix=dict(img='train/'),
        metainfo=metainfo,
        pipeline=[load_image, load_truth, resize, dict(type='RandomFlip', prob=0.5), dict(type='PackDetInputs')],
    ),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CocoDataset',
        _scope_='mmdet',
        data_root=data_root,
        ann_file='annotations/instances_val.json',
        data_prefix=dict(img='val/'),
        metainfo=metainfo,
        test_mode=True,
        pipeline=[
            load_image,
            resize,
            load_truth,
            dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
        ],
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(
    type='CocoMetric',
    _scope_='mmdet',
    ann_file=data_root + 'annotations/instances_val.json',
    metric=['bbox', 'segm'],
    format_only=False,
)
test_evaluator = val_evaluator

# --- schedule: evaluated once, at the end
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05, fused=True),
    paramwise_cfg=dict(norm_decay_mult=0.0),
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=warmup_iters),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=warmup_iters, end=max_iters, eta_min=1e-5),
]
randomness = dict(seed=0)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=max_iters), logger=dict(interval=100))
log_processor = dict(by_epoch=False)
