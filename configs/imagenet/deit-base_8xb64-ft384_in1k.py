_base_ = './ss-vit-base_8xb64-ft384_in1k.py'

model = dict(backbone=dict(settings='uniform'))
