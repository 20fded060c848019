_base_ = './mask-rcnn_ss-pvtv2-b2-ufo_fpn_1x_coco.py'

model = dict(backbone=dict(settings='uniform'))
