_base_ = './mask-rcnn_ss-pvtv2-b2_fpn_1x_coco.py'

model = dict(backbone=dict(settings='uniform'))
