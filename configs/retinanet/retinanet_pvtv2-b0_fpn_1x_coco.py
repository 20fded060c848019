_base_ = './retinanet_ss-pvtv2-b0_fpn_1x_coco.py'

model = dict(backbone=dict(settings='uniform'))
