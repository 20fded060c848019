_base_ = './mask-rcnn_ss-swin-small_fpn_1x_coco.py'

# ImageNet weights of exactly this model: the release of SPViT has them (spvit_swin_sm_l04_t55.pth). Put the
# file's path here, or pass --cfg-options model.backbone.init_cfg.checkpoint=FILE. To train from random weights on
# purpose: --cfg-options model.backbone.init_cfg=None
checkpoint = ''

model = dict(backbone=dict(settings='spvit_swin_sm_l04_t55', init_cfg=dict(checkpoint=checkpoint)))
