_base_ = './_base_/spvit_130e.py'

model = dict(backbone=dict(name='spvit_deit_ti_l200_t10'))
