_base_ = './ss-pvtv2-b1_8xb128_in1k.py'

model = dict(backbone=dict(settings='uniform'))
