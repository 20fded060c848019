_base_ = './upernet_ss-pvtv2-b2-ufo_8xb2-160k_ade20k-512x512.py'

model = dict(backbone=dict(settings='uniform'))
