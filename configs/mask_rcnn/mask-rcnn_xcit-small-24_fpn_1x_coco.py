_base_ = './mask-rcnn_ss-xcit-small-24_fpn_1x_coco.py'

model = dict(backbone=dict(settings='uniform'))
