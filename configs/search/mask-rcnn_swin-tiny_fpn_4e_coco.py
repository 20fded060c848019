# SPViT's search in Mask R-CNN with the plain Swin-T, at the resolution where it will run. ss-backbones search CONFIG
# --checkpoint FILE gives it the detector that the config below has trained. The paper, which searches classifiers, has
# 26,000 steps at a tenth of the dense network's learning rate, constant; so 4 epochs here.
_base_ = '../mask_rcnn/mask-rcnn_swin-tiny_fpn_1x_coco.py'

model = dict(backbone=dict(init_cfg=None))
train_cfg = dict(max_epochs=4)
optim_wrapper = dict(optimizer=dict(lr=1e-5))
param_scheduler = []
runner_type = 'ss_backbones.SearchRunner'
search = dict(budget=0.7, shape=(800, 1344))
