_base_ = './_base_/spvit_130e.py'

model = dict(backbone=dict(name='spvit_deit_sm_l30_t32'))
