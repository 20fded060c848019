_base_ = './_base_/spvit_130e.py'

model = dict(backbone=dict(name='spvit_deit_bs_l006_t100'))
