_base_ = './_base_/spvit_130e.py'

# with the drop path, the clipping and the sampler of Swin's recipe
model = dict(backbone=dict(name='spvit_swin_t_l28_t32', drop_path_rate=0.2))
train_dataloader = dict(sampler=dict(repeats=1))
optim_wrapper = dict(clip_grad=dict(max_norm=5.0))
