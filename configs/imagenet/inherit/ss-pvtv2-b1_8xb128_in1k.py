_base_ = './ss-pvtv2-b0_8xb128_in1k.py'

model = dict(backbone=dict(name='ss_pvt_v2_b1'), teacher=dict(name='ss_pvt_v2_b1'))
