_base_ = './upernet_ss-xcit-tiny-12_8xb2-160k_ade20k-512x512.py'

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
)
