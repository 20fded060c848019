# DeiT's recipe (arXiv 2012.12877, table 9), which PVTv2 and SS ViT took over: 300 epochs of ImageNet, AdamW, cosine.
# The learning rate below is that of a batch of 1024 images; tools/pretrain.py scales it to the batch that it finds.
custom_imports = dict(imports=['ss_backbones'], allow_failed_imports=False)

model = dict(
    type='ss_backbones.ImageClassifier',
    # the ramp in learned biases learns faster than the fixed one of the paper: docs/classifiers.md
    backbone=dict(num_classes=1000, drop_path_rate=0.1, ramp='bias'),
    mixup=dict(mixup_alpha=0.8, cutmix_alpha=1.0),
    random_erasing=dict(probability=0.25, mode='pixel'),
    label_smoothing=0.1,
)

train_dataloader = dict(
    batch_size=128,
    num_workers=10,
    pin_memory=True,
    persistent_workers=False,  # new ones for each epoch are what makes a resumed run equal an uninterrupted one
    drop_last=True,
    sampler=dict(type='ss_backbones.EpochSampler', repeats=3),
    collate_fn=dict(type='ss_backbones.collate_images'),
    worker_init_fn=dict(type='ss_backbones.start_worker'),
    dataset=dict(
        type='ss_backbones.build_dataset',
        data_root='data/imagenet',
        split='train',
        training=True,
        transform=dict(
            input_size=224,
            auto_augment='rand-m9-mstd0.5-inc1',
            color_jitter=0.4,
            interpolation='bicubic',
        ),
    ),
)
val_dataloader = dict(
    batch_size=128,
    num_workers=10,
    pin_memory=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='ss_backbones.collate_images'),
    worker_init_fn=dict(type='ss_backbones.start_worker'),
    dataset=dict(
        type='ss_backbones.build_dataset',
        data_root='data/imagenet',
        split='val',
        training=False,
        transform=dict(input_size=224, crop_pct=0.9, interpolation='bicubic'),
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='ss_backbones.Accuracy')
test_evaluator = val_evaluator

train_cfg = dict(type='ss_backbones.EpochLoop', max_epochs=300, val_interval=1)
val_cfg = dict()
test_cfg = dict()

# no weight decay for norms, biases, tokens and positions; a layer_decay_rate of 1 is one learning rate for all layers
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='ss_backbones.LayerDecayOptimizerConstructor',
    paramwise_cfg=dict(layer_decay_rate=1.0),
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
)
auto_scale_lr = dict(enable=True, base_batch_size=1024)
# the last schedule ends with the training: tools/pretrain.py puts in train_cfg.max_epochs
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, begin=0, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, begin=5, convert_to_iter_based=True),
]

default_hooks = dict(
    logger=dict(type='LoggerHook', interval=50),
    checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=3, save_best='accuracy/top1', rule='greater'),
)
custom_hooks = [
    dict(type='ss_backbones.ClassesHook'),
    dict(type='ss_backbones.RandomnessHook'),
    dict(type='ss_backbones.ProgressHook'),
    dict(type='ss_backbones.SummaryHook'),
    dict(type='ss_backbones.MissedValidationHook'),
    dict(type='ss_backbones.PreemptionHook'),
]
visualizer = dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')])
env_cfg = dict(cudnn_benchmark=True, mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0))
randomness = dict(seed=0)
