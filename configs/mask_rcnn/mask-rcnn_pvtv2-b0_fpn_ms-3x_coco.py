_base_ = './mask-rcnn_ss-pvtv2-b0_fpn_ms-3x_coco.py'

model = dict(backbone=dict(settings='uniform'))
