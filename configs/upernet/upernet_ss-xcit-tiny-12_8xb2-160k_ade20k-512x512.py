_base_ = './upernet_ss-swin-tiny_8xb2-160k_ade20k-512x512.py'

# ImageNet weights of exactly this model: make them out of public plain ones (ss-backbones inherit SOURCE
# ss_xcit_tiny_12_p16_224 OUT --images DIR) or train that classifier, and put the file's path here, or pass
# --cfg-options model.backbone.init_cfg.checkpoint=FILE; for the plain twin any file of XCiT fits. To train from
# random weights on purpose: --cfg-options model.backbone.init_cfg=None
checkpoint = ''

model = dict(
    backbone=dict(
        _delete_=True,
        type='SSXCiT',
        arch='tiny_12',
        settings='specific',
        ramp='bias',  # learns faster than the fixed ramp of the paper: docs/classifiers.md
        drop_path_rate=0.05,
        init_cfg=dict(type='Pretrained', checkpoint=checkpoint),
    ),
    decode_head=dict(in_channels=[192, 192, 192, 192]),
    auxiliary_head=dict(in_channels=192),
)

# Without smaller rates for earlier layers; this constructor gives norms, biases, positions, scales and temperatures no
# decay, wherever they stand in the network.
optim_wrapper = dict(
    constructor='ss_backbones.LayerDecayOptimizerConstructor',
    paramwise_cfg=dict(_delete_=True, layer_decay_rate=1.0),
)
