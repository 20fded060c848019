_base_ = './deit-tiny_8xb128_in1k.py'

model = dict(backbone=dict(name='ss_vit_small_patch16_224'))
search = dict(budget=0.7, weight=3.0, lr=5e-4)  # 3.2 of 4.587 G
