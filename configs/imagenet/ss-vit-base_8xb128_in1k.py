_base_ = './_base_/deit_300e.py'

model = dict(backbone=dict(name='ss_vit_base_patch16_224'))
