_base_ = './upernet_ss-xcit-small-24_8xb2-160k_ade20k-512x512.py'

model = dict(backbone=dict(settings='uniform'))
