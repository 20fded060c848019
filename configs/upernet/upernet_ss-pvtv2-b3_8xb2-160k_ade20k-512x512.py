_base_ = './upernet_ss-pvtv2-b1_8xb2-160k_ade20k-512x512.py'

# ImageNet weights of exactly this model: make them out of public plain ones (ss-backbones inherit SOURCE ss_pvt_v2_b3
# OUT --images DIR) or train that classifier, and put the file's path here, or pass --cfg-options
# model.backbone.init_cfg.checkpoint=FILE. To train from random weights on purpose: --cfg-options
# model.backbone.init_cfg=None
checkpoint = ''

# PVTv2 trains b3, b4 and b5 on ImageNet with a drop path of 0.3, the smaller ones with 0.1: what was trained with more
# of it keeps it here.
model = dict(backbone=dict(arch='b3', drop_path_rate=0.3, init_cfg=dict(checkpoint=checkpoint)))
