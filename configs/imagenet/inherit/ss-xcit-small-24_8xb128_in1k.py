_base_ = './ss-pvtv2-b0_8xb128_in1k.py'

model = dict(
    backbone=dict(name='ss_xcit_small_24_p16_224', drop_path_rate=0.05),
    teacher=dict(name='ss_xcit_small_24_p16_224'),
)
