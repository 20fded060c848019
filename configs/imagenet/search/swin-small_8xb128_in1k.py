_base_ = './swin-tiny_8xb128_in1k.py'

model = dict(backbone=dict(name='ss_swin_small_patch4_window7_224', drop_path_rate=0.3))
search = dict(budget=0.63, weight=0.4)  # 5.5 of 8.747 G
