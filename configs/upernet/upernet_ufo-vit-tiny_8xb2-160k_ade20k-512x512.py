_base_ = 'mmseg::swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py'

custom_imports = dict(imports=['ss_backbones'], allow_failed_imports=False)
runner_type = 'ss_backbones.Runner'  # goes on after any stop, saves on Ctrl-C, has a short log
auto_scale_lr = dict(enable=False, base_batch_size=16)  # images an update, for which the learning rate is

# ImageNet weights of exactly this model: none are public. Train the classifier (configs/imagenet/
# ufo-vit-tiny_8xb128_in1k.py) and put the file's path here, or pass
# --cfg-options model.backbone.init_cfg.checkpoint=FILE. To train from random weights on purpose:
# --cfg-options model.backbone.init_cfg=None
checkpoint = ''

# The recipe is that of mmsegmentation's Swin: AdamW 6e-5, weight decay 0.01, 1500 iterations of warm-up, batch 16.
model = dict(
    backbone=dict(
        _delete_=True,
        type='UFOViT',
        arch='tiny',
        settings='uniform',  # the paper's network; 'specific' puts SS on it
        drop_path_rate=0.05,
        init_cfg=dict(type='Pretrained', checkpoint=checkpoint),
    ),
    decode_head=dict(in_channels=[192, 192, 192, 192]),
    auxiliary_head=dict(in_channels=192),
)

# Without smaller rates for earlier layers; this constructor gives norms, biases, positions and scales no decay,
# wherever they stand in the network.
optim_wrapper = dict(
    constructor='ss_backbones.LayerDecayOptimizerConstructor',
    paramwise_cfg=dict(_delete_=True, layer_decay_rate=1.0),
)
