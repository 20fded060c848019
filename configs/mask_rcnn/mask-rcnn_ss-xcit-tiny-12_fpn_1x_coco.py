# The recipe is that of mmdetection's Swin: AdamW 1e-4, weight decay 0.05, 1000 iterations of warm-up, batch 16.
_base_ = 'mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py'

custom_imports = dict(imports=['ss_backbones'], allow_failed_imports=False)
runner_type = 'ss_backbones.Runner'  # goes on after any stop, saves on Ctrl-C, has a short log

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
    neck=dict(in_channels=[192, 192, 192, 192]),
)

# Without smaller rates for earlier layers; this constructor gives norms, biases, positions, scales and temperatures no
# decay, wherever they stand in the network.
optim_wrapper = dict(
    constructor='ss_backbones.LayerDecayOptimizerConstructor',
    paramwise_cfg=dict(_delete_=True, layer_decay_rate=1.0),
)
