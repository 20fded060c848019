_base_ = './upernet_ufo-vit-tiny_8xb2-160k_ade20k-512x512.py'

# ImageNet weights of exactly this model: none are public. Train the classifier (configs/imagenet/
# ufo-vit-base_8xb128_in1k.py) and put the file's path here, or pass
# --cfg-options model.backbone.init_cfg.checkpoint=FILE. To train from random weights on purpose:
# --cfg-options model.backbone.init_cfg=None
checkpoint = ''

model = dict(
    backbone=dict(arch='base', init_cfg=dict(checkpoint=checkpoint)),
    decode_head=dict(in_channels=[512, 512, 512, 512]),
    auxiliary_head=dict(in_channels=512),
)
