_base_ = './_base_/deit_300e.py'

model = dict(backbone=dict(name='dfc_deit_small_patch16_224'))
