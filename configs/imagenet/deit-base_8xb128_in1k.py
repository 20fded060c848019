_base_ = './ss-vit-base_8xb128_in1k.py'

model = dict(backbone=dict(settings='uniform'))
