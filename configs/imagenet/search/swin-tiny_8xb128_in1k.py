_base_ = './deit-tiny_8xb128_in1k.py'

# with the drop path, the clipping and the sampler of Swin's recipe
model = dict(backbone=dict(name='ss_swin_tiny_patch4_window7_224', drop_path_rate=0.2))
train_dataloader = dict(sampler=dict(repeats=1))
optim_wrapper = dict(clip_grad=dict(max_norm=5.0))
search = dict(budget=0.71, weight=2.8)  # 3.2 of 4.494 G
