# As with the plain Swin-T, out of the detector with SS-ViT-Ti.
_base_ = '../mask_rcnn/mask-rcnn_ss-vit-tiny_fpn_1x_coco.py'

model = dict(backbone=dict(init_cfg=None))
train_cfg = dict(max_epochs=4)
optim_wrapper = dict(optimizer=dict(lr=1e-5))
param_scheduler = []
runner_type = 'ss_backbones.SearchRunner'
search = dict(budget=0.7, shape=(800, 1344))
