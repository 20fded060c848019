_base_ = './mask-rcnn_ss-vit-base_fpn_1x_coco.py'

# ImageNet weights of exactly this model: the release of SPViT has them (spvit_deit_bs_l006_t100.pth). Put the
# file's path here, or pass --cfg-options model.backbone.init_cfg.checkpoint=FILE. To train from random weights on
# purpose: --cfg-options model.backbone.init_cfg=None
checkpoint = ''

model = dict(backbone=dict(settings='spvit_deit_bs_l006_t100', init_cfg=dict(checkpoint=checkpoint)))
