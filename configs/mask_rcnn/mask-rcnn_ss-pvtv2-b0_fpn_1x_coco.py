_base_ = 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'

custom_imports = dict(imports=['ss_backbones'], allow_failed_imports=False)
runner_type = 'ss_backbones.Runner'  # goes on after any stop, saves on Ctrl-C, has a short log

# ImageNet weights of exactly this model: make them out of public plain ones (ss-backbones inherit SOURCE ss_pvt_v2_b0
# OUT --images DIR) or train that classifier, and put the file's path here, or pass --cfg-options
# model.backbone.init_cfg.checkpoint=FILE. To train from random weights on purpose: --cfg-options
# model.backbone.init_cfg=None
checkpoint = ''

model = dict(
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
)

# PVT's recipe, for a total batch of 16 (8 GPUs x 2)
optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', lr=2e-4, weight_decay=1e-4))
