_base_ = 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'

custom_imports = dict(imports=['ss_backbones'], allow_failed_imports=False)
runner_type = 'ss_backbones.Runner'  # goes on after any stop, saves on Ctrl-C, has a short log

# ImageNet weights of exactly this model: make them out of public plain ones (ss-backbones inherit SOURCE
# ss_vit_tiny_patch16_224 OUT --images DIR) or train that classifier, and put the file's path here, or pass
# --cfg-options model.backbone.init_cfg.checkpoint=FILE; for the plain twin any file of DeiT fits. To train from
# random weights on purpose: --cfg-options model.backbone.init_cfg=None
checkpoint = ''

model = dict(
    backbone=dict(
        _delete_=True,
        type='SSViT',
        arch='tiny',
        settings='specific',
        ramp='bias',  # learns faster than the fixed ramp of the paper: docs/classifiers.md
        # Attention over all 50 x 84 tokens of a COCO image is costly: as in ViTDet (arXiv 2203.16527) four blocks,
        # spread evenly, have it, and the others attend within windows of 14 x 14 tokens, as many as in an image of
        # 224 x 224 pixels.
        window_size=14,
        global_blocks=(2, 5, 8, 11),
        drop_path_rate=0.1,
        init_cfg=dict(type='Pretrained', checkpoint=checkpoint),
    ),
    neck=dict(in_channels=[48, 96, 192, 192]),
)

# The recipe of mmdetection's Swin, for a total batch of 16 (8 GPUs x 2), with smaller rates for the earlier layers.
# mmdetection knows no such constructor, so ours needs its scope; it gives norms, biases, tokens and position tables no
# decay.
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    constructor='ss_backbones.LayerDecayOptimizerConstructor',
    paramwise_cfg=dict(layer_decay_rate=0.9),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=12, milestones=[8, 11], gamma=0.1),
]
