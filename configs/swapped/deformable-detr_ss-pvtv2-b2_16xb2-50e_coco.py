# Made by: ss-backbones swap mmdet::deformable_detr/deformable-detr_r50_16xb2-50e_coco.py SSPVTv2 --arch b2
# The neck ChannelMapper takes [128, 320, 512] channels in place of [512, 1024, 2048].
# init_cfg.checkpoint is still empty: give weights, or init_cfg=None to train from random ones.
_base_ = 'mmdet::deformable_detr/deformable-detr_r50_16xb2-50e_coco.py'

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
        out_indices=(1, 2, 3),
    ),
    neck=dict(in_channels=[128, 320, 512]),
)
