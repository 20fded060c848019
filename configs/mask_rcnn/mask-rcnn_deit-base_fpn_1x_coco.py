_base_ = './mask-rcnn_ss-vit-base_fpn_1x_coco.py'

model = dict(backbone=dict(settings='uniform'))
