_base_ = './spvit-swin-t-l28-t32_8xb128_in1k.py'

model = dict(backbone=dict(name='spvit_swin_sm_l04_t55', drop_path_rate=0.3))
