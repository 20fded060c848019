# SPViT's fine-tuning of a network that its search has found (arXiv 2111.11802, its official code): 130 epochs of DeiT's
# augmentation at a small learning rate without warm-up, here for a batch of 1024 images. Evaluated from 256 pixels.
_base_ = './deit_300e.py'

# Weights of the network to start from, in any layout: --cfg-options model.init_cfg.checkpoint=FILE. Released files are
# trained already; to train from random weights on purpose: --cfg-options model.init_cfg=None
checkpoint = ''

model = dict(init_cfg=dict(type='Pretrained', checkpoint=checkpoint))
val_dataloader = dict(dataset=dict(transform=dict(crop_pct=0.875)))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=130)
optim_wrapper = dict(optimizer=dict(lr=1e-4))
param_scheduler = [dict(type='CosineAnnealingLR', eta_min=1e-5, begin=0, convert_to_iter_based=True)]
