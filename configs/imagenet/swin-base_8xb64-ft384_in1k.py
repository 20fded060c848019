_base_ = './ss-swin-base_8xb64-ft384_in1k.py'

model = dict(backbone=dict(settings='uniform'))
