_base_ = './mask-rcnn_ufo-vit-tiny_fpn_ms-3x_coco.py'

# ImageNet weights of exactly this model: none are public. Train the classifier (configs/imagenet/
# ufo-vit-base_8xb128_in1k.py) and put the file's path here, or pass
# --cfg-options model.backbone.init_cfg.checkpoint=FILE. To train from random weights on purpose:
# --cfg-options model.backbone.init_cfg=None
checkpoint = ''

model = dict(
    backbone=dict(arch='base', init_cfg=dict(checkpoint=checkpoint)),
    neck=dict(in_channels=[512, 512, 512, 512]),
)
