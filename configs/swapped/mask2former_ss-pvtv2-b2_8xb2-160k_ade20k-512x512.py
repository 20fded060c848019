# Made by: ss-backbones swap mmseg::mask2former/mask2former_r50_8xb2-160k_ade20k-512x512.py SSPVTv2 --arch b2
# decode_head takes [64, 128, 320, 512] channels.
# init_cfg.checkpoint is still empty: give weights, or init_cfg=None to train from random ones.
_base_ = 'mmseg::mask2former/mask2former_r50_8xb2-160k_ade20k-512x512.py'

custom_imports = dict(imports=['mmdet.models', 'ss_backbones'], allow_failed_imports=False)
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
    decode_head=dict(in_channels=[64, 128, 320, 512]),
)
