# As with the plain Swin-T, out of the segmenter with SS-ViT-Ti.
_base_ = '../upernet/upernet_ss-vit-tiny_8xb2-160k_ade20k-512x512.py'

model = dict(backbone=dict(init_cfg=None))
train_cfg = dict(max_iters=26_000, val_interval=13_000)
default_hooks = dict(checkpoint=dict(interval=2_000))
optim_wrapper = dict(optimizer=dict(lr=1e-5))
param_scheduler = []
runner_type = 'ss_backbones.SearchRunner'
search = dict(budget=0.7, shape=(512, 512))
