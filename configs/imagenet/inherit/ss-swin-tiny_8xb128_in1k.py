_base_ = './ss-pvtv2-b0_8xb128_in1k.py'

model = dict(
    backbone=dict(name='ss_swin_tiny_patch4_window7_224', drop_path_rate=0.2),
    teacher=dict(name='ss_swin_tiny_patch4_window7_224'),
)
