# Made by: ss-backbones swap mmdet::rtmdet/rtmdet_l_8xb32-300e_coco.py SSPVTv2 --arch b2
# The neck CSPNeXtPAFPN takes [128, 320, 512] channels in place of [256, 512, 1024].
# Images are normalised as they were for the new weights.
# init_cfg.checkpoint is still empty: give weights, or init_cfg=None to train from random ones.
_base_ = 'mmdet::rtmdet/rtmdet_l_8xb32-300e_coco.py'

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
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True),
)
