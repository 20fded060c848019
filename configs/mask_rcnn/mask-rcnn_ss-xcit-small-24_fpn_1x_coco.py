_base_ = './mask-rcnn_ss-xcit-tiny-12_fpn_1x_coco.py'

# ImageNet weights of exactly this model: make them out of public plain ones (ss-backbones inherit SOURCE
# ss_xcit_small_24_p16_224 OUT --images DIR) or train that classifier, and put the file's path here, or pass
# --cfg-options model.backbone.init_cfg.checkpoint=FILE; for the plain twin any file of XCiT fits. To train from
# random weights on purpose: --cfg-options model.backbone.init_cfg=None
checkpoint = ''

model = dict(
    backbone=dict(arch='small_24', init_cfg=dict(checkpoint=checkpoint)),
    neck=dict(in_channels=[384, 384, 384, 384]),
)
