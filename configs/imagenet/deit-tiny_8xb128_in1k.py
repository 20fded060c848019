_base_ = './ss-vit-tiny_8xb128_in1k.py'

model = dict(backbone=dict(settings='uniform'))
