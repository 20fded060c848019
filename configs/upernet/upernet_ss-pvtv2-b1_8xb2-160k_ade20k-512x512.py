_base_ = './upernet_ss-pvtv2-b0_8xb2-160k_ade20k-512x512.py'

# ImageNet weights of exactly this model: make them out of public plain ones (ss-backbones inherit SOURCE ss_pvt_v2_b1
# OUT --images DIR) or train that classifier, and put the file's path here, or pass --cfg-options
# model.backbone.init_cfg.checkpoint=FILE. To train from random weights on purpose: --cfg-options
# model.backbone.init_cfg=None
checkpoint = ''

model = dict(
    backbone=dict(arch='b1', init_cfg=dict(checkpoint=checkpoint)),
    decode_head=dict(in_channels=[64, 128, 320, 512]),
    auxiliary_head=dict(in_channels=320),
)
