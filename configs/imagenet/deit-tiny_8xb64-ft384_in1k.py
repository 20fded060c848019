_base_ = './ss-vit-tiny_8xb64-ft384_in1k.py'

model = dict(backbone=dict(settings='uniform'))
