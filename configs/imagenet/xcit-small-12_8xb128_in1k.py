_base_ = './ss-xcit-small-12_8xb128_in1k.py'

model = dict(backbone=dict(settings='uniform'))
