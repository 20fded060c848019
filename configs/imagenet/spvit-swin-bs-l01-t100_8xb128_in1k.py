_base_ = './spvit-swin-t-l28-t32_8xb128_in1k.py'

model = dict(backbone=dict(name='spvit_swin_bs_l01_t100', drop_path_rate=0.5))
