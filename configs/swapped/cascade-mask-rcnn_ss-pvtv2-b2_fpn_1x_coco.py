# Made by: ss-backbones swap mmdet::cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py SSPVTv2 --arch b2
# The neck FPN takes [64, 128, 320, 512] channels in place of [256, 512, 1024, 2048].
# AdamW in place of SGD, which does not train transformers well: lr=0.0001 for a batch of 16, no decay for norms, biases
# and positions. --keep-optimizer leaves SGD.
# init_cfg.checkpoint is still empty: give weights, or init_cfg=None to train from random ones.
_base_ = 'mmdet::cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py'

custom_imports = dict(imports=['ss_backbones'], allow_failed_imports=False)
runner_type = 'ss_backbones.Runner'
model = dict(
    backbone=dict(
        _delete_=True,
        type='SSPVTv2',
        arch='b2',
        settings='specific',
        ramp='bias',
        init_cfg=dict(type='Pretrained', checkpoint=''),
        out_indices=(0, 1, 2, 3),
    ),
    neck=dict(in_channels=[64, 128, 320, 512]),
)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=0.0001, weight_decay=0.05),
    constructor='ss_backbones.LayerDecayOptimizerConstructor',
    paramwise_cfg=dict(layer_decay_rate=1.0),
)
