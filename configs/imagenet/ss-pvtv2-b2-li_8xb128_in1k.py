_base_ = './_base_/deit_300e.py'

model = dict(backbone=dict(name='ss_pvt_v2_b2_li'))
