_base_ = './mask-rcnn_ss-swin-base_fpn_1x_coco.py'

model = dict(backbone=dict(settings='uniform'))
