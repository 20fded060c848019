_base_ = './mask-rcnn_ss-xcit-tiny-12_fpn_1x_coco.py'

model = dict(backbone=dict(settings='uniform'))
