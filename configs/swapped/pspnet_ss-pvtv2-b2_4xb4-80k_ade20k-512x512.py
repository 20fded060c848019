# Made by: ss-backbones swap mmseg::pspnet/pspnet_r50-d8_4xb4-80k_ade20k-512x512.py SSPVTv2 --arch b2
# The old maps (256 at stride 4, 512 at stride 8, 1024 at stride 8, 2048 at stride 8) are replaced by position, as the
# new ones are a pyramid: stride 4, stride 8, stride 16, stride 32.
# decode_head takes 512 channels.
# auxiliary_head takes 320 channels.
# pretrained='open-mmlab://resnet50_v1c' was of the old backbone.
# AdamW in place of SGD, which does not train transformers well: lr=6e-05 for a batch of 16, no decay for norms, biases
# and positions. --keep-optimizer leaves SGD.
# init_cfg.checkpoint is still empty: give weights, or init_cfg=None to train from random ones.
_base_ = 'mmseg::pspnet/pspnet_r50-d8_4xb4-80k_ade20k-512x512.py'

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
        out_indices=(2, 3),
    ),
    decode_head=dict(in_channels=512, in_index=1),
    auxiliary_head=dict(in_channels=320, in_index=0),
    pretrained=None,
)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=6e-05, weight_decay=0.01),
    constructor='ss_backbones.LayerDecayOptimizerConstructor',
    paramwise_cfg=dict(layer_decay_rate=1.0),
)
auto_scale_lr = dict(enable=False, base_batch_size=16)
