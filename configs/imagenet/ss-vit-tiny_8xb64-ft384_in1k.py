# DeiT's fine-tuning of a 224 classifier at 384 pixels: 30 epochs at a small and almost constant learning rate.
_base_ = './ss-vit-tiny_8xb128_in1k.py'

# The classifier to start from: epoch_300.pth of the 224 config, or --cfg-options model.init_cfg.checkpoint=FILE. Its
# position table is resized.
checkpoint = ''

model = dict(backbone=dict(img_size=384), init_cfg=dict(type='Pretrained', checkpoint=checkpoint))
train_dataloader = dict(batch_size=64, dataset=dict(transform=dict(input_size=384)))
val_dataloader = dict(batch_size=64, dataset=dict(transform=dict(input_size=384, crop_pct=1.0)))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=30)
# layer_decay_rate=0.75 or so makes it layer-wise decay
optim_wrapper = dict(optimizer=dict(lr=5e-6, weight_decay=1e-8), paramwise_cfg=dict(layer_decay_rate=1.0))
auto_scale_lr = dict(base_batch_size=512)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.2, begin=0, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min_ratio=1.0, begin=5, convert_to_iter_based=True),
]
