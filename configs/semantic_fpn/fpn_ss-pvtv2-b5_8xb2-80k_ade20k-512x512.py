_base_ = './fpn_ss-pvtv2-b1_8xb2-80k_ade20k-512x512.py'

# ImageNet weights of exactly this model: make them out of public plain ones (ss-backbones inherit SOURCE ss_pvt_v2_b5
# OUT --images DIR) or train that classifier, and put the file's path here, or pass --cfg-options
# model.backbone.init_cfg.checkpoint=FILE. To train from random weights on purpose: --cfg-options
# model.backbone.init_cfg=None
checkpoint = ''

model = dict(backbone=dict(arch='b5', init_cfg=dict(checkpoint=checkpoint)))
