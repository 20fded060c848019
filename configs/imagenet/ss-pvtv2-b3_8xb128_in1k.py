_base_ = './_base_/deit_300e.py'

# drop path and clipping of PVTv2's own recipe for this size
model = dict(backbone=dict(name='ss_pvt_v2_b3', drop_path_rate=0.3))
optim_wrapper = dict(clip_grad=dict(max_norm=1.0))
