_base_ = './mask-rcnn_ss-pvtv2-b2_fpn_bf16-1x_coco.py'

model = dict(backbone=dict(settings='uniform'))
