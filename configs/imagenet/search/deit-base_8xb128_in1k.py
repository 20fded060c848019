_base_ = './deit-tiny_8xb128_in1k.py'

model = dict(backbone=dict(name='ss_vit_base_patch16_224'))
search = dict(budget=0.57, weight=0.06)  # 10.0 of 17.511 G
