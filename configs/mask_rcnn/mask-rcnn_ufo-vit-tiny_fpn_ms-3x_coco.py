# The recipe is that of mmdetection's Swin: AdamW 1e-4, weight decay 0.05, 1000 iterations of warm-up, batch 16.
_base_ = 'mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_ms-crop-3x_coco.py'

custom_imports = dict(imports=['ss_backbones'], allow_failed_imports=False)
runner_type = 'ss_backbones.Runner'  # goes on after any stop, saves on Ctrl-C, has a short log

# ImageNet weights of exactly this model: none are public. Train the classifier (configs/imagenet/
# ufo-vit-tiny_8xb128_in1k.py) and put the file's path here, or pass
# --cfg-options model.backbone.init_cfg.checkpoint=FILE. To train from random weights on purpose:
# --cfg-options model.backbone.init_cfg=None
checkpoint = ''

model = dict(
    backbone=dict(
        _delete_=True,
        type='UFOViT',
        arch='tiny',
        settings='uniform',  # the paper's network; 'specific' puts SS on it
        drop_path_rate=0.05,
        init_cfg=dict(type='Pretrained', checkpoint=checkpoint),
    ),
    neck=dict(in_channels=[192, 192, 192, 192]),
)

# Without smaller rates for earlier layers; this constructor gives norms, biases, positions and scales no decay,
# wherever they stand in the network.
optim_wrapper = dict(
    constructor='ss_backbones.LayerDecayOptimizerConstructor',
    paramwise_cfg=dict(_delete_=True, layer_decay_rate=1.0),
)
