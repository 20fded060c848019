_base_ = './ss-swin-small_8xb128_in1k.py'

model = dict(backbone=dict(settings='uniform'))
