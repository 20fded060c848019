_base_ = './swin-tiny_8xb128_in1k.py'

model = dict(backbone=dict(name='ss_swin_base_patch4_window7_224', drop_path_rate=0.5))
search = dict(budget=0.65, weight=0.1)  # 10.0 of 15.438 G
