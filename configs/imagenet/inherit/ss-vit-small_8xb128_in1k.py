_base_ = './ss-pvtv2-b0_8xb128_in1k.py'

model = dict(backbone=dict(name='ss_vit_small_patch16_224'), teacher=dict(name='ss_vit_small_patch16_224'))
