# Made by: ss-backbones swap mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco.py SSPVTv2 --arch b2
# panoptic_head takes [64, 128, 320, 512] channels.
# init_cfg.checkpoint is still empty: give weights, or init_cfg=None to train from random ones.
_base_ = 'mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco.py'

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
    panoptic_head=dict(in_channels=[64, 128, 320, 512]),
)
