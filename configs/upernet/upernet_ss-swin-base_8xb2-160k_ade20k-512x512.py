_base_ = './upernet_ss-swin-tiny_8xb2-160k_ade20k-512x512.py'

# ImageNet weights of exactly this model: make them out of public plain ones (ss-backbones inherit SOURCE
# ss_swin_base_patch4_window7_224 OUT --images DIR) or train that classifier, and put the file's path here, or pass
# --cfg-options model.backbone.init_cfg.checkpoint=FILE; for the plain twin any file of Swin fits. To train from
# random weights on purpose: --cfg-options model.backbone.init_cfg=None
checkpoint = ''

model = dict(
    backbone=dict(arch='base', init_cfg=dict(checkpoint=checkpoint)),
    decode_head=dict(in_channels=[128, 256, 512, 1024]),
    auxiliary_head=dict(in_channels=512),
)
