_base_ = './mask-rcnn_ss-pvtv2-b0-ufo_fpn_1x_coco.py'

model = dict(backbone=dict(settings='uniform'))
