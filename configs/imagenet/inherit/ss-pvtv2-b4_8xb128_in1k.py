_base_ = './ss-pvtv2-b0_8xb128_in1k.py'

# drop path and clipping of PVTv2's own recipe for this size
model = dict(backbone=dict(name='ss_pvt_v2_b4', drop_path_rate=0.3), teacher=dict(name='ss_pvt_v2_b4'))
optim_wrapper = dict(clip_grad=dict(max_norm=1.0))
