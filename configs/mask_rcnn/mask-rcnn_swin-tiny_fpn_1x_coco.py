_base_ = './mask-rcnn_ss-swin-tiny_fpn_1x_coco.py'

model = dict(backbone=dict(settings='uniform'))
