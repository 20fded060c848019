_base_ = 'mmseg::convnext/convnext-tiny_upernet_8xb2-amp-160k_ade20k-512x512.py'

custom_imports = dict(imports=['ss_backbones'], allow_failed_imports=False)
runner_type = 'ss_backbones.Runner'  # goes on after any stop, saves on Ctrl-C, has a short log
auto_scale_lr = dict(enable=False, base_batch_size=16)  # images an update, for which the learning rate is

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
        drop_path_rate=0.1,
        init_cfg=dict(type='Pretrained', checkpoint=checkpoint),
    ),
    decode_head=dict(in_channels=[48, 96, 192, 192]),
    auxiliary_head=dict(in_channels=192),
)

# The recipe is that of mmsegmentation's ConvNeXt, in float32: AdamW 1e-4, weight decay 0.05, smaller rates for the
# earlier layers, 1500 iterations of warm-up, batch 16. mmsegmentation has a constructor of the same name, so ours needs
# its scope; it gives norms, biases, tokens and position tables no decay.
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    constructor='ss_backbones.LayerDecayOptimizerConstructor',
    paramwise_cfg=dict(layer_decay_rate=0.9),
)
