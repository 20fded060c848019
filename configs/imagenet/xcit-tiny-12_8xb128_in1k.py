_base_ = './ss-xcit-tiny-12_8xb128_in1k.py'

model = dict(backbone=dict(settings='uniform'))
