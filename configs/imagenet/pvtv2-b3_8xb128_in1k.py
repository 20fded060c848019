_base_ = './ss-pvtv2-b3_8xb128_in1k.py'

model = dict(backbone=dict(settings='uniform'))
