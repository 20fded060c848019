_base_ = './retinanet_ss-pvtv2-b5_fpn_1x_coco.py'

model = dict(backbone=dict(settings='uniform'))
