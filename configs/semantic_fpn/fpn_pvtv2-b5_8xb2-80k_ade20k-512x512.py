_base_ = './fpn_ss-pvtv2-b5_8xb2-80k_ade20k-512x512.py'

model = dict(backbone=dict(settings='uniform'))
