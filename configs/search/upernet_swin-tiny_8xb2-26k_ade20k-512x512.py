# SPViT's search in UperNet with the plain Swin-T, at the size of its crops. ss-backbones search CONFIG --checkpoint
# FILE gives it the segmenter that the config below has trained. The paper, which searches classifiers, has 26,000 steps
# at a tenth of the dense network's learning rate, constant.
_base_ = '../upernet/upernet_swin-tiny_8xb2-160k_ade20k-512x512.py'

model = dict(backbone=dict(init_cfg=None))
train_cfg = dict(max_iters=26_000, val_interval=13_000)
default_hooks = dict(checkpoint=dict(interval=2_000))
optim_wrapper = dict(optimizer=dict(lr=6e-6))
param_scheduler = []
runner_type = 'ss_backbones.SearchRunner'
search = dict(budget=0.7, shape=(512, 512))
