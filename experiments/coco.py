# Mask R-CNN with SS-PVTv2-B0 on the people of COCO, or of a part of it (annotations/, train2017/ and val2017/), at 320
# pixels, from the weights of a backbone:
#   ss-backbones train experiments/coco.py --cfg-options model.backbone.init_cfg.checkpoint=FILE
# and for the plain twin model.backbone.settings=uniform as well; from random weights model.backbone.init_cfg=None.
_base_ = '../configs/demo/mask-rcnn_ss-pvtv2-b0_shapes.py'

data_root = 'data/coco/'
work_dir = 'work_dirs/coco'
max_iters = 600
metainfo = dict(classes=('person',), palette=[(220, 20, 60)])
model = dict(
    backbone=dict(init_cfg=dict(_delete_=True, type='Pretrained', checkpoint='')),
    rpn_head=dict(anchor_generator=dict(ratios=[0.5, 1.0, 2.0])),
    roi_head=dict(bbox_head=dict(num_classes=1), mask_head=dict(num_classes=1)),
)

load_image, load_truth, pack = _base_.load_image, _base_.load_truth, dict(type='PackDetInputs')
resize = dict(type='Resize', scale=(320, 320), keep_ratio=True)
in_process = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file='annotations/instances_train2017.json',
        data_prefix=dict(img='train2017/'),
        metainfo=metainfo,
        filter_cfg=dict(filter_empty_gt=True),
        pipeline=[load_image, load_truth, resize, dict(type='RandomFlip', prob=0.5), pack],
    ),
    **in_process,
)
val_dataloader = dict(
    batch_size=4,
    dataset=dict(
        data_root=data_root,
        ann_file='annotations/instances_val2017.json',
        data_prefix=dict(img='val2017/'),
        metainfo=metainfo,
        pipeline=[load_image, resize, load_truth, _base_.val_dataloader.dataset.pipeline[-1]],
    ),
    **in_process,
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/instances_val2017.json')
test_evaluator = val_evaluator
train_cfg = dict(max_iters=max_iters, val_interval=200)
optim_wrapper = dict(optimizer=dict(lr=3e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=50),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=50, end=max_iters, eta_min=1e-5),
]
default_hooks = dict(checkpoint=dict(interval=max_iters, save_best=None), logger=dict(interval=50))
randomness = dict(seed=0)
