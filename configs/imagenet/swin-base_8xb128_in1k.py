_base_ = './ss-swin-base_8xb128_in1k.py'

model = dict(backbone=dict(settings='uniform'))
