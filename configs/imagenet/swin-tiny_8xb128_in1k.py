_base_ = './ss-swin-tiny_8xb128_in1k.py'

model = dict(backbone=dict(settings='uniform'))
