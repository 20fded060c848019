_base_ = './mask-rcnn_ss-swin-small_fpn_1x_coco.py'

model = dict(backbone=dict(settings='uniform'))
